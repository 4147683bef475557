"""Formulas that sidecars state in place of large tensors: arithmetic with sine and cosine, nothing else.

No part of a formula is executed as code: its syntax tree is walked, and only what is listed here counts.
"""

import ast
import operator
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tests.golden.folder import GoldenError

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"sin": torch.sin, "cos": torch.cos, "tanh": torch.tanh}
_OPERATORS: dict[type[ast.operator], Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def evaluate(formula: str, values: Mapping[str, Tensor]) -> Tensor:
    """The value of `formula` in float64. Raises GoldenError for anything but arithmetic over `values`."""
    try:
        tree = ast.parse(formula.strip(), mode="eval")
    except SyntaxError as error:
        raise GoldenError(f"not a formula: {formula!r}") from error
    return _value(tree.body, values)


def _value(node: ast.expr, values: Mapping[str, Tensor]) -> Tensor:
    match node:
        case ast.Constant(value=int() | float() as number):
            return torch.tensor(number, dtype=torch.float64)
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, values)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_value(argument, values))
        case _:
            raise GoldenError(f"a formula may not hold {ast.unparse(node)!r}")
