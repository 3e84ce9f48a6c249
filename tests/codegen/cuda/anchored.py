"""Kernels of single operations against the operation's own definition, in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir.op import Array
from tenfold.ops.constant import Constant
from tests.codegen.cpu.anchored import Case, extent, near, strided
from tests.codegen.cpu.memory import Guarded
from tests.codegen.cuda.interpreting import TARGET, bound, run

Shape = Sequence[tuple[str, int | str]]


def results(case: Case, region: Region, kernel: Any) -> list[Array]:
    """What a kernel of a case's region writes: buffers lie between guard pages, outputs begin as poison."""
    sides = [*region.inputs, *region.extra, *region.gathered, *region.outputs]  # type: ignore[attr-defined]
    values = {one.value: one for one in sides if not isinstance(one.value.op, Constant)}
    memory = {value: Guarded(max(extent(one, {}) for one in sides if one.value is value)) for value in values}
    views = {value: strided(one, memory[value].bytes(), {}) for value, one in values.items()}
    for value, array in case.arrays.items():
        views[value][...] = array
    run(kernel, memory, {value: one.dtype for value, one in values.items()})
    found = [views[one.value].copy() for one in region.outputs]
    del views
    for buffer in memory.values():
        buffer.close()
    return found


def check(strategy: Any, case: Case, shape: Shape | None = None, *, expected: Sequence[Array] | None = None,
          which: int = 0, tolerance: float = 2e-6) -> None:  # fmt: skip
    """A tactic (number `which`, or of the parameters `shape`) gives what the operation's definition gives."""
    region = bound(case.region, case.bindings)
    found = strategy.tactics(region, TARGET)
    assert not isinstance(found, Refusal), found.reason
    tactic = Tactic(strategy.name, tuple(shape)) if shape is not None else found[which % len(found)]
    if expected is None:
        expected = case.op.results(tuple(one.array for one in case.inputs))
    with np.errstate(all="ignore"):
        got = results(case, region, strategy.build(region, tactic, TARGET))
    for one, wanted in zip(got, expected, strict=True):
        near(one, wanted, tolerance)
