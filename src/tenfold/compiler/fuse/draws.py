"""Random numbers as elementwise work on whole numbers: Philox's rounds, one counter an element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenfold.compiler.fuse.accumulate import number
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Node, Value
from tenfold.ops.arithmetic import Add, Mul
from tenfold.ops.constant import Iota
from tenfold.ops.logic import BitAnd, BitXor, Cast, ShiftLeft, ShiftRight
from tenfold.ops.movement import Reshape
from tenfold.ops.random import MULTIPLIERS, WORD, Uniform, halves, keys


def uniform(op: Uniform, node: Node) -> Value:
    """The highest bits of the first words, as a share of 2^24 or 2^53"""
    index = Cast(dt.u64)(Iota(0, 1, node.output.type.size)())
    words = [_low(index), _high(index), *(number(half, index) for half in halves(op.stream))]
    for key in keys(op.seed):
        a, b = (Mul()(words[at], number(factor, index)) for at, factor in zip((0, 2), MULTIPLIERS, strict=True))
        first, third = _mixed(b, words[1], key[0]), _mixed(a, words[3], key[1])
        words = [first, _low(b), third, _low(a)]
    if op.dtype is dt.f32:
        found = _share(ShiftRight()(words[0], number(8, index)), 24, op)
    else:
        upper = ShiftLeft()(ShiftRight()(words[0], number(5, index)), number(26, index))
        found = _share(Add()(upper, ShiftRight()(words[1], number(6, index))), 53, op)
    result: Value = Reshape(op.shape)(found)
    return result


def _share(bits: Value, count: int, op: Uniform) -> Value:
    real = Cast(op.dtype)(bits)
    result: Value = Mul()(real, number(2.0**-count, real))
    return result


def _mixed(product: Value, word: Value, key: int) -> Value:
    result: Value = BitXor()(BitXor()(_high(product), word), number(key, word))
    return result


def _low(x: Value) -> Value:
    result: Value = BitAnd()(x, number(WORD, x))
    return result


def _high(x: Value) -> Value:
    result: Value = ShiftRight()(x, number(32, x))
    return result


RULES: dict[type, Callable[[Any, Node], Value | None]] = {Uniform: uniform}
