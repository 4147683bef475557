"""Reads a pickle's object tree without executing it: containers, tensor descriptions and inert placeholders.

A pickle is a program for a stack machine; only opcodes that build data are interpreted. Globals are never imported: a
few are described by the types of pickle_nodes.py, all others become a `Placeholder`, as do the results of calling them.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from core.model.convert.pickle_nodes import (
    Dictionary,
    Name,
    Node,
    Placeholder,
    StorageReference,
    TensorReference,
    Tree,
)
from core.service.domain.errors import CheckpointUnreadable

_ORDERED_DICT = "collections.OrderedDict"
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_VALUE_CALLS = frozenset(
    {"__builtin__.set", "builtins.set", "builtins.frozenset", "__builtin__.frozenset", "_codecs.encode"}
)
"""Calls that older pickle protocols use for sets (of a list) and bytes (of a str); replaced by their argument."""
_STORAGES = ("torch.", "torch.storage.")
_MARK = object()


def read_pickle(data: bytes) -> Tree:
    """The object tree. Raises CheckpointUnreadable if `data` is not a complete pickle."""
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointUnreadable(f"its pickle is damaged ({error})") from error
    return Tree(machine.stack[-1], tuple(sorted(machine.unknown)))


class _Machine:
    """The stack machine. Damaged pickles raise built-in errors, which `read_pickle` translates."""

    def __init__(self) -> None:
        self.stack: list[Node] = []
        self.unknown: set[str] = set()
        self._memo: dict[int, Node] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Interpret one opcode."""
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
        """Pop and return everything above the last mark; the mark is removed, too."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("a mark is missing")
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def put(self, index: int | None = None) -> None:
        """Store the top of the stack in the memo, by default under the next free index."""
        self._memo[len(self._memo) if index is None else index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self._memo[index])

    def append(self, items: list[Node]) -> None:
        """Add items to the list, set or placeholder on top."""
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target.parts.extend(items)
        elif isinstance(target, set):
            cast("set[Node]", target).update(items)
        else:
            _expect(target, list).extend(items)

    def set_items(self, items: list[Node]) -> None:
        """Add alternating keys and values to the dict or placeholder on top."""
        target = self.stack[-1]
        if isinstance(target, Placeholder):
            target.parts.extend(items)
        else:
            _expect(target, Dictionary).update(zip(items[::2], items[1::2], strict=True))

    def name(self, module: str, name: str) -> None:
        """Push a global; unknown ones are recorded."""
        found = Name(module, name)
        if not _is_known(found.dotted):
            self.unknown.add(found.dotted)
        self.stack.append(found)

    def stack_name(self) -> None:
        name, module = _expect(self.pop(), str), _expect(self.pop(), str)
        self.name(module, name)

    def call(self, callee: Node, arguments: Node) -> None:
        """Push a description of a call's result; nothing is called."""
        name = callee.dotted if isinstance(callee, Name) else "an object of the pickle"
        if name == _TENSOR:
            self.stack.append(_tensor(arguments))
        elif name == _PARAMETER:
            tensor = _expect(arguments[0], TensorReference)
            self.stack.append(replace(tensor, more=(*tensor.more, *arguments[1:])))
        elif name == _ORDERED_DICT:
            self.stack.append(Dictionary(arguments[0] if arguments else ()))
        elif name in _VALUE_CALLS:
            self.stack.append(arguments[0] if arguments else ())
        else:
            # A known global in a wrong role, such as a storage type that is called, counts as unknown.
            self.unknown.add(name)
            self.stack.append(Placeholder(name, [arguments]))

    def build(self) -> None:
        """Keep the state for the object on top without applying it."""
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
    return is_storage or dotted in (_TENSOR, _PARAMETER, _ORDERED_DICT) or dotted in _VALUE_CALLS


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
        raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
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
