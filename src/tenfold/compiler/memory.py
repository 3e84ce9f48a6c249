"""Lifetimes to arena offsets. Pure: knows no device.

Offsets are solved once at typical sizes (first fit, largest first), then only the order is kept: where the
lifetimes of two buffers overlap, the one that lay lower ends before the other starts, at every size. So
offset(b) = max(end(a) for each a directly below b), formulas that any call's sizes evaluate. Nothing lies above what
becomes known only later in a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tenfold.compiler.typical import typical
from tenfold.ir import dim
from tenfold.ir.dim import Size

ALIGNMENT = 64
REST, SMALL = 4, 1 << 20
"""The steps that buffers rest for, and the bytes of the largest that do."""


@dataclass(frozen=True, eq=False)
class Buffer:
    """Bytes that live from step `first` to step `last`, both included. What they are is known in a `section`."""

    name: str
    size: Size
    first: int
    last: int
    section: int = 0

    def meets(self, other: Buffer) -> bool:
        """True if both live at some step."""
        return self.first <= other.last and other.first <= self.last


def aligned(size: Size) -> Size:
    """The size rounded up to a whole number of cache lines."""
    return dim.ceildiv(size, ALIGNMENT) * ALIGNMENT


def solve(sizes: Sequence[int], buffers: Sequence[Buffer]) -> list[int]:
    """Offsets for these sizes: each buffer, largest first, at the lowest place free throughout its life; but those of
    later sections above all of earlier ones that they meet.
    """
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for one in sorted(range(len(buffers)), key=lambda i: (buffers[i].section, -sizes[i], buffers[i].first, i)):
        met = [other for other in placed if buffers[one].meets(buffers[other])]
        taken = sorted((offsets[other], sizes[other]) for other in met)
        earlier = (other for other in met if buffers[other].section < buffers[one].section)
        spot = max((offsets[other] + sizes[other] for other in earlier), default=0)
        for start, size in taken:
            if spot + sizes[one] <= start:
                break
            spot = max(spot, start + size)
        offsets[one] = spot
        placed.append(one)
    return offsets


def order(buffers: Sequence[Buffer]) -> list[tuple[int, ...]]:
    """For each buffer, those directly below it, every one of them earlier in `stacking(order)`."""
    sizes = [typical(aligned(buffer.size)) for buffer in buffers]
    solved = solve(sizes, buffers)
    below = [0] * len(buffers)
    direct: list[tuple[int, ...]] = [()] * len(buffers)
    done: list[int] = []
    for one in sorted(range(len(buffers)), key=lambda i: (solved[i], sizes[i] > 0, buffers[i].section, i)):
        found: list[int] = []
        for other in reversed(done):
            if not below[one] >> other & 1 and buffers[one].meets(buffers[other]):
                found.append(other)
                below[one] |= below[other] | 1 << other
        direct[one] = tuple(reversed(found))
        done.append(one)
    return direct


def stacking(direct: Sequence[tuple[int, ...]]) -> list[int]:
    """The buffers, each after those directly below it."""
    found: dict[int, None] = {}
    waiting = list(reversed(range(len(direct))))
    while waiting:
        one = waiting[-1]
        missing = [other for other in direct[one] if other not in found]
        if missing:
            waiting.extend(reversed(missing))
            continue
        waiting.pop()
        found.setdefault(one)
    return list(found)


def rested(buffers: Sequence[Buffer]) -> list[Buffer]:
    """The buffers with lives some steps longer, where the arena of typical sizes stays as small as it can be.

    What another thread has read lately lies in its caches, and is written ten times as slowly as what lies in none:
    so small buffers rest until later steps have swept them out. Large ones sweep themselves. Where sizes become known
    in mid-call none does: it would lie above buffers that begin, and whose sizes change, while it is in use.
    """
    if any(buffer.section for buffer in buffers):
        return list(buffers)
    sizes = [typical(aligned(buffer.size)) for buffer in buffers]
    usual = _height(sizes, buffers)
    for steps in range(REST, 0, -1):
        found = _lengthened(sizes, buffers, steps, usual)
        if _height(sizes, found) <= usual:
            return found
    return list(buffers)


def _height(sizes: Sequence[int], buffers: Sequence[Buffer]) -> int:
    """The bytes of an arena as it is solved."""
    return max((start + size for start, size in zip(solve(sizes, buffers), sizes, strict=True)), default=0)


def _lengthened(sizes: Sequence[int], buffers: Sequence[Buffer], steps: int, most: int) -> list[Buffer]:
    """The small buffers live so many steps longer, as long as no more than `most` bytes live at once."""
    live = [0] * (max((buffer.last for buffer in buffers), default=0) + 1)
    for buffer, size in zip(buffers, sizes, strict=True):
        for step in range(buffer.first, buffer.last + 1):
            live[step] += size
    found = []
    for buffer, size in zip(buffers, sizes, strict=True):
        last, end = buffer.last, min(len(live) - 1, buffer.last + steps * (size <= SMALL))
        while last < end and live[last + 1] + size <= most:
            last += 1
            live[last] += size
        found.append(replace(buffer, last=last))
    return found


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """The most bytes that live at one step, at typical sizes: no plan needs less."""
    steps = {buffer.first for buffer in buffers}
    return max((sum(typical(aligned(b.size)) for b in buffers if b.first <= s <= b.last) for s in steps), default=0)


def joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted ranges, those that meet or lie apart by less than an alignment made one."""
    found: list[tuple[int, int]] = []
    for begin, end in ranges:
        if found and begin < found[-1][1] + ALIGNMENT:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found
