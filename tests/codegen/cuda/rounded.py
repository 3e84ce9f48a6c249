"""Products and convolutions in f32 that may be rounded to TF32, for the table of the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tenfold.codegen.cuda import gemm
from tenfold.codegen.cuda.conv import boxes, implicit, spanned, wave
from tenfold.codegen.region import Anchored
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant
from tenfold.target import Target
from tests.codegen.cuda import compiling
from tests.codegen.cuda.recast import widened
from tests.codegen.cuda.table import Entry, image

TARGET = Target("cuda", "sm_90", ("tf32",))


def constant(region: Anchored) -> Anchored:
    """A product whose second matrix is constant, by its rows."""
    b = region.inputs[1]
    k, n = (int(size) for size in b.shape)  # type: ignore[arg-type]
    random = np.random.default_rng([k, n]).standard_normal((k, n)) / k**0.5
    held = Constant(Tensor(random.astype(b.dtype.numpy)))()
    return replace(region, inputs=(region.inputs[0], replace(b, value=held)))


def beside(m: int, n: int, k: int) -> Anchored:
    """A product with a row, an activation and a residual."""
    from tests.codegen.cuda.staples import _beside

    return constant(widened(_beside(m, n, k)))


def product(m: int, n: int, k: int, turned: bool = False) -> Anchored:
    """A product of two matrices given by the call."""
    return widened(compiling.product(m, n, k, turned))


def ROUNDED() -> list[Entry]:
    """All cases."""
    return [replace(one, name=f"tf32 {one.name}", target=TARGET) for one in (*products(), *convolutions())]


def products() -> Iterator[Entry]:
    """Matrices that are constant, that lie by their rows and by their columns; many rows and few, odd sizes."""
    made = {
        "1024x768x3072": constant(product(1024, 768, 3072)),
        "odd": beside(197, 772, 516),
        "few": beside(30, 1024, 1032),
        "short": constant(product(300, 40, 20)),
        "by columns": product(1000, 520, 772, turned=True),
        "by rows": product(1000, 520, 772),
        "by rows, short": product(200, 36, 12),
    }
    for name, region in made.items():
        yield Entry(f"product boxes {name}", boxes.STRATEGY, region, 2e-3, most=99)
    for name, region in made.items():
        if name not in ("few", "short", "by rows, short"):
            yield Entry(f"product wave {name}", wave.STRATEGY, region, 2e-3, most=99)
    for strategy in gemm.STRATEGIES:
        yield Entry(f"product {strategy.name}", strategy, constant(product(512, 256, 128)), 2e-3, most=2)
    yield Entry("product boxes that tell", boxes.STRATEGY, widened(compiling.telling()), 2e-3, most=4)


def convolutions() -> Iterator[Entry]:
    """Windows, steps, dilations by the layout, few channels; a residual of each image."""
    made = {
        "3x3 of 64": image(64, (28, 28), 128, 3, 1, 1),
        "3x3 of 48, odd": image(48, (9, 7), 40, 3, 1, 1),
        "3x3 by two": image(64, (28, 28), 64, 3, 2, 1),
        "1x1": image(64, (14, 14), 256, 1, 1, 0),
        "1x1 by two": image(36, (14, 14), 64, 1, 2, 0),
        "14x14 of 256, moment": image(256, (14, 14), 256, 3, 1, 1, count=1, beside=True),
        "7x7 of 512": image(512, (7, 7), 512, 3, 1, 1, count=1),
    }
    for name, region in made.items():
        yield Entry(f"conv boxes {name}", boxes.STRATEGY, widened(region), 2e-3, most=99)
    few = widened(image(3, (31, 33), 32, 3, 2, 1))
    yield Entry("conv spanned", spanned.STRATEGY, few, 2e-3, most=4)
    yield Entry("conv implicit", implicit.STRATEGY, few, 2e-3, most=2)
