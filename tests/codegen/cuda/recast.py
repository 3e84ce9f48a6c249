"""Cases in f16 as cases in other types, for the table of the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tenfold.codegen.region import Anchored, Body, Instruction, Operand, Region
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tests.codegen.cuda.table import Entry

_TOLERANCES = {dt.bf16: 2e-2, dt.f32: 1e-5}


def RECAST() -> list[Entry]:
    """The staples of one operation in bf16, and in f32 those that nothing rounds to TF32."""
    from tests.codegen.cuda.staples import STAPLES

    return [one for staple in STAPLES() if not staple.arrays for one in _recast(staple)]


def _recast(staple: Entry) -> Iterator[Entry]:
    region = staple.region
    if not isinstance(region, Anchored) or all(one.dtype is not dt.f16 for one in region.inputs):
        return
    for dtype, tolerance in _TOLERANCES.items():
        other = recast(region, dtype)
        if not isinstance(staple.strategy.tactics(other, staple.target), Refusal):
            name = f"{dtype} {staple.name}"
            yield replace(staple, name=name, region=other, tolerance=tolerance, most=2, more=())


def widened(region: Region) -> Anchored:
    """A region in f16 as one in f32."""
    return recast(region, dt.f32)


def recast(region: Region, dtype: DType) -> Anchored:
    """A region in f16 as one in another type."""
    assert isinstance(region, Anchored)
    made: dict[Value, Value] = {}

    def kind(one: DType) -> DType:
        return dtype if one is dt.f16 else one

    def wide(one: Operand) -> Operand:
        if one.value not in made:
            made[one.value] = _recast_value(one.value, kind(one.dtype))
        return replace(one, value=made[one.value], dtype=kind(one.dtype))

    body = region.body
    code = tuple(Instruction(one.op, one.args, kind(one.dtype)) for one in body.code)
    return replace(
        region,
        inputs=tuple(map(wide, region.inputs)),
        outputs=tuple(map(wide, region.outputs)),
        extra=tuple(map(wide, region.extra)),
        body=Body(tuple(map(kind, body.inputs)), code, body.outputs),
    )


def _recast_value(value: Value, kind: DType) -> Value:
    if isinstance(value.op, Constant):
        return Constant(Tensor(value.op.tensor.array.astype(kind.numpy)))()
    return Value(Type(kind, value.type.shape))
