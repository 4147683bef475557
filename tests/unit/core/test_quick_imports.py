"""Imports without the garbage collector, which works again afterwards."""

from __future__ import annotations

import gc

import pytest

from core.quick_imports import quick_imports


def test_nothing_is_collected_while_imports_run_and_afterwards_it_is() -> None:
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ModuleNotFoundError), quick_imports():
        raise ModuleNotFoundError("no_such_package")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
