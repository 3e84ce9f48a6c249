"""The contract between the tuner and whatever writes kernels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from tenfold.codegen.region import Region
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.target import Target


@dataclass(frozen=True)
class Refusal:
    """Why something was not done; kept in the engine, so that "why not?" has an answer."""

    reason: str


@dataclass(frozen=True)
class Tactic:
    """One way of building a region: a strategy's name and its parameters, in the order it chose."""

    strategy: str
    parameters: tuple[tuple[str, int | str], ...] = ()

    def __getitem__(self, name: str) -> int | str:
        return dict(self.parameters)[name]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.parameters)

    def number(self, name: str, default: int) -> int:
        """A parameter that not all tactics of a strategy have."""
        return int(self[name]) if name in self else default

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value}" for name, value in self.parameters)
        return f"{self.strategy}({inside})"


def tabled(strategy: str, names: Sequence[str], rows: Iterable[Sequence[int | str]]) -> list[Tactic]:
    """A tactic for each row of a table of parameters."""
    return [Tactic(strategy, tuple(zip(names, row, strict=True))) for row in rows]


@dataclass(frozen=True, eq=False)
class Address:
    """An argument: the address of an operand's buffer, plus `offset` bytes."""

    value: Value
    offset: Size = 0


@dataclass(frozen=True, eq=False)
class Packed:
    """An argument: the address of a constant after these one-input operations (Pad, Reshape, Transpose, Cast),
    which the build evaluates and a refit replays. `recipe` is the operations in order.
    """

    value: Value
    recipe: tuple[Op, ...]


@dataclass(frozen=True)
class Workspace:
    """An argument: an address in the kernel's own workspace, which lives from its first stage to its last."""

    offset: Size = 0


Argument = Address | Packed | Workspace | Size


@dataclass(frozen=True, eq=False)
class Stage:
    """Machine code of one part of a kernel, ended by a barrier.

    `source` is an LLVM module in textual form that defines
    `i32 @stage(ptr args, i64 part, ptr scratch)`; equal sources are compiled once. `arguments` say what
    `args` holds, 8 bytes each; `parts` how many independent parts the work has (a formula
    of sizes and THREADS; 1 for work under about 5 µs). `optimise` asks for LLVM's IR pipeline before code generation.
    """

    source: str
    arguments: tuple[Argument, ...]
    parts: Size = 1
    optimise: bool = False


@dataclass(frozen=True, eq=False)
class Kernel:
    """What a region became: its stages, bytes of private scratch for each thread, bytes of shared workspace."""

    place: ClassVar[str] = "cpu"
    stages: tuple[Stage, ...] = ()
    scratch: int = 0
    workspace: Size = 0

    @property
    def takes_workspace(self) -> bool:
        """Whether a stage is given an address in the workspace."""
        return any(isinstance(one, Workspace) for stage in self.stages for one in stage.arguments)


class Strategy(Protocol):
    """One way of making kernels; the tuner sees only this. Of regions that tell sums or moments besides, only one that
    `tells` builds any.
    """

    name: str

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """The ways this strategy can build the region, the best guess first; or why it cannot."""

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """The kernel of that tactic."""
