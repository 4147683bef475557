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
