"""Reductions whose elements lie apart: what the kernels that walk them refuse, and what they take, in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tenfold.codegen.cuda import emit, grid, rows
from tenfold.codegen.cuda.launch import Filling, gathered, numbers, uniforms
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Operand, Region, Row
from tenfold.ir.dim import Size

COMBINED: Mapping[str, str] = {
    "sum": "x + y",
    "prod": "x * y",
    "max": "tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)",
    "min": "tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)",
}


def refusal(region: Region) -> str | None:
    """Why a region is none of rows that are reduced once, and of which nothing but the result is stored."""
    reason = rows.refusal(region)
    if reason:
        return reason
    assert isinstance(region, Row)
    if len(region.phases) != 1 or region.body is not None or region.finish is None:
        return "more is made of its rows than one number each"
    how = region.phases[0].combine
    return None if how in COMBINED else f"rows combined by {how}"


def first_of_row(region: Row) -> int:
    """The number of the first axis along which a row's elements lie."""
    return len(region.domain) - region.reduced


class Walk:
    """The rows of a region as a plane of results: `outer` axes are its rows, `inner` ones its columns."""

    def __init__(self, region: Row) -> None:
        assert region.finish is not None
        self._region, self._finish = region, region.finish
        self.cut = cut = first_of_row(region)
        (self.phase,) = region.phases
        groups = (region.inputs, region.finish_inputs, region.finish_outputs)
        operands = [_front(one, cut) for group in groups for one in group]
        self.asked = grid.asked(self.phase.body, region.finish)
        kept = [axis for axis in self.asked if axis < cut]
        self.outer, self.inner = grid.merged(region.domain[:cut], operands, kept)
        streams, kinds = grid.streams(operands, self.outer, self.inner), grid.kinds(self.outer, self.inner)
        ends = [sum(map(len, groups[: count + 1])) for count in range(3)]
        cuts = [slice(end - len(group), end) for end, group in zip(ends, groups, strict=True)]
        self._streams, self._kinds = [streams[one] for one in cuts], [kinds[one] for one in cuts]

    @property
    def axes(self) -> int:
        """How many axes the plane has."""
        return len(self.outer.sizes) + len(self.inner.sizes)

    def memory(self, steps: Filling, taps: Sequence[Size]) -> dict[str, Filling]:
        """Where a kernel reads and writes; `steps` lead from element to element of a row, whose sizes are `taps`."""
        return {
            "inputs": self._streams[0],
            "finish_inputs": self._streams[1],
            "finish_outputs": self._streams[2],
            "gathered": gathered(self._region.gathered),
            "uniforms": uniforms(self._region.uniforms),
            "row_sizes": numbers(self.outer.sizes),
            "column_sizes": numbers(self.inner.sizes),
            "steps": steps,
            "tap_sizes": numbers(taps),
        }

    def bodies(self, elements: Sequence[int | None]) -> dict[str, Filling]:
        """What a kernel computes; `elements` are the places of a row's axes among the indices."""
        places = (*self.inner.places, *elements)
        return {
            "element": Hole(emit.hole_text(self.phase.body, places)),
            "combine": Hole(f"def hole(x, y):\n    return {COMBINED[self.phase.combine]}\n"),
            "finish": Hole(emit.hole_text(self._finish, places)),
            "kinds": self._kinds[0],
            "finish_input_kinds": self._kinds[1],
            "finish_output_kinds": self._kinds[2],
        }


def _front(one: Operand, cut: int) -> Operand:
    return Operand(one.value, one.dtype, one.shape[:cut], one.strides[:cut], one.offset)
