"""Loads and stores of vectors, whole or where a mask holds, in the form in which elements are stored."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from tenfold.codegen.cpu.flow import step
from tenfold.codegen.cpu.storage import stored_type
from tenfold.codegen.cpu.vectors import HALF, I16, I32, I64, Vector, Vectors, intrinsic, literal, suffix
from tenfold.ir.dtype import DType


def load(code: Vectors, dtype: DType, address: ir.Value, mask: Vector | None = None) -> Vector:
    """Consecutive elements from `address` on; zero where the mask does not hold, and nothing is read there."""
    kind = stored_type(dtype)
    if mask is None:
        return code.wrap(code.builder.load(address, typ=code.type(kind), align=dtype.itemsize))
    plain = code.type(I16 if kind == HALF else kind)
    zeros = literal(plain, "zeroinitializer")
    align = ir.Constant(I32, dtype.itemsize)
    arguments = [address, align, mask.value, zeros]
    loaded = code.wrap(intrinsic(code.builder, f"masked.load.{suffix(plain)}.p0", plain, arguments))
    return loaded.floats() if kind == HALF else loaded


def store(code: Vectors, dtype: DType, address: ir.Value, stored: Vector, mask: Vector | None = None) -> None:
    """Write consecutive elements from `address` on, only where the mask holds."""
    if mask is None:
        code.builder.store(stored.value, address, align=dtype.itemsize)
        return
    plain = stored.bits() if stored.element == HALF else stored
    arguments = [plain.value, address, ir.Constant(I32, dtype.itemsize), mask.value]
    intrinsic(code.builder, f"masked.store.{suffix(plain.type)}.p0", ir.VoidType(), arguments)


def load_one(code: Vectors, dtype: DType, address: ir.Value) -> Vector:
    """One element in every lane."""
    return code.splat(code.builder.load(address, typ=stored_type(dtype), align=dtype.itemsize))


def load_apart(
    code: Vectors, dtype: DType, base: ir.Value, offset: Callable[[int], Vector], mask: Vector | None = None
) -> Vector:
    """Elements at `base` plus a scalar byte offset for each lane; where the mask does not hold, that at `base`."""
    kind = stored_type(dtype)

    def one(lane: int) -> ir.Value:
        place = offset(lane)
        if mask is not None:
            place = place.code.wrap(mask.lane(lane)).where(place, 0)
        return code.builder.load(step(code.builder, base, place), typ=kind, align=dtype.itemsize)

    return code.gather(one)


def store_apart(code: Vectors, dtype: DType, base: ir.Value, offset: Callable[[int], Vector], stored: Vector) -> None:
    """Write each lane at `base` plus its byte offset."""
    for lane in range(code.lanes):
        code.builder.store(stored.lane(lane), step(code.builder, base, offset(lane)), align=dtype.itemsize)


def first_lanes(code: Vectors, count: Vector) -> Vector:
    """The mask of the first `count` lanes, a scalar i64."""
    return code.iota(I64) < code.splat(count.value)
