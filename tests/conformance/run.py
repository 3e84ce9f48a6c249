"""One test of the suite: built, run and compared. Runs in a child, which keeps one pool of compile workers."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

import numpy as np

import tenfold
from tenfold.codegen.cpu.pool import CompilePool, ObjectCache
from tenfold.compiler import build as road
from tenfold.errors import TenfoldError, UnsupportedError
from tenfold.importers.onnx import TABLE
from tests.conformance.compare import difference, improbable, is_chance
from tests.conformance.suite import Case, cases

assert TABLE, "the importer is loaded before children are forked"
REPEATS = 3
"""Calls of each engine: the third takes the replayed road."""


@dataclass(frozen=True)
class Outcome:
    """What became of a test: passed, failed or refused; on which tier it ran; why it did not pass."""

    status: str
    tier: str = ""
    reason: str = ""
    seconds: float = 0.0
    host: tuple[str, ...] = ()


class SharedPool(CompilePool):
    """A pool that outlives the builds it serves."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


@cache
def _pool(folder: Path) -> SharedPool:
    return SharedPool(1, ObjectCache(folder))


@contextmanager
def shared_workers(folder: Path) -> Iterator[None]:
    """Builds meanwhile share one pool of compile workers and the objects in `folder`, and time no kernels."""
    assert road.build.__kwdefaults__
    unhurried = mock.patch.dict(road.build.__kwdefaults__, effort=0)
    with unhurried, mock.patch.object(road, "CompilePool", lambda size, cache: _pool(folder)):
        yield


def attempt(task: tuple[str, Path]) -> Outcome:
    """Build, run and compare the test of that name; objects are kept in the folder."""
    name, folder = task
    start = time.perf_counter()
    case = by_name()[name]
    try:
        with shared_workers(folder), np.errstate(all="ignore"):
            engine = tenfold.build(case.model(), cache=folder)
    except UnsupportedError as error:
        return Outcome("refused", "refused", refusal(error.message))
    except Exception as error:
        return Outcome("failed", "refused", f"build: {type(error).__name__}: {first_line(error)}")
    host = host_kinds(engine)
    reason = None
    try:
        with np.errstate(all="ignore"):
            reason = disagreement(case, engine)
    except Exception as error:
        reason = f"run: {type(error).__name__}: {first_line(error)}"
    unlisted = unlisted_kinds(engine)
    if not reason and unlisted:
        reason = f"on the host, and not on the list of what may be: {', '.join(unlisted)}"
    tier = "host" if host else "native"
    return Outcome("failed" if reason else "passed", tier, reason or "", time.perf_counter() - start, host)


def first_line(error: Exception) -> str:
    """An error's message, without the operator and the remedy."""
    text = error.message if isinstance(error, TenfoldError) else str(error)
    return text.strip().splitlines()[0] if text.strip() else ""


def refusal(message: str) -> str:
    """The operators that a refused model names, each with why, in one line."""
    listed = re.findall(r"^ +(\S+) \(opset \d+\) at [^:\n]*(: .*)?$", message, re.MULTILINE)
    return "refused: " + ("; ".join(f"{name}{why}" for name, why in listed) or message.splitlines()[0])


def host_kinds(engine: tenfold.Engine) -> tuple[str, ...]:
    """The operations that run on the host, each once."""
    regions = engine.report.get("regions", ())
    kinds = Counter(region["kind"] for region in regions if region["tier"] == "host")
    steps = engine.report.get("host_steps", 0)
    return tuple(sorted(kinds)) or (("unnamed",) if steps else ())


def unlisted_kinds(engine: tenfold.Engine) -> tuple[str, ...]:
    """The operations that run on the host and are not on the list of those that may (`tenfold.codegen.hosted`)."""
    regions = engine.report.get("regions", ())
    return tuple(sorted({one["kind"] for one in regions if one["tier"] == "host" and not one["reason"]}))


def disagreement(case: Case, engine: tenfold.Engine) -> str | None:
    """How the engine's answers differ from the suite's, or None. Each data set is run as often as REPEATS says."""
    for inputs, expected in case.calls():
        for _ in range(REPEATS):
            ours = list(engine.run(list(inputs)).values())
            if len(ours) != len(expected):
                return f"{len(ours)} outputs where {len(expected)} are expected"
            reason = _compared(case, inputs, ours, expected)
            if reason:
                return reason
    return None


def _compared(case: Case, inputs: list[Any], ours: list[Any], expected: list[Any]) -> str | None:
    if is_chance(case.name):
        return improbable(case.name, inputs, ours, expected)
    return difference(ours, expected, case.rtol, case.atol)


@cache
def by_name() -> dict[str, Case]:
    """The suite's tests by name."""
    return {case.name: case for case in cases()}
