"""Graphs drawn at random, built and run: what the engine gives is what the interpreter gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st

from tenfold.errors import TenfoldError
from tenfold.ir.text import show
from tests.compiler.building import Bench, reference, workbench
from tests.compiler.sketch import Sketch, sample

T = TypeVar("T")
MOST_RESULTS = 200_000


class Drawn:
    """Choices that hypothesis makes."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def one_of(self, options: Sequence[T]) -> T:
        return self.data.draw(st.sampled_from(options))

    def integer(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with workbench() as found:
        yield found


def check(bench: Bench, sketch: Sketch) -> None:
    """Build it once and run it at both bindings; a graph that refuses its inputs is none."""
    calls = []
    for seed, bindings in enumerate(sketch.bindings):
        random = np.random.default_rng(seed)
        calls.append({value.name: sample(value.type, random, bindings) for value in sketch.graph.inputs})
    try:
        answers = [reference(sketch.graph, inputs)[0] for inputs in calls]
    except TenfoldError:
        assume(False)
    assume(all(array.size < MOST_RESULTS for answer in answers for array in answer.values()))
    bench.check(sketch.graph, calls)


@given(st.data())
@settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)
def test_an_engine_gives_what_the_interpreter_gives(bench: Bench, data: st.DataObject) -> None:
    sketch = Sketch(Drawn(data))
    note(show(sketch.graph))
    check(bench, sketch)
