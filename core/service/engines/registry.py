"""Definitions of engines and refiners by name: built-in ones from a table, third-party ones from entry points.

A package registers a definition as an entry point `NAME = "module:ATTRIBUTE"`. Built-in ones are in a table, so that
they are found in a source checkout that is not installed. Modules are imported at the first use of their definition. A
broken entry point is reported with the name of its distribution, and affects only presets that use it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, Protocol, TypeVar

from core.service.domain.errors import PresetError

logger = logging.getLogger(__name__)


class Named(Protocol):
    """A definition."""

    @property
    def name(self) -> str: ...


Definition = TypeVar("Definition", bound=Named)


class Registry(Generic[Definition]):
    """Definitions of one kind, such as "engine", by name. Entry points are read once, at the first use."""

    def __init__(
        self,
        kind: str,
        definition: type[Definition],
        built_in: Mapping[str, str],
        find: Callable[[str], Iterable[EntryPoint]] = lambda group: entry_points(group=group),
    ) -> None:
        """`built_in`: "module:ATTRIBUTE" by name. `find` returns the entry points of the group longtake.KINDs."""
        self._kind = kind
        self._definition = definition
        self._group = f"longtake.{kind}s"
        self._built_in = {name: EntryPoint(name, path, self._group) for name, path in built_in.items()}
        self._find = find
        self._loaded: dict[str, Definition] = {}

    def names(self) -> list[str]:
        """Names of all definitions, built-in ones first, whether or not they can be loaded."""
        return [*self._built_in, *self._third_party]

    def get(self, name: str) -> Definition:
        """The definition. Raises PresetError if there is none of that name, or it cannot be loaded."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def third_party(self) -> Iterator[Definition]:
        """Third-party definitions; those that cannot be loaded are left out with a warning."""
        for name in self._third_party:
            try:
                yield self.get(name)
            except PresetError as error:
                logger.warning("%s", error.with_fix)

    @cached_property
    def _third_party(self) -> Mapping[str, list[EntryPoint]]:
        found = defaultdict[str, list[EntryPoint]](list)
        for entry in self._find(self._group):
            if entry.name in self._built_in:
                logger.warning("the %s %s is ignored: a built-in one has that name", self._kind, _shown(entry))
            else:
                found[entry.name].append(entry)
        return dict(sorted(found.items()))

    def _load(self, name: str) -> Definition:
        if name in self._built_in:
            return self._import(self._built_in[name])
        entries = self._third_party.get(name, [])
        if not entries:
            message = f"there is no {self._kind} named {name!r}"
            raise PresetError(message, fix=f"use one of: {', '.join(self.names())}; or install the package that has it")
        if len(entries) > 1:
            shown = " and ".join(_shown(entry) for entry in entries)
            raise PresetError(f"more than one {self._kind} has the name {name}: {shown}", fix="uninstall all but one")
        return self._import(entries[0])

    def _import(self, entry: EntryPoint) -> Definition:
        problem = f"the {self._kind} {_shown(entry)} cannot be used"
        fix = "repair or uninstall that distribution"
        try:
            loaded = entry.load()
        except Exception as error:  # the boundary to others' packages, which may raise anything
            raise PresetError(f"{problem}: {type(error).__name__}: {error}", fix=fix) from error
        if not isinstance(loaded, self._definition):
            raise PresetError(f"{problem}: {entry.value} is not an instance of {self._definition.__name__}", fix=fix)
        if loaded.name != entry.name:
            raise PresetError(f"{problem}: {entry.value} has the name {loaded.name}", fix=fix)
        return loaded


def require_subclass(field: str, value: object, base: type) -> None:
    """Raises TypeError naming the field of a definition that is no subclass of `base`."""
    if not (isinstance(value, type) and issubclass(value, base)):
        raise TypeError(f"{field} is no subclass of {base.__name__}")


def _shown(entry: EntryPoint) -> str:
    """Name and distribution, for messages."""
    return f"{entry.name} of {entry.dist.name} {entry.dist.version}" if entry.dist else entry.name
