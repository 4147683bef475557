"""A minimal Debian in a folder, and commands in it: debootstrap, a chroot, and mounts that vanish with the command.

Knows no Longtake. Package mirrors and pip's settings are this machine's own, read when it runs.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RELEASE = "trixie"
PACKAGES = ("python3", "python3-venv", "make", "ca-certificates")
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
LIMIT_SECONDS = 900.0
"""For one command: far more than any needs."""


class CannotMakeTree(Exception):
    """Such a tree cannot be made here: one sentence."""


def require_tools() -> None:
    """Raise CannotMakeTree where this machine cannot do it. Installs debootstrap where only that is missing."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise CannotMakeTree("it needs Linux and root")
    if shutil.which("apt-get") is None or shutil.which("unshare") is None:
        raise CannotMakeTree("it needs apt-get and unshare")
    if shutil.which("debootstrap") is None:
        _install("debootstrap")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False).returncode != 0:
        raise CannotMakeTree("this machine allows no mounts")


def _install(package: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotMakeTree(f"apt-get cannot install {package}: {_last_line(done.stderr)}")


def debian_mirror() -> str:
    """The first mirror of Debian's own packages that apt is set to. Raises CannotMakeTree where there is none."""
    found = _known_mirror()
    if found is None:  # apt has not asked its sources yet
        subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
        found = _known_mirror()
    if found is None:
        raise CannotMakeTree("apt knows no mirror of Debian")
    return found


def _known_mirror() -> str | None:
    asked = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN) $(COMPONENT) $(REPO_URI) $(CODENAME)",
            "Identifier: Packages",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in asked.stdout.splitlines():
        origin, component, uri, codename = (line.split() + [""] * 4)[:4]
        if (origin, component) == ("Debian", "main") and "-" not in codename:
            return uri
    return None


@dataclass(frozen=True)
class Tree:
    """The folder of a Debian."""

    root: Path

    def build(self) -> None:
        """Raises CannotMakeTree: what debootstrap cannot get is no fault of what is to be tested."""
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", RELEASE, str(self.root)]
        log = self.root.with_suffix(".log")
        try:
            with log.open("w") as sink:
                subprocess.run([*command, debian_mirror()], stdout=sink, stderr=sink, timeout=LIMIT_SECONDS, check=True)
        except subprocess.SubprocessError as error:
            raise CannotMakeTree(f"debootstrap failed: {_last_line(log.read_text())}") from error

    def copy_network_settings(self) -> None:
        """How this machine resolves names, and whom it trusts."""
        for file in (Path("etc/resolv.conf"), Path("etc/hosts"), CERTIFICATES):
            if (Path("/") / file).exists():
                shutil.copyfile(Path("/") / file, self.root / file)

    def run(self, command: str, folder: str, environment: Mapping[str, str], mounts: Sequence[Path] = ()) -> int:
        """A shell command as root in the tree; its exit code. `mounts` are seen there, read-only, at their own paths.

        Processes that it leaves and mounts end with it.
        """
        inner = f"cd {folder} && {command}"
        words = " ".join(shlex.quote(f"{name}={value}") for name, value in {**BASE_ENVIRONMENT, **environment}.items())
        script = [
            "set -e",
            f"mount -t proc proc {self.root}/proc",
            f"mount --rbind /dev {self.root}/dev",
            *(line for path in mounts for line in self._mount(path)),
            f'exec chroot {self.root} env -i {words} sh -c "$0"',
        ]
        sys.stdout.flush()
        isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(script), inner]
        return subprocess.run(isolated, stdin=subprocess.DEVNULL, timeout=LIMIT_SECONDS, check=False).returncode

    def _mount(self, path: Path) -> list[str]:
        inside = self.root / path.relative_to("/")
        make = f"mkdir -p {inside}" if path.is_dir() else f"mkdir -p {inside.parent} && touch {inside}"
        return [make, f"mount --bind -o ro {path} {inside}"]

    def has(self, program: str) -> bool:
        """The program is on the tree's PATH."""
        return any((self.root / folder / program).exists() for folder in ("usr/bin", "bin", "usr/local/bin"))


BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
