"""Strings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops import CountGrams, Lookup, RegexFullMatch, StringConcat, StringNormalizer, StringSplit
from tenfold.ops.text import strings

N = dim.symbol("N", low=0)
TEXTS = Type(dt.string, (N, 3))


def words(*items: str) -> NDArray[Any]:
    return strings(items, (len(items),))


def test_concatenation_broadcasts() -> None:
    found = StringConcat().evaluate(words("a", "b").reshape(2, 1), words("x", "", "é"))
    assert found.tolist() == [["ax", "a", "aé"], ["bx", "b", "bé"]]
    assert StringConcat().infer(Type(dt.string, (2, 1)), Type(dt.string, (3,))).shape == (2, 3)


def test_split_fills_up() -> None:
    parts, counts = StringSplit(",").evaluate(words("a,b,,c", "", "a"))
    assert parts.tolist() == [["a", "b", "", "c"], ["", "", "", ""], ["a", "", "", ""]]
    assert counts.tolist() == [4, 1, 1]
    parts, counts = StringSplit("", 1).evaluate(words("  a  b c ", " "))
    assert parts.tolist() == [["a", "b c "], ["", ""]] and counts.tolist() == [2, 0]
    parts, counts = StringSplit().evaluate(strings([], (0, 2)))
    assert parts.shape == (0, 2, 0) and counts.shape == (0, 2)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (StringNormalizer("UPPER"), ["MON", "TUE", "MON"]),
        (StringNormalizer("LOWER", ("Mon",), case_sensitive=True), ["tue", "mon"]),
        (StringNormalizer("NONE", ("mon",)), ["Tue"]),
        (StringNormalizer("NONE", ("mon", "tue")), [""]),
    ],
)
def test_normalizer(op: Op, expected: list[str]) -> None:
    given = words("Mon", "Tue", "mon")
    assert op.results((given,))[0].tolist() == expected
    assert op.results((given[None],))[0].tolist() == [expected]


def test_n_grams_with_gaps() -> None:
    op = CountGrams(((1,), (1, 2), (2, 2)), (2, 0, 0), 3, most_skipped=1)
    assert op.evaluate(np.array([1, 2, 2, 1])).tolist() == [3.0, 0.0, 2.0]
    assert op.evaluate(np.zeros((2, 0), np.int64)).tolist() == [[0.0] * 3] * 2
    assert op.infer(Type(dt.i64, (N, 4))).shape == (N, 3)


def test_lookup() -> None:
    op = Lookup(Tensor(words("a", "b", "a")), Tensor(np.array([1, 2, 3])), Tensor(np.array([-1])))
    assert op.evaluate(words("a", "b", "c")).tolist() == [3, 2, -1]
    numbers = Lookup(Tensor(np.array([np.nan, 1], np.float32)), Tensor(words("none", "one")), Tensor(words("?")))
    assert numbers.evaluate(np.array([[1], [np.nan], [2]], np.float32)).tolist() == [["one"], ["none"], ["?"]]
    assert numbers.infer(Type(dt.f32, (N,))) == Type(dt.string, (N,))


MISFITS = [
    (StringConcat(), (Type(dt.f32, ()), TEXTS), "takes strings"),
    (StringNormalizer(), (Type(dt.string, (2, 3)),), "takes .C. or"),
    (StringNormalizer(), (Type(dt.string, ()),), "takes .C. or"),
    (RegexFullMatch("("), (TEXTS,), "pattern"),
    (Lookup(Tensor(words("a")), Tensor(words("a")), Tensor(words("a"))), (Type(dt.i64, ()),), "among 1 keys"),
    (CountGrams(((1,),), (0,), 1), (Type(dt.i64, (1, 2, 3)),), "takes .C. or"),
]


@pytest.mark.parametrize(("op", "types", "message"), MISFITS)
def test_misfits(op: Op, types: tuple[Type, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op.types(types)
