"""Choosing kernels for a GPU by its clock: candidates compiled together, timed against each other, remembered."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import zip_longest

from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.codegen.cuda.pool import GpuPool
from tenfold.codegen.cuda.program import Binary, Failure, Program
from tenfold.compiler import choices
from tenfold.compiler.cost import cost_of
from tenfold.compiler.device.functions import refusal
from tenfold.compiler.device.measure import Stopwatch
from tenfold.compiler.items import Item, kernels, operands
from tenfold.compiler.problem import problem_of
from tenfold.compiler.timings import Entry, generators
from tenfold.compiler.tune import Candidate, Chosen, Tuning, settle
from tenfold.compiler.typical import typical
from tenfold.runtime import open_device
from tenfold.runtime.cuda.product import VENDOR, VENDORS
from tenfold.target import Target, machine_gpu

CANDIDATES: Mapping[int, int] = {1: 14, 2: 48, 3: 1000}
"""How many candidates of a problem are looked at, by effort."""
GUESSED = 6
"""How many of them are the cost model's best; the rest come from each strategy in turn."""
ALIKE = {1: ("stages",), 2: (), 3: ()}
"""Parameters that alone make no candidate worth looking at, by effort."""
SECONDS: Mapping[int, float] = {1: 30.0, 2: 120.0, 3: float("inf")}
"""How long tuning may take."""
_TOGETHER = 8
"""Problems whose candidates are compiled at a time."""
_INTENSITY = 190
"""Arithmetic that takes as long as moving a byte."""
TRUST = 0.01
"""The cost model's choice stands unless another is faster by this share."""
SHIPPED = 0.07
"""What is shipped stands unless another is faster alone by this share: where it is less, networks lose more by it than
they win, as the kernels beside it count too.
"""


def tune_device(items: Sequence[Item], tuning: Tuning) -> str:
    """Choose by what was shipped and, with effort, by the timing cache, and by the clock if this machine runs the
    target's code; a few words on it.
    """
    target, options, timings = tuning.target, tuning.options, tuning.timings
    contests = _contests(items, target, max(options.effort, choices.EFFORT))
    unknown: dict[str, list[Chosen]] = {}
    times_here = options.effort > 0 and target.runs_here()
    for problem, pieces in contests.items():
        shipped = options.effort <= choices.EFFORT or not times_here
        known = timings.find(problem, options.effort) if options.effort else None
        entry = known or (_shipped(problem, pieces) if shipped else None)
        if entry is None:
            unknown[problem] = pieces
        else:
            settle(pieces, entry, target)
    if unknown and times_here:
        for entry in _measured(unknown, tuning):
            timings.keep(entry)
            settle(unknown.pop(entry.problem), entry, target)
    for problem, pieces in tuple(unknown.items()):
        if entry := _shipped(problem, pieces):
            settle(unknown.pop(problem), entry, target)
    return f"{len(contests) - len(unknown)} of {len(contests)} problems settled by a clock"


def _shipped(problem: str, pieces: Sequence[Chosen]) -> Entry | None:
    """What came with Tenfold for a problem: where no more effort is asked for, or there is no clock or no time."""
    return choices.find(problem, {str(tactic) for _, tactic in pieces[0].candidates})


def _contests(items: Sequence[Item], target: Target, effort: int) -> dict[str, list[Chosen]]:
    about = choices.about(f"{target.portable}", f"triton {version('triton')}", generators())
    found: dict[str, list[Chosen]] = {}
    least = 1 if target.beside else 2
    for piece in kernels(items):
        if isinstance(piece, Chosen) and len(piece.candidates) >= least and piece.kernel.place == "cuda":
            names = [str(tactic) for _, tactic in _some(piece, effort)]
            found.setdefault(problem_of(piece.region, names, about, typical), []).append(piece)
    return found


def _some(piece: Chosen, effort: int) -> list[Candidate]:
    """The candidates that are looked at: the best guesses and the best of each strategy in turn, by the guess's order;
    a library's last.
    """
    found: dict[tuple[object, ...], Candidate] = {}
    for strategy, tactic in piece.candidates:
        told = tuple(pair for pair in tactic.parameters if pair[0] not in ALIKE[effort])
        found.setdefault((tactic.strategy, told), (strategy, tactic))
    own = [one for one in found.values() if one[1].strategy not in VENDORS]
    others = [one for one in found.values() if one[1].strategy in VENDORS and vendor_here(one[1].strategy)]
    first, most = own[:GUESSED], CANDIDATES[effort]
    ways: dict[str, list[Candidate]] = {}
    for one in own[GUESSED:]:
        ways.setdefault(one[1].strategy, []).append(one)
    turns = [one for turn in zip_longest(*ways.values()) for one in turn if one is not None]
    chosen = {one[1] for one in (first + turns)[:most]}
    return [one for one in own if one[1] in chosen] + others


