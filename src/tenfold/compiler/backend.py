"""What the road from regions to an engine file asks of a kind of machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tenfold.codegen.cpu.pool import CompilePool, Told
from tenfold.codegen.strategy import Strategy
from tenfold.compiler.items import Item
from tenfold.compiler.layout import Layout
from tenfold.compiler.schedule import Entries, Scheduler
from tenfold.compiler.tune import Tuning
from tenfold.compiler.ways import Stretch
from tenfold.ir.graph import Graph, Node
from tenfold.target import Target


@dataclass(frozen=True, eq=False)
class MachineCode:
    """The code of a target: where each stage begins in it, the sections of the engine file that hold it by their names
    within the target, and what the manifest says of them; `said` is a word for the log.
    """

    entries: Entries
    sections: Mapping[str, bytes]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""


class Backend(Protocol):
    """A kind of machine."""

    @property
    def scheduler(self) -> type[Scheduler]:
        """What writes its steps."""

    def stretches(self, graph: Graph, target: Target) -> Sequence[Stretch]:
        """What of a graph may run in several ways, as the caches of the machine and its kernels want it."""

    def keeps(self, node: Node) -> bool:
        """Whether its strategies take a composite whole."""

    def tune(self, items: Sequence[Item], tuning: Tuning) -> str:
        """Choose by the timing cache and the clock, where the options ask for it; a few words on what came of it."""

    def joined(
        self, items: Sequence[Item], layout: Layout, strategies: Sequence[Strategy], tuning: Tuning
    ) -> list[Item]:
        """The items, some of which one kernel takes together where that is faster."""

    def machine_code(
        self, items: Sequence[Item], target: Target, pool: CompilePool, tell: Told | None = None
    ) -> MachineCode:
        """The code of all kernels; `tell(done, total)` hears of the parts as they are made."""
