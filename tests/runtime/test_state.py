"""State that contexts keep: rows appended in place, other states fed back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tenfold.compiler.carry import carry
from tenfold.compiler.retune import retune
from tenfold.errors import InputError, LimitError, OptionError
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.op import Array
from tenfold.ir.type import Type
from tenfold.ops import Add, Attention, Concat, Expand, Reshape, ScatterElements, ScatterND, Tanh, Transpose
from tenfold.runtime.engine import Engine, from_image
from tests.compiler.building import Bench, workbench

BATCH, LENGTH, PAST = dim.symbol("batch", 1), dim.symbol("length", 1), dim.symbol("past", 1)
KEY, VALUE = "past_key_values.0.key", "past_key_values.0.value"
random = np.random.default_rng(5)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with workbench() as made:
        yield made


def attention(past: dim.Size = PAST) -> Graph:
    """Attention over all keys and values so far; keys come transposed and doubled."""
    graph = Graph(name="attention")
    q = graph.input("q", Type(dt.f32, (BATCH, 2, LENGTH, 8)))
    k, v = (graph.input(name, Type(dt.f32, (BATCH, LENGTH, 2, 8))) for name in "kv")
    old = [graph.input(name, Type(dt.f32, (BATCH, 2, past, 8))) for name in (KEY, VALUE)]
    new = [Transpose((0, 2, 1, 3))(Add()(k, k)), Transpose((0, 2, 1, 3))(v)]
    keys, values = (Concat(2)(a, b) for a, b in zip(old, new, strict=True))
    names = ["answer", KEY.replace("past_key_values", "present"), VALUE.replace("past_key_values", "present")]
    graph.set_outputs([Attention(0.4)(q, keys, values), keys, values], names)
    return graph


def decay(size: dim.Size = 4) -> Graph:
    """h' = tanh(h + x), as `hn`."""
    graph = Graph(name="decay")
    x, h = (graph.input(name, Type(dt.f32, (BATCH, size))) for name in "xh")
    new = Tanh()(Add()(x, h))
    graph.set_outputs([Add()(new, new), new], ["y", "hn"])
    return graph


def kept(graph: Graph, bench: Bench, **loading: int) -> Engine:
    """The engine of a graph whose state is found by its names."""
    carry(graph, True)
    return bench.engine(graph, **loading)


class Naive:
    """Attention with all keys and values concatenated anew."""

    def __init__(self) -> None:
        self.keys = self.values = np.zeros((1, 2, 0, 8), np.float32)

    def step(self, q: Array, k: Array, v: Array) -> Array:
        self.keys = np.concatenate([self.keys, 2 * k.transpose(0, 2, 1, 3)], 2)
        self.values = np.concatenate([self.values, v.transpose(0, 2, 1, 3)], 2)
        scores = 0.4 * np.einsum("bhsd,bhtd->bhst", q, self.keys)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        found: Array = np.einsum("bhst,bhtd->bhsd", weights / weights.sum(-1, keepdims=True), self.values)
        return found


def drawn(length: int, batch: int = 1) -> list[Array]:
    shapes = ((batch, 2, length, 8), (batch, length, 2, 8), (batch, length, 2, 8))
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def test_rows_are_appended_in_place(bench: Bench) -> None:
    engine = kept(attention(), bench)
    assert [spec.name for spec in engine.inputs] == ["q", "k", "v"]
    assert [spec.name for spec in engine.outputs] == ["answer"]
    assert [spec.shape for spec in engine.state] == [("batch", 2, "past", 8)] * 2
    context, naive = engine.context(), Naive()
    for length in (5, 1, 1, 1, 1, 90, 1, 1, 300, 1, 1):
        given = drawn(length)
        answer = context.run(given)["answer"]
        np.testing.assert_allclose(answer, naive.step(*given), atol=1e-5)
        np.testing.assert_array_equal(context.state[KEY], naive.keys)
        assert context.rows == naive.keys.shape[2]


def test_two_contexts_have_two_states(bench: Bench) -> None:
    engine = kept(attention(), bench)
    contexts, naive = [engine.context(), engine.context()], [Naive(), Naive()]
    for length in (3, 1, 2):
        for context, one in zip(contexts, naive, strict=True):
            given = drawn(length)
            np.testing.assert_allclose(context.run(given)["answer"], one.step(*given), atol=1e-5)


