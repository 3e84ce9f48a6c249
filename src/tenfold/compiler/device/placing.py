"""What is sooner done on the CPU beside a GPU: of a whole model by estimate, of its parts by the clock."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tenfold.codegen.cpu.isa import isa_of
from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.codegen.strategy import Strategy
from tenfold.compiler.cost import cost_of, seconds_of
from tenfold.compiler.device.cut import FOREVER, HERE, THERE, Cut
from tenfold.compiler.device.shared import place_of, touched_by
from tenfold.compiler.items import Item, Piece, kernels, operands
from tenfold.compiler.layout import Layout
from tenfold.compiler.tune import Chosen, Tuning, choose, tune
from tenfold.compiler.typical import typical
from tenfold.ir import unknown
from tenfold.ir.graph import Graph, Value
from tenfold.target import Target

_CALL, _LAUNCH, _TRANSFER = 45e-6, 2.5e-6, 18e-6
"""Seconds that a graph's launch and the wait for it take, each kernel in it, and each array that crosses, as an H200's
machine has them.
"""
_LEAST = 5.0
"""Seconds that there are for the CPU's kernels at least, where the GPU's have taken long."""
_CROSSING, _MEMORY, _WORK = 2e10, 2e12, 1e14
"""Bytes a second between the two, bytes a second of a GPU's memory, operations a second of a GPU."""


def by_clock(target: Target, effort: int) -> bool:
    """Whether the places of parts are chosen by the clock: this machine has both that a target names."""
    return bool(effort and target.beside and target.runs_here() and target.cpu.runs_here())


def sooner_beside(graph: Graph, items: Sequence[Item], target: Target, effort: int) -> bool:
    """Whether the CPU that a target names takes all kernels of a model in less time than its GPU would, the host's
    arrays in and out. False where the clock is asked.
    """
    if not target.beside or by_clock(target, effort):
        return False
    pieces = list(kernels(items))
    cpu = sum(seconds_of(piece.region, isa_of(target.cpu), typical) for piece in pieces)
    ends = [value for value in (*graph.inputs, *graph.outputs) if not value.type.dtype.is_object]
    return cpu < _CALL + sum(map(estimated, pieces)) + sum(map(_crossing, ends))


def expected(piece: Piece) -> float:
    """Seconds that a piece takes on a GPU at typical sizes: as its kernel was timed once, else by estimate."""
    entry = piece.entry if isinstance(piece, Chosen) else None
    timed = entry.times.get(piece.tactic) if entry else None
    return timed if isinstance(timed, float) else estimated(piece)


def estimated(piece: Piece) -> float:
    """Seconds that a piece may take on a GPU, by its work alone."""
    launches = len(piece.kernel.launches) if isinstance(piece.kernel, CudaKernel) else 2
    cost = cost_of(piece.region, *operands(piece.region))
    return _LAUNCH * launches + max(typical(cost.flops) / _WORK, typical(cost.bytes) / _MEMORY)


def share(graph: Graph, items: list[Item], layout: Layout, strategies: Sequence[Strategy], tuning: Tuning) -> str:
    """Give those of a GPU's pieces to the CPU beside it with which a call ends soonest: by the time that each takes in
    either place, what crosses between them, and the spans that they make. A few words on what came of it.
    """
    start = max(tuning.start, time.perf_counter() - tuning.effort.total + _LEAST)
    own = replace(tuning, target=tuning.target.cpu, start=start, lone=True)
    ends = [value for value in (*graph.inputs, *graph.outputs) if not value.type.dtype.is_object]
    others = _others(items, strategies, own, _CALL + sum(map(_crossing, ends)))
    if not others:
        return "nothing is sooner on the CPU"
    tune([other for _, other in others.values()], own)
    times = {number: (expected(piece), _taken(other, own)) for number, (piece, other) in others.items()}
    moved = given(graph, items, layout, times)
    for number in moved:
        here, there = (f"{1e6 * one:.1f} µs" for one in times[number])
        why = (tuning.target.kind, f"a call ends sooner with it on the CPU ({there} there, {here} here)")
        piece, other = others[number]
        items[number] = replace(other, refused=(*piece.refused, why))
    return f"{len(moved)} of {len(items)} regions are sooner on the CPU"


def _others(
    items: Sequence[Item], strategies: Sequence[Strategy], tuning: Tuning, spared: float
) -> dict[int, tuple[Chosen, Chosen]]:
    """The GPU's pieces that the CPU may take sooner, where a call of the GPU costs so much, and the CPU's for them."""
    isa, threads = isa_of(tuning.target), tuning.point.threads
    found: dict[int, tuple[Chosen, Chosen]] = {}
    for number, piece in enumerate(items):
        if not isinstance(piece, Chosen) or piece.kernel.place != "cuda":
            continue
        if seconds_of(piece.region, isa, tuning.point) / threads < expected(piece) + spared:
            other = choose(piece.region, strategies, tuning.target)
            if not isinstance(other, list):
                found[number] = piece, other
    return found


def _taken(piece: Chosen, tuning: Tuning) -> float:
    """Seconds that a piece takes on the CPU: as it was timed, else by estimate."""
    timed = piece.entry.times.get(piece.tactic) if piece.entry else None
    estimate = seconds_of(piece.region, isa_of(tuning.target), tuning.point)
    return timed if isinstance(timed, float) else estimate


def given(graph: Graph, items: Sequence[Item], layout: Layout, times: Mapping[int, tuple[float, float]]) -> list[int]:
    """The numbers of the items that go to the CPU, of those of which is known what they take on the GPU and on the CPU.
    A minimum cut: an array is copied once each way, and every change of place costs half of a call of the GPU.
    """
    cut = Cut()
    nodes = [cut.node() for _ in items]
    for number, (item, node) in enumerate(zip(items, nodes, strict=True)):
        on_gpu, on_cpu = times.get(number, (0.0, FOREVER) if place_of(item) == "cuda" else (FOREVER, 0.0))
        cut.cost(HERE, node, on_cpu)
        cut.cost(node, THERE, on_gpu)
    for one, other in itertools.pairwise([THERE, *nodes, THERE]):
        cut.cost(one, other, _CALL / 2)
        cut.cost(other, one, _CALL / 2)
    makers: dict[Value, int] = {value: THERE for value in graph.inputs if not value.type.dtype.is_object}
    copies: dict[tuple[Value, int], tuple[int, int]] = {}

    def read(root: Value, node: int) -> None:
        maker = makers.get(root)
        if maker is None or maker == node:
            return
        if (root, maker) not in copies:
            copies[root, maker] = down, up = cut.node(), cut.node()
            cut.cost(maker, down, _crossing(root))
            cut.cost(up, maker, _crossing(root))
        down, up = copies[root, maker]
        cut.cost(down, node, FOREVER)
        cut.cost(node, up, FOREVER)

    for item, node in zip(items, nodes, strict=True):
        touched = touched_by(item, layout)
        for root in touched.reads:
            read(root, node)
        makers.update(dict.fromkeys(touched.writes, node))
    for value in graph.outputs:
        if not value.type.dtype.is_object:
            read(layout.view(value).root, THERE)
    here = cut.here()
    return [number for number in times if nodes[number] not in here]


def _crossing(value: Value) -> float:
    known = not unknown.of_types((value.type,))
    return _TRANSFER + (typical(value.type.size) * value.type.dtype.itemsize / _CROSSING if known else 0.0)
