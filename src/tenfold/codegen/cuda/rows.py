"""Rows and their elements, over the fewest axes: what every kernel of rows is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.launch import Filling, gathered, number, numbers, uniforms
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Region, Row, identity
from tenfold.ir import dim
from tenfold.ir.dim import Size


@dataclass(frozen=True)
class Walk:
    """How many rows a region has, the places of its axes among a hole's positions, and what a kernel takes, in this
    order: `streams`, `sizes`, what it makes of the elements, and the `bodies` of what is stored.
    """

    rows: Size
    places: Sequence[int | None]
    streams: Mapping[str, Filling]
    sizes: Mapping[str, Filling]
    bodies: Mapping[str, Filling]


def refusal(region: Region) -> str | None:
    """Why a region is none of rows, or has parts without generated code."""
    if not isinstance(region, Row):
        return "no reduction of rows"
    return emit.refusal(*(phase.body for phase in region.phases), region.finish, region.body)


def walked(region: Row) -> Walk:
    """The walk over a region."""
    groups = {
        "input": region.inputs,
        "output": region.outputs,
        "finish_input": region.finish_inputs,
        "finish_output": region.finish_outputs,
    }
    operands = [one for group in groups.values() for one in group]
    bodies = (*(phase.body for phase in region.phases), region.finish, region.body)
    outer, inner = grid.merged(region.domain, operands, grid.asked(*bodies), region.reduced)
    streams, kinds = iter(grid.streams(operands, outer, inner)), iter(grid.kinds(outer, inner))
    rows, columns, nothing = dim.product(outer.sizes), dim.product(inner.sizes), identity()
    sizes: dict[str, Filling] = {
        "gathered": gathered(region.gathered),
        "uniforms": uniforms(region.uniforms),
        "row_sizes": numbers(outer.sizes),
        "column_sizes": numbers(inner.sizes),
        **{"rows": number(rows), "columns": number(columns)},
    }
    stored: dict[str, Filling] = {
        "finish": Hole(emit.hole_text(region.finish or nothing, inner.places)),
        "body": Hole(emit.hole_text(region.body or nothing, inner.places)),
        **{f"{name}_kinds": tuple(next(kinds) for _ in group) for name, group in groups.items()},
    }
    read: dict[str, Filling] = {f"{name}s": tuple(next(streams) for _ in group) for name, group in groups.items()}
    return Walk(rows, inner.places, read, sizes, stored)
