"""Without keys the API listens on this machine only, unless the operator says that it shall be open."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.binding import check_binding
from api.server import main
from cli.processes.stack import StackOptions, running_stack
from cli.processes.stop_signal import StopSignal
from core.service.domain.errors import SetupError
from core.service.settings import Settings
from tests.helpers.customers import with_keys

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is refused


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "api.localhost"])
def test_this_machine_needs_no_keys(host: str) -> None:
    check_binding(host, Settings())


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "", "192.0.2.1", "video.example", "notlocalhost"])
def test_other_machines_need_keys_or_an_open_deployment(host: str) -> None:
    with pytest.raises(SetupError, match="open to everybody") as refused:
        check_binding(host, Settings())
    assert "LONGTAKE_ADMIN_KEY" in refused.value.with_fix
    assert "LONGTAKE_OPEN=true" in refused.value.with_fix
    check_binding(host, with_keys(Settings()))
    check_binding(host, Settings(open=True))


def test_the_server_ends_with_one_sentence() -> None:
    with pytest.raises(SystemExit, match="LONGTAKE_ADMIN_KEY"):
        main(["--host", EVERYWHERE, "--port", "0"])


def test_up_refuses_before_it_starts_anything(tmp_path: Path) -> None:
    with (
        pytest.raises(SetupError, match="open to everybody"),
        running_stack(StackOptions(tmp_path / "data", EVERYWHERE), StopSignal()),
    ):
        pytest.fail("the stack must not start")
    assert not (tmp_path / "data").exists()
