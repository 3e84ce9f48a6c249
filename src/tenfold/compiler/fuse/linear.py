"""Determinants of small matrices as elementwise work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from tenfold.compiler.fuse.accumulate import narrow, wide
from tenfold.ir.graph import Node, Value
from tenfold.ops.arithmetic import Add, Mul, Sub
from tenfold.ops.linear import Det
from tenfold.ops.movement import Reshape, Slice

GREATEST = 4
"""The greatest matrix that is expanded; the number of products is its factorial."""


def determinant(op: Det, node: Node) -> Value | None:
    """Σ ± x[0, j] · det(x without row 0 and column j), and so on (Laplace)"""
    (given,) = node.inputs
    *front, _, size = given.type.shape
    if not isinstance(size, int) or not 1 <= size <= GREATEST:
        return None
    x = wide(given)
    count = range(size)

    def element(row: int, column: int) -> Value:
        starts = (*(0 for _ in front), row, column)
        one = Slice(starts, (*front, 1, 1), (1,) * len(starts))(x)
        value: Value = Reshape(tuple(front))(one)
        return value

    return narrow(_expanded([[element(row, column) for column in count] for row in count]), given)


def _expanded(rows: Sequence[Sequence[Value]]) -> Value:
    if len(rows) == 1:
        return rows[0][0]
    minors = [[row[:at] + row[at + 1 :] for row in map(list, rows[1:])] for at in range(len(rows))]
    terms = [Mul()(first, _expanded(minor)) for first, minor in zip(rows[0], minors, strict=True)]
    added, taken = (reduce(Add(), part) for part in (terms[::2], terms[1::2]))
    value: Value = Sub()(added, taken)
    return value


RULES: dict[type, Callable[[Any, Node], Value | None]] = {Det: determinant}
