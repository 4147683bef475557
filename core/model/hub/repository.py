"""Talks to the Hugging Face Hub: describes the files of a repository and downloads them.

Uses huggingface_hub for URLs, logins, retries and transfers, but not its download function, which keeps nothing of an
interrupted file (docs/adr/0007). Knows no preset.
"""

from collections.abc import Generator
from contextlib import contextmanager
from os import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers
from huggingface_hub.utils.tqdm import silent_tqdm

from core.model.hub.originals import OnBytes
from core.model.hub.pins import FilePin, RepositoryPin
from core.service.domain.errors import DownloadDamaged, HubFileMissing, HubUnreachable
from core.service.engines.preset import HubFiles


class HuggingFaceHub:
    """The Hub at `endpoint`; None: HF_ENDPOINT, or huggingface.co. Honours HF_TOKEN and HF_HUB_OFFLINE."""

    def __init__(self, endpoint: str | None = None) -> None:
        """Does not connect yet."""
        self._endpoint = endpoint

    def describe(self, wanted: HubFiles) -> RepositoryPin:
        """The commit of the revision now, and size and checksum of each file.

        Raises HubUnreachable, HubFileMissing.
        """
        with _named_errors(wanted.repository, wanted.revision):
            info: Any = HfApi(endpoint=self._endpoint).model_info(
                wanted.repository, revision=wanted.revision, files_metadata=True
            )
        known = {sibling.rfilename: sibling for sibling in info.siblings}
        missing = [name for name in wanted.files if name not in known]
        if missing:
            raise HubFileMissing(f"{wanted.repository} at {wanted.revision} has no {', '.join(missing)}")
        files = {name: _pin_of(known[name]) for name in wanted.files}
        return RepositoryPin(revision=wanted.revision, commit=info.sha, files=files)

    def fetch(self, repository: str, commit: str, name: str, into: Path, on_bytes: OnBytes) -> None:
        """Append the missing rest of a file to `into`.

        Raises HubUnreachable, HubFileMissing, DownloadDamaged if the number of bytes is not the announced one.
        """
        with _named_errors(repository, commit):
            url = hf_hub_url(repository, name, revision=commit, endpoint=self._endpoint)
            metadata = get_hf_file_metadata(url, endpoint=self._endpoint)
            headers: dict[str, str] = build_hf_headers()
            if urlsplit(url).netloc != urlsplit(metadata.location).netloc:
                headers.pop("authorization", None)  # a signed URL of another host, which must not get the login
            into.parent.mkdir(parents=True, exist_ok=True)
            with into.open("ab") as file:
                http_get(
                    metadata.location,
                    cast(BinaryIO, _Counted(file, on_bytes)),
                    resume_size=file.tell(),
                    headers=headers,
                    expected_size=metadata.size,
                    displayed_filename=name,
                    tqdm_class=cast(Any, silent_tqdm),
                )


class _Counted:
    """A file that reports bytes as they are written. Has only the methods that http_get uses."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes) -> None:
        self._file = file
        self._on_bytes = on_bytes

    def write(self, data: bytes) -> int:
        written = self._file.write(data)
        self._on_bytes(written)
        return written

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, place: int) -> int:
        return self._file.seek(place)

    def truncate(self) -> int:
        """The server restarts the file: bytes downloaded before are subtracted."""
        place = self._file.tell()
        self._on_bytes(place - self._file.seek(0, SEEK_END))
        return self._file.truncate(place)


def _pin_of(sibling: Any) -> FilePin:
    """The Hub has a SHA-256 for large files and git's hash for small ones."""
    sha256 = sibling.lfs.sha256 if sibling.lfs else None
    return FilePin(size=sibling.size, sha256=sha256, git_sha1=None if sha256 else sibling.blob_id)


@contextmanager
def _named_errors(repository: str, revision: str) -> Generator[None]:
    """Raise huggingface_hub's errors as one of three of ours, with the fix."""
    try:
        yield
    except RepositoryNotFoundError as error:
        fix = "check its name; a repository that asks for consent needs a login (HF_TOKEN)"
        raise HubFileMissing(f"the Hub shows no repository {repository}", fix=fix) from error
    except RevisionNotFoundError as error:
        raise HubFileMissing(f"{repository} has no revision {revision}", fix="check --revision") from error
    except RemoteEntryNotFoundError as error:
        raise HubFileMissing(f"{repository} at {revision} lacks a file: {error}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise HubUnreachable(f"the Hub answered {status} for {repository}", fix="try again later") from error
    except (httpx2.TransportError, OfflineModeIsEnabled) as error:
        raise HubUnreachable(f"the Hub cannot be reached for {repository}: {error}") from error
    except OSError as error:
        if "Consistency check failed" not in str(error):
            raise
        raise DownloadDamaged(f"{repository}: {error}", fix="pull again") from error
