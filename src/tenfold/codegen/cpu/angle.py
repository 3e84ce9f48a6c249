"""Angles reduced by multiples of π/2, for any finite angle.

Up to `_LIMIT` by subtracting multiples of π/2 in parts (Cody and Waite 1980). Beyond, lane by lane, from as many bits
of 2/π as the exponent asks for (Payne and Hanek 1983), in a function of the module that is written on first use.
"""

from __future__ import annotations

import math

from llvmlite import ir

from tenfold.codegen.cpu.flow import define
from tenfold.codegen.cpu.vectors import F64, I1, I32, I64, Vector, Vectors, integer, intrinsic, width

_LIMIT = 2.0**20
_PARTS = tuple(map(float.fromhex, ("0x1.921fb54400000p+0", "0x1.0b4611a600000p-34", "0x1.3198a2e037073p-69")))
_HALF_PI = (float.fromhex("0x1.921fb54442d18p+0"), float.fromhex("0x1.1a62633145c07p-54"))
_I128 = integer(128)
_NAME = "reduce_angle"
_TWO_OVER_PI = (
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e006492eea09d1921cfe1deb1cb129a73e"
    "e88235f52ebb4484e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f6d367ecf27cb09b7"
    "4f463f669e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6bab"
)
"""The first 1216 binary digits of 2/π, in hexadecimal."""


def reduced(x: Vector) -> tuple[Vector, Vector, Vector]:
    """n (integers of x's width, of which the last two bits count), r and rest with x = n π/2 + r + rest, |r| ≤ π/4."""
    single = width(x.type) == 32
    wide = x.to_float(F64)
    quadrant, r, rest = _by_parts(wide)
    size = wide.abs()
    far = (size > _LIMIT) & (size < math.inf)
    quadrant, r, rest = _far_lanes(far, wide, (quadrant, r, rest))
    if not single:
        return quadrant, r, rest
    return quadrant.to_integer(I32), r.to_float(x.element), x.like(0.0)


def _by_parts(x: Vector) -> tuple[Vector, Vector, Vector]:
    magic = x.like(1.5 * 2.0**52)
    shifted = x.fma(2 / math.pi, magic)
    n = shifted - magic
    first = n.fma(-_PARTS[0], x)
    second = n * _PARTS[1]
    r = first - second
    lost = n * _PARTS[2] - ((first - r) - second)
    close = r - lost
    return shifted.bits(), close, (r - close) - lost


def _far_lanes(far: Vector, x: Vector, near: tuple[Vector, ...]) -> tuple[Vector, Vector, Vector]:
    """`near`, with the lanes where `far` holds replaced by what the module's function gives."""
    code, builder = x.code, x.code.builder
    function = _function(code)
    known = far.where(x, 2 * _LIMIT)
    start = builder.block
    loop, done = (builder.append_basic_block(name) for name in ("far", "near"))
    builder.cbranch(far.any(), loop, done)
    builder.position_at_end(loop)
    lane = builder.phi(I32)
    lane.add_incoming(ir.Constant(I32, 0), start)
    current = [builder.phi(one.type) for one in near]
    for phi, one in zip(current, near, strict=True):
        phi.add_incoming(one.value, start)
    found = builder.call(function, [_at(known, lane)])
    wanted = _at(far, lane)
    updated = []
    for index, phi in enumerate(current):
        value = builder.select(wanted, builder.extract_value(found, index), _at(code.wrap(phi), lane))
        updated.append(value if code.lanes == 1 else builder.insert_element(phi, value, lane))
    following = builder.add(lane, ir.Constant(I32, 1))
    lane.add_incoming(following, loop)
    for phi, value in zip(current, updated, strict=True):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, ir.Constant(I32, code.lanes)), loop, done)
    builder.position_at_end(done)
    results = []
    for one, value in zip(near, updated, strict=True):
        phi = builder.phi(one.type)
        phi.add_incoming(one.value, start)
        phi.add_incoming(value, loop)
        results.append(code.wrap(phi))
    return results[0], results[1], results[2]


