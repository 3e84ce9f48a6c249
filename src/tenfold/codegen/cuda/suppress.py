"""Non-maximum suppression: a block takes one class of one image and lists the boxes above the threshold; each sweep
over the list leaves out what overlaps the last choice and finds the next. A second launch puts together what was
chosen, class after class.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, launch, number, numbers, place, room, workspace
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ops.sort import Suppression
from tenfold.target import Target

_BOXES = 1 << 11
"""Boxes that a block takes at a time."""


@triton.jit
def edges(boxes, image, box, inside, CENTRED: tl.constexpr):
    """Top, left, bottom and right of some boxes."""
    start = boxes[0] + image * boxes[1] + box.to(tl.int64) * boxes[2]
    a, b = tl.load(start, mask=inside, other=0.0), tl.load(start + boxes[3], mask=inside, other=0.0)
    c = tl.load(start + 2 * boxes[3], mask=inside, other=0.0)
    d = tl.load(start + 3 * boxes[3], mask=inside, other=0.0)
    if CENTRED:
        return b - d * 0.5, a - c * 0.5, b + d * 0.5, a + c * 0.5
    else:
        return tl.minimum(a, c), tl.minimum(b, d), tl.maximum(a, c), tl.maximum(b, d)


@triton.jit
def overlap_of(top, left, bottom, right, a, b, c, d):
    """The part of the union of some boxes and the box (a, b, c, d) that both cover."""
    high, wide = tl.minimum(bottom, c) - tl.maximum(top, a), tl.minimum(right, d) - tl.maximum(left, b)
    shared = tl.where(high > 0, high, 0.0) * tl.where(wide > 0, wide, 0.0)
    union = (bottom - top) * (right - left) + (c - a) * (d - b) - shared
    return tl.where(union > 0, tl.math.div_rn(shared, tl.where(union > 0, union, 1.0)), 0.0)


@triton.jit
def choose(
    boxes, scores, most, overlap, threshold, picks, counts, places, standing, classes, count, limit,
    CENTRED: tl.constexpr, BOXES: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """The boxes chosen of one class of one image, to `picks`, and how many they are, to `counts`. `places` lists boxes,
    `standing` their scores, -inf for those left out.
    """
    grid.wait(EARLY)
    group = tl.program_id(0).to(tl.int64)
    image, kind = group // classes, group % classes
    places, standing = places + group * count, standing + group * count
    far, turns = tl.load(overlap), tl.minimum(tl.load(most), limit)
    stand = above(scores, image, kind, tl.load(threshold), places, standing, count, BOXES)
    taken, chosen = tl.full((), 0, tl.int64), tl.full((), -1, tl.int32)
    a, b, c, d = edges(boxes, image, chosen, chosen >= 0, CENTRED)
    going = (stand > 0) & (turns > 0)
    while going:
        best = tl.full((BOXES,), float("-inf"), tl.float32)
        who = tl.full((BOXES,), 2147483647, tl.int32)
        for begin in range(0, stand, BOXES):
            row = begin + tl.arange(0, BOXES)
            inside = row < stand
            box = tl.load(places + row, mask=inside, other=0)
            score = tl.load(standing + row, mask=inside, other=float("-inf"))
            top, left, bottom, right = edges(boxes, image, box, inside, CENTRED)
            gone = (box == chosen) | (overlap_of(top, left, bottom, right, a, b, c, d) > far)
            score = tl.where((chosen >= 0) & gone, float("-inf"), score)
            tl.store(standing + row, score, mask=inside)
            who, best = tl.where(score > best, box, who), tl.maximum(score, best)
        greatest = tl.max(best, 0)
        chosen = tl.min(tl.where(best == greatest, who, 2147483647), 0)
        going = greatest > float("-inf")
        tl.store(picks + group * limit + taken, chosen.to(tl.int64), mask=going)
        a, b, c, d = edges(boxes, image, chosen, going, CENTRED)
        taken += going.to(tl.int64)
        going = going & (taken < turns)
        tl.debug_barrier()
    grid.release(EARLY)
    tl.store(counts + group, taken)


@triton.jit
def above(scores, image, kind, least, places, standing, count, BOXES: tl.constexpr):
    """List the boxes whose score is above the least, in order; how many they are."""
    start, found = scores[0] + image * scores[1] + kind * scores[2], tl.full((), 0, tl.int32)
    for begin in range(0, count, BOXES):
        box = begin + tl.arange(0, BOXES)
        score = tl.load(start + box.to(tl.int64) * scores[3], mask=box < count, other=0.0)
        stands = (box < count) & (score > least)
        row = found + tl.cumsum(stands.to(tl.int32), 0) - 1
        tl.store(places + row, box, mask=stands)
        tl.store(standing + row, score, mask=stands)
        found += tl.sum(stands.to(tl.int32), 0)
    tl.debug_barrier()
    return found


@triton.jit
def listed(
    picks, counts, table, total, classes, limit, groups, ROWS: tl.constexpr, BEFORE: tl.constexpr, EARLY: tl.constexpr
):
    """The rows of one class of one image, behind those of the classes before; the last one tells how many all are."""
    grid.wait(EARLY)
    group = tl.program_id(0).to(tl.int64)
    start = tl.full((), 0, tl.int64)
    for begin in range(0, group, BEFORE):
        other = begin + tl.arange(0, BEFORE)
        start += tl.sum(tl.load(counts + other, mask=other < group, other=0), 0)
    own = tl.load(counts + group)
    for begin in range(0, own, ROWS):
        row = begin + tl.arange(0, ROWS)
        box = tl.load(picks + group * limit + row, mask=row < own, other=0)
        where = table[0] + (start + row) * table[1]
        tl.store(where, tl.zeros_like(box) + group // classes, mask=row < own)
        tl.store(where + table[2], tl.zeros_like(box) + group % classes, mask=row < own)
        tl.store(where + 2 * table[2], box, mask=row < own)
    grid.release(EARLY)
    if group == groups - 1:
        tl.store(total, start + own)


class Suppress:
    """Classes of any number of boxes."""

    name = "suppress"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """One way."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Suppression):
            return Refusal("no suppression")
        return (Tactic(self.name),)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """Two launches; choices, their counts and the lists in the workspace."""
        assert isinstance(region, Anchored) and isinstance(region.anchor, Suppression)
        boxes, scores, most, overlap, threshold = region.inputs
        table, total = region.outputs
        images, classes, count = scores.shape
        groups, limit = images * classes, region.anchor.room
        most_boxes = dim.bounds(count)[1] or _BOXES
        at_once, early = max(16, min(_BOXES, grid.power_of_two(most_boxes))), int(arch_of(target).early)
        sizes = (groups * limit * 8, groups * 8, groups * count * 4, groups * count * 4)
        *starts, end = itertools.accumulate(map(room, sizes), initial=0)
        picks, counts, places, standing = map(workspace, ("*i64", "*i64", "*i32", "*fp32"), starts)
        found: dict[str, Filling] = {"picks": picks, "counts": counts}
        first: dict[str, Filling] = {
            "boxes": (place(boxes), *numbers(boxes.strides)),
            "scores": (place(scores), *numbers(scores.strides)),
            **{"most": place(most), "overlap": place(overlap), "threshold": place(threshold)},
            **found,
            **{"places": places, "standing": standing},
            **{"classes": number(classes), "count": number(count), "limit": number(limit)},
            **{"CENTRED": int(region.anchor.centred), "BOXES": at_once, "EARLY": early},
        }
        second: dict[str, Filling] = {
            **found,
            "table": (place(table), *numbers(table.strides)),
            "total": place(total),
            **{"classes": number(classes), "limit": number(limit), "groups": number(groups)},
            **{"ROWS": 128, "BEFORE": 128, "EARLY": early},
        }
        launches = (
            launch(f"{__name__}:choose", groups, first, 8),
            launch(f"{__name__}:listed", groups, second),
        )
        return CudaKernel(launches=launches, workspace=end)


STRATEGY = Suppress()
