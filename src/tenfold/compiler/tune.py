"""Choosing a kernel for each region: by the cost model, then by the clock.

The strategies' order, and within one the order of its tactics, is the cost model's word; without effort it is the last.
With it, regions that are one problem are timed once, the most expensive first, until the time is up; what the timing
cache knows is not timed again. Every candidate's time, and every refusal's reason, stays with the choice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tenfold.codegen.cpu.image import Image, link_image
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.pool import CompilePool, Failure, Request
from tenfold.codegen.region import Anchored, Pointwise, Region, Row
from tenfold.codegen.strategy import Kernel, Refusal, Strategy, Tactic
from tenfold.compiler import choices
from tenfold.compiler.before import Before, is_timed
from tenfold.compiler.cost import seconds_of
from tenfold.compiler.items import HostPiece, Item, Piece, kernels
from tenfold.compiler.measure import Entries, Point, Stopwatch
from tenfold.compiler.phases import never
from tenfold.compiler.problem import problem_of
from tenfold.compiler.timings import Entry, Timings, generators, machine_kind
from tenfold.errors import UnsupportedError
from tenfold.ir.graph import Value
from tenfold.options import Options
from tenfold.runtime.cpu.team import machine_share
from tenfold.runtime.plan import Label
from tenfold.target import Target

Candidate = tuple[Strategy, Tactic]
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Effort:
    """How long to look for faster kernels: seconds in all, and for each candidate. A problem that takes less time than
    `least` seconds, or than that share of the whole, by the cost model, is left to that model.
    """

    total: float
    each: float
    least: float
    share: float


EFFORTS: Mapping[int, Effort] = {
    1: Effort(30.0, 0.03, 1e-6, 0.001),
    2: Effort(120.0, 0.1, 3e-7, 0.0),
    3: Effort(float("inf"), 0.3, 0.0, 0.0),
}
TRUST = 0.04
"""The cost model's choice stands unless another is faster by this share."""
_BATCH = 6
"""Problems whose candidates are compiled together, before any of them is timed."""


@dataclass(eq=False)
class Chosen(Piece):
    """A piece with everything that could build it, the cost model's choice first, and what the clock said."""

    candidates: tuple[Candidate, ...] = ()
    entry: Entry | None = None


def choose(region: Region, strategies: Sequence[Strategy], target: Target) -> Chosen | list[tuple[str, str]]:
    """The piece for a region by the cost model; or, where no strategy takes it, each one's reason."""
    refused: list[tuple[str, str]] = []
    candidates: list[Candidate] = []
    told = isinstance(region, Anchored) and bool(region.told)
    for strategy in strategies:
        tactics = strategy.tactics(region, target)
        if told and not isinstance(tactics, Refusal) and not getattr(strategy, "tells", False):
            tactics = Refusal("more is told than what it makes")
        if isinstance(tactics, Refusal):
            refused.append((strategy.name, tactics.reason))
        elif not candidates or not getattr(strategy, "last_resort", False):
            candidates += [(strategy, tactic) for tactic in tactics]
    if not candidates:
        return refused
    strategy, tactic = candidates[0]
    kernel = strategy.build(region, tactic, target)
    label = label_of(region, str(tactic))
    return Chosen(region, kernel, str(tactic), label, tuple(dict.fromkeys(refused)), tuple(candidates))


def tuning_of(piece: Piece | HostPiece) -> dict[str, Any]:
    """What a report says of a choice: with how much effort it was made, and each candidate's time in seconds, the
    reason why it has none, or null if there was no time for it.
    """
    if not isinstance(piece, Chosen) or piece.entry is None:
        return {}
    return told_of(piece.entry)


def told_of(entry: Entry) -> dict[str, Any]:
    """What a report says of an entry that decided."""
    about = {"effort": entry.effort, "candidates": [list(pair) for pair in entry.times.items()]}
    return about | ({"shipped": True} if entry.shipped else {})


def label_of(region: Region, tactic: str) -> Label:
    """What reports and profiles call a region."""
    return Label(region.source, kind_of(region), tactic)


def kind_of(region: Region) -> str:
    """The operations of a region, anchor first, in a few words."""
    match region:
        case Pointwise(body=body):
            return " ".join(dict.fromkeys(one.op.name for one in body.code)) or "Copy"
        case Row(phases=phases):
            return "Row " + " ".join(phase.combine for phase in phases)
        case Anchored(anchor=anchor, body=body):
            return " ".join([anchor.name, *dict.fromkeys(one.op.name for one in body.code)])
    return type(region).__name__


@dataclass(eq=False)
class Contest:
    """A problem, the pieces that are it, and the seconds that they are expected to take together."""

    problem: str
    pieces: list[Chosen]
    expected: float
    kernels: dict[str, Kernel | str]

    @property
    def tactics(self) -> dict[str, Candidate]:
        """The candidates by the names that an entry knows them by."""
        return {str(candidate[1]): candidate for candidate in self.pieces[0].candidates}


