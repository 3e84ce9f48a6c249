"""Lists of values, and values that may be missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tenfold import ops
from tenfold.errors import ExecutionError
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.objects import box, unbox, unpack
from tenfold.ir.op import Op
from tenfold.ir.text import parse, show
from tenfold.ir.type import Type
from tenfold.ops import (
    Add,
    ConcatFromSequence,
    GetElement,
    HasElement,
    MapSequence,
    OptionalOf,
    SequenceAt,
    SequenceErase,
    SequenceInsert,
    SequenceLength,
    SequenceOf,
    SplitToSequence,
    Unstack,
)
from tenfold.ops.sequence import NOTHING, joined

Array = NDArray[Any]

F = Type(dt.f32, (2, dt.ANY))
A, B = np.ones((2, 3), np.float32), np.zeros((2, 5), np.float32)
BOTH = box([A, B])
LIST = Type(dt.sequence(F), ())


def place(at: int) -> Array:
    return np.array(at, np.int64)


def lists(value: Array) -> Any:
    return [one.tolist() for one in unbox(value)]


def test_joined() -> None:
    one = Type(dt.f32, (2, 3))
    assert joined(one, one) == one
    assert joined(one, Type(dt.f32, (2, 5))) == F
    assert joined(one, Type(dt.f32, (2,))).shape == (dt.REST,)
    assert joined(Type(dt.f32, (NOTHING,)), one) == one
    assert joined(LIST, Type(dt.sequence(Type(dt.f32, ())), ())).dtype is dt.sequence(Type(dt.f32, (dt.REST,)))
    with pytest.raises(ValueError, match="different kinds"):
        joined(one, Type(dt.i64, (2, 3)))


def test_elements_come_and_go() -> None:
    assert lists(SequenceOf(F).evaluate(A, B)) == [A.tolist(), B.tolist()]
    assert SequenceAt().evaluate(BOTH, place(-2)).tolist() == A.tolist()
    assert SequenceLength().evaluate(BOTH) == 2
    assert lists(SequenceInsert().evaluate(BOTH, B)) == [A.tolist(), B.tolist(), B.tolist()]
    assert lists(SequenceInsert().evaluate(BOTH, B, place(-1))) == [A.tolist(), B.tolist(), B.tolist()]
    assert lists(SequenceInsert().evaluate(BOTH, B, place(0))) == [B.tolist(), A.tolist(), B.tolist()]
    assert lists(SequenceErase().evaluate(BOTH)) == [A.tolist()]
    assert lists(SequenceErase().evaluate(BOTH, place(0))) == [B.tolist()]
    assert len(unbox(BOTH)) == 2, "lists are values: operations make new ones"


@pytest.mark.parametrize("op", [SequenceAt(), SequenceErase()])
def test_no_such_place(op: Op) -> None:
    for at in (2, -3):
        with pytest.raises(ValueError, match="there is no"):
            op.results((BOTH, place(at)))
    with pytest.raises(ValueError, match="there is no"):
        SequenceInsert().evaluate(BOTH, A, place(3))


def test_split_and_joined_again() -> None:
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    pieces = SplitToSequence(1).evaluate(x, place(2))
    assert [one.shape for one in unbox(pieces)] == [(2, 2), (2, 2), (2, 1)]
    assert ConcatFromSequence(1).evaluate(pieces).tolist() == x.tolist()
    assert [one.shape for one in unbox(SplitToSequence(1).evaluate(x, np.array([4, 0, 1])))] == [(2, 4), (2, 0), (2, 1)]
    assert [one.shape for one in unbox(Unstack(0).evaluate(x))] == [(5,), (5,)]
    assert [one.shape for one in unbox(Unstack(0, True).evaluate(x))] == [(1, 5), (1, 5)]
    assert ConcatFromSequence(1, new_axis=True).evaluate(Unstack(0).evaluate(x)).tolist() == x.T.tolist()
    for wrong in (place(0), np.array([4, 2]), np.array([6, -1])):
        with pytest.raises(ValueError, match="pieces of"):
            SplitToSequence(1).evaluate(x, wrong)
    with pytest.raises(ValueError, match="no elements"):
        ConcatFromSequence(0).evaluate(box([]))


def test_values_that_may_be_missing() -> None:
    there, missing = OptionalOf(F).evaluate(A), OptionalOf(F).evaluate()
    assert HasElement().evaluate(there) and not HasElement().evaluate(missing)
    assert GetElement().evaluate(there).tolist() == A.tolist()
    with pytest.raises(ValueError, match="missing"):
        GetElement().evaluate(missing)
    assert unpack(dt.optional(F), missing) is None and unpack(dt.optional(F), there).tolist() == A.tolist()


def graph_of_all() -> Graph:
    graph = Graph()
    x, at = graph.input("x", LIST), graph.input("at", Type(dt.i64, ()))
    body = Graph()
    inner = body.input("one", F)
    body.set_outputs([Add()(inner, inner)], ["twice"])
    doubled = MapSequence(body, 1)(x)
    longer = SequenceInsert()(SequenceErase()(doubled, at), SequenceAt()(doubled, at))
    maybe = OptionalOf(longer.type)(longer)
    results = [longer, SequenceLength()(longer), HasElement()(maybe), ConcatFromSequence(1)(longer), maybe]
    graph.set_outputs(results, ["longer", "count", "there", "all", "maybe"])
    return graph


def test_a_graph_of_lists_and_its_text() -> None:
    graph = graph_of_all()
    graph.verify()
    again = parse(show(graph, {}), ops.ALL)
    assert show(again, {}) == show(graph, {})
    found = Interpreter().run(again, {"x": [A, B], "at": place(0)})
    assert lists(found["longer"]) == [(B * 2).tolist(), (A * 2).tolist()]
    assert found["count"] == 2 and found["there"] and found["all"].shape == (2, 8)
    with pytest.raises(ExecutionError, match="there is no element 7"):
        Interpreter().run(graph, {"x": [A, B], "at": place(7)})


REST = Type(dt.sequence(Type(dt.f32, (dt.REST,))), ())
I64 = Type(dt.i64, ())
MISFITS: list[tuple[Op, tuple[Type, ...], str]] = [
    (SequenceOf(F), (Type(dt.i64, (2, 3)),), "different kinds"),
    (SequenceOf(F), (Type(dt.f32, (3, 3)),), "cannot hold"),
    (SequenceAt(), (F, I64), "no sequence"),
    (SequenceAt(), (REST, I64), "number of axes"),
    (ConcatFromSequence(0), (REST,), "number of axes"),
    (ConcatFromSequence(2), (LIST,), "along axis 2"),
    (SequenceInsert(), (LIST, I64), "different kinds"),
    (Unstack(2), (F,), "along axis 2"),
    (SplitToSequence(0), (F, F), "pieces of"),
    (HasElement(), (LIST,), "no optional"),
    (GetElement(), (F,), "no optional"),
    (OptionalOf(F), (I64,), "different kinds"),
]


@pytest.mark.parametrize(("op", "types", "message"), MISFITS)
def test_misfits(op: Op, types: tuple[Type, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op.types(types)
