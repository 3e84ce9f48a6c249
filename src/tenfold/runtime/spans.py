"""The spans of a plan, as data: native ranges of steps, host steps, and what Python walks between native calls.

A span that decides sizes names them and the section of the plan's program that they complete. All numbers are slots of
the frame unless they are called otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tenfold.ir.dtype import DType


@dataclass(frozen=True)
class Label:
    """What a step stands for: the operators of the user's model, what it computes, the tactic, and slots of its least
    work in floating-point operations and in bytes (-1 where another step of the same kernel holds them).
    """

    source: tuple[str, ...]
    kind: str
    tactic: str
    flops: int = -1
    bytes: int = -1


@dataclass(frozen=True)
class Window:
    """A tensor in memory: its base, and slots of its byte offset, of its sizes and of its strides in elements.

    Objects lie in no memory: of them only the base counts, which names their place among a context's values.
    """

    name: str
    dtype: DType
    base: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Kept:
    """A tensor that Python makes and keeps, in memory of its own: its base, its sizes, and its storage order, outermost
    axis first. `names` has the unknown size that each axis decides, "" for none; it is empty where none does.
    """

    name: str
    dtype: DType
    base: int
    shape: tuple[int, ...]
    order: tuple[int, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class WalkedIf:
    """Branches between native calls: a bool, the spans of both branches, and for each result where either branch leaves
    it and where it is kept.
    """

    condition: Window
    then: tuple[Span, ...]
    otherwise: tuple[Span, ...]
    results: tuple[tuple[Window, Window, Kept], ...]


@dataclass(frozen=True)
class State:
    """What a loop carries from turn to turn: where it begins, where the body sees it, its next value, its last."""

    start: Window
    inside: Kept
    next: Window
    result: Kept | None


@dataclass(frozen=True)
class WalkedLoop:
    """Turns between native calls. `limit` is the most of them, an i64, or None where sequences end the loop; `turn` is
    where the body reads its number; `going` is the bool that must hold before each turn. `sequences` are read row by
    row, `scans` stacked into results; `section` is what the states' sizes complete at each turn.
    """

    body: tuple[Span, ...]
    states: tuple[State, ...]
    limit: Window | None = None
    turn: Kept | None = None
    going: State | None = None
    sequences: tuple[tuple[Window, Kept], ...] = ()
    scans: tuple[tuple[Window, Kept], ...] = ()
    section: int = 0


@dataclass(frozen=True)
class Revealed:
    """Numbers that native code left in a small tensor: what these sizes stand for."""

    numbers: Window
    names: tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """A native range of steps [begin, end); a host step, a graph in textual form with its windows; a branch or loop
    that Python walks; or numbers that it reads back. `learns` are the sizes that a host step decides, `section` what it
    or its results complete. Where a GPU takes part, `place` is "cuda" for its native ranges; `sees` and `makes` are
    the buffers that a span reads and writes of those that the GPU touches too.
    """

    begin: int = 0
    end: int = 0
    host: str = ""
    reads: tuple[Window, ...] = ()
    writes: tuple[Window | Kept, ...] = ()
    tensors: tuple[Window, ...] = ()
    label: Label | None = None
    learns: tuple[str, ...] = ()
    section: int = 0
    control: WalkedIf | WalkedLoop | Revealed | None = None
    place: str = "cpu"
    sees: tuple[Window, ...] = ()
    makes: tuple[Window, ...] = ()

    @property
    def is_native(self) -> bool:
        """True for a range of the step table."""
        return not self.host and self.control is None

    @property
    def written(self) -> tuple[Window, ...]:
        """What a host step writes to memory that is not its own."""
        return tuple(one for one in self.writes if isinstance(one, Window))


def every_span(spans: Iterable[Span]) -> Iterator[Span]:
    """The spans, each followed by those within it."""
    for span in spans:
        yield span
        if isinstance(span.control, WalkedIf):
            yield from every_span((*span.control.then, *span.control.otherwise))
        elif isinstance(span.control, WalkedLoop):
            yield from every_span(span.control.body)