def settle(pieces: Iterable[Chosen], entry: Entry, target: Target) -> None:
    """Give every piece the kernel that was chosen."""
    for piece in pieces:
        strategy, tactic = next(one for one in piece.candidates if str(one[1]) == entry.choice)
        piece.entry = entry
        if piece.tactic != entry.choice:
            piece.kernel, piece.tactic = strategy.build(piece.region, tactic, target), entry.choice
            piece.label = replace(piece.label, tactic=entry.choice)


@dataclass(frozen=True)
class Tuning:
    """What one target's choices by the clock work with. `inputs` are the model's, which say what sizes are usual;
    `tell(phase, done, total)` hears of problems as they are settled; `start` is when the time began that may be spent;
    once `stop()` is true nothing more is timed, and what was won so far is kept. `lone`: problems with one candidate
    are timed, too. `before`: what an engine that is tuned anew had.
    """

    inputs: Sequence[Value]
    target: Target
    options: Options
    pool: CompilePool
    timings: Timings
    tell: Tell
    stop: Callable[[], bool] = never
    start: float = field(default_factory=time.perf_counter)
    lone: bool = False
    before: Before = field(default_factory=Before)

    @cached_property
    def point(self) -> Point:
        """The sizes and the number of threads at which the clock is read."""
        return Point(self.options.threads or machine_share().threads, self.inputs)

    @cached_property
    def about(self) -> list[str]:
        """The lines that begin each problem: the machine, and the versions."""
        isa = isa_of(self.target)
        inside = f"{isa.level}; {self.point.threads} threads"
        return choices.about(f"cpu {machine_kind()}", generators(), str(isa), inside=inside)

    @property
    def effort(self) -> Effort:
        """How long to look."""
        return EFFORTS[self.options.effort]

    def left(self, share: float = 1.0) -> float:
        """Seconds that are left of this share of the time; none once tuning is to stop."""
        return 0.0 if self.stop() else share * self.effort.total - (time.perf_counter() - self.start)

    def remember(self, entry: Entry) -> None:
        """Keep an entry for other builds, unless it has no times because tuning was stopped."""
        if not self.stop() or any(isinstance(one, float) for one in entry.times.values()):
            self.timings.keep(entry)


def tune(items: Sequence[Item], tuning: Tuning) -> str:
    """Choose by the timing cache and the clock where the options ask for it and this machine can run the target's code;
    a few words on what came of it.
    """
    if not tuning.target.runs_here():
        return "by the cost model"
    return Tuner(tuning).run(items) if tuning.options.effort else started(items, tuning)


def started(items: Sequence[Item], tuning: Tuning) -> str:
    """Choose by what is shipped for this kind of machine, else by the cost model; a few words on what came of it."""
    if not choices.are_there("\n".join(tuning.about)):
        return "by the cost model"
    contests = contests_of(items, tuning, Effort(0.0, 0.0, 0.0, 0.0))
    known = [(one, found) for one in contests if (found := choices.find(one.problem, one.tactics))]
    for contest, entry in known:
        settle(contest.pieces, entry, tuning.target)
    return f"by the cost model, {len(known)} of {len(contests)} problems by what is shipped for this machine"


def keep_before(items: Sequence[Item], tuning: Tuning) -> str:
    """Let what is not timed run as it did in the engine that is tuned anew; a few words on it, "" if nothing does."""
    kept = 0
    for piece in kernels(items):
        if isinstance(piece, Chosen) and not is_timed(piece.entry):
            names = {str(tactic) for _, tactic in piece.candidates}
            if entry := tuning.before.region(piece.label.kind, piece.label.source, names):
                settle([piece], entry, tuning.target)
                kept += 1
    return f"{kept} regions as they were timed before" if kept else ""


def contests_of(items: Sequence[Item], tuning: Tuning, effort: Effort) -> list[Contest]:
    """The problems with more than one candidate that are worth a look, the most expensive first."""
    found: dict[str, Contest] = {}
    isa, whole = isa_of(tuning.target), 0.0
    for piece in kernels(items):
        expected = seconds_of(piece.region, isa, tuning.point)
        whole += expected
        if isinstance(piece, Chosen) and (tuning.lone or len(piece.candidates) > 1):
            names = [str(tactic) for _, tactic in piece.candidates]
            problem = problem_of(piece.region, names, tuning.about, tuning.point)
            contest = found.setdefault(problem, Contest(problem, [], 0.0, {}))
            contest.pieces.append(piece)
            contest.expected += expected
    least = max(effort.least, effort.share * whole)
    return sorted((one for one in found.values() if one.expected >= least), key=lambda one: -one.expected)


