"""One family: built, held against float64, and timed beside PyTorch."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from torch.utils import _pytree as pytree

import tenfold
from tenfold.errors import TenfoldError
from tests.zoo.entry import Entry, Inputs

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Row:
    """What the table says of a family; times are milliseconds, NaN where nothing was timed."""

    name: str
    route: str = "torch"
    captured: int = 0
    host_steps: int = 0
    error: float = float("nan")
    ours: float = float("nan")
    theirs: float = float("nan")
    reason: str = ""

    @property
    def good(self) -> bool:
        """Built whole, on no host step, and exact enough."""
        return self.captured == 100 and self.error <= TOLERANCE

    def __str__(self) -> str:
        if self.reason:
            return f"{self.name:18} {self.route:11} {self.captured:4d} %  {self.reason.splitlines()[0][:120]}"
        times = f"{self.ours:9.3f} {self.theirs:9.3f} {self.theirs / self.ours:6.2f}x" if self.ours == self.ours else ""
        return f"{self.name:18} {self.route:11} {self.captured:4d} % {self.host_steps:6d} {self.error:9.1e} {times}"


HEADER = f"{'family':18} {'route':11} {'share':>6} {'host':>6} {'error':>9} {'ours ms':>9} {'torch ms':>9} {'speed':>7}"


def measured(entry: Entry, *, effort: int = 1, timed: bool = True) -> Row:
    """The row of a family."""
    module, inputs = entry.build()
    try:
        engine = tenfold.build(module, example_inputs=inputs, effort=effort, **entry.opening)
    except TenfoldError as error:
        return Row(entry.name, reason=str(error))
    host = int(engine.report["host_steps"])
    error = relative_error(_called(engine, inputs), in_double(module, inputs))
    ours = theirs = float("nan")
    if timed:
        ours, theirs = _timed(lambda: _called(engine, inputs), lambda: _called(module, inputs))
    return Row(entry.name, captured=100, host_steps=host, error=error, ours=ours, theirs=theirs)


def _called(function: Callable[..., Any], inputs: Inputs) -> Any:
    with torch.no_grad():
        return function(**inputs) if isinstance(inputs, dict) else function(*inputs)


def in_double(module: nn.Module, inputs: Inputs) -> Any:
    """What the module gives when it computes in float64."""
    wide = copy.deepcopy(module).double()
    if isinstance(wide, transformers.MixtralForCausalLM):
        wide.set_experts_implementation("eager")  # the grouped product knows no float64
    given = pytree.tree_map(lambda x: x.double() if x.is_floating_point() else x, inputs)
    torch.set_default_dtype(torch.float64)
    try:
        return _called(wide, given)
    finally:
        torch.set_default_dtype(torch.float32)


def relative_error(found: Any, wanted: Any) -> float:
    """The greatest difference over the greatest magnitude, among all tensors; infinite where shapes differ."""
    ours = [one for one in pytree.tree_leaves(found) if isinstance(one, torch.Tensor)]
    theirs = [one for one in pytree.tree_leaves(wanted) if isinstance(one, torch.Tensor)]
    if [one.shape for one in ours] != [one.shape for one in theirs]:
        return float("inf")
    return max(_difference(a, b) for a, b in zip(ours, theirs, strict=True))


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    if not a.numel():
        return 0.0
    a, b = a.double(), b.double()
    same = a == b
    size = b[b.isfinite()].abs().max() if b.isfinite().any() else torch.tensor(1.0)
    return float(torch.where(same, 0, (a - b).abs()).max() / size.clamp(min=1e-12))


def _timed(ours: Callable[[], Any], theirs: Callable[[], Any], seconds: float = 0.4) -> tuple[float, float]:
    """Medians in milliseconds, both measured in turn so that the machine treats them alike."""
    times: tuple[list[float], list[float]] = ([], [])
    for function in (ours, theirs, ours, theirs):
        function()
    for _ in range(3):
        for function, found in zip((ours, theirs), times, strict=True):
            time.sleep(0.02)
            end = time.perf_counter() + seconds / 3
            while time.perf_counter() < end or len(found) < 3:
                start = time.perf_counter()
                function()
                found.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])
