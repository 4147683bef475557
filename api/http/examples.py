"""Examples of request bodies in the OpenAPI document, by a short name. A test validates each."""

from __future__ import annotations

from typing import Any

EXAMPLES: dict[str, dict[str, Any]] = {
    "shortest": {
        "summary": "Only a prompt",
        "value": {"prompt": "a red circle moving left over a striped background"},
    },
    "full": {
        "summary": "Length, seed and a webhook",
        "value": {
            "prompt": "a blue square moving up over a dotted background",
            "negative_prompt": "striped background",
            "seconds": 12,
            "fps": 8,
            "seed": 7,
            "webhook_url": "https://example.com/hooks/longtake",
            "webhook_events": ["chunk.completed", "job.succeeded", "job.failed"],
            "metadata": {"project": "titles"},
        },
    },
    "refined": {
        "summary": "Refined to a higher resolution while it is generated",
        "value": {"prompt": "a red circle moving left over a striped background", "refine": True},
    },
    "scheduled": {
        "summary": "Another prompt from frame 48 on",
        "value": {
            "prompts": [
                {"start_frame": 0, "text": "a red circle moving left over a striped background"},
                {"start_frame": 48, "text": "a blue circle moving left over a striped background"},
            ],
            "num_frames": 96,
        },
    },
    "endless": {
        "summary": "Without end, until it is canceled or gets an end",
        "value": {"prompt": "a red circle moving left over a striped background", "num_frames": None},
    },
    "continued": {
        "summary": "Continue an uploaded video from its end",
        "value": {
            "prompt": "a blue square moving up over a dotted background",
            "video": "upl_k3mq5w7zr2ay4n6c5bqd",
            "num_frames": 48,
        },
    },
    "controlled": {
        "summary": "Along the edges of an uploaded video, as long as it, at another size",
        "value": {
            "model": "sprites-zero",
            "prompt": "a blue square on a dotted background",
            "control": {"type": "canny", "video": "upl_k3mq5w7zr2ay4n6c5bqd", "scale": 0.9},
            "size": "96x64",
        },
    },
    "edited": {
        "summary": "An uploaded video, edited",
        "value": {"model": "sprites-edit", "prompt": "make it blue", "video": "upl_k3mq5w7zr2ay4n6c5bqd"},
    },
}
CHANGE_EXAMPLES: dict[str, dict[str, Any]] = {
    "prompt": {
        "summary": "Another prompt, as soon as possible",
        "value": {"prompt": "a blue circle moving left over a striped background"},
    },
    "later": {
        "summary": "From a later frame on",
        "value": {"prompt": "a blue circle moving left over a striped background", "from_frame": 96},
    },
    "end": {"summary": "Another length", "value": {"num_frames": 480}},
    "endless": {"summary": "Without end", "value": {"num_frames": None}},
}
EXTENSION_EXAMPLES: dict[str, dict[str, Any]] = {
    "more": {"summary": "48 frames more", "value": {"num_frames": 48}},
    "prompt": {
        "summary": "48 frames more, which show something else",
        "value": {"num_frames": 48, "prompt": "a blue circle moving left over a striped background"},
    },
}
BRANCH_EXAMPLES: dict[str, dict[str, Any]] = {
    "prompt": {
        "summary": "Something else from chunk 3 on",
        "value": {"from_chunk": 3, "prompt": "a blue circle moving left over a striped background"},
    },
    "seed": {"summary": "Another take from chunk 3 on", "value": {"from_chunk": 3, "seed": 8}},
}
KEY_EXAMPLES: dict[str, dict[str, Any]] = {
    "customer": {
        "summary": "A customer's key with limits",
        "value": {"name": "Example Ltd", "limits": {"requests_per_minute": 600, "unfinished_jobs": 10}},
    },
    "reader": {"summary": "A key that only reads", "value": {"name": "Example Ltd, dashboard", "scope": "read"}},
}
KEY_CHANGE_EXAMPLES: dict[str, dict[str, Any]] = {
    "limit": {"summary": "Another limit; the others stay", "value": {"limits": {"frames_per_day": 100000}}},
    "unlimited": {"summary": "One limit less", "value": {"limits": {"requests_per_minute": None}}},
}
ROTATION_EXAMPLES: dict[str, dict[str, Any]] = {
    "day": {"summary": "The old one is valid for a day", "value": {}},
    "leaked": {"summary": "The old one is not valid any more", "value": {"grace_seconds": 0}},
}
UPLOAD_EXAMPLES: dict[str, dict[str, Any]] = {
    "video": {
        "summary": "A video to continue, to follow or to edit",
        "value": {"content_type": "video/mp4", "size_bytes": 1048576},
    },
    "image": {
        "summary": "An image to start from",
        "value": {"content_type": "image/png", "size_bytes": 65536},
    },
}
PING_EXAMPLES: dict[str, dict[str, Any]] = {
    "usual": {
        "summary": "Signed as your webhooks are",
        "value": {"webhook_url": "https://example.com/hooks/longtake"},
    },
}
STATUS_EXAMPLE: dict[str, Any] = {
    "at": "2026-01-02T03:04:05Z",
    "paused": [{"model": None, "worker": "sprites-1@gpu-1", "since": "2026-01-02T03:00:00Z"}],
    "workers": [
        {
            "name": "sprites-0-4711@gpu-1",
            "kind": "both",
            "model": "sprites",
            "state": "busy",
            "reason": None,
            "device": "cuda:0",
            "pid": 4711,
            "cuda_visible_devices": "0",
            "started_at": "2026-01-01T00:00:00Z",
            "paused": False,
            "making": [
                {
                    "job_id": "job_k3mq5w7zr2ay4n6c5bqd",
                    "lane": "generate",
                    "chunk": 3,
                    "step": 2,
                    "steps": 6,
                    "seconds": 0.4,
                }
            ],
        }
    ],
    "queues": [
        {
            "pool": "sprites",
            "waiting": {"high": 0, "normal": 12, "low": 3},
            "waiting_seconds": 41.5,
            "queued_jobs": 15,
            "begun_jobs": 1,
            "queue_seconds": 52.8,
            "active_workers": 1,
            "desired_workers": 1,
            "workers": 1,
            "unserved": [],
        }
    ],
    "rates": [
        {
            "model": "sprites",
            "lane": "generate",
            "chunks_per_second": 1.81,
            "frames_per_second": 28.9,
            "realtime_factor": 3.61,
        }
    ],
    "rate_seconds": 65.2,
    "jobs": {
        "queued": 15,
        "running": 1,
        "canceling": 0,
        "finalizing": 0,
        "succeeded": 120,
        "failed": 1,
        "canceled": 4,
        "expired": 0,
    },
    "webhooks_pending": 0,
}
"""Of GET /status; a test validates it."""
