"""Regions that follow each other and that one kernel may take together: a chain against its parts, by the clock.

Stretches of one row, which lie one behind the other; convolutions with what lies around their results and with the
greatest of these, and such of one tap with the depthwise convolution of their results, between which other work may
stand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cuda.launch import CudaKernel, placed, room
from tenfold.codegen.region import Anchored, Chain, Operand, Pointwise, Region, Row
from tenfold.codegen.strategy import Refusal, Strategy, Tactic
from tenfold.compiler.device.shared import Touched, touched_by
from tenfold.compiler.device.tune import tune_device
from tenfold.compiler.items import Item, kernels, operands
from tenfold.compiler.layout import Layout
from tenfold.compiler.tune import Chosen, Tuning, choose
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.conv import Conv
from tenfold.ops.matmul import MatMul
from tenfold.target import Target

_MOST = 4
"""Products of a chain: a kernel holds the code of all its links."""


@dataclass(frozen=True, eq=False)
class Apart:
    """The parts of a chain by their own kernels, one after another; what lies within it in the workspace."""

    parts: tuple[Chosen, ...]
    name = "apart"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """The only one."""
        return [Tactic(self.name)]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """All launches; each part may use the workspace and the counters anew."""
        assert isinstance(region, Chain)
        every = [part.kernel for part in self.parts if isinstance(part.kernel, CudaKernel)]
        starts = dict[Value, Size]()
        end: Size = dim.maximum(0, *(kernel.workspace for kernel in every))
        for one in region.within or ():
            starts[one.value] = room(end)
            end = room(end) + one.value.type.size * one.dtype.itemsize
        return CudaKernel(
            launches=placed([one for kernel in every for one in kernel.launches], starts),
            workspace=end,
            zeroed=dim.maximum(0, *(kernel.zeroed for kernel in every)),
        )


def pooled(items: Sequence[Item], layout: Layout, strategies: Sequence[Strategy], tuning: Tuning) -> list[Item]:
    """Convolutions with the greatest of their results, and with the cast of their image or, where that is no faster,
    without.
    """
    takers = [one for one in strategies if one.name == "pooled"]
    found = list(items)
    for widely in (True, False) if takers else ():
        touched = {item: touched_by(item, layout) for item in found}
        images = [one for one in found if isinstance(one, Chosen) and _is_image(one)]
        every = [_around(one, found, touched, widely) for one in images]
        chains = [(chain, parts) for parts in every if (chain := _greatest(parts, layout))]
        made = [(_piece(chain, parts, takers, tuning), parts, parts[-1]) for chain, parts in chains]
        found = _settled(made, found, tuning)
    return found


def expanded(items: Sequence[Item], layout: Layout, strategies: Sequence[Strategy], tuning: Tuning) -> list[Item]:
    """Convolutions with the one that alone reads their results."""
    takers = [one for one in strategies if one.name == "expanded"]
    if not takers:
        return list(items)
    touched = {item: touched_by(item, layout) for item in items}
    images = [one for one in items if isinstance(one, Chosen) and _is_image(one)]
    every = [_around(one, items, touched, False) for one in images]
    chains = [(chain, parts) for parts in every if (chain := _within(parts, layout))]
    return _settled(
        [(_piece(chain, parts, takers, tuning), parts, parts[-1]) for chain, parts in chains], items, tuning
    )


def _within(parts: Sequence[Chosen], layout: Layout) -> Chain | None:
    """The chain of two convolutions, of which what the first makes is not stored; None if they are others."""
    first, last = parts[0].region, parts[-1].region
    if len(parts) != 2 or not isinstance(last, Anchored) or not isinstance(last.anchor, Conv):
        return None
    if any(one.value in layout.outputs for one in first.outputs) or last.anchor.groups == 1:
        return None
    return replace(chain_of(parts), outputs=(*last.outputs, *last.told), within=first.outputs)


def _greatest(parts: Sequence[Chosen], layout: Layout) -> Chain | None:
    """The chain of a convolution, what is around it, and rows, which alone are stored; None if it ends otherwise."""
    last, made = parts[-1].region, (one for part in parts[:-1] for one in part.region.outputs)
    within = dict[Value, Operand]()
    for one in made:
        within.setdefault(one.value, one)
    if not isinstance(last, Row) or any(one in layout.outputs for one in within):
        return None
    return replace(chain_of(parts), outputs=(*last.outputs, *last.finish_outputs), within=tuple(within.values()))


def _around(conv: Chosen, items: Sequence[Item], touched: Mapping[Item, Touched], widely: bool) -> list[Chosen]:
    """A convolution, what else is written beside its results, and what alone reads them; `widely`: behind what makes
    its image for it alone. The convolution alone where others do, or where what is read does not last until then.
    """
    assert isinstance(conv.region, Anchored)
    image = _touching(conv.region.inputs[0].value, items, touched) if widely else ()
    every = list(dict.fromkeys((*image, conv, *_touching(conv.region.outputs[0].value, items, touched))))
    parts = [one for one in every if isinstance(one, Chosen) and isinstance(one.kernel, CudaKernel)]
    end = items.index(parts[-1])
    lasts = all(
        not touched[part].reads.keys() & touched[item].writes.keys()
        for part in parts
        for item in items[items.index(part) + 1 : end]
        if item not in parts
    )
    return parts if len(parts) == len(every) and lasts else [conv]


def _touching(root: Value, items: Sequence[Item], touched: Mapping[Item, Touched]) -> list[Item]:
    return [item for item in items if root in touched[item].reads or root in touched[item].writes]


def chained(items: Sequence[Item], strategies: Sequence[Strategy], tuning: Tuning) -> list[Item]:
    """Stretches of one row."""
    takers = [one for one in strategies if one.name == "chain"]
    if not takers:
        return list(items)
    stretches = list(_stretches(items, takers, tuning))
    ends = [parts[-1] for parts in stretches]
    written = {one.value for item in kernels(items) for one in operands(item.region)[1]}
    for at in range(1, len(stretches)):
        early = [one for one in stretches[at] if _waits_for_nothing(one, written)]
        later, sooner = [one for one in stretches[at] if one not in early], [*stretches[at - 1], *early]
        if early and all(_piece(chain_of(some), some, takers, tuning) for some in (sooner, later)):
            stretches[at - 1], stretches[at] = sooner, later
    pieces = ((_piece(chain_of(parts), parts, takers, tuning), parts) for parts in stretches)
    return _settled([(*one, end) for one, end in zip(pieces, ends, strict=True)], items, tuning)


_Candidate = tuple[Chosen | None, Sequence[Chosen], Chosen]
"""A chain if it is taken, its parts, and the part where it stands."""


def _settled(made: Sequence[_Candidate], items: Sequence[Item], tuning: Tuning) -> list[Item]:
    """The items with those chains that are faster than their parts."""
    found = [(one, parts, end) for one, parts, end in made if one is not None]
    tune_device([one for one, _, _ in found], tuning)
    chains = [(one, parts, end) for one, parts, end in found if one.tactic != str(one.candidates[0][1])]
    kept = {end: one for one, _, end in chains}
    taken = {part for _, parts, _ in chains for part in parts}
    return [one for item in items for one in _instead(item, kept, taken)]


def _instead(item: Item, kept: Mapping[Chosen, Chosen], taken: Collection[Chosen]) -> list[Item]:
    """What stands for an item: the chain that it ends, nothing if it is part of one, else itself."""
    if not isinstance(item, Chosen) or item not in taken:
        return [item]
    return [kept[item]] if item in kept else []


def _piece(chain: Chain, parts: Sequence[Chosen], takers: Sequence[Strategy], tuning: Tuning) -> Chosen | None:
    """The parts as one piece, if it is taken: as they are, or as the best guess of a chain has them."""
    made = choose(chain, takers, tuning.target)
    if isinstance(made, list):
        return None
    apart, tactic = Apart(tuple(parts)), Tactic(Apart.name)
    kind = "Chain of " + ", ".join(part.label.kind for part in parts)
    return replace(
        made,
        kernel=apart.build(made.region, tactic, tuning.target),
        tactic=str(tactic),
        label=replace(made.label, kind=kind, tactic=str(tactic)),
        candidates=((apart, tactic), *made.candidates[: None if chain.within else 1]),
    )


def chain_of(parts: Sequence[Chosen]) -> Chain:
    """Pieces as one region."""
    return Chain(
        parts[-1].region.domain,
        tuple(one for part in parts for one in part.region.outputs),
        tuple(part.region for part in parts),
        source=tuple(dict.fromkeys(name for part in parts for name in part.region.source)),
    )


def _waits_for_nothing(one: Chosen, written: Collection[Value]) -> bool:
    """Whether it works, element by element, on what is there before the call, and nothing writes."""
    return isinstance(one.region, Pointwise) and all(
        read.value.producer is None and read.value not in written for read in operands(one.region)[0]
    )


def _stretches(items: Sequence[Item], takers: Sequence[Strategy], tuning: Tuning) -> Iterator[list[Chosen]]:
    """The pieces of each stretch that may be a chain."""
    at = 0
    while at < len(items):
        parts = _stretch(items[at:], takers, tuning)
        if parts:
            yield parts
        at += max(1, len(parts))


def _stretch(items: Sequence[Item], takers: Sequence[Strategy], tuning: Tuning) -> list[Chosen]:
    """The pieces that begin a list, as far as they are one chain."""
    found: list[Chosen] = []
    whole = products = 0
    for item in items:
        if not isinstance(item, Chosen) or not isinstance(item.region, Pointwise | Row | Anchored):
            break
        product = _is_product(item.region)
        if not isinstance(item.kernel, CudaKernel) or (product and products == _MOST):
            break
        found.append(item)
        products += product
        if products > 1 and not isinstance(item.region, Row):
            chain = chain_of(found)
            if all(isinstance(one.tactics(chain, tuning.target), Refusal) for one in takers):
                break
            whole = len(found)
    return found[:whole]


def _is_image(one: Chosen) -> bool:
    region = one.region
    conv = isinstance(region, Anchored) and isinstance(region.anchor, Conv) and len(region.outputs) == 1
    return conv and isinstance(one.kernel, CudaKernel)


def _is_product(region: Region) -> bool:
    return isinstance(region, Anchored) and isinstance(region.anchor, MatMul)
