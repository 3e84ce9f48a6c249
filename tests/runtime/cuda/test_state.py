"""State on the emulated GPU: all that holds on CPUs, and that a step changes few arguments of one graph."""

from __future__ import annotations

import numpy as np
import pytest

import tenfold
from tenfold.errors import LimitError
from tenfold.ir.graph import Graph, copy
from tenfold.runtime.engine import Engine, from_image
from tests.runtime.cuda.emulated import FakeDriver

from tenfold.codegen.cuda import strategies  # isort: skip
from tests.runtime.test_state import (  # isort: skip
    KEY,
    Naive,
    attention,
    decay,
    drawn,
    kept,
    table,
    test_a_state_of_fixed_size_is_fed_back,  # noqa: F401
    test_a_state_that_calls_scatter_into_stays_where_it_is,  # noqa: F401
    test_a_state_that_grows_otherwise_is_fed_back,  # noqa: F401
    test_a_stated_maximum_is_the_room,  # noqa: F401
    test_an_engine_tuned_again_keeps_state,  # noqa: F401
    test_calls_that_are_unlike_the_one_before,  # noqa: F401
    test_fork_rewind_reset_seed,  # noqa: F401
    test_memory_and_profiles,  # noqa: F401
    test_rows_are_appended_in_place,  # noqa: F401
    test_two_contexts_have_two_states,  # noqa: F401
    test_what_does_not_fit_is_named,  # noqa: F401
)


class Bench:
    """Builds engines for a GPU."""

    def engine(self, graph: Graph, **loading: int) -> Engine:
        """The engine of a graph whose state is known, which is left as it is."""
        built = tenfold.build(copy(graph), target="cuda:sm_90", cache=False, effort=0)
        return from_image(built.file.image, graph.name, **loading)


@pytest.fixture
def bench(driver: FakeDriver) -> Bench:
    return Bench()


def test_a_step_changes_few_arguments_of_one_graph(bench: Bench, driver: FakeDriver) -> None:
    context, naive = kept(attention(), bench).context(), Naive()  # type: ignore[arg-type]
    for length in (20, 1, 1):
        given = drawn(length)
        np.testing.assert_allclose(context.run(given)["answer"], naive.step(*given), atol=1e-5)
    graphs, before = driver.things, driver.changes
    for _ in range(4):
        given = drawn(1)
        np.testing.assert_allclose(context.run(given)["answer"], naive.step(*given), atol=1e-5)
    assert driver.things == graphs and driver.changes == before + 4 * 3
    context.close()
    other = kept(table("plain"), bench).context()  # type: ignore[arg-type]
    given = [np.array([[3]]), np.ones((1, 4), np.float32)]
    other.run(given)
    before = driver.changes
    other.run(given)
    assert driver.changes == before


def test_the_memory_limit_holds_for_the_state(bench: Bench) -> None:
    context = kept(attention(), bench, memory_limit=1 << 15).context()  # type: ignore[arg-type, call-arg]
    with pytest.raises(LimitError, match="limit"):
        for _ in range(12):
            context.run(drawn(24))
    assert context.rows >= 24 and context.rows * 2 * 8 * 4 * 2 <= 1 << 15


def test_queued_calls_go_on_where_the_one_before_ends(bench: Bench) -> None:
    context, naive = kept(attention(), bench).context(), Naive()  # type: ignore[arg-type]
    given = [drawn(length) for length in (3, 1, 2, 1)]
    answers = [context.submit(one) for one in given]
    for one, answer in zip(given, answers, strict=True):
        np.testing.assert_allclose(answer.result()["answer"], naive.step(*one), atol=1e-5)
    assert context.rows == 7
    np.testing.assert_array_equal(context.state[KEY], naive.keys)


def test_a_closed_context_has_given_all_back(bench: Bench, driver: FakeDriver) -> None:
    for graph, given in ((attention(), drawn(2)), (decay(), [np.ones((1, 4), np.float32)])):
        engine = kept(graph, bench)  # type: ignore[arg-type]
        engine(*given)
        live = driver.live
        contexts = [engine.context()]
        for _ in range(3):
            contexts[0].run(given)
        contexts.append(contexts[0].fork())
        contexts[1].run(given)
        contexts[0].reset()
        assert contexts[0].state == {}
        for context in contexts:
            context.close()
        assert driver.live == live


@pytest.mark.parametrize("missing", ["scatter", "pointwise"])
def test_an_engine_that_a_cpu_shares(missing: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tuple(one for one in strategies.STRATEGIES if one.name != missing)
    monkeypatch.setattr(strategies, "STRATEGIES", left)
    engine = kept(table("twice"), bench)  # type: ignore[arg-type]
    assert {span.place for span in engine.plan.spans} == {"cpu", "cuda"}
    context, wanted = engine.context(), np.zeros((16, 4), np.float32)
    for turn, places in enumerate(([3], [5], [1, 2], [4])):
        rows = np.full((len(places), 4), 1.0 + turn, np.float32)
        wanted[places] = rows
        wanted[2 * np.array(places)] = 2 * rows
        np.testing.assert_array_equal(context.run([np.array(places)[:, None], rows])["y"], 2 * wanted)
        np.testing.assert_array_equal(context.state["table"], wanted)


def test_rows_of_the_gpu_that_a_cpu_reads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tuple(one for one in strategies.STRATEGIES if one.name not in ("flash", "whole"))
    monkeypatch.setattr(strategies, "STRATEGIES", left)
    engine = kept(attention(), bench)  # type: ignore[arg-type]
    assert {span.place for span in engine.plan.spans} == {"cpu", "cuda"}
    context, naive = engine.context(), Naive()
    for length in (3, 1, 2, 1):
        given = drawn(length)
        np.testing.assert_allclose(context.run(given)["answer"], naive.step(*given), atol=1e-5)
        np.testing.assert_array_equal(context.state[KEY], naive.keys)
