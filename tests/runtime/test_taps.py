"""Values of a running engine, read by taps, beside the interpreter's; and the engine unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.errors import InputError
from tenfold.importers import open_model
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Array
from tenfold.ir.type import Type
from tenfold.runtime import steps
from tenfold.runtime.contents import graph_of
from tenfold.runtime.taps import with_stops
from tests.models.catalogue import BY_NAME

MODELS = ("silero-vad", "silero-vad-sequence", "ppocr-v2-cls", "magika")


class Watching(Interpreter):
    """Remembers every named value that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Array] = {}

    def node(self, node: Node, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        found = super().node(node, inputs)
        self.seen |= {value.name: array for value, array in zip(node.outputs, found, strict=True)}
        return found


def close(a: Array, b: Array) -> bool:
    size = np.linalg.norm(np.nan_to_num(b.astype(np.float64)))
    distance = np.linalg.norm(np.nan_to_num(a.astype(np.float64) - b.astype(np.float64)))
    return a.shape == b.shape and bool(distance <= 1e-4 * max(float(size), 1e-3))


@pytest.mark.parametrize("name", MODELS)
def test_every_tap_of_a_real_model_is_the_reference_s_value(name: str) -> None:
    model = BY_NAME[name]
    inputs = model.inputs(0)
    engine = tenfold.build(model.load(), cache=False)
    before = engine.run(inputs)
    watching = Watching()
    watching.run(open_model(model.load()), inputs)
    tapped = engine.tap(inputs)
    compared = [key for key in tapped if key in watching.seen]
    assert len(compared) > 20
    assert [key for key in compared if not close(tapped[key], watching.seen[key])] == []
    after = engine.run(inputs)
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ["magika", "silero-vad"])
def test_the_graph_in_an_engine_file_computes_what_the_engine_does(name: str, tmp_path: Path) -> None:
    model = BY_NAME[name]
    inputs = model.inputs(0)
    tenfold.build(model.load(), cache=False).save(tmp_path / "model.tenfold")
    engine = tenfold.load(tmp_path / "model.tenfold")
    again = Interpreter().run(graph_of(engine.file), inputs)
    assert all(close(array, again[key]) for key, array in engine.run(inputs).items())


def looped() -> Graph:
    """A loop that doubles its state five times, and what follows it."""
    body = Graph(name="body")
    body.input("turn", Type(dt.i64, ()))
    body.input("going", Type(dt.boolean, ()))
    state = body.input("state", Type(dt.f32, (4,)))
    doubled = ops.Add()(state, state)
    doubled.name = "doubled"
    body.set_outputs([ops.scalar(True, dt.boolean)(), doubled], ["going", "doubled"])
    graph = Graph(name="looped")
    x = graph.input("x", Type(dt.f32, (4,)))
    inputs = (ops.scalar(5, dt.i64)(), ops.scalar(True, dt.boolean)(), x)
    last = named(ops.Loop(body, 1)(*inputs), "last")
    graph.set_outputs([named(ops.Exp()(ops.Neg()(last)), "y")], ["y"])
    return graph


def named(value: Value, name: str) -> Value:
    value.name = name
    return value


def test_values_of_a_loop_are_those_of_its_last_turn() -> None:
    x = np.arange(4, dtype=np.float32) / 64
    tapped = tenfold.build(looped(), cache=False).tap([x])
    assert np.array_equal(tapped["last"], 32 * x)
    assert np.array_equal(tapped["doubled"], 32 * x)


def test_a_value_inside_a_kernel_is_computed_from_those_round_it() -> None:
    graph = Graph(name="fused")
    x = graph.input("x", Type(dt.f32, (symbol("n", 1), 3)))
    inner = named(ops.Exp()(x), "inner")
    graph.set_outputs([ops.Mul()(inner, ops.Sigmoid()(inner))], ["y"])
    engine = tenfold.build(graph, cache=False)
    assert "inner" in engine.taps
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    assert np.allclose(engine.tap([x], ["inner"])["inner"], np.exp(x), rtol=1e-6)


def test_an_unknown_name_is_refused() -> None:
    engine = tenfold.build(looped(), cache=False)
    with pytest.raises(InputError, match="no value 'lost'") as caught:
        engine.tap([np.zeros(4, np.float32)], ["lost"])
    assert caught.value.argument == "lost"


def test_stops_stand_behind_their_steps() -> None:
    table, stops = with_stops(steps.table([steps.move(0, 1), steps.copy(0, 1, 2), steps.end()]), [1])
    assert table[:, 0].tolist() == [5, 2, 0, 9, 0, 2]
    assert stops == {4: 1}
    assert table[1, 1] == 3
    assert table[5, 1] == 2