def test_calls_that_are_unlike_the_one_before(bench: Bench) -> None:
    context, naive = kept(attention(), bench).context(), Naive()
    bound = np.zeros(4096, np.float32)
    for turn in range(12):
        given = drawn(3 if turn in (0, 6) else 1)
        if turn == 3:
            given[1] = np.asfortranarray(given[1])
        if turn == 5:
            context.bind({"v": given[2]}, {"answer": bound})
        answer = context.run({"k": given[1], "q": given[0]} if turn == 5 else given)["answer"]
        if turn == 8:
            context.unbind()
        np.testing.assert_allclose(answer, naive.step(*given), atol=1e-5)
        assert np.shares_memory(answer, bound) == (5 <= turn <= 8)
        assert context.native_calls == context.engine.target.startswith("cpu")
    with pytest.raises(InputError, match="float64"):
        context.run([drawn(1)[0].astype(np.float64), *drawn(1)[1:]])
    with pytest.raises(InputError, match="length"):
        context.run([drawn(1)[0], *drawn(2)[1:]])
    assert context.rows == naive.keys.shape[2]


def test_fork_rewind_reset_seed(bench: Bench) -> None:
    engine = kept(attention(), bench)
    context = engine.context()
    first, second, third = drawn(6), drawn(1), drawn(1)
    alone = context.run(first)["answer"]
    state = context.state
    after = context.run(second)["answer"]
    other = context.fork()
    np.testing.assert_array_equal(context.run(third)["answer"], other.run(third)["answer"])
    context.rewind(6)
    np.testing.assert_array_equal(context.run(second)["answer"], after)
    seeded = engine.context()
    seeded.seed(state)
    np.testing.assert_array_equal(seeded.run(second)["answer"], after)
    context.reset()
    assert context.rows == 0 and context.state == {}
    np.testing.assert_array_equal(context.run(first)["answer"], alone)
    np.testing.assert_array_equal(engine(*first), alone)
    np.testing.assert_array_equal(engine(*first), alone)


