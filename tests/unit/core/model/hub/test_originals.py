"""Files of the Hub on this machine: room for them, files put in place by hand, files that are not as they should be."""

from pathlib import Path

import pytest

from core.model.hub.originals import OnBytes, Originals
from core.model.hub.pins import FilePin, RepositoryPin
from core.service.domain.errors import DownloadDamaged, HubUnreachable, SetupError
from core.service.engines.preset import HubFiles

WANTED = HubFiles(repository="org/name", revision="main", files=("a.bin", "sub/b.bin"))
CONTENT = {"a.bin": b"first", "sub/b.bin": b"the second"}


class FakeHub:
    """Has CONTENT, says that its files are `factor` times as large, or is not there at all."""

    def __init__(self, *, factor: int = 1, reachable: bool = True) -> None:
        self.fetched: list[str] = []
        self._factor = factor
        self._reachable = reachable

    def describe(self, wanted: HubFiles) -> RepositoryPin:
        if not self._reachable:
            raise HubUnreachable("no network")
        files = {name: FilePin(size=len(CONTENT[name]) * self._factor) for name in wanted.files}
        return RepositoryPin(revision=wanted.revision, commit="c0ffee", files=files)

    def fetch(self, repository: str, commit: str, name: str, into: Path, on_bytes: OnBytes) -> None:
        assert (repository, commit) == ("org/name", "c0ffee")
        into.parent.mkdir(parents=True, exist_ok=True)
        with into.open("ab") as file:
            rest = CONTENT[name][file.tell() :]
            file.write(rest)
        on_bytes(len(rest))
        self.fetched.append(name)


def silent(phase: str, done_bytes: int, total_bytes: int) -> None:
    """Nobody watches."""


def test_what_is_missing_is_fetched_into_its_place(tmp_path: Path) -> None:
    hub = FakeHub()
    originals = Originals(hub, tmp_path, WANTED)
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "org" / "name" / "a.bin").write_bytes(CONTENT["a.bin"])
    heard: list[tuple[str, int, int]] = []

    originals.fetch(originals.pin(), lambda phase, done, total: heard.append((phase, done, total)))

    assert hub.fetched == ["sub/b.bin"]
    assert (tmp_path / "org" / "name" / "sub" / "b.bin").read_bytes() == CONTENT["sub/b.bin"]
    assert heard == [("b.bin", 10, 10)]
    assert originals.missing == []


def test_progress_counts_what_came_before(tmp_path: Path) -> None:
    originals = Originals(FakeHub(), tmp_path, WANTED)
    part = tmp_path / "org" / "name" / "a.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"fir")
    heard: list[tuple[str, int, int]] = []

    originals.fetch(originals.pin(), lambda phase, done, total: heard.append((phase, done, total)))

    assert heard[0] == ("a.bin", 5, 5)
    assert (part.parent / "a.bin").read_bytes() == b"first"


def test_more_than_a_file_has_is_not_its_beginning(tmp_path: Path) -> None:
    originals = Originals(FakeHub(), tmp_path, WANTED)
    part = tmp_path / "org" / "name" / "a.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"something longer")

    originals.fetch(originals.pin(), silent)

    assert (part.parent / "a.bin").read_bytes() == b"first"


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    hub = FakeHub(factor=10**15)
    originals = Originals(hub, tmp_path, WANTED)

    with pytest.raises(SetupError, match=r"GB are to be downloaded .* GB free"):
        originals.fetch(originals.pin(), silent)
    assert hub.fetched == []


def test_without_a_hub_files_in_place_are_pinned_as_they_are(tmp_path: Path) -> None:
    originals = Originals(FakeHub(), tmp_path, WANTED)
    originals.fetch(originals.pin(), silent)

    alone = Originals(FakeHub(reachable=False), tmp_path, WANTED)
    pin = alone.verify(alone.pin(), silent)

    assert pin.commit is None
    assert all(file.sha256 for file in pin.files.values())


def test_without_a_hub_and_files_it_cannot_be_pinned(tmp_path: Path) -> None:
    with pytest.raises(HubUnreachable):
        Originals(FakeHub(reachable=False), tmp_path, WANTED).pin()


def test_a_file_that_differs_is_set_aside(tmp_path: Path) -> None:
    originals = Originals(FakeHub(), tmp_path, WANTED)
    originals.fetch(originals.pin(), silent)
    file = tmp_path / "org" / "name" / "a.bin"
    file.write_bytes(b"other bytes")

    with pytest.raises(DownloadDamaged, match=r"a\.bin\.damaged"):
        originals.verify(originals.pin(), silent)

    assert not file.exists()
    assert file.with_name("a.bin.damaged").read_bytes() == b"other bytes"
