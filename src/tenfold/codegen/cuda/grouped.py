"""Products that do not wait for each other in one launch: a grouped GEMM. A block finds its product in a table of
addresses and sizes, and does there what it would do in a launch of that product alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

import triton
import triton.language as tl

from tenfold.codegen.cuda import gemm, grid
from tenfold.codegen.cuda.arch import Arch, arch_of
from tenfold.codegen.cuda.guess import Tile
from tenfold.codegen.cuda.launch import CudaKernel, Filling, Given, GpuArgument, Launch, launch, numbers
from tenfold.codegen.cuda.program import Hole, Parameter, Program, Word
from tenfold.codegen.region import Anchored, Chain, Region
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.target import Target

_ROOM = 3 << 10
"""Bytes of a launch's arguments, of which there may be 4 KiB."""
_APART = ("a", "b", "batch_sizes", "outputs", "extra", "gathered", "uniforms", "row_sizes", "m", "n", "k")
"""What differs from product to product; all else is the same."""


@triton.jit
def grouped(
    firsts, table, partial, counters,
    problem_of: tl.constexpr, body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, SLICES: tl.constexpr, COPIED: tl.constexpr,
    TF32: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Product number p has the blocks from `firsts[p]` on, and the words `table[p]`."""
    block = tl.program_id(0)
    first, words = 0, table[0]
    for each in tl.static_range(1, len(table)):
        mine = block >= firsts[each]
        first = tl.where(mine, firsts[each], first)
        words = chosen(mine, table[each], words)
    a, b, batch_sizes, outputs, extra, gathered, uniforms, row_sizes, m, n, k = problem_of(words)
    grid.begin(EARLY)
    gemm.slice_of(
        block - first, first // SLICES, a, b, batch_sizes, partial, counters, outputs, extra, gathered, uniforms,
        row_sizes, m, n, k, body, output_kinds, extra_kinds, M, N, K, SLICES, COPIED, TF32,
    )  # fmt: skip


@triton.jit
def chosen(mine, ours, others):
    """Our words if it is our turn, else those of others."""
    found = ()
    for at in tl.static_range(len(ours)):
        found = found + (tl.where(mine, ours[at], others[at]),)
    return found


class Grouped:
    """Products alike in all but addresses and sizes, by tiles of `sliced` that move by address."""

    name = "grouped"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tiles for the one with the most rows, the best guess first."""
        if not isinstance(region, Chain) or len(region.parts) < 2:
            return Refusal("no group of regions")
        if any(not isinstance(one, Anchored) or one.told or one.gathered for one in region.parts):
            return Refusal("one is no product, tells more than its results, or gathers")
        problems = [one for part in region.parts if isinstance(one := gemm.problem_of(part), gemm.Problem)]
        if len(problems) < len(region.parts) or any(gemm.extent(one)[0] == 1 for one in problems):
            return Refusal("one is no product, or of a single row")
        some = _tiles(problems, arch_of(target))
        made = _table([gemm.SLICED.build(part, _alone(some[0]), target).launches[0] for part in region.parts])
        if isinstance(made, Refusal):
            return made
        return sorted(some, key=lambda one: self.guess(region, one, target) // 100)

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about: as if they were one product of as many tiles."""
        assert isinstance(region, Chain)
        m, n, k, slices, stages = (int(tactic[name]) for name in ("m", "n", "k", "slices", "stages"))
        sizes = [gemm.extent(one) for one in map(gemm.problem_of, region.parts) if isinstance(one, gemm.Problem)]
        tiles = sum(-(-rows // m) * -(-columns // n) for rows, columns, _ in sizes)
        tile = Tile(m, n, k, slices, stages, region.parts[0].outputs[0].dtype.itemsize)
        return tile.nanoseconds(tiles * m, n, max(terms for *_, terms in sizes), arch_of(target))

    def expected(self, parts: Sequence[Region], target: Target) -> float | None:
        """Nanoseconds of products together, or of one alone, by the best guess; None if they make no group."""
        if len(parts) > 1:
            region: Region = Chain(parts[-1].domain, tuple(one for part in parts for one in part.outputs), tuple(parts))
            ways, guess = self.tactics(region, target), self.guess
        else:
            region, ways, guess = parts[0], gemm.SLICED.tactics(parts[0], target), gemm.guess
        return None if isinstance(ways, Refusal) else min(guess(region, one, target) for one in ways)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch; counters and a workspace of partial sums for all tiles."""
        assert isinstance(region, Chain)
        each = [gemm.SLICED.build(part, _alone(tactic), target) for part in region.parts]
        made = _table([kernel.launches[0] for kernel in each])
        assert isinstance(made, Launch)
        return CudaKernel(
            launches=(made,),
            workspace=dim.total(kernel.workspace for kernel in each),
            zeroed=dim.total(kernel.zeroed for kernel in each),
        )


def _tiles(problems: Sequence[gemm.Problem], arch: Arch) -> list[Tactic]:
    most, itemsize = max(gemm.extent(one)[0] for one in problems), problems[0].a.dtype.itemsize
    m = max(16, min(64, grid.power_of_two(most)))
    tiles = [(m, *one) for one in _NARROW] + [one for one in _TALL if most > m]
    rows = [(m, n, k * 2 // itemsize, *rest, 0) for m, n, k, *rest in tiles]
    names = ("m", "n", "k", "slices", "stages", "warps", "copied")
    return tabled(
        Grouped.name, names, [one for one in rows if (one[0] + one[1]) * one[2] * one[4] * itemsize <= arch.shared]
    )


def _alone(tactic: Tactic) -> Tactic:
    """What a group's tactic is for one of its products."""
    return Tactic(gemm.SLICED.name, tactic.parameters)


def _table(launches: Sequence[Launch]) -> Launch | Refusal:
    """Launches of one kernel as one; refused where they differ in more than addresses and sizes."""
    programs = [one.program for one in launches if isinstance(one.program, Program)]
    every = [_filled(program, one.arguments) for program, one in zip(programs, launches, strict=True)]
    first, columns = every[0], list[Sequence[Filling]]()
    apart = [_read([one[name] for one in every], columns) for name in _APART]
    same = [name for name, _ in programs[0].parameters if name not in _APART]
    unlike = [name for name, text in zip(_APART, apart, strict=True) if text is None]
    constants = [dict(one.parameters) for one in programs]
    unlike += [name for name in same if any(one[name] != constants[0][name] for one in constants[1:])]
    if unlike:
        return Refusal(f"{' and '.join(unlike)} differ in kind")
    if 8 * len(launches) * len(columns) > _ROOM:
        return Refusal("more words than a launch takes")
    *firsts, blocks = accumulate((one.grid for one in launches), initial=0)
    fillings: dict[str, Filling] = {
        "firsts": numbers(firsts),
        "table": tuple(zip(*columns, strict=True)),
        **{name: first[name] for name in ("partial", "counters")},
        "problem_of": Hole(f"def hole(words):\n    return {', '.join(map(str, apart))}"),
        **{name: first[name] for name in same if name not in ("partial", "counters")},
    }
    return launch(f"{__name__}:grouped", blocks, fillings, programs[0].warps, programs[0].stages)


def _filled(program: Program, arguments: Iterable[GpuArgument]) -> dict[str, Filling]:
    """What fills a program's parameters, each word with its argument."""
    rest = iter(arguments)

    def filling(parameter: Parameter) -> Filling:
        if isinstance(parameter, tuple):
            return tuple(map(filling, parameter))
        return Given(parameter, next(rest)) if isinstance(parameter, Word) else parameter

    return {name: filling(parameter) for name, parameter in program.parameters}


def _read(alike: Sequence[Filling], columns: list[Sequence[Filling]]) -> str | None:
    """An expression that reads a parameter of one product from its row of the table, of whose columns it adds those
    that it needs; None where products take it in other forms.
    """
    first = alike[0]
    if isinstance(first, tuple):
        if any(not isinstance(one, tuple) or len(one) != len(first) for one in alike):
            return None
        parts = [_read([one[at] for one in alike], columns) for at in range(len(first))]  # type: ignore[index]
        return None if None in parts else f"({''.join(f'{part}, ' for part in parts)})"
    if all(isinstance(one, int) and one == first for one in alike):
        return str(first)
    kinds = {one.word.type if isinstance(one, Given) and one.word.type[0] == "*" else "" for one in alike}
    if len(kinds) > 1 or any(isinstance(one, tuple) for one in alike):
        return None
    columns.append(alike)
    return f"words[{len(columns) - 1}]"


_NARROW = (
    (64, 128, 1, 3, 4),
    (64, 64, 1, 4, 4),
    (32, 128, 1, 4, 4),
    (32, 256, 1, 3, 4),
    (64, 128, 2, 3, 4),
)
"""Tiles: columns, terms of 16 bits, slices, stages, warps; of equal guesses the first was the fastest."""
_TALL = ((128, 64, 64, 1, 4, 4),)
"""Tiles of many rows: rows, columns, terms, slices, stages, warps."""

STRATEGY = Grouped()
