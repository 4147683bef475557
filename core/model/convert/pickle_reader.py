"""The object tree of a pickle, read without running it: plain containers, tensor descriptions, inert placeholders.

A pickle is a program for a stack machine; the opcodes here are those that build data. A name (GLOBAL) is never looked
up: a handful are known and described by this module's own types, every other becomes a `Placeholder`, as does whatever
the pickle would make by calling it. Knows nothing of zip files and offsets in files, nor which part of a checkpoint
matters.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

from core.service.domain.errors import CheckpointUnreadable

Node: TypeAlias = Any
"""What a pickle may hold: None, bool, int, float, str, bytes, list, tuple, dict, set, or a class of this module."""


@dataclass(frozen=True, eq=False)
class Name:
    """A global the pickle mentions. Never imported."""

    module: str
    name: str

    @property
    def dotted(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Placeholder:
    """What a call of an unknown global would have made; `parts` is what the pickle put into it."""

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
    """Arguments of torch's tensor rebuilding. Offset and strides count elements."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    more: tuple[Node, ...] = ()
    """Hooks and whatever else the pickle hands to the rebuilding; unused, kept to be walked."""


@dataclass(frozen=True)
class Tree:
    """`root` of the object tree; `unknown`: every global that became a placeholder, sorted."""

    root: Node
    unknown: tuple[str, ...]


_ORDERED_DICT = "collections.OrderedDict"
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_PLAIN = frozenset({"__builtin__.set", "builtins.set", "builtins.frozenset", "__builtin__.frozenset", "_codecs.encode"})
"""Made by a call in older pickle protocols: sets (of a list) and bytes (of a text). Their argument tells as much."""
_STORAGES = ("torch.", "torch.storage.")
_MARK = object()


def read_pickle(data: bytes) -> Tree:
    """Raises CheckpointUnreadable where `data` is no complete pickle."""
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointUnreadable(f"its pickle is damaged ({error})") from error
    return Tree(machine.stack[-1], tuple(sorted(machine.unknown)))


class _Machine:
    """Stack, memo and opcodes. Damaged programs end in the built-in errors that `read_pickle` translates."""

    def __init__(self) -> None:
        self.stack: list[Node] = []
        self.unknown: set[str] = set()
        self._memo: dict[int, Node] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Execute one opcode; those that only carry a constant push it."""
        if opcode in _CONSTANTS:
            self.stack.append(argument)
        elif opcode in _NEW_VALUES:
            self.stack.append(_NEW_VALUES[opcode]())
        elif opcode in _WITH_ARGUMENT:
            _WITH_ARGUMENT[opcode](self, argument)
        elif opcode not in _NO_OPS:
            _ACTIONS[opcode](self)

    def pop(self) -> Node:
        return self.stack.pop()

    def pop_mark(self) -> list[Node]:
        """Everything above the last mark; the mark goes too."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("a mark is missing")
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def put(self, index: int | None = None) -> None:
        """Remember the top of the stack, under the next free index where none is given."""
        self._memo[len(self._memo) if index is None else index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self._memo[index])

    def append(self, items: list[Node]) -> None:
        """Into the list or set on top."""
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target.parts.extend(items)
        elif isinstance(target, set):
            cast("set[Node]", target).update(items)
        else:
            _expect(target, list).extend(items)

    def set_items(self, items: list[Node]) -> None:
        """Into the dict on top: keys and values in turn."""
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target.parts.extend(items)
        else:
            _expect(target, Dictionary).update(zip(items[::2], items[1::2], strict=True))

    def name(self, module: str, name: str) -> None:
        """A global: known by name, or unknown."""
        mention = Name(module, name)
        if not _is_known(mention.dotted):
            self.unknown.add(mention.dotted)
        self.stack.append(mention)

    def stack_name(self) -> None:
        name, module = _expect(self.pop(), str), _expect(self.pop(), str)
        self.name(module, name)

    def call(self, callee: Node, arguments: Node) -> None:
        """What a call describes. Only tensors and ordered dicts are understood; nothing is called."""
        name = callee.dotted if isinstance(callee, Name) else "an object of the pickle"
        if name == _TENSOR:
            self.stack.append(_tensor(arguments))
        elif name == _PARAMETER:
            tensor = _expect(arguments[0], TensorReference)
            self.stack.append(replace(tensor, more=(*tensor.more, *arguments[1:])))
        elif name == _ORDERED_DICT:
            self.stack.append(Dictionary(arguments[0] if arguments else ()))
        elif name in _PLAIN:
            self.stack.append(arguments[0] if arguments else ())
        else:
            # A known name may be misused (a storage type called); then it is as unknown as any other.
            self.unknown.add(name)
            self.stack.append(Placeholder(name, [arguments]))

    def build(self) -> None:
        """State of the object on top: kept where it may be walked, never applied."""
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, Dictionary):
            target.state = state
        elif isinstance(target, Placeholder):
            target.parts.append(state)
        else:
            raise ValueError(f"state for a {type(target).__name__}")

    def storage(self, reference: Node) -> None:
        kind, storage_type, key, _, num_elements = _expect(reference, tuple)
        if kind != "storage":
            raise ValueError(f"a persistent id of kind {kind!r}")
        self.stack.append(
            StorageReference(_expect(storage_type, Name).name, _expect(key, str), _expect(num_elements, int))
        )


