"""One family by one route: built, held against float64, and timed beside PyTorch."""

from __future__ import annotations

import copy
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from torch.utils import _pytree as pytree

import tenfold
from tenfold.errors import TenfoldError
from tests.zoo.entry import Entry, Inputs

TOLERANCE = 1e-4
NAN = float("nan")


@dataclass(frozen=True)
class Row:
    """What the table says of a family; times are milliseconds, NaN where nothing was timed."""

    name: str
    route: str = "torch"
    captured: int = 0
    host_steps: int = 0
    error: float = NAN
    ours: float = NAN
    theirs: float = NAN
    reason: str = ""

    @property
    def good(self) -> bool:
        """Built whole, and exact enough."""
        return self.captured == 100 and self.error <= TOLERANCE

    @property
    def timed(self) -> bool:
        """True if it has times."""
        return self.ours == self.ours

    def cells(self) -> tuple[str, ...]:
        """What stands in the columns of the table."""
        times = (
            (f"{self.ours:.3f}", f"{self.theirs:.3f}", f"{self.theirs / self.ours:.2f}") if self.timed else ("",) * 3
        )
        if self.reason:
            return self.name, self.route, "0 %", "", self.reason.splitlines()[0][:100], *times
        return self.name, self.route, f"{self.captured} %", str(self.host_steps), f"{self.error:.1e}", *times

    def __str__(self) -> str:
        return line(self.cells())


COLUMNS = ("family", "route", "captured", "host steps", "error", "ours, ms", "PyTorch, ms", "speed")
_WIDTHS = (20, 11, 8, 10, 8, 9, 11, 7)


def line(cells: tuple[str, ...]) -> str:
    """A row of the table as it is printed."""
    first, *rest = zip(cells, _WIDTHS, strict=True)
    return " ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])


def measured(entry: Entry, route: str = "torch", *, effort: int = 1, seconds: float = 0.4) -> Row:
    """The row of a family; it is not timed if there are no `seconds` for it."""
    module, inputs = entry.build()
    row, engine = checked(entry, module, inputs, route, effort)
    return row if engine is None or not seconds else timed(row, engine, module, inputs, seconds)


def kept(entry: Entry, route: str, folder: Path) -> Path:
    """Where the engine of a family lies."""
    return folder / (re.sub(r"\W+", "-", f"{entry.name} {route}").lower() + ".tenfold")


def checked(entry: Entry, module: nn.Module, inputs: Inputs, route: str, effort: int) -> tuple[Row, Any]:
    """The row of a family without times, and its engine; None where it cannot be built."""
    route = entry.native or route
    model, given = traced(module, inputs) if route == "torchscript" else (module, inputs)
    examples = None if route == "keras" else given
    try:
        engine = tenfold.build(model, example_inputs=examples, effort=effort, cache=False, **entry.opening)
    except TenfoldError as error:
        return Row(entry.name, route, reason=str(error)), None
    error = relative_error(called(engine, given), (entry.double or in_double)(module, inputs))
    return Row(entry.name, route, 100, int(engine.report["host_steps"]), error), engine


class _Plain(nn.Module):
    """A module that takes its arguments in order, and returns the tensors of its result."""

    def __init__(self, inner: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.inner, self.names = inner, names

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.inner(**dict(zip(self.names, given, strict=True)))
        return tuple(one for one in pytree.tree_leaves(found) if isinstance(one, torch.Tensor))


def traced(module: nn.Module, inputs: Inputs) -> tuple[Any, tuple[torch.Tensor, ...]]:
    """The module as TorchScript, and its arguments in order."""
    if isinstance(inputs, dict):
        module, inputs = _Plain(module, tuple(inputs)), tuple(inputs.values())
    return torch.jit.trace(module, inputs, check_trace=False, strict=False), inputs  # type: ignore[no-untyped-call]


def timed(row: Row, engine: Any, module: nn.Module, inputs: Inputs, seconds: float) -> Row:
    """The row with times."""
    given = inputs if row.route != "torchscript" or not isinstance(inputs, dict) else tuple(inputs.values())
    ours, theirs = _in_turn(lambda: called(engine, given), lambda: called(module, inputs), seconds)
    return replace(row, ours=ours, theirs=theirs)


def called(function: Callable[..., Any], inputs: Inputs) -> Any:
    """What a module or engine gives."""
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
        return called(wide, given)
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
    return float(torch.where(same, 0, (a - b).abs()).max() / size.clamp(min=1e-300))


def _in_turn(ours: Callable[[], Any], theirs: Callable[[], Any], seconds: float) -> tuple[float, float]:
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