def vendor_here(name: str) -> bool:
    """Whether this machine has a GPU and the library of that name to try."""
    if machine_gpu() is None:
        return False
    driver = open_device().driver
    return (driver.cublas if name == VENDOR else driver.cudnn) is not None


def _measured(contests: Mapping[str, list[Chosen]], tuning: Tuning) -> list[Entry]:
    """An entry for each contest that there was time for: while some are timed, the next are compiled."""
    target, options = tuning.target, tuning.options
    until, effort, found = time.monotonic() + SECONDS[options.effort], options.effort, list[Entry]()
    heaviest = sorted(contests, key=lambda problem: -_weight(contests[problem]))
    chunks = [heaviest[start : start + _TOGETHER] for start in range(0, len(heaviest), _TOGETHER)]
    with (
        Stopwatch(open_device().processors) as clock,
        GpuPool(len(os.sched_getaffinity(0)), arch_of(target).sm, tuning.pool.cache) as compiler,
        ThreadPoolExecutor(1) as ahead,
    ):
        clock.start()
        waiting = list[tuple[list[_Contest], Future[dict[Program, Binary | Failure]]]]()
        for chunk in (*chunks, ()):
            if chunk and time.monotonic() < until:
                some = [_Contest.of(problem, contests[problem][0], target, effort) for problem in chunk]
                programs = [one for contest in some for one in contest.programs]
                waiting.append((some, ahead.submit(compiler.compile, programs, None, until)))
            if waiting and (len(waiting) > 1 or not chunk):
                some, made = waiting.pop(0)
                entries = [_entry(contest, made.result(), clock, tuning, until) for contest in some]
                found += [one for one in entries if any(time is not None for time in one.times.values())]
                tuning.tell("tune", len(found), len(heaviest))
    return found


@dataclass(frozen=True, eq=False)
class _Contest:
    """A problem, one of its pieces, and the kernels that are looked at by the names of their tactics."""

    problem: str
    piece: Chosen
    kernels: Mapping[str, CudaKernel]

    @staticmethod
    def of(problem: str, piece: Chosen, target: Target, effort: int) -> _Contest:
        """Built for a target."""
        some = _some(piece, effort)
        return _Contest(problem, piece, {str(t): _built(piece, strategy, t, target) for strategy, t in some})

    @property
    def programs(self) -> list[Program]:
        """What is to be compiled."""
        every = [one for kernel in self.kernels.values() for one in kernel.launches]
        return [one.program for one in every if isinstance(one.program, Program)]


def _weight(pieces: Sequence[Chosen]) -> float:
    """How long pieces alike take together at least, in no unit."""
    cost = cost_of(pieces[0].region, *operands(pieces[0].region))
    return len(pieces) * max(typical(cost.flops) / _INTENSITY, typical(cost.bytes))


def _built(piece: Chosen, strategy: object, tactic: object, target: Target) -> CudaKernel:
    kernel = strategy.build(piece.region, tactic, target)  # type: ignore[attr-defined]
    assert isinstance(kernel, CudaKernel)
    return kernel


def _entry(
    contest: _Contest, made: Mapping[Program, Binary | Failure], clock: Stopwatch, tuning: Tuning, until: float
) -> Entry:
    """What the clock says; nothing of candidates that there was no time for."""
    shared = arch_of(tuning.target).shared
    times: dict[str, float | str | None] = {}
    runnable: dict[str, CudaKernel] = {}
    for name, kernel in contest.kernels.items():
        programs = [one.program for one in kernel.launches if isinstance(one.program, Program)]
        problems = [why for one in programs if one in made and (why := refusal(made[one], shared))]
        times[name] = problems[0][:300] if problems else None
        if not problems and all(one in made for one in programs):
            runnable[name] = kernel
    binaries = {program: binary for program, binary in made.items() if isinstance(binary, Binary)}
    if time.monotonic() < until:
        found = clock.time(contest.piece.region, list(runnable.values()), binaries)
        times |= zip(runnable, found, strict=True)
    shipped = choices.find(contest.problem, times)
    return Entry(contest.problem, times, best(times, shipped.choice if shipped else None), tuning.options.effort)


def best(times: Mapping[str, float | str | None], shipped: str | None = None) -> str:
    """The fastest; what is shipped, or else the first that was not refused, where that is nearly as fast, or none was
    timed.
    """
    timed = {name: one for name, one in times.items() if isinstance(one, float)}
    if not timed:
        return next((name for name, one in times.items() if one is None), next(iter(times)))
    known, least = (shipped, SHIPPED) if shipped in timed else (next(iter(timed)), TRUST)
    fastest = min(timed, key=lambda name: timed[name])
    return fastest if timed[fastest] < (1 - least) * timed[known] else known
