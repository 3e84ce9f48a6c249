"""What the code of attention depends on, and where it keeps what in its scratch."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tenfold.codegen.cpu.isa import LINE, Isa
from tenfold.codegen.cpu.lines import Surroundings
from tenfold.codegen.cpu.microkernel import Block
from tenfold.codegen.cpu.outsite import Stream, named
from tenfold.codegen.region import Body
from tenfold.ir.dtype import DType


@dataclass(frozen=True)
class Rows:
    """Queries, keys or values as rows of elements: whether those of a row are `adjacent`, and whether blocks of rows
    are `copied` into scratch, as elements of the sums' type.
    """

    dtype: DType
    adjacent: bool
    copied: bool = False


@dataclass(frozen=True)
class Mask:
    """`moving`: it differs from query to query; `adjacent`: its keys lie side by side."""

    dtype: DType
    moving: bool
    adjacent: bool


@dataclass(frozen=True)
class Form:
    """Lanes are queries, `block.columns` of them to a part; `keys` is the most keys of a block, `depth` the elements of
    a query and of a key, `width` those of a value. A last part of few queries may have a block of its own, `narrow`.
    The softmax of no keys is zero, or NaN if `blind` says so.
    """

    isa: Isa
    total: DType
    block: Block
    keys: int
    depth: int
    width: int
    q: Rows
    k: Rows
    v: Rows
    mask: Mask | None
    scale: float
    softcap: float
    causal: bool
    blind: Literal["zero", "nan"]
    groups: int
    body: Body
    extra: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    indices: tuple[tuple[int, Stream], ...]
    around: Surroundings
    narrow: Block | None = None

    @property
    def narrowed(self) -> Form | None:
        """The form of parts that have no more queries than `narrow` has columns."""
        return replace(self, block=self.narrow, narrow=None) if self.narrow else None

    @property
    def streams(self) -> dict[str, Stream]:
        """The body's operands by name."""
        return named(self.extra, self.outputs, self.indices)

    @property
    def line(self) -> int:
        """Bytes of one element of every query of a part."""
        return self.block.columns * self.total.itemsize

    @property
    def padded(self) -> int:
        """The elements of a value in whole vectors."""
        return -(-self.width // self.block.lanes) * self.block.lanes

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The arguments of the stage, in order; "@" marks addresses; steps are in bytes."""
        found = ["@q", "@k", "@v", *self.streams, "heads", "panels", "queries", "keys", "sharing", "key_block"]
        found += [f"{name}.{axis}" for name in ("q", "k", "v") for axis in ("batch", "head", "row", "element")]
        found += ["@mask", *(f"mask.{axis}" for axis in ("batch", "head", "row", "element"))] * (self.mask is not None)
        found += ["offset"] * self.causal
        found += [f"{axis}.{name}" for name in self.streams for axis in ("batch", "head")]
        found += [f"group{group}" for group in range(self.groups)]
        found += self.around.names
        return (*found, *(f"column.{name}" for name, stream in self.streams.items() if stream.column is None))

    @functools.cached_property
    def places(self) -> Mapping[str, int]:
        """Where everything lies in scratch: the queries turned, the scores of a block of keys (later the results, row
        by row), the results so far, the addresses of keys, a mask turned, rows copied, the offsets of rows of results.
        `end` is the size of the whole.
        """
        rows = self.keys + self.block.rows
        sizes = {
            "queries": self.depth * self.line,
            "scores": max(rows, self.padded) * self.line,
            "results": self.padded * self.line,
            "table": 8 * rows,
            "mask": self.keys * (self.line if self.mask.moving else self.total.itemsize) if self.mask else 0,
            "copies": self.keys * self.pitch if self.k.copied or self.v.copied else 0,
            "offsets": 8 * self.block.columns * self.groups,
        }
        found, end = {}, 0
        for name, count in sizes.items():
            found[name] = end
            end += -(-count // LINE) * LINE
        return {**found, "end": end}

    @property
    def pitch(self) -> int:
        """Bytes from one copied row to the next: no multiple of 128, so that rows spread over the first cache."""
        found = -(-max(self.depth, self.width) * self.total.itemsize // LINE) * LINE
        return found + LINE * (found % 128 == 0)
