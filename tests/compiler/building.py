"""Graphs built to engines and held against the interpreter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from tenfold.codegen.cpu.pool import CompilePool, ObjectCache
from tenfold.compiler.phases import Phases
from tenfold.compiler.road import Means, build_image
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Node, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Array
from tenfold.ir.type import numbered_unknowns
from tenfold.options import Options
from tenfold.runtime.engine import Engine, from_image
from tenfold.target import Target

Inputs = Mapping[str, Array]
OPTIONS = Options(Target.parse("cpu"), effort=0)


class Bench:
    """Builds many graphs with one pool of compile workers, which remembers what it compiled."""

    def __init__(self, pool: CompilePool) -> None:
        self._pool = pool

    def engine(self, graph: Graph, **loading: int) -> Engine:
        """The engine of a graph, which is left as it is."""
        with numbered_unknowns():
            image = build_image(copy(graph), Means(OPTIONS, self._pool, Phases(None)))
        return from_image(image, graph.name or "graph", **{"threads": 2, **loading})

    def check(self, graph: Graph, calls: Sequence[Inputs]) -> Engine:
        """The engine; it gave what the interpreter gives, twice at each of the inputs."""
        engine = self.engine(graph)
        for inputs in calls:
            expected, off = reference(graph, inputs)
            for _ in range(3):
                found = engine.run(inputs)
                assert list(found) == list(expected)
                for name, wanted in expected.items():
                    assert_near(found[name], wanted, off[name], name)
        return engine


@contextmanager
def workbench() -> Iterator[Bench]:
    """A bench whose compile workers end with it."""
    with CompilePool(1, ObjectCache()) as pool:
        yield Bench(pool)


def reference(graph: Graph, inputs: Inputs) -> tuple[dict[str, Array], dict[str, Array]]:
    """The interpreter's answer, and one where every operation was a little off."""
    with np.errstate(all="ignore"):
        return Interpreter().run(graph, dict(inputs)), Shaken().run(graph, dict(inputs))


class Shaken(Interpreter):
    """An interpreter whose every float is a little off: how far a result may be from the exact one."""

    RATIO = 2e-6

    def __init__(self) -> None:
        super().__init__()
        self._random = np.random.default_rng(0)

    def node(self, node: Node, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(self._shaken(array) for array in super().node(node, inputs))

    def _shaken(self, array: Array) -> Array:
        if array.dtype.kind != "f":
            return array
        ratio = max(self.RATIO, float(np.finfo(array.dtype).eps))
        with np.errstate(all="ignore"):
            return np.asarray(array * (1 + self._random.choice([-ratio, ratio], array.shape))).astype(array.dtype)


def assert_near(found: Array, expected: Array, shaken: Array, name: str) -> None:
    """Equal integers; floats that differ by no more than rounding explains."""
    assert found.dtype == expected.dtype and found.shape == expected.shape, (name, found.shape, expected.shape)
    if not dt.of(expected.dtype).is_float:
        np.testing.assert_array_equal(found, expected, err_msg=name)
        return
    wide, wanted, off = (np.asarray(array, np.float64) for array in (found, expected, shaken))
    np.testing.assert_array_equal(np.isnan(wide), np.isnan(wanted), err_msg=name)
    finite = np.isfinite(wanted) & np.isfinite(off)
    scale = np.abs(wanted[finite]).max(initial=0)
    slack = np.abs(off[finite] - wanted[finite]).max(initial=0)
    ratio = 1e-5 if expected.dtype.itemsize > 2 else 4e-3
    distance = np.abs(wide[finite] - wanted[finite]).max(initial=0)
    assert distance <= ratio * scale + 30 * slack, (name, distance, scale, slack)