def _at(x: Vector, lane: ir.Value) -> ir.Value:
    return x.value if x.code.lanes == 1 else x.code.builder.extract_element(x.value, lane)


def _function(code: Vectors) -> ir.Function:
    module = code.builder.module
    if _NAME in module.globals:
        return module.globals[_NAME]
    words = [0] + [int(_TWO_OVER_PI[at : at + 16], 16) for at in range(0, len(_TWO_OVER_PI), 16)]
    table = ir.GlobalVariable(module, ir.ArrayType(I64, len(words)), "two_over_pi")
    table.linkage, table.global_constant, table.initializer = "internal", True, ir.Constant(table.value_type, words)
    result = ir.LiteralStructType([I64, F64, F64])
    function = define(module, _NAME, result, [F64], internal=True)
    builder = ir.IRBuilder(function.entry_basic_block)
    scalar = Vectors(builder, code.isa, 1)
    found = _by_digits(scalar, scalar.wrap(function.args[0]), table)
    whole: ir.Value = ir.Constant(result, ir.Undefined)
    for index, one in enumerate(found):
        whole = builder.insert_value(whole, one.value, index)
    builder.ret(whole)
    return function


def _by_digits(code: Vectors, x: Vector, table: ir.GlobalVariable) -> tuple[Vector, Vector, Vector]:
    """Payne and Hanek: x = m 2**e, and m times the 192 digits of 2/π that matter, modulo 4, is n plus a fraction."""
    bits = x.bits()
    mantissa = (bits & (1 << 52) - 1) | 1 << 52
    exponent = (bits.unsigned_shift(52) & 0x7FF) - 1075
    window = _digits(code, exponent + 62, table)
    low, middle, high = ((mantissa.zero_extend(_I128) * word.zero_extend(_I128)) for word in reversed(window))
    upper = (high << 64) + middle + low.unsigned_shift(64)
    quadrant = ((upper.unsigned_shift(125) + 1).unsigned_shift(1)).to_integer(I64)
    fraction = upper - (quadrant.zero_extend(_I128) << 126)
    r, rest = _to_radians(fraction)
    negative = bits < 0
    return negative.where(-quadrant, quadrant), negative.where(-r, r), negative.where(-rest, rest)


def _digits(code: Vectors, first: Vector, table: ir.GlobalVariable) -> tuple[Vector, Vector, Vector]:
    builder = code.builder
    start = first.unsigned_shift(6)
    words = []
    for step in range(4):
        place = builder.gep(table, [(start + step).value], source_etype=I64)
        words.append(code.wrap(builder.load(place, typ=I64)))
    shift = first & 63
    return (
        words[0].intrinsic("fshl", words[1], shift),
        words[1].intrinsic("fshl", words[2], shift),
        words[2].intrinsic("fshl", words[3], shift),
    )


def _to_radians(fraction: Vector) -> tuple[Vector, Vector]:
    """A signed number of 126 binary places, in quarter turns, to radians in two parts."""
    code, builder = fraction.code, fraction.code.builder
    size = fraction.abs()
    zeros = intrinsic(builder, "ctlz.i128", _I128, [size.value, ir.Constant(I1, 0)])
    shifted = size << code.wrap(zeros)
    top, bottom = shifted.unsigned_shift(64).to_integer(I64), shifted.to_integer(I64)
    high = (top & -(1 << 11)).to_float(F64, unsigned=True)
    low = (top & (1 << 11) - 1).to_float(F64, unsigned=True) + bottom.to_float(F64, unsigned=True) * 2.0**-64
    scale = ((1023 + 64 - 126 - code.wrap(zeros).to_integer(I64)) << 52).floats()
    high, low = high * scale, low * scale
    product = high * _HALF_PI[0]
    rest = high.fma(_HALF_PI[0], -product) + high * _HALF_PI[1] + low * _HALF_PI[0]
    r = product + rest
    rest = rest - (r - product)
    return (fraction < 0).where(-r, r), (fraction < 0).where(-rest, rest)
