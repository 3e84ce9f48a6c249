"""Products of which every block has one tile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Packed, Refusal, Tactic
from tenfold.ir import dtype as dt
from tenfold.ops.activation import Gelu
from tenfold.ops.arithmetic import Add
from tenfold.ops.movement import Transpose
from tests.codegen.cpu.cases import Case, body, tensor
from tests.codegen.cuda.interpreting import TARGET, compare, tactics

from tenfold.codegen.cuda.arch import arch_of  # isort: skip
from tenfold.codegen.cuda import contraction  # isort: skip
from tenfold.codegen.cuda.conv import wave, wgmma  # isort: skip
from tenfold.codegen.cuda.launch import Descriptor  # isort: skip
from tests.codegen.cuda import compiling  # isort: skip

_CASE = Case("wave", lambda: compiling.product(8, 8, 8), low=-0.5, high=0.5)


def check(region: Region, m: int, n: int, tolerance: float = 4e-6) -> None:
    given = {"m": m, "n": n, "slots": 4, "warps": m // 16}
    kernel = wave.STRATEGY.build(region, Tactic(wave.STRATEGY.name, tuple(given.items())), TARGET)
    compare(region, kernel, replace(_CASE, tolerance=tolerance))


@pytest.mark.parametrize(("m", "n", "turned"), [(64, 96, True), (64, 64, True), (64, 64, False), (128, 192, False)])
def test_products(m: int, n: int, turned: bool) -> None:
    check(compiling.product(150, 200, 136, turned), m, n)


def test_a_row_a_function_and_a_residual_behind_the_product() -> None:
    row = replace(tensor(dt.f16, (200,)), shape=(150, 200), strides=(0, 1))
    what = body([dt.f16] * 3, (Add(), (0, 1), dt.f16), (Gelu(), (3,), dt.f16), (Add(), (4, 2), dt.f16))
    region = replace(compiling.product(150, 200, 136), body=what, extra=(row, tensor(dt.f16, (150, 200))))
    check(region, 64, 128)


def test_moments_are_told() -> None:
    region = compiling.telling()
    (launch,) = wave.STRATEGY.build(
        region, Tactic("wave", (("m", 64), ("n", 64), ("slots", 4), ("warps", 4))), TARGET
    ).launches
    assert not isinstance(launch.program, str)
    given = dict(launch.program.parameters)
    assert given["WIDTH"] == 32 and given["PARTS"] == (64,)


def test_a_constant_is_turned() -> None:
    region = compiling.matrix(768, 768)
    x, y = (tensor(dt.f16, (1024, 768)) for _ in range(2))
    rows = replace(region, domain=(1024, 768), inputs=(x, region.inputs[1]), outputs=(y,))
    found = tactics(wave.STRATEGY, rows)
    assert int(found[0]["n"]) == 96
    (launch,) = wave.STRATEGY.build(rows, found[0], TARGET).launches
    (matrix,) = (one.address for one in launch.arguments if isinstance(one, Descriptor) and one.shape == (768, 768))
    assert isinstance(matrix, Packed) and matrix.recipe == (Transpose((1, 0)),)


def test_a_constant_whose_columns_would_not_move_stays() -> None:
    region = compiling.matrix(768, 260)
    x = replace(tensor(dt.f16, (1024, 264)), shape=(1024, 260))
    rows = replace(region, domain=(1024, 768), inputs=(x, region.inputs[1]), outputs=(tensor(dt.f16, (1024, 768)),))
    for one in tactics(wave.STRATEGY, rows):
        (launch,) = wave.STRATEGY.build(rows, one, TARGET).launches
        maps = [given for given in launch.arguments if isinstance(given, Descriptor)]
        assert maps[1].shape == (260, 768) and all(step % 8 == 0 for given in maps for step in given.strides[:-1])


def test_tiles_fill_the_machine_in_one_wave() -> None:
    region = compiling.product(1024, 768, 3072, turned=True)
    found = tactics(wave.STRATEGY, region)
    assert {(int(one["m"]), int(one["n"])) for one in found} == {(64, 96), (64, 128), (128, 64)}
    for one in found:
        (launch,) = wave.STRATEGY.build(region, one, TARGET).launches
        assert not isinstance(launch.program, str) and isinstance(launch.grid, int) and 88 < launch.grid <= 132
        room = launch.program.room
        assert room == wgmma.room_of(one["m"], one["n"], one["slots"]) and room <= arch_of(TARGET).shared


def test_first_where_it_measured_best() -> None:
    for m, n, k in ((1024, 768, 768), (1024, 2304, 768), (1576, 768, 768), (1576, 768, 3072)):
        assert tactics(contraction.STRATEGY, compiling.product(m, n, k, turned=True))[0].strategy == "wave"


def test_others_are_refused() -> None:
    assert wave.STRATEGY.tactics(compiling.product(8192, 8192, 8192), TARGET) == []
    assert isinstance(wave.STRATEGY.tactics(compiling.paired(1024, 768, 3072), TARGET), Refusal)