def _is_known(dotted: str) -> bool:
    module, _, name = dotted.rpartition(".")
    is_storage = f"{module}." in _STORAGES and name.endswith("Storage")
    return is_storage or dotted in (_TENSOR, _PARAMETER, _ORDERED_DICT) or dotted in _PLAIN


def _tensor(arguments: Node) -> TensorReference:
    storage, offset, shape, strides = arguments[:4]
    sizes = tuple(_expect(size, int) for size in (offset, *shape, *strides))
    if any(size < 0 for size in sizes) or len(shape) != len(strides):
        raise ValueError(f"a tensor of shape {shape}, strides {strides}, offset {offset}")
    return TensorReference(
        _expect(storage, StorageReference), offset, tuple(shape), tuple(strides), tuple(arguments[4:])
    )


def _expect(value: Node, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value


def _pairs(items: list[Node]) -> Dictionary:
    return Dictionary(zip(items[::2], items[1::2], strict=True))


def _push_tuple(machine: _Machine, size: int) -> None:
    taken = machine.stack[-size:]
    if len(taken) < size:
        raise IndexError("the stack is too short")
    machine.stack[-size:] = [tuple(taken)]


def _call(machine: _Machine) -> None:
    arguments, callee = machine.pop(), machine.pop()
    machine.call(callee, arguments)


def _call_with_keywords(machine: _Machine) -> None:
    keywords, arguments, callee = machine.pop(), machine.pop(), machine.pop()
    machine.call(callee, (*arguments, keywords))


def _old_instance(machine: _Machine, argument: str) -> None:
    module, name = argument.split(" ", 1)
    machine.call(Name(module, name), tuple(machine.pop_mark()))


def _old_object(machine: _Machine) -> None:
    callee, *arguments = machine.pop_mark()
    machine.call(callee, tuple(arguments))


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


_NO_OPS = frozenset({"PROTO", "FRAME", "STOP"})
_CONSTANTS = frozenset(
    {
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
    }
)
_NEW_VALUES: dict[str, Callable[[], Node]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": Dictionary,
    "EMPTY_SET": set,
}
_WITH_ARGUMENT: dict[str, Callable[[_Machine, Any], None]] = {
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": lambda machine, argument: machine.name(*argument.split(" ", 1)),
    "EXT1": lambda machine, code: machine.name("copyreg", f"extension {code}"),
    "EXT2": lambda machine, code: machine.name("copyreg", f"extension {code}"),
    "EXT4": lambda machine, code: machine.name("copyreg", f"extension {code}"),
    "INST": _old_instance,
}
_ACTIONS: dict[str, Callable[[_Machine], Any]] = {
    "MARK": lambda machine: machine.stack.append(_MARK),
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": lambda machine: machine.stack.append(machine.stack[-1]),
    "MEMOIZE": _Machine.put,
    "LIST": lambda machine: machine.stack.append(machine.pop_mark()),
    "APPEND": lambda machine: machine.append([machine.pop()]),
    "APPENDS": lambda machine: machine.append(machine.pop_mark()),
    "ADDITEMS": lambda machine: machine.append(machine.pop_mark()),
    "TUPLE": lambda machine: machine.stack.append(tuple(machine.pop_mark())),
    "TUPLE1": lambda machine: _push_tuple(machine, 1),
    "TUPLE2": lambda machine: _push_tuple(machine, 2),
    "TUPLE3": lambda machine: _push_tuple(machine, 3),
    "FROZENSET": lambda machine: machine.stack.append(set(machine.pop_mark())),
    "DICT": lambda machine: machine.stack.append(_pairs(machine.pop_mark())),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine: machine.set_items(machine.pop_mark()),
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _call_with_keywords,
    "OBJ": _old_object,
    "BUILD": _Machine.build,
    "BINPERSID": lambda machine: machine.storage(machine.pop()),
}
