"""`make fresh-machine`: runs the setup of `make demo` and `make test` in a real minimal Debian 13 without a compiler.

    python -m tests.fresh_machine [--torch WHEEL] [--keep]

Everything is real but torch, where no wheel of it for that Debian's Python is given: then an empty wheel stands in for
it, whose version no index has, so that pip resolves and installs all the rest as it would. After the set-up the tests
of the embedded servers run there, and `make demo` with the fake engine, which needs no torch. Where no such Debian can
be made (no root, no debootstrap, no mirror) one line says so, and the exit code is 0.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from setup.environment import torch_requirement
from tests.fresh_machine.pip_settings import local_paths, pip_environment
from tests.fresh_machine.tree import CERTIFICATES, PACKAGES, RELEASE, CannotMakeTree, Tree, require_tools
from tests.helpers.presets import write_fake_preset
from tests.helpers.wheels import write_empty_wheel

REPOSITORY = Path(__file__).resolve().parents[2]
CHECKOUT = Path("srv/longtake")
WHEELS = Path("srv/wheels")
STAND_IN = "absent"
"""Local version of the empty torch. It sorts before "cpu": where PyTorch's CPU index answers, the real one is taken."""
COMPILERS = ("gcc", "cc", "clang", "g++")
STEPS = (
    ("the set-up", "make setup"),
    ("the set-up again, which has nothing to do", "make --question setup"),
    ("the embedded Redis and S3 server", ".venv/bin/python -m pytest -q tests/integration/test_embedded.py"),
    ("the whole service once, with the fake engine", "make demo FRAMES=32"),
)
DEMO = {"LONGTAKE_PRESETS_DIR": "/srv/presets", "LONGTAKE_DEFAULT_MODEL": "fake"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fresh_machine", description="the set-up on a fresh Debian")
    parser.add_argument("--torch", type=Path, help="a wheel of torch for its Python")
    parser.add_argument("--keep", action="store_true", help="do not remove the tree")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="longtake-fresh-"))
    try:
        require_tools()
        return try_fresh_machine(Tree(folder / "tree"), args.torch)
    except CannotMakeTree as reason:
        print(f"fresh machine: skipped: {reason}")
        return 0
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)


def try_fresh_machine(tree: Tree, torch: Path | None) -> int:
    """Build the tree, run the steps in it; the exit code of the first that fails, or 0."""
    began = time.monotonic()
    say(f"Debian {RELEASE} with {', '.join(PACKAGES)} and nothing else", began)
    tree.build()
    tree.copy_network_settings()
    assert not any(map(tree.has, COMPILERS)), "a fresh machine has no compiler"
    copy_checkout(tree.root / CHECKOUT)
    write_fake_preset(tree.root / "srv" / "presets", "fake")
    environment = {**settings_of_pip(tree, torch), **DEMO}
    mounts = [path for path in local_paths(pip_environment()) if path != Path("/") / CERTIFICATES]
    for what, command in STEPS:
        say(what, began)
        if code := tree.run(command, f"/{CHECKOUT}", environment, mounts):
            print(f"fresh machine: `{command}` failed with exit code {code}", file=sys.stderr)
            return code
    say("all passed", began)
    return 0


def settings_of_pip(tree: Tree, torch: Path | None) -> dict[str, str]:
    """This machine's, and a folder with the torch that is to be taken."""
    wheels = tree.root / WHEELS
    if torch is None:
        version = torch_requirement(REPOSITORY / "pyproject.toml").partition("==")[2]
        write_empty_wheel(wheels, "torch", f"{version}+{STAND_IN}")
        print(f"fresh machine: torch is an empty wheel ({version}+{STAND_IN}); all other packages are real", flush=True)
    else:
        wheels.mkdir(parents=True)
        shutil.copy(torch, wheels)
    given = pip_environment()
    return {**given, "PIP_FIND_LINKS": f"{given.get('PIP_FIND_LINKS', '')} /{WHEELS}".strip()}


def copy_checkout(target: Path) -> None:
    """What git would give to others, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = REPOSITORY / name
        if source.is_file() and not source.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def say(what: str, began: float) -> None:
    print(f"fresh machine: {what} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
