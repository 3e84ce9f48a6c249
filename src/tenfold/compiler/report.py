"""The build report: what ran through which kernel, what stayed apart and why, and what memory it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenfold.codegen import hosted
from tenfold.compiler import memory
from tenfold.compiler.device.placing import expected
from tenfold.compiler.fuse.grow import NotFused
from tenfold.compiler.items import HostPiece, Item, Piece, pieces, walked
from tenfold.compiler.schedule import Scheduler
from tenfold.compiler.tune import tuning_of
from tenfold.compiler.typical import typical
from tenfold.runtime.plan import Plan
from tenfold.runtime.spans import every_span


def report_of(scheduler: Scheduler, plan: Plan, items: Sequence[Item], refusals: Sequence[NotFused]) -> dict[str, Any]:
    """The report as JSON-ready data."""
    regions = [
        {
            "source": list(piece.label.source),
            "kind": piece.label.kind,
            "tier": "host" if isinstance(piece, HostPiece) else "kernel",
            "place": "host" if isinstance(piece, HostPiece) else piece.kernel.place,
            "tactic": piece.label.tactic,
            "domain": [] if isinstance(piece, HostPiece) else [str(size) for size in piece.region.domain],
            "refused": [list(pair) for pair in piece.refused],
            **({"reason": reason_of(piece)} if isinstance(piece, HostPiece) else {}),
            **tuning_of(piece),
            **_expected(piece),
        }
        for piece in pieces(items)
    ]
    buffers = scheduler.buffers
    return {
        "regions": regions,
        "not_fused": sorted({(one.producer, one.consumer, one.reason) for one in refusals}),
        "memory": {
            "arena": typical_arena(buffers),
            "sum": sum(typical(memory.aligned(buffer.size)) for buffer in buffers),
            "lower_bound": memory.lower_bound(buffers),
        },
        "native_spans": sum(span.is_native for span in every_span(plan.spans)),
        "host_steps": sum(bool(span.host) for span in every_span(plan.spans)),
        "walked": [{"source": list(w.label.source), "kind": w.label.kind, "reason": w.reason} for w in walked(items)],
    }


def _expected(piece: Piece | HostPiece) -> dict[str, float]:
    """About how many microseconds a GPU's kernel takes, which a machine without one cannot find out by itself."""
    if isinstance(piece, HostPiece) or piece.kernel.place != "cuda":
        return {}
    return {"expected_us": round(expected(piece) * 1e6, 2)}


def reason_of(piece: HostPiece) -> str:
    """Why a piece may run on the host; "" if it is on no list."""
    touched = (value.type.dtype for value in (*piece.reads, *piece.writes))
    return hosted.reason(piece.label.kind, objects=any(dtype.is_object for dtype in touched))


def typical_arena(buffers: Sequence[memory.Buffer]) -> int:
    """The arena's bytes at typical sizes."""
    sizes = [typical(memory.aligned(buffer.size)) for buffer in buffers]
    offsets = memory.solve(sizes, buffers)
    return max((offset + size for offset, size in zip(offsets, sizes, strict=True)), default=0)
