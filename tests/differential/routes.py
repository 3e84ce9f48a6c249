"""One random graph by every road through the compiler, against the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from unittest import mock

import numpy as np

from tenfold.codegen.cpu.pool import CompilePool, ObjectCache
from tenfold.compiler import road
from tenfold.errors import TenfoldError
from tenfold.ir.graph import Graph, Value
from tenfold.ir.interpret import bind
from tenfold.ir.substitute import substitute
from tenfold.ir.type import Type
from tenfold.rewrite.pipeline import Pipeline
from tenfold.runtime.engine import Engine
from tests.compiler.building import Bench, Inputs, assert_near, reference
from tests.compiler.sketch import Seeded, Sketch, sample

MOST_RESULTS = 200_000


@contextmanager
def _no_passes() -> Iterator[None]:
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(road.passes, "PORTABLE", Pipeline()))
        patches.enter_context(mock.patch.object(road.passes, "for_target", lambda target, options: Pipeline()))
        yield


def _no_kernels() -> AbstractContextManager[object]:
    return mock.patch.object(road.codegen, "strategies_for", lambda target, options=None: [])


def static(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph with these sizes in place of its symbols."""
    made = Graph(name=graph.name)
    known: dict[Value, Value] = {}
    for value in graph.inputs:
        shape = tuple(substitute(size, sizes) for size in value.type.shape)
        known[value] = made.input(value.name, Type(value.type.dtype, shape))
    for node in graph.nodes:
        op = bind(node.op, sizes).with_graphs(lambda inner: static(inner, sizes))
        found = op(*(known[value] for value in node.inputs))
        for old, new in zip(node.outputs, found if isinstance(found, tuple) else (found,), strict=True):
            known[old] = new
            new.name = old.name
    made.set_outputs([known[value] for value in graph.outputs], graph.output_names)
    return made


ROUTES: Mapping[str, tuple[Callable[[], AbstractContextManager[object]], bool, int]] = {
    "kernels": (nullcontext, False, 2),
    "one thread": (nullcontext, False, 1),
    "static sizes": (nullcontext, True, 2),
    "no passes": (_no_passes, False, 2),
    "no passes, static sizes": (_no_passes, True, 1),
    "host": (_no_kernels, False, 1),
}
"""Of each road: what is changed while it builds, whether sizes are known then, and on how many threads it runs."""


@cache
def _bench() -> Bench:
    return Bench(CompilePool(1, ObjectCache()))


def disagreements(seed: int) -> dict[str, str]:
    """Of each road, "right" or how its answers differ; nothing for a graph that refuses its inputs."""
    sketch = Sketch(Seeded(seed))
    calls = []
    for number, sizes in enumerate(sketch.bindings):
        random = np.random.default_rng(number)
        calls.append({value.name: sample(value.type, random, sizes) for value in sketch.graph.inputs})
    try:
        answers = [reference(sketch.graph, inputs) for inputs in calls]
        for sizes in sketch.bindings:
            static(sketch.graph, sizes)
    except (TenfoldError, ValueError):
        return {}
    if any(array.size > MOST_RESULTS for answer, _ in answers for array in answer.values()):
        return {}
    pairs = list(zip(calls, answers, strict=True))
    return {name: _by(name, sketch, pairs) for name in ROUTES}


def _by(name: str, sketch: Sketch, pairs: list[tuple[Inputs, tuple[Inputs, Inputs]]]) -> str:
    change, known, threads = ROUTES[name]
    try:
        if known:
            graphs = [static(sketch.graph, sizes) for sizes in sketch.bindings]
            engines = [_built(graph, change, threads) for graph in graphs]
        else:
            engines = [_built(sketch.graph, change, threads)] * len(pairs)
        for engine, (inputs, (expected, off)) in zip(engines, pairs, strict=True):
            for _ in range(3):
                found = engine.run(inputs)
                for output, wanted in expected.items():
                    assert_near(found[output], wanted, off[output], output)
    except AssertionError as error:
        return f"other numbers: {str(error).strip().splitlines()[0][:120]}"
    except TenfoldError as error:
        return f"{type(error).__name__}: {error.message[:120]}"
    return "right"


def _built(graph: Graph, change: Callable[[], AbstractContextManager[object]], threads: int) -> Engine:
    with change():
        return _bench().engine(graph, threads=threads)
