from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu import fourier
from tenfold.codegen.cpu.butterfly import radices
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.type import Type
from tenfold.ops.signal import Fourier
from tests.codegen.cpu.anchored import LAYOUTS, Case, Given, check, random, undefined_symbols
from tests.codegen.cpu.emulated import check_emulated

N, M = symbol("n", 0), symbol("m", 0)


def check_transform(
    op: Fourier, *parts: np.ndarray, layouts: tuple[str, ...] = ("dense",) * 3, tolerance: float = 2e-6
) -> None:
    """Compared with NumPy's in f64; the count of lines is known only to the call."""
    sizes = (*(N, M)[: parts[0].ndim - 1], parts[0].shape[-1])
    bindings = dict(zip("nm", parts[0].shape[:-1], strict=False))
    case = Case(op, [Given(one, layouts[0], shape=sizes) for one in parts], layouts[1:], bindings)
    check(fourier.STRATEGY, case, op.results(parts), tolerance=tolerance)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 6, 8, 9, 13, 15, 16, 22, 30, 64, 100, 400])
def test_lengths(length: int) -> None:
    for lines in (1, 19):
        real, imaginary = random(dt.f32, lines, length), random(dt.f32, lines, length)
        for sign in (1, -1):
            check_transform(Fourier(length, sign), real, imaginary)
            check_transform(Fourier(length // 2 + 1, sign, 1 / length), real)
    check_transform(Fourier(length), real)
    check_transform(Fourier(max(1, length // 3)), real)
    check_transform(Fourier(max(1, length // 3)), real, imaginary)


def test_long() -> None:
    real, imaginary = random(dt.f32, 5, 2048), random(dt.f32, 5, 2048)
    check_transform(Fourier(1025), real)
    check_transform(Fourier(2048, 1, 2.0**-11), real, imaginary)


def test_double_precision() -> None:
    real, imaginary = random(dt.f64, 11, 120), random(dt.f64, 11, 120)
    check_transform(Fourier(61), real, tolerance=1e-14)
    check_transform(Fourier(120, 1), real, imaginary, tolerance=1e-14)


def test_views() -> None:
    real, imaginary = random(dt.f32, 3, 7, 36), random(dt.f32, 3, 7, 36)
    for first in LAYOUTS:
        for second in LAYOUTS:
            check_transform(Fourier(19), real, layouts=(first, second, first))
            check_transform(Fourier(36), real, imaginary, layouts=(first, second, first))


def test_no_lines() -> None:
    check_transform(Fourier(9), random(dt.f32, 0, 16))


def test_only_products_of_small_primes() -> None:
    assert radices(2 * 3 * 5 * 7 * 11 * 13, 8) == (2, 3, 5, 7, 11, 13)
    assert radices(17, 8) is None
    for length, known in ((34, False), (1, True), (2048, True), (4096, False), (symbol("s"), False)):
        assert fourier.takes(Fourier(1), Type(dt.f32, (3, length))) is known


def test_needs_nothing_from_elsewhere() -> None:
    for length in (32, 45):
        assert undefined_symbols(fourier.STRATEGY, Case(Fourier(length), [Given(random(dt.f32, 4, length))])) == {}


@pytest.mark.parametrize("dtype", [dt.f32, dt.f64], ids=str)
def test_on_another_machine(dtype: dt.DType, tmp_path: Path) -> None:
    for length, parts in ((40, 1), (21, 2)):
        given = [Given(random(dtype, 7, length)) for _ in range(parts)]
        check_emulated(fourier.STRATEGY, Case(Fourier(length // 2 + 1), given), tmp_path)
