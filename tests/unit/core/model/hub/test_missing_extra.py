"""`longtake pull` where a package of the extra `model` is missing."""

import pytest

from cli.commands import pull
from core.service.admission.catalog import Catalog
from core.service.domain.errors import SetupError
from core.service.settings import Settings


def test_diffusers_is_missed_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is imported only once there is something to convert."""
    monkeypatch.setattr(pull, "find_spec", lambda _name: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    with pytest.raises(SetupError, match="pulling needs the Python package diffusers"):
        pull.install(Catalog(Settings()).get("modelscope"))
