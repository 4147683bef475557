"""Nodes of an object tree that pickle_reader.py reads from a pickle: descriptions, never live objects."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Node: TypeAlias = Any
"""None, bool, int, float, str, bytes, list, tuple, set, or a class of this module."""


@dataclass(frozen=True, eq=False)
class Name:
    """A global (module and name) in the pickle. Never imported."""

    module: str
    name: str

    @property
    def dotted(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Placeholder:
    """Stands for the result of calling an unknown global; `parts`: its arguments, state and items."""

    name: str
    parts: list[Node] = field(default_factory=list[Any])


class Dictionary(dict[Any, Node]):
    """A dict, or an OrderedDict with attributes (`state`, e.g. a module's `_metadata`)."""

    state: Node = None


@dataclass(frozen=True, eq=False)
class StorageReference:
    """A persistent id: `('storage', type, key, location, number of elements)`."""

    storage_type: str
    key: str
    num_elements: int


@dataclass(frozen=True, eq=False)
class TensorReference:
    """Arguments of torch's `_rebuild_tensor_v2`. Offset and strides count elements."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    more: tuple[Node, ...] = ()
    """Further arguments, such as hooks; unused, kept for the check for code."""


@dataclass(frozen=True)
class Tree:
    """An object tree; `unknown`: every global that became a placeholder, sorted."""

    root: Node
    unknown: tuple[str, ...]
