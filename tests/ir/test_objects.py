"""Values of object types: what Python gives, what operations see, what Python gets back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tenfold.errors import InputError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.objects import box, pack, unbox, unpack
from tenfold.ir.type import Type, taken_out, unknown_size

ROW = Type(dt.f32, (unknown_size(), 2))
ROWS = Type(dt.sequence(ROW), ())
MAYBE = Type(dt.optional(ROWS), ())
WORDS = Type(dt.string, (symbol("N", 1),))


def test_equal_types_are_one() -> None:
    assert dt.sequence(ROW) is dt.sequence(Type(dt.f32, (unknown_size(), 2)))
    assert dt.sequence(ROW) is not dt.optional(ROW)
    assert str(MAYBE) == 'opt<seq<f32["?", 2]>[]>[]'
    first, second = taken_out(ROWS.dtype.element or ROW), taken_out(ROW)
    assert first.shape[1] == 2 and first.shape[0] is not dt.ANY and second.shape[0] is ROW.shape[0]


def test_python_values_and_back() -> None:
    rows = [np.ones((3, 2), np.float32), np.zeros((0, 2), np.float32)]
    value = pack(ROWS, rows)
    assert value.shape == () and isinstance(unbox(value), list)
    assert [one.shape for one in unpack(ROWS.dtype, value)] == [(3, 2), (0, 2)]
    assert pack(ROWS, value) is not value and len(unbox(pack(ROWS, value))) == 2
    assert unpack(MAYBE.dtype, pack(MAYBE, None)) is None
    assert len(unpack(MAYBE.dtype, pack(MAYBE, rows))) == 2
    assert unbox(box(None)) is None
    assert pack(WORDS, ["a", "bc"]).tolist() == pack(WORDS, np.array(["a", "bc"])).tolist() == ["a", "bc"]


@pytest.mark.parametrize(
    ("type", "given", "reason"),
    [
        (ROWS, np.ones(3), "takes a list, not an array of float64"),
        (ROWS, [np.ones((3, 2))], "array of float32, not of float64"),
        (ROWS, [np.ones((3, 3), np.float32)], r"no array of shape \[3, 3\]"),
        (WORDS, [1], "takes str, not int"),
        (WORDS, "one", r"no array of shape \[\]"),
    ],
)
def test_what_does_not_fit(type: Type, given: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        pack(type, given)


def test_the_interpreter_takes_and_gives_objects() -> None:
    graph = Graph(name="objects")
    values = [graph.input("rows", ROWS), graph.input("maybe", MAYBE), graph.input("words", WORDS)]
    graph.set_outputs(values)
    found = Interpreter().run(graph, {"rows": [np.ones((1, 2), np.float32)], "maybe": None, "words": np.array(["x"])})
    assert len(unbox(found["rows"])) == 1 and unbox(found["maybe"]) is None and found["words"].tolist() == ["x"]
    with pytest.raises(InputError, match="takes a list") as caught:
        Interpreter().run(graph, {"rows": 1, "maybe": None, "words": ["x"]})
    assert caught.value.argument == "rows"
