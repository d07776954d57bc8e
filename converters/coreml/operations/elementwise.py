"""Operations that look at one element, or at one of each operand; shapes broadcast as NumPy's do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from converters.coreml.arguments import Arguments

Operation = Callable[[Arguments], Tensor]

INTEGERS: Final = {"int8": torch.int8, "uint8": torch.uint8, "int16": torch.int16, "uint16": torch.int32,
                   "int32": torch.int32, "uint32": torch.int32, "int64": torch.int32}  # fmt: skip
"""Type of a MIL program -> what holds it here."""


def _unary(function: Callable[[Tensor], Tensor]) -> Operation:
    return lambda given: function(given.tensor())


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return lambda given: function(given.tensor("x"), given.tensor("y"))


def _with_epsilon(function: Callable[[Tensor], Tensor], epsilon: float) -> Operation:
    """Return what adds its epsilon first, to stay away from a pole. The program says it; this is the default."""
    return lambda given: function(given.tensor() + given.number("epsilon", epsilon))


def cast(given: Arguments) -> Tensor:
    """Convert; towards zero from floats to integers. Half precision is rounded to by the interpreter."""
    dtype = given.text("dtype")
    if dtype == "bool":
        return given.tensor() != 0
    return given.tensor().to(INTEGERS.get(dtype, torch.float32))


def clip(given: Arguments) -> Tensor:
    """Limit to alpha..beta."""
    return given.tensor().clamp(given.number("alpha"), given.number("beta"))


def gelu(given: Arguments) -> Tensor:
    """Return the exact form, or the approximation by tanh."""
    mode = given.text("mode", "EXACT")
    return functional.gelu(given.tensor(), approximate="none" if mode == "EXACT" else "tanh")


def select(given: Arguments) -> Tensor:
    """Choose between a and b."""
    return torch.where(given.tensor("cond"), given.tensor("a"), given.tensor("b"))


def real_div(given: Arguments) -> Tensor:
    """Divide; integers give whole numbers, as the operation's result has the operands' type."""
    quotient = given.tensor("x") / given.tensor("y")
    return quotient if given.tensor("x").is_floating_point() else quotient.floor().to(given.tensor("x").dtype)


OPERATIONS: Final[Mapping[str, Operation]] = {
    "abs": _unary(torch.abs),
    "ceil": _unary(torch.ceil),
    "cos": _unary(torch.cos),
    "erf": _unary(torch.erf),
    "exp": _unary(torch.exp),
    "exp2": _unary(torch.exp2),
    "floor": _unary(torch.floor),
    "identity": _unary(lambda x: x),
    "logical_not": _unary(torch.logical_not),
    "relu": _unary(torch.relu),
    "round": _unary(torch.round),
    "sigmoid": _unary(torch.sigmoid),
    "sign": _unary(torch.sign),
    "silu": _unary(functional.silu),
    "sin": _unary(torch.sin),
    "softplus": _unary(functional.softplus),
    "sqrt": _unary(torch.sqrt),
    "square": _unary(torch.square),
    "tanh": _unary(torch.tanh),
    "log": _with_epsilon(torch.log, 1e-45),
    "inverse": _with_epsilon(torch.reciprocal, 1e-4),
    "rsqrt": _with_epsilon(torch.rsqrt, 1e-12),
    "add": _binary(torch.add),
    "equal": _binary(torch.eq),
    "floor_div": _binary(lambda x, y: torch.div(x, y, rounding_mode="floor")),
    "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge),
    "less": _binary(torch.lt),
    "less_equal": _binary(torch.le),
    "logical_and": _binary(torch.logical_and),
    "logical_or": _binary(torch.logical_or),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "mod": _binary(torch.remainder),
    "mul": _binary(torch.mul),
    "not_equal": _binary(torch.ne),
    "pow": _binary(torch.pow),
    "sub": _binary(torch.sub),
    "cast": cast,
    "clip": clip,
    "gelu": gelu,
    "real_div": real_div,
    "select": select,
}
