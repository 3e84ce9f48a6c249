"""Models that give what they take, and pictures to try steps on."""

from __future__ import annotations

from typing import Any

import numpy as np

from tenfold import ops, pipeline
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Array
from tenfold.ir.type import Type


def echo(dtype: dt.DType, *shape: Size) -> Graph:
    """A model that returns its input."""
    graph = Graph(name="echo")
    graph.set_outputs([ops.Copy()(graph.input("x", Type(dtype, shape)))], ["y"])
    return graph


def seeing(*before: pipeline.join.Before, dtype: dt.DType = dt.u8, channels: Size = 3) -> Graph:
    """A graph that returns what a model would see, [H, W, C]."""
    pixels = echo(dtype, 1, symbol("H", 1), symbol("W", 1), channels)
    return pipeline.join(pixels, before=before, layout="NHWC")


def answering(shape: tuple[Size, ...], *after: pipeline.join.After, **settings: Any) -> Graph:
    """A graph that returns what steps make of its input f32."""
    return pipeline.join(echo(dt.f32, *shape), after=after, **settings)


def seen(graph: Graph, image: Array) -> Array:
    """Its answer by the interpreter."""
    (found,) = Interpreter().run(graph, {"image": image}).values()
    return found


def photograph(height: int, width: int, seed: int = 0) -> Array:
    """Something with edges, slopes and noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    base = 128 + 90 * np.sin(rows / 7)[..., None] * np.cos(columns / 5)[..., None] * [1, -1, 0.5]
    base[height // 3 : height // 2, width // 4 : width // 2] = [250, 5, 90]
    return np.clip(base + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)
