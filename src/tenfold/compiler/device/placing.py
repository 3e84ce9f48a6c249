"""Whether a small model is sooner done on the CPU beside a GPU, by estimate: no clock is read for it."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.codegen.cpu.isa import isa_of
from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.compiler.cost import cost_of, seconds_of
from tenfold.compiler.items import Item, Piece, kernels, operands
from tenfold.compiler.tune import Chosen
from tenfold.compiler.typical import typical
from tenfold.ir.graph import Graph, Value
from tenfold.target import Target

_CALL, _LAUNCH, _TRANSFER = 20e-6, 2.5e-6, 10e-6
"""Seconds that a graph's launch and the wait for it take, each kernel in it, and each array that crosses."""
_CROSSING, _MEMORY, _WORK = 2e10, 2e12, 1e14
"""Bytes a second between the two, bytes a second of a GPU's memory, operations a second of a GPU."""


def sooner_beside(graph: Graph, items: Sequence[Item], target: Target) -> bool:
    """Whether the CPU that a target names takes all kernels of a model in less time than its GPU would, the host's
    arrays in and out.
    """
    if not target.beside:
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


def _crossing(value: Value) -> float:
    return _TRANSFER + typical(value.type.size) * value.type.dtype.itemsize / _CROSSING
