"""Reads docker-compose.yml and Dockerfile.gpu for tests: interpolates variables, splits instructions. Runs nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from api.server import parser
from cli.main import parse_args

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO_SECRETS = {
    "S3_ACCESS_KEY_ID": "compose-key",
    "S3_SECRET_ACCESS_KEY": "compose-secret",
    "ADMIN_KEY": "compose-key-of-the-operator-0123456789",
    "WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
}
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<kind>:[-?])?(?P<text>[^}]*)\}")


class MissingVariable(Exception):
    """A variable that docker-compose.yml marks as required is not set."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}` and `${NAME:?message}`, as the Compose Specification defines them."""

    def value(match: re.Match[str]) -> str:
        found = variables.get(match["name"], "")
        if found or match["kind"] == ":-":
            return found or match["text"]
        raise MissingVariable(f"{match['name']}: {match['text']}")

    return _VARIABLE.sub(value, text)


def compose(variables: Mapping[str, str] = DEMO_SECRETS) -> dict[str, Any]:
    """docker-compose.yml with its variables put in and its anchors merged."""
    text = (REPOSITORY / "docker-compose.yml").read_text()
    commented_out = re.sub(r"(?m)^\s*#.*$", "", text)
    return dict(yaml.safe_load(interpolate(commented_out, variables)))


def seconds(duration: str) -> int:
    """A compose duration such as 1m30s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


def run_by_longtake(command: Sequence[str]) -> None:
    """Fails where the command line would be refused: by the parser of `longtake`, or of the API's server."""
    if command[0] == "longtake":
        parse_args(command[1:])
    else:
        assert list(command[:3]) == ["python", "-m", "api.server"], command
        parser().parse_args(command[3:])


@dataclass(frozen=True)
class Instruction:
    """One Dockerfile instruction; `stage` is the build stage it belongs to."""

    stage: str
    name: str
    text: str

    @property
    def exec_form(self) -> list[str]:
        """The argv of a CMD, ENTRYPOINT or HEALTHCHECK CMD. Raises ValueError for the shell form."""
        return list(json.loads(self.text[self.text.index("[") :]))


def dockerfile() -> list[Instruction]:
    """The instructions of Dockerfile.gpu in order, continuation lines joined, comments left out."""
    lines = [line for line in (REPOSITORY / "Dockerfile.gpu").read_text().splitlines() if not line.startswith("#")]
    found: list[Instruction] = []
    stage = ""
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, text = line.strip().partition(" ")
            stage = text.split(" AS ")[-1] if name == "FROM" else stage
            found.append(Instruction(stage, name, text))
    return found