def test_what_does_not_fit_is_named(bench: Bench) -> None:
    context = kept(attention(), bench).context()
    context.run(drawn(2))
    with pytest.raises(InputError, match="batch = 1 since its first call, and this call needs 3"):
        context.run(drawn(2, batch=3))
    with pytest.raises(InputError, match="no state"):
        context.seed({"key": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match="together"):
        context.seed({KEY: np.zeros((1, 2, 5, 8), np.float32)})
    with pytest.raises(InputError, match="float64"):
        context.seed({KEY: np.zeros((1, 2, 5, 8))})
    with pytest.raises(InputError, match="9 rows"):
        context.rewind(9)
    with pytest.raises(InputError, match="is state"):
        context.run({KEY: np.zeros((1, 2, 5, 8), np.float32)})
    assert context.rows == 2


def test_a_stated_maximum_is_the_room(bench: Bench) -> None:
    engine = kept(attention(dim.symbol("past", 0, 8)), bench)
    assert engine.plan.inputs[-1].shape == ("batch", 2, 8, 8)
    context, naive = engine.context(), Naive()
    for length in (6, 1, 1):
        given = drawn(length)
        np.testing.assert_allclose(context.run(given)["answer"], naive.step(*given), atol=1e-5)
    with pytest.raises(InputError, match="room for 8 rows, and the call needs 9"):
        context.run(drawn(1))
    assert context.rows == 8


def test_the_memory_limit_holds_for_the_state(bench: Bench) -> None:
    context = kept(attention(), bench, memory_limit=1 << 20).context()
    with pytest.raises(LimitError, match="limit"):
        for _ in range(1000):
            context.run(drawn(100))
    assert context.rows * 2 * 8 * 4 * 2 <= 1 << 20


def test_a_state_of_fixed_size_is_fed_back(bench: Bench) -> None:
    engine = kept(decay(), bench)
    context, h = engine.context(), np.zeros((1, 4), np.float32)
    for _ in range(8):
        x = random.standard_normal((1, 4)).astype(np.float32)
        y = context.run([x])["y"]
        h = np.tanh(h + x)
        np.testing.assert_allclose(y, 2 * h, atol=1e-6)
    np.testing.assert_allclose(context.state["h"], h, atol=1e-6)
    context.reset()
    x = random.standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(context.run({"x": x})["y"], 2 * np.tanh(x), atol=1e-6)


def test_a_state_that_grows_otherwise_is_fed_back(bench: Bench) -> None:
    graph = Graph(name="front")
    x, past = (graph.input(name, Type(dt.f32, (size, 2))) for name, size in (("x", LENGTH), ("past", PAST)))
    new = Concat(0)(x, past)
    graph.set_outputs([Add()(new, new), new], ["y", "present"])
    context = kept(graph, bench).context()
    rows = np.zeros((0, 2), np.float32)
    for length in (2, 1, 1):
        x_now = random.standard_normal((length, 2)).astype(np.float32)
        rows = np.concatenate([x_now, rows])
        np.testing.assert_array_equal(context.run([x_now])["y"], 2 * rows)


def test_pairs_that_cannot_be() -> None:
    with pytest.raises(OptionError, match="no input 'key'"):
        carry(attention(), {"key": "present.0.key"})
    with pytest.raises(OptionError, match="no output 'hx'"):
        carry(decay(), {"h": "hx"})
    graph = Graph(name="other")
    x = graph.input("x", Type(dt.f32, (3,)))
    graph.set_outputs([Concat(0)(x, x)], ["y"])
    with pytest.raises(OptionError, match="cannot be input 'x'"):
        carry(graph, {"x": "y"})
    with pytest.raises(OptionError, match="no output is called"):
        carry(graph, True)


def test_taps(bench: Bench) -> None:
    engine = kept(attention(), bench)
    assert engine.tap(drawn(3), ["answer"] if "answer" in engine.taps else engine.taps[:1])


def test_memory_and_profiles(bench: Bench) -> None:
    engine = kept(attention(), bench)
    given = drawn(3)
    assert engine.memory({"q": (1, 2, 100, 8), "k": (1, 100, 2, 8), "v": (1, 100, 2, 8)})["state"] >= 2 * 100 * 16 * 4
    context = engine.context()
    context.run(given)
    assert context.profile(drawn(1)).steps
    assert context.rows == 4


def test_an_engine_tuned_again_keeps_state(bench: Bench) -> None:
    engine = kept(attention(), bench)
    image = retune(engine.file, 0, cache=False)
    again = from_image(image, "again")
    assert again.state == engine.state
    given = drawn(4)
    np.testing.assert_allclose(again(*given), engine(*given), atol=1e-5)


def table(form: str) -> Graph:
    """Rows of a table of 16 replaced: of the table itself, turned, twice, elementwise, or also read as it was."""
    graph = Graph(name=form)
    places = graph.input("places", Type(dt.i64, (LENGTH, 1)))
    rows, old = graph.input("rows", Type(dt.f32, (LENGTH, 4))), graph.input("table", Type(dt.f32, (16, 4)))
    new: Value = ScatterND()(old, places, rows)
    if form == "turned":
        new = Transpose((1, 0))(ScatterElements(1)(Transpose((1, 0))(old), *wide(places, rows)))
    if form == "twice":
        new = ScatterND()(new, Add()(places, places), Add()(rows, rows))
    result = Add()(new, old) if form == "read" else Add()(new, new)
    graph.set_outputs([result, new], ["y", "new_table"])
    return graph


def wide(places: Value, rows: Value) -> tuple[Value, Value]:
    return Expand((4, LENGTH))(Reshape((1, LENGTH))(places)), Transpose((1, 0))(rows)


@pytest.mark.parametrize("form", ["plain", "turned", "twice", "read"])
def test_a_state_that_calls_scatter_into_stays_where_it_is(form: str, bench: Bench) -> None:
    engine = kept(table(form), bench)
    assert [one.in_place for one in engine.plan.carried] == [form != "read"]
    context, wanted = engine.context(), np.zeros((16, 4), np.float32)
    for places in ([3], [5], [5], [1, 2], [0, 7, 3], [4]):
        rows, old = random.standard_normal((len(places), 4)).astype(np.float32), wanted.copy()
        given = [np.array(places)[:, None], rows]
        wanted[places] = rows
        if form == "twice":
            wanted[2 * given[0][:, 0]] = 2 * rows
        np.testing.assert_array_equal(context.run(given)["y"], wanted + (old if form == "read" else wanted))
        np.testing.assert_array_equal(context.state["table"], wanted)
    context.reset()
    np.testing.assert_array_equal(context.run([np.array([[2]]), rows[:1]])["y"][[1, 3]], 0)