class Tuner:
    """One target's tuning."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning, self._target, self._pool = tuning, tuning.target, tuning.pool
        self._tell, self._level, self._effort = tuning.tell, tuning.options.effort, tuning.effort
        self._isa: Isa = isa_of(tuning.target)
        self._saved = self._spent = 0.0
        self._timed = self._known = 0

    def run(self, items: Sequence[Item]) -> str:
        """Settle every contest among these items."""
        contests = contests_of(items, self._tuning, self._effort)
        unknown = []
        for contest in contests:
            entry = self._tuning.timings.find(contest.problem, self._level)
            if entry is None:
                unknown.append(contest)
            else:
                self._known += 1
                self._settle(contest, entry)
        with Stopwatch(self._tuning.point) as stopwatch:
            for start in range(0, len(unknown), _BATCH):
                self._measure(unknown[start : start + _BATCH], stopwatch, len(contests))
        won = f", {self._won():.0%} won" if self._saved else ""
        return f"{self._timed} problems timed, {self._known} known, of {len(contests)}{won}"

    def _won(self) -> float:
        return self._saved / max(self._saved + self._spent, 1e-12)

    def _measure(self, contests: Sequence[Contest], stopwatch: Stopwatch, total: int) -> None:
        """Time these contests, as far as there is time, and settle them."""
        wanted = contests if self._tuning.left() > 0 else []
        image, entries = self._compiled(wanted) if wanted else (None, {})
        for contest in contests:
            times: dict[str, float | str | None] = dict.fromkeys(contest.tactics)
            timed = image is not None and self._tuning.left() > 0
            if image and timed:
                times = self._times(contest, stopwatch, image, entries)
                self._timed += 1
            entry = Entry(contest.problem, times, best(times), self._level)
            self._tuning.remember(entry)
            self._settle(contest, entry)
            self._tell(f"tune, {self._won():.0%} won" if self._saved else "tune", self._timed + self._known, total)

    def _compiled(self, contests: Sequence[Contest]) -> tuple[Image, Entries]:
        """The code of all candidates of some contests; a candidate that LLVM refuses keeps its words."""
        for contest in contests:
            region = contest.pieces[0].region
            for name, (strategy, tactic) in contest.tactics.items():
                contest.kernels[name] = strategy.build(region, tactic, self._target)
        built = [kernel for contest in contests for kernel in contest.kernels.values() if isinstance(kernel, Kernel)]
        sources = list(dict.fromkeys((stage.source, stage.optimise) for kernel in built for stage in kernel.stages))
        made = self._pool.compile([Request(source, self._isa, optimise) for source, optimise in sources])
        failed = {key: one.reason for key, one in zip(sources, made, strict=True) if isinstance(one, Failure)}
        objects = {f"stage{number}": one for number, one in enumerate(made) if not isinstance(one, Failure)}
        for contest in contests:
            for name, kernel in contest.kernels.items():
                if isinstance(kernel, Kernel):
                    reasons = [failed[key] for s in kernel.stages if (key := (s.source, s.optimise)) in failed]
                    contest.kernels[name] = f"LLVM refused it: {reasons[0]}" if reasons else kernel
        image = link_image(self._pool, self._isa, objects)
        places = {f"stage{number}": key for number, key in enumerate(sources)}
        return image, {key: image.blob.entries[name] for name, key in places.items() if name in objects}

    def _times(
        self, contest: Contest, stopwatch: Stopwatch, image: Image, entries: Entries
    ) -> dict[str, float | str | None]:
        """Each candidate's seconds, or why it gave none."""
        times: dict[str, float | str | None] = {
            name: kernel if isinstance(kernel, str) else None for name, kernel in contest.kernels.items()
        }
        runnable = {name: kernel for name, kernel in contest.kernels.items() if isinstance(kernel, Kernel)}
        found = stopwatch.time(
            list(runnable.values()),
            image,
            entries,
            cache=self._isa.l3,
            expected=contest.expected / len(contest.pieces),
            seconds=self._effort.each,
        )
        for name, one in zip(runnable, found, strict=True):
            times[name] = one.reason if isinstance(one, Refusal) else one
        return times

    def _settle(self, contest: Contest, entry: Entry) -> None:
        if not any(entry.times.values()):
            entry = choices.find(contest.problem, contest.tactics) or entry
        if all(isinstance(one, str) for one in entry.times.values()):
            source = ", ".join(contest.pieces[0].region.source)
            raise UnsupportedError(f"no kernel for {source} runs: {entry.times}", remedy="report this")
        settle(contest.pieces, entry, self._target)
        chosen = entry.times[entry.choice]
        if isinstance(chosen, float):
            self._saved += entry.gain * len(contest.pieces)
            self._spent += chosen * len(contest.pieces)


def best(times: Mapping[str, float | str | None]) -> str:
    """The candidate to take: the fastest; the first that was not refused where that is nearly as fast, or none is
    timed.
    """
    open_ones = [name for name, one in times.items() if not isinstance(one, str)]
    timed: Iterable[tuple[str, float]] = [(name, one) for name, one in times.items() if isinstance(one, float)]
    first = (open_ones or list(times))[0]
    fastest = min(timed, key=lambda pair: pair[1], default=(first, 0.0))
    standing = times[first]
    if isinstance(standing, float) and fastest[1] < (1 - TRUST) * standing:
        return fastest[0]
    return first
