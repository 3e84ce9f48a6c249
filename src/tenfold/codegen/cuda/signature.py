"""How a compiled kernel takes its arguments, held against how the runtime passes them and kernels in PTX name them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from operator import mod

from tenfold.codegen.cuda.program import Program, TensorMap, words
from tenfold.errors import UnsupportedError

_SCRATCH = (8, 8)
"""Bytes of what Triton adds at the end: addresses of scratch memory, and of a profile's."""
_PARAMETER = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.[a-z]+(\d+)\s[^\[\n]*?\w+(?:\[(\d+)\])?\s*(?:,|$)", re.M)


def check(program: Program, ptx: str, maps: Sequence[TensorMap]) -> None:
    """UnsupportedError unless the kernel in `ptx`, whose descriptors are `maps`, takes a program's arguments in order:
    an address or a number each; of a tile descriptor itself, then its sizes (i32) and its strides (i64).
    """
    given = [word.type for _, parameter in program.parameters for word in words(parameter)]
    expected = [*(size for one in given for size in _sizes(one)), *_SCRATCH]
    found, blocks = _taken(ptx), [_block(one) for one in given if one.startswith("tensordesc")]
    if found != expected:
        raise _refusal(program, f"arguments of {found} bytes where {expected} are passed")
    if len(blocks) != len(maps) or not all(map(_fits, maps, blocks)):
        raise _refusal(program, f"descriptors of boxes {[one.block for one in maps]} where {blocks} are passed")


def _refusal(program: Program, said: str) -> UnsupportedError:
    return UnsupportedError(
        f"this Triton passes arguments otherwise: {program.kernel} takes {said}",
        remedy="install a version of triton that Tenfold was tested with",
    )


def _fits(one: TensorMap, block: tuple[int, ...]) -> bool:
    """Whether a descriptor may be that of a box; Triton may copy it in equal parts."""
    return len(one.block) == len(block) and not any(map(mod, block, one.block))


def _sizes(word: str) -> Iterator[int]:
    """Bytes of what is passed for a word."""
    if word.startswith("tensordesc"):
        rank = len(_block(word))
        yield from (128, *[4] * rank, *[8] * rank)
    else:
        yield 8 if word.startswith("*") else int(word.removeprefix("i")) // 8


def _block(word: str) -> tuple[int, ...]:
    """A descriptor's box: of "tensordesc<fp16[128, 64]>" 128 by 64."""
    return tuple(int(one) for one in word[word.index("[") + 1 : word.index("]")].split(","))


def _taken(ptx: str) -> list[int]:
    """Bytes of each parameter of the kernel in a text of PTX."""
    begin = ptx.index("(", ptx.index(".entry"))
    listed = ptx[begin + 1 : ptx.index(")", begin)]
    return [int(bits) // 8 * int(count or 1) for bits, count in _PARAMETER.findall(listed)]
