"""Which methods a comparison has, found by loading each of them once."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from core.model.evaluation.compare.plan import ComparisonError
from core.model.evaluation.compare.ports import LoadMethod
from core.model.evaluation.methods.method import Method, MethodFacts
from core.service.domain.errors import LongtakeError


@dataclass(frozen=True)
class Chosen:
    """The methods to compare by name, their fingerprints, and those that are left out, with the reason."""

    methods: Mapping[str, MethodFacts]
    fingerprints: Mapping[str, str]
    left_out: Mapping[str, str]


def choose(names: Sequence[str] | None, default: Sequence[str], load: LoadMethod) -> Chosen:
    """The methods to compare. Each is loaded once: what stands in the way is said now, and not after hours.

    Named methods are all compared, or what stands in the way of one is raised; of those by default all that can be
    loaded.
    """
    methods: dict[str, MethodFacts] = {}
    fingerprints: dict[str, str] = {}
    left_out: dict[str, str] = {}
    method: Method | None = None
    for name in dict.fromkeys(names or default):
        try:
            method = load(name)
            methods[name], fingerprints[name] = method.facts, method.fingerprint
        except LongtakeError as error:
            if names:
                raise
            left_out[name] = error.with_fix
        finally:
            method = None  # its memory is free before the next networks are loaded, and before processes load theirs
            _free_memory()
    if not methods:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ComparisonError(f"no method can be compared. {reasons}")
    return Chosen(methods, fingerprints, left_out)


def require_source(chosen: Chosen, load: LoadMethod, source: str) -> None:
    """Raises ComparisonError if methods need given first chunks, and what makes them cannot be loaded."""
    given = [name for name, facts in chosen.methods.items() if facts.takes_first_chunk != "no"]
    if not given or source in chosen.methods:
        return
    try:
        load(source)
    except LongtakeError as error:
        raise ComparisonError(
            f"{', '.join(given)} begin with first chunks by {source}, which cannot be loaded: {error.with_fix}"
        ) from error
    finally:
        _free_memory()


def _free_memory() -> None:
    """Give back what networks that are gone took of a GPU: other processes are to use it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
