"""Branches and loops that Python walks between native calls, because what they hold or give has sizes that only the
data decide, or lies in no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import ExecutionError
from tenfold.ir.op import Op
from tenfold.runtime.host import HostStep
from tenfold.runtime.plan import Kept, Span, Window
from tenfold.runtime.spans import Revealed, State, WalkedIf, WalkedLoop
from tenfold.runtime.walk import Step, Walk

Array = NDArray[Any]
Catalogue = Callable[[], Iterable[type[Op]]]
"""The operations that texts of host steps name."""


def with_steps(spans: Iterable[Span], catalogue: Catalogue) -> tuple[tuple[Span, Step | None], ...]:
    """Each span with what runs it; None for native ones."""
    return tuple((span, _step_of(span, catalogue)) for span in spans)


def _step_of(span: Span, catalogue: Catalogue) -> Step | None:
    if isinstance(span.control, WalkedIf):
        return IfStep(span, span.control, catalogue)
    if isinstance(span.control, WalkedLoop):
        return LoopStep(span, span.control, catalogue)
    if isinstance(span.control, Revealed):
        return RevealStep(span, span.control)
    return HostStep(span, catalogue) if span.host else None


class RevealStep:
    """Numbers in memory become sizes."""

    def __init__(self, span: Span, about: Revealed) -> None:
        self._section, self._about = span.section, about

    def walk(self, walk: Walk) -> None:
        """Read them back."""
        numbers = walk.read(self._about.numbers).ravel().tolist()
        walk.learn(dict(zip(self._about.names, map(int, numbers), strict=True)), self._section)


class IfStep:
    """An If: one branch's spans, whose results are then kept."""

    def __init__(self, span: Span, about: WalkedIf, catalogue: Catalogue) -> None:
        self._section, self._about = span.section, about
        self._branches = {True: with_steps(about.then, catalogue), False: with_steps(about.otherwise, catalogue)}

    def walk(self, walk: Walk) -> None:
        """Choose, run, keep."""
        chosen = bool(walk.read(self._about.condition).item())
        walk.run(self._branches[chosen])
        found: dict[str, int] = {}
        for then, otherwise, kept in self._about.results:
            found |= walk.keep(kept, _own(walk, then if chosen else otherwise))
        walk.learn(found, self._section)
        for *_, kept in self._about.results:
            walk.require(kept)


class LoopStep:
    """A Loop or Scan: its body's spans, turn after turn."""

    def __init__(self, span: Span, about: WalkedLoop, catalogue: Catalogue) -> None:
        self._section, self._about = span.section, about
        self._body = with_steps(about.body, catalogue)
        self._label = span.label

    @property
    def _name(self) -> str | None:
        return ", ".join(self._label.source) or None if self._label else None

    def walk(self, walk: Walk) -> None:
        """Every turn sees states, elements and its number in arrays of their own."""
        about = self._about
        carried = about.states if about.going is None else (about.going, *about.states)
        values = [_own(walk, state.start) for state in carried]
        scans: list[list[Array]] = [[] for _ in about.scans]
        for turn, elements in self._turns(walk):
            if about.going is not None and not values[0].item():
                break
            self._begin(walk, turn, zip((state.inside for state in carried), values, strict=True), elements)
            walk.run(self._body)
            walk.check()
            values = [_own(walk, state.next) for state in carried]
            for rows, (row, _) in zip(scans, about.scans, strict=True):
                rows.append(_own(walk, row))
        self._end(walk, carried, values, scans)

    def _turns(self, walk: Walk) -> Iterator[tuple[int, list[Array]]]:
        about = self._about
        rows = [walk.read(window).copy() for window, _ in about.sequences]
        if len({len(row) for row in rows}) > 1:
            raise ExecutionError(
                f"sequences of {', '.join(str(len(row)) for row in rows)} elements", operator=self._name
            )
        limit = None if about.limit is None else int(walk.read(about.limit).item())
        turn = 0
        while turn < (min(map(len, rows)) if limit is None else limit):
            yield turn, [np.asarray(row[turn]) for row in rows]
            turn += 1

    def _begin(self, walk: Walk, turn: int, states: Iterable[tuple[Kept, Array]], elements: Sequence[Array]) -> None:
        about = self._about
        given = [*states, *zip((kept for _, kept in about.sequences), elements, strict=True)]
        if about.turn is not None:
            given.append((about.turn, np.array(turn, np.int64)))
        found: dict[str, int] = {}
        for kept, array in given:
            found |= walk.keep(kept, array)
        walk.learn(found, about.section)
        for kept, _ in given:
            walk.require(kept)

    def _end(self, walk: Walk, carried: Sequence[State], values: Sequence[Array], scans: Sequence[list[Array]]) -> None:
        found: dict[str, int] = {}
        results = []
        for state, value in zip(carried, values, strict=True):
            if state.result is not None:
                found |= walk.keep(state.result, value)
                results.append(state.result)
        for rows, (row, kept) in zip(scans, self._about.scans, strict=True):
            if len({one.shape for one in rows}) > 1:
                raise ExecutionError(
                    "what the turns of a loop give does not stack: its sizes vary", operator=self._name
                )
            found |= walk.keep(kept, np.stack(rows) if rows else _nothing(walk, row, kept))
            results.append(kept)
        walk.learn(found, self._section)
        for kept in results:
            walk.require(kept)


def _nothing(walk: Walk, row: Window, kept: Kept) -> Array:
    """A stack of no rows: sizes that only a row would decide are 0."""
    names = kept.names or ("",) * len(kept.shape)
    sizes = (0 if name else size for name, size in zip(names, walk.shape(kept.shape), strict=True))
    return np.zeros((0, *tuple(sizes)[1:]), row.dtype.numpy)


def _own(walk: Walk, window: Window) -> Array:
    """A value in an array of its own, which later turns do not change."""
    array = walk.read(window)
    return array if window.dtype.is_object else array.copy()
