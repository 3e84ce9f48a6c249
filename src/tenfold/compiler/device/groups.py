"""Products that do not wait for each other and that one launch may take together: a group against its parts, by a guess
and by the clock. A product moves up to the first group that it fits, with what it waits for ahead of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Strategy, Tactic
from tenfold.compiler.device.chains import Apart, chain_of
from tenfold.compiler.device.tune import tune_device
from tenfold.compiler.items import Item, Piece, operands
from tenfold.compiler.layout import Layout
from tenfold.compiler.tune import Chosen, Tuning, choose
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.target import Target

_MOST = 32
"""Products of a group."""
_BACK = 200
"""How many places a product may move up."""
_ENDLESS = 1 << 62
_SHORT = 8000.0
"""Nanoseconds of a product that gains too little by a launch less."""
_SHARE = 0.85
"""The share of its products' time that a group may take."""


class Grouping(Strategy, Protocol):
    """Who writes groups."""

    def expected(self, parts: Sequence[Region], target: Target) -> float | None:
        """Nanoseconds of products together, or of one alone, by the best guess; None if they make no group."""


@dataclass(eq=False)
class Slot:
    """Items that may run at once: one, or the products of a group. `reads` and `writes` are windows by their buffers;
    nothing moves past what is `fixed`.
    """

    items: list[Item]
    reads: dict[Value, list[Operand]] = field(default_factory=dict)
    writes: dict[Value, list[Operand]] = field(default_factory=dict)
    fixed: bool = False

    def add(self, other: Slot) -> None:
        """Note what another one touches."""
        for own, its in ((self.reads, other.reads), (self.writes, other.writes)):
            for root, some in its.items():
                own.setdefault(root, []).extend(some)

    def waits(self, other: Slot) -> bool:
        """Whether either must wait for the other."""
        pairs = ((self.writes, other.writes), (self.writes, other.reads), (self.reads, other.writes))
        return any(
            not _disjoint(x, y) for ours, its in pairs for root in ours.keys() & its.keys()
            for x in ours[root] for y in its[root]
        )  # fmt: skip


def grouped(items: Sequence[Item], layout: Layout, strategies: Sequence[Strategy], tuning: Tuning) -> list[Item]:
    """The items with groups in the place of products where that is faster."""
    takers = [one for one in strategies if one.name == "grouped"]
    if not takers:
        return list(items)
    taker = cast(Grouping, takers[0])
    slots: list[Slot] = []
    for item in items:
        slot = _slot(item, layout)
        if not _joins(slots, slot, taker, tuning.target):
            slots.append(slot)
    groups = {at: _group(slot.items, taker, tuning) for at, slot in enumerate(slots) if len(slot.items) > 1}
    tune_device(list(groups.values()), tuning)
    kept = {at: one for at, one in groups.items() if one.tactic != Apart.name}
    return [one for at, slot in enumerate(slots) for one in ([kept[at]] if at in kept else slot.items)]


def _slot(item: Item, layout: Layout) -> Slot:
    """An item alone."""
    if not isinstance(item, Piece) or not isinstance(item.kernel, CudaKernel):
        return Slot([item], fixed=True)
    found = Slot([item])
    for windows, some in zip((found.reads, found.writes), operands(item.region), strict=True):
        for one in some:
            if one.value in layout.elements:
                return Slot([item], fixed=True)
            windows.setdefault(one.value, []).append(one)
    return found


def _joins(slots: list[Slot], slot: Slot, taker: Grouping, target: Target) -> bool:
    """Let a product join the first group, or the first product, that it fits; what it waits for goes ahead of that."""
    (item,) = slot.items
    if slot.fixed or not isinstance(item, Chosen) or not isinstance(item.region, Anchored):
        return False
    for at, ahead in reversed(_places(slots, slot, item.region)):
        if _pays([*slots[at].items, item], taker, target):
            slots[at].items.append(item)
            slots[at].add(slot)
            slots[at:] = [*ahead, *(one for one in slots[at:] if one not in ahead)]
            return True
    return False


def _places(slots: Sequence[Slot], slot: Slot, region: Anchored) -> list[tuple[int, list[Slot]]]:
    """Where a product may move up to, the last place first, and what must go ahead of it there."""
    waiting, ahead = Slot([]), list[Slot]()
    waiting.add(slot)
    found = []
    for at in range(len(slots) - 1, max(-1, len(slots) - _BACK), -1):
        if slots[at].fixed:
            break
        if slots[at].waits(waiting):
            waiting.add(slots[at])
            ahead = [slots[at], *ahead]
        elif _alike(slots[at].items[0], region):
            found.append((at, ahead))
    return found


def _alike(item: Item, region: Anchored) -> bool:
    """Whether it is worth asking whether two regions make a group."""
    other = item.region if isinstance(item, Chosen) else None
    return isinstance(other, Anchored) and other.body == region.body and len(other.inputs) == len(region.inputs)


def _pays(items: Sequence[Item], taker: Grouping, target: Target) -> bool:
    """Whether short products may be faster as a group."""
    parts = [one.region for one in items if isinstance(one, Chosen)]
    if len(parts) > _MOST:
        return False
    alone = [taker.expected([one], target) or _SHORT for one in parts]
    if max(alone) >= _SHORT:
        return False
    together = taker.expected(parts, target)
    return together is not None and together < _SHARE * sum(alone)


def _group(items: Sequence[Item], taker: Grouping, tuning: Tuning) -> Chosen:
    """Products as one piece: by one launch, or apart."""
    parts = [one for one in items if isinstance(one, Chosen)]
    made = choose(chain_of(parts), [taker], tuning.target)
    assert isinstance(made, Chosen)
    kinds = ", ".join(dict.fromkeys(one.label.kind for one in parts))
    label = replace(made.label, kind=f"Group of {len(parts)}: {kinds}")
    return replace(made, label=label, candidates=(*made.candidates, (Apart(tuple(parts)), Tactic(Apart.name))))


def _disjoint(a: Operand, b: Operand) -> bool:
    """Whether two windows of a buffer share no element: modulo some stride, all of one lie before all of the other."""
    if a.dtype.itemsize != b.dtype.itemsize:
        return False
    for period in {*a.strides, *b.strides, _ENDLESS}:
        first, second = sorted((_range(a, period), _range(b, period)))
        if first[0] >= 0 and first[1] <= second[0]:
            return True
    return False


def _range(window: Operand, period: Size) -> tuple[int, int]:
    """Where a window's elements begin and end, modulo a period; (-1, -1) where that is not known, or not one range."""
    pairs = [(size, step) for size, step in zip(window.shape, window.strides, strict=True) if size != 1]
    known = [(size, step) for size, step in pairs if isinstance(size, int) and isinstance(step, int) and step >= 0]
    offset = window.offset
    if len(known) < len(pairs) or not isinstance(offset, int) or not isinstance(period, int) or period <= 0:
        return -1, -1
    if any(step >= period and step % period for _, step in known):
        return -1, -1
    begin = offset % period
    end = begin + 1 + sum((size - 1) * step for size, step in known if step < period)
    return (begin, end) if end <= period else (-1, -1)
