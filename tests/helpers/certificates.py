"""A certificate authority of a test's own, and certificates that it signs. Made by the program openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.apt import program

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@dataclass(frozen=True)
class Certificate:
    """PEM files: a certificate, its key, and the CA that has signed it."""

    file: Path
    key: Path
    authority: Path


class Authority:
    """Skips the test where there is no openssl."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.file, self._key = folder / "ca.pem", folder / "ca.key"
        _openssl("req", "-x509", *_KEY, "-nodes", "-keyout", self._key, "-out", self.file, "-subj", "/CN=Test CA")

    def certificate(self, name: str, host: str = "IP:127.0.0.1,DNS:localhost", days: int = 2) -> Certificate:
        """For `host` (a subjectAltName); negative `days`: expired. `name` is that of its files."""
        request, file, key = (self._folder / f"{name}.{end}" for end in ("csr", "pem", "key"))
        extensions = self._folder / f"{name}.cnf"
        extensions.write_text(f"subjectAltName={host}\n")
        _openssl("req", *_KEY, "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        signed = ("-CA", self.file, "-CAkey", self._key, "-set_serial", "7", "-extfile", extensions)
        _openssl("x509", "-req", "-in", request, *signed, "-days", str(days), "-out", file)
        return Certificate(file, key, self.file)

    def encrypted(self, key: Path, password: str) -> Path:
        """A copy of the key that needs a password."""
        locked = key.with_suffix(".locked")
        _openssl("ec", "-in", key, "-aes256", "-passout", f"pass:{password}", "-out", locked)
        return locked


def _openssl(*words: str | Path) -> None:
    command = [program("openssl", ["openssl"]), *words]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
