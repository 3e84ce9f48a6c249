"""Products of which every block has one tile: one wave, of tiles as wide as it takes to fill the machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tenfold.codegen.cuda import emit, moments
from tenfold.codegen.cuda.arch import Arch, arch_of
from tenfold.codegen.cuda.conv import boxes, turning
from tenfold.codegen.cuda.conv.plan import Plan, View, plan_of
from tenfold.codegen.cuda.conv.standing import settled
from tenfold.codegen.cuda.conv.wgmma import room_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, Recast, boxed, launch, number, numbers, place, uniforms
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ops.movement import Transpose
from tenfold.target import Target

_KERNEL = "tenfold.codegen.cuda.conv.wgmma:straight"
_USUAL = 1 << 12
_PRODUCTS, _LOADED, _STORED, _COPIED = 3300.0, 125.0, 40.0, 4000.0
"""Products, bytes from L2 and bytes to L2 a nanosecond of a multiprocessor; bytes of memory a nanosecond of all."""
_START, _END = 1300.0, 500.0
"""Nanoseconds to start, and to end a tile."""
_SLOTS, _LEAST = 8, 4
"""Slots at most; steps of a sum at least."""


class Wave:
    """Products, for machines with TMA and warp groups."""

    name = "wave"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tile shapes."""
        arch, plan = arch_of(target), plan_of(region, target)
        reason = arch.no_teams or (plan.reason if isinstance(plan, Refusal) else _reason(plan))
        if reason is not None:
            return Refusal(reason)
        assert isinstance(plan, Plan)
        return [Tactic(self.name, tuple(one.items())) for one in _tiles(plan, arch)]

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about."""
        plan = plan_of(region, target)
        assert isinstance(plan, Plan)
        m, n = (int(tactic[name]) for name in ("m", "n"))
        line, size = plan.line, plan.size
        step = line * size * max(m * n / (2 * _PRODUCTS), (m + n) / _LOADED) + boxes.outside(plan, m)
        sums = -(-plan.k // line) * step
        rows = _rows(plan)
        moved = (rows * plan.k + plan.n * plan.k + rows * plan.n * len(plan.full)) * size
        end = _END + len(plan.full) * m * n * size / _STORED
        return turning.guess(plan) + _START + max(sums, moved / _COPIED) + end

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of a block a tile."""
        plan = plan_of(region, target)
        assert isinstance(plan, Plan)
        m, n, slots, warps = (int(tactic[name]) for name in ("m", "n", "slots", "warps"))
        rows, part, (w, turned), line = plan.sizes[2], _part(n), _matrix(plan), plan.line
        ahead, bytes = turning.ahead_of(plan, target)
        tiles = dim.ceildiv(rows, m), dim.ceildiv(plan.n, n)
        beside = settled(plan.region, plan.kinds, [view.operand for view in plan.extra], rows)
        full = [(boxed(one.operand, (1, 1, m, part), one.shape, one.strides),) * (n // part) for one in plan.full]
        extra = (0 if plan.kinds[one] == 3 else place(plan.extra[one].operand) for one in beside.kept)
        told = plan.region.moments
        fillings: dict[str, Filling] = {
            "x": plan.tiles(View(plan.x.operand, plan.x.shape[3:], plan.x.strides[3:]), (m, line)),
            "w": plan.tiles(View(w, w.shape, w.strides), (32, line) if turned else (line, 64), turning.place_of(plan)),
            "output": full[0],
            "beside": full[1] if full[1:] else (),
            "extra": (*extra, *(0 for _ in beside.made)),
            "told": () if told is None else (place(told), *numbers(told.strides[:2])),
            "moments": beside.moments,
            "uniforms": uniforms(plan.region.uniforms),
            "across": number(tiles[1]),
            **{"m": number(rows), "n": plan.n, "k": plan.k},
            "body": Hole(emit.gluon_text(beside.body)),
            "kinds": (*(plan.kinds[one] for one in beside.kept), *beside.made),
            "PARTS": (part,) * (n // part),
            "WIDTH": _width(plan),
            "STANDING": beside.standing,
            **{"M": m, "SLOTS": slots, "TURNED": int(turned), "WARPS": warps},
            "EARLY": int(arch_of(target).early),
        }
        made = launch(_KERNEL, dim.product(tiles), fillings, warps, room=room_of(m, n, slots))
        return CudaKernel(launches=(*ahead, made), workspace=bytes)


def _reason(plan: Plan) -> str | None:
    """Why a plan has no such tiles."""
    if plan.halves or 4 in plan.kinds:
        return "halves, or numbers of images"
    if plan.taps != (1, 1) or math.prod(plan.steps) != 1 or any(size != 1 for size in plan.x.shape[:3]):
        return "an image"
    return None


def _rows(plan: Plan) -> int:
    return dim.bounds(plan.sizes[2])[1] or _USUAL


def _part(n: int) -> int:
    """Columns of the equal parts that a tile's come in."""
    return 64 if n % 64 == 0 else 32


def _width(plan: Plan) -> int:
    """Neighbours whose moments are told together."""
    told = plan.region.moments
    return 0 if told is None else moments.width_of(told, plan.region.outputs[0])


def _matrix(plan: Plan) -> tuple[Operand, bool]:
    """The second matrix, and whether it is columns by terms, as a constant is made."""
    w = plan.w.operand
    constant = plan.constant and w.value.type.shape == plan.w.shape and not w.offset
    if constant and not plan.turned and plan.k * plan.size % 16 == 0:
        return Recast(w.value, w.dtype, (plan.n, plan.k), (plan.k, 1), 0, (Transpose((1, 0)),)), True
    return replace(w, shape=plan.w.shape, strides=plan.w.strides), plan.turned


def _tiles(plan: Plan, arch: Arch) -> Iterator[dict[str, int]]:
    """Tiles that fill two thirds of the machine and more in one wave."""
    turned, width = _matrix(plan)[1], _width(plan)
    for m in (64, 128):
        for n in range(32, 257, 32):
            blocks = -(-_rows(plan) // m) * -(-plan.n // n)
            kept = -(-(m * n * plan.size + 512) // 1024) * 1024
            slots = min(_SLOTS, (arch.shared - kept - room_of(m, n, 0)) // (room_of(m, n, 1) - room_of(m, n, 0)))
            busy = 3 * blocks > 2 * arch.processors and blocks <= arch.processors
            whole = (turned or n % 64 == 0) and (not width or _part(n) % width == 0)
            if busy and whole and slots >= 3 and plan.k >= _LEAST * plan.line:
                yield {"m": m, "n": n, "slots": slots, "warps": m // 16}


STRATEGY = Wave()
