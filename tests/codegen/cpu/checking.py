"""A case run and compared: outputs poisoned, buffers between guard pages at either end, parts in either order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Kernel, Refusal, Strategy
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.target import Target
from tests.codegen.cpu.cases import Case
from tests.codegen.cpu.memory import Guarded
from tests.codegen.cpu.reference import evaluate, extent, operands
from tests.codegen.cpu.running import run

TARGETS = {level: Target("cpu", level) for level in ("x86-64-v3", "x86-64-v4", "aarch64")}


def build(strategy: Strategy, region: Region, isa: Isa, which: int = 0) -> Kernel:
    """The kernel of a strategy's tactic number `which`."""
    target = TARGETS[isa.level]
    tactics = strategy.tactics(region, target)
    assert not isinstance(tactics, Refusal), tactics.reason
    return strategy.build(region, tactics[which % len(tactics)], target)


def fill(dtype: DType, size: int, case: Case, rng: np.random.Generator) -> np.ndarray:
    """Random elements: floats in the case's range, small integers with some of the extreme ones."""
    if dtype is dt.boolean:
        return rng.random(size) < 0.5
    if case.whole and dtype.is_integer:
        return rng.integers(case.whole.get("low", 0), case.whole["high"], size).astype(dtype.numpy)
    if dtype.is_integer:
        low, high = (int(limit) for limit in dtype.limits)
        found = rng.integers(max(low, -20), min(high, 20), size, endpoint=True)
        if case.special and dtype.bits >= 8:
            wild = rng.integers(low, high, size, endpoint=True, dtype=dtype.numpy)
            found = np.where(rng.random(size) < 0.3, wild, found)
        return found.astype(dtype.numpy)
    found = rng.uniform(case.low, case.high, size)
    if case.special:
        extremes = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 2.5, -3.5, 1e-30, 1e-6, 60000.0, 1e5, -1e9]
        found = np.where(rng.random(size) < 0.3, rng.choice(extremes, size), found)
    with np.errstate(all="ignore"):
        return found.astype(dtype.numpy)


def check(strategy: Strategy, case: Case, isa: Isa, which: int = 0) -> None:
    """Run a case at all its sizes."""
    region = case.region()
    kernel = build(strategy, region, isa, which)
    for turn, bindings in enumerate(case.bindings):
        compare(region, kernel, case, isa, bindings, low=bool(turn % 2), skew=0, backwards=bool(turn % 3 == 1))
    compare(region, kernel, case, isa, case.bindings[-1], low=True, skew=1, backwards=False)


def contents(region: Region, case: Case, bindings: Mapping[str, int]) -> dict[Value, np.ndarray]:
    """What lies in each buffer before the kernel runs: random elements where it reads, poison where it only writes."""
    rng = np.random.default_rng(7)
    reads, writes = operands(region)
    found: dict[Value, np.ndarray] = {}
    for one in (*reads, *writes):
        if one.value not in found:
            size = max(extent(other, bindings) for other in (*reads, *writes) if other.value is one.value)
            poison = np.full(size * one.dtype.itemsize, 0xFF, np.uint8).view(one.dtype.numpy)
            read = any(other.value is one.value for other in reads)
            found[one.value] = fill(one.dtype, size, case, rng) if read else poison
    return found


def judge(
    region: Region,
    case: Case,
    bindings: Mapping[str, int],
    before: Mapping[Value, np.ndarray],
    after: Mapping[Value, np.ndarray],
) -> None:
    """Hold what a kernel left against the reference, and what it should not write against what was there."""
    reads, writes = operands(region)
    expected = {value: array.copy() for value, array in before.items()}
    with np.errstate(all="ignore"):
        evaluate(region, expected, bindings)
    for number, one in enumerate(writes):
        where = f"{case.name} {dict(bindings)} output {number}"
        _agree(where, one.dtype, after[one.value], expected[one.value], case.tolerance)
    for one in reads:
        if all(one.value is not other.value for other in writes):
            assert after[one.value].tobytes() == before[one.value].tobytes(), "an input was written"


def compare(
    region: Region, kernel: Kernel, case: Case, isa: Isa, bindings: Mapping[str, int], *, low: bool, skew: int,
    backwards: bool,
) -> None:  # fmt: skip
    """Run a kernel here on random data, and judge. `skew` moves every buffer by so many elements off its alignment."""
    before = contents(region, case, bindings)
    buffers: dict[Value, Guarded] = {}
    for value, array in before.items():
        buffer = buffers[value] = Guarded(array.nbytes + skew * array.itemsize, low)
        buffer.address += skew * array.itemsize
        buffer.size = array.nbytes
        buffer.bytes()[...] = array.view(np.uint8)
    run(kernel, isa, buffers, bindings, backwards)
    after = {value: buffers[value].bytes().view(array.dtype) for value, array in before.items()}
    judge(region, case, bindings, before, after)
    for buffer in buffers.values():
        buffer.close()


_EPSILON = {dt.f16: 2**-9.0, dt.bf16: 2**-6.0}


def _agree(where: str, dtype: DType, found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    if not dtype.is_float:
        assert np.array_equal(found.view(np.uint8), expected.view(np.uint8)), _first(where, found, expected)
        return
    if dtype.bits <= 8:
        apart = np.abs(_code(found) - _code(expected)) > (dtype.bits == 8)
        same = np.isnan(found.astype(np.float32)) & np.isnan(expected.astype(np.float32))
        assert not (apart & ~same).any(), _first(where, found, expected)
        return
    bound = _EPSILON.get(dtype, min(tolerance, 1e-12) if dtype is dt.f64 and tolerance < 1e-5 else tolerance)
    x, y = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(all="ignore"):
        close = np.abs(x - y) <= bound * np.maximum(1, np.abs(y))
    good = close | (x == y) | (np.isnan(x) & np.isnan(y))
    assert good.all(), _first(where, found, expected, ~good)


def _code(x: np.ndarray) -> np.ndarray:
    return x.view(np.uint8).astype(np.int32)


def _first(where: str, found: np.ndarray, expected: np.ndarray, bad: np.ndarray | None = None) -> str:
    if bad is None:
        bad = found.view(np.uint8).reshape(len(found), -1) != expected.view(np.uint8).reshape(len(found), -1)
        bad = bad.any(axis=1)
    at = int(np.argmax(bad))
    return f"{where}: element {at} of {len(found)} is {found[at]}, not {expected[at]} ({int(bad.sum())} differ)"
