"""Comparison with another runtime: the model's outputs, then every value on the way, and the first that departs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.diagnose import open_peer
from tenfold.errors import OptionError
from tenfold.importers import open_model
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Graph
from tenfold.ops.constant import Constant
from tenfold.runtime.engine import Engine

Array = NDArray[Any]
TOLERANCE = 1e-4
_PORTION = re.compile(r"(.+)\[(-?\d+):(\d*)\]")
_COMPARED = (Kind.FLOAT, Kind.INT, Kind.UINT, Kind.BOOL)


@dataclass(frozen=True)
class Difference:
    """One value of the user's model in both: the operator that makes it, and how far ours is from the peer's: the norm
    of the difference by the peer's norm; infinite where shapes differ or only one has NaN.
    """

    value: str
    operator: str
    shape: tuple[int, ...]
    difference: float


@dataclass(frozen=True)
class Comparison:
    """The differences of the model's outputs, and of its inner values in the order in which they are computed."""

    against: str
    tolerance: float
    outputs: tuple[Difference, ...]
    layers: tuple[Difference, ...]

    @property
    def first_departure(self) -> Difference | None:
        """The first value beyond the tolerance; None if all are within it."""
        return next((one for one in (*self.layers, *self.outputs) if not one.difference <= self.tolerance), None)

    @property
    def agrees(self) -> bool:
        """Whether all the model's outputs are within the tolerance."""
        return all(one.difference <= self.tolerance for one in self.outputs)


def compare(
    model: Path,
    engine: Engine,
    inputs: Mapping[str, Array],
    *,
    against: str,
    options: Mapping[str, Any],
    tolerance: float = TOLERANCE,
    layers: bool = True,
) -> Comparison:
    """Compare an engine's outputs with a peer's, and, if `layers`, every value of the model that the engine still has.

    `options` are the arguments of `tenfold.build` that the engine was built with.
    """
    if math.isnan(tolerance):
        raise OptionError("the tolerance is no number", argument="tolerance", remedy="give one, such as 0.001")
    opening = {name: value for name, value in options.items() if name in ("shapes", "dims", "data_root")}
    threads = options.get("threads")
    theirs = open_peer(against, model, threads=threads, **opening).run(inputs)
    outputs = _differences({spec.name: spec.name for spec in engine.outputs}, engine.run(inputs), theirs)
    inner: tuple[Difference, ...] = ()
    if layers:
        ours = engine.tap(inputs)
        makers = visible(open_model(model, **opening))
        taps = {name: images_of(name) for name in ours}
        known = [(name, *taps[name]) for value in makers for name in ours if taps[name][0] == value]
        wanted = list(dict.fromkeys(value for _, value, _ in known))
        theirs = open_peer(against, model, outputs=wanted, threads=threads, **opening).run(inputs)
        parts = {name: theirs[value][images] if images else theirs[value] for name, value, images in known}
        inner = _differences({name: makers[value] for name, value, _ in known}, ours, parts)
    return Comparison(against, tolerance, outputs, inner)


def images_of(name: str) -> tuple[str, slice | None]:
    """The value of the user's model that a tap is of, and which of its images where the engine made a portion of them:
    "x[2:4]" is x[2:4], "x[-1:]" the last one.
    """
    found = _PORTION.fullmatch(name)
    if not found:
        return name, None
    whole, first, end = found.groups()
    return whole, slice(int(first), int(end) if end else None)


def visible(graph: Graph) -> dict[str, str]:
    """The values of the user's model that an imported graph still names, in order, and the operators that make them."""
    values = (value for node in graph.nodes if not isinstance(node.op, Constant) for value in node.outputs)
    found = {v.name: v for v in values if v.name and v.type.dtype.kind in _COMPARED}
    return {name: ", ".join(v.producer.source) if v.producer else "" for name, v in found.items()}


def _differences(
    makers: Mapping[str, str], ours: Mapping[str, Array], theirs: Mapping[str, Array]
) -> tuple[Difference, ...]:
    return tuple(
        Difference(name, maker, ours[name].shape, difference(ours[name], theirs[name]))
        for name, maker in makers.items()
    )


def difference(ours: Array, theirs: Array) -> float:
    """The norm of the difference by the norm of `theirs`; infinite if the shapes or the places of NaN differ.

    Equal infinities do not differ; where `theirs` is all zeros, the norm of the difference itself.
    """
    if ours.shape != theirs.shape:
        return float("inf")
    a, b = (np.asarray(array).astype(np.float64) for array in (ours, theirs))
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    same = (a == b) | np.isnan(a)
    distance = float(np.linalg.norm(np.where(same, 0.0, a) - np.where(same, 0.0, b)))
    length = float(np.linalg.norm(b[np.isfinite(b)]))
    return distance / length if length else distance


def as_data(found: Comparison) -> dict[str, Any]:
    """A comparison as JSON-ready data."""
    first = found.first_departure
    return {
        "against": found.against,
        "tolerance": found.tolerance,
        "agrees": found.agrees,
        "outputs": rows(found.outputs),
        "layers": rows(found.layers),
        "first_departure": rows([first])[0] if first else None,
    }


def rows(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """Differences as JSON-ready data; an infinite one is null."""
    return [
        {
            "value": one.value,
            "operator": one.operator,
            "shape": list(one.shape),
            "difference": one.difference if np.isfinite(one.difference) else None,
        }
        for one in differences
    ]
