"""Definitions are found by name; errors of an entry point name its distribution."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from core.service.domain.errors import PresetError
from core.service.engines.definition import ENGINES, EngineDefinition
from core.service.engines.refiner import REFINERS
from core.service.engines.registry import Registry
from core.service.testing.definitions import FAKE_ENGINE
from tests.conftest import REPOSITORY

GROUP = "longtake.engines"
FAKE = "core.service.testing.definitions:FAKE_ENGINE"


def write_distribution(site: Path, name: str, **entries: str) -> None:
    """The metadata of an installed package with these entry points."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "".join(f"{key} = {value}\n" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages are installed in."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def registry(*, fake_is_built_in: bool = True) -> Registry[EngineDefinition[Any]]:
    def find(group: str) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=group))

    return Registry("engine", EngineDefinition, {"fake": FAKE} if fake_is_built_in else {}, find)


def test_the_built_in_ones_can_all_be_loaded() -> None:
    assert [ENGINES.get(name).name for name in ("streaming_t2v", "fake")] == ["streaming_t2v", "fake"]
    assert [REFINERS.get(name).name for name in ("sdedit", "fake")] == ["sdedit", "fake"]


def test_a_third_partys_is_found_by_its_entry_point(site: Path) -> None:
    write_distribution(site, "other", fake=FAKE)
    found = registry(fake_is_built_in=False)
    assert found.names() == ["fake"]
    assert [*found.third_party()] == [found.get("fake")] == [FAKE_ENGINE]


def test_an_unknown_one_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(PresetError, match="there is no engine named 'no-such'") as caught:
        registry().get("no-such")
    assert str(caught.value.fix).startswith("use one of: fake")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_such_module:X", "ModuleNotFoundError"),
        ("core.service.testing.definitions:NOTHING", "AttributeError"),
        ("core.service.testing.definitions:FAKE_REFINER", "is not an instance of EngineDefinition"),
        (FAKE, "has the name fake"),
    ],
)
def test_a_broken_one_names_its_distribution_and_hides_no_other(
    site: Path, caplog: pytest.LogCaptureFixture, path: str, said: str
) -> None:
    write_distribution(site, "broken", drawn=path)
    found = registry()
    with pytest.raises(PresetError, match=said) as caught:
        found.get("drawn")
    assert "drawn of broken 1.0" in caught.value.message
    with caplog.at_level(logging.WARNING):
        assert [*found.third_party()] == []
    assert "drawn of broken 1.0" in caplog.text
    assert found.get("fake") is FAKE_ENGINE


WRONG_DEFINITIONS = {
    "presets_dir": "replace(FAKE_ENGINE, name='drawn', presets_dir='presets')",
    "preset": "replace(FAKE_ENGINE, name='drawn', preset=dict)",
    "parameters": "replace(FAKE_ENGINE, name='drawn', parameters=dict)",
    "JsonSchema": "replace(FAKE_ENGINE, name='drawn', parameters=Unshowable)",
}


@pytest.mark.parametrize("said", WRONG_DEFINITIONS)
def test_a_definition_with_a_wrong_field_names_its_distribution(site: Path, said: str) -> None:
    module = f"wrong_{said.lower()}"
    (site / f"{module}.py").write_text(
        "from collections.abc import Callable\n"
        "from dataclasses import replace\n"
        "from core.service.engines.definition import Parameters\n"
        "from core.service.testing.definitions import FAKE_ENGINE\n"
        "class Unshowable(Parameters):\n"
        "    hook: Callable[[], int]\n"
        f"DRAWN = {WRONG_DEFINITIONS[said]}\n"
    )
    write_distribution(site, "wrong", drawn=f"{module}:DRAWN")
    with pytest.raises(PresetError, match=said) as caught:
        registry().get("drawn")
    assert "drawn of wrong 1.0" in caught.value.message


def test_a_built_in_name_cannot_be_taken(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_distribution(site, "rival", fake="no_such_module:X")
    with caplog.at_level(logging.WARNING):
        assert registry().names() == ["fake"]
    assert "fake of rival 1.0 is ignored" in caplog.text


def test_two_distributions_with_one_name_are_both_named(site: Path) -> None:
    write_distribution(site, "first", drawn=FAKE)
    write_distribution(site, "second", drawn=FAKE)
    with pytest.raises(PresetError, match=r"drawn of (first|second) 1\.0 and drawn of (first|second) 1\.0") as caught:
        registry().get("drawn")
    assert caught.value.fix == "uninstall all but one"


def test_the_api_reads_the_shipped_presets_without_torch() -> None:
    program = (
        "import sys\n"
        "from api.app import create_app\n"
        "from core.service.admission.catalog import Catalog\n"
        "from core.service.settings import Settings\n"
        "create_app(Settings())\n"
        "catalog = Catalog(Settings())\n"
        "assert {'sprites', 'modelscope'} <= set(catalog.names())\n"
        "for name in ('sprites', 'modelscope'):\n"
        "    folder = catalog.get(name)\n"
        "    folder.preset.capabilities, folder.preset.profile_defaults, folder.preset.refiner\n"
        "catalog.get('sprites').tokenizer.count('a red circle')\n"
        "print(sorted({'torch', 'diffusers', 'transformers'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
