"""What a graph comes down to: kernels, branches, loops and host steps, in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tenfold.codegen.region import Anchored, Chain, Operand, Pointwise, Region, Row
from tenfold.codegen.strategy import Kernel
from tenfold.compiler.loops import Turns
from tenfold.ir.dim import Dim
from tenfold.ir.graph import Node, Value
from tenfold.ir.tensor import Tensor
from tenfold.runtime.plan import Label


@dataclass(eq=False)
class Piece:
    """A region with the kernel that was chosen for it; `entries` are its stages' offsets in the code."""

    region: Region
    kernel: Kernel
    tactic: str
    label: Label
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(eq=False)
class Branch:
    """An If: the pieces of either branch, chosen by a bool byte at run time."""

    condition: Value
    then: list[Item]
    otherwise: list[Item]


@dataclass(eq=False)
class Repeat:
    """A Loop or Scan: the pieces of its body, turn after turn."""

    turns: Turns
    body: list[Item]
    label: Label


@dataclass(eq=False)
class HostPiece:
    """Work for the interpreter: a graph in textual form, the values it reads and writes, the sizes that it decides and
    those that it mentions.
    """

    text: str
    reads: list[Value]
    writes: list[Value]
    tensors: dict[str, Tensor]
    label: Label
    refused: tuple[tuple[str, str], ...] = ()
    decides: frozenset[str] = frozenset()
    mentions: tuple[Dim, ...] = ()


@dataclass(eq=False)
class Choice:
    """An If that ends a span: the pieces of either branch, chosen between native calls, and why so."""

    node: Node
    then: list[Item]
    otherwise: list[Item]
    label: Label
    reason: str


@dataclass(eq=False)
class Cycle:
    """A Loop or Scan whose turns are taken between native calls: the pieces of its body, and why so."""

    node: Node
    body: list[Item]
    label: Label
    reason: str


@dataclass(eq=False)
class Reveal:
    """The end of a span: the numbers in a small tensor are read back, and are what these sizes stand for."""

    value: Value
    names: tuple[str, ...]
    label: Label


Item = Piece | Branch | Repeat | HostPiece | Choice | Cycle | Reveal


def operands(region: Region) -> tuple[list[Operand], list[Operand]]:
    """What a region reads, and what it writes."""
    writes = list(region.outputs)
    reads = list(region.gathered)
    match region:
        case Pointwise():
            reads += region.inputs
        case Row():
            reads += [*region.inputs, *region.finish_inputs]
            writes += region.finish_outputs
        case Anchored():
            reads += [*region.inputs, *region.extra]
            writes += region.told
        case Chain(parts=parts, within=within):
            each = [operands(part) for part in parts]
            made, hidden = {one.value for _, some in each for one in some}, {one.value for one in within or ()}
            reads = [one for some, _ in each for one in some if one.value not in made]
            writes = [one for _, some in each for one in some if one.value not in hidden]
    return reads, writes


def pieces(items: Iterable[Item]) -> Iterator[Piece | HostPiece]:
    """Every piece in the order of the step table, branches one after the other."""
    for item in items:
        if isinstance(item, Branch | Choice):
            yield from pieces(item.then)
            yield from pieces(item.otherwise)
        elif isinstance(item, Repeat | Cycle):
            yield from pieces(item.body)
        elif not isinstance(item, Reveal):
            yield item


def walked(items: Iterable[Item]) -> Iterator[Choice | Cycle]:
    """Every If and loop among the items, and within them, that ends a span."""
    for item in items:
        if isinstance(item, Choice | Cycle):
            yield item
        if isinstance(item, Branch | Choice):
            yield from walked((*item.then, *item.otherwise))
        elif isinstance(item, Repeat | Cycle):
            yield from walked(item.body)


def kernels(items: Iterable[Item]) -> Iterator[Piece]:
    """The pieces that run as kernels."""
    return (item for item in pieces(items) if isinstance(item, Piece))
