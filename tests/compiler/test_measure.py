"""Kernels timed in a process of their own: honest order, crashes and endless loops refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tenfold.codegen.cpu.image import Image, link_image
from tenfold.codegen.cpu.isa import isa_of
from tenfold.codegen.cpu.pool import CompilePool, ObjectCache, Request
from tenfold.codegen.region import THREADS
from tenfold.codegen.strategy import Address, Kernel, Packed, Refusal, Stage, Workspace
from tenfold.compiler import measure, stopwatch
from tenfold.compiler.measure import Entries, Point, Stopwatch
from tenfold.compiler.stopwatch import copies_of, fill
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.ops.logic import Cast
from tenfold.target import Target

HEAD = 'define i32 @stage(ptr %args, i64 %part, ptr %scratch) nounwind "no-builtins" "frame-pointer"="all" {'
COUNT = """
  %a1 = getelementptr i64, ptr %args, i64 1
  %turns = load i64, ptr %a1
  br label %again
again:
  %turn = phi i64 [0, %0], [%next, %again]
  store volatile i64 %turn, ptr %scratch
  %next = add i64 %turn, 1
  %more = icmp ult i64 %next, %turns
  br i1 %more, label %again, label %done
done:
  ret i32 0"""
CRASH = """
  store volatile i64 1, ptr null
  ret i32 0"""
ENDLESS = """
  br label %again
again:
  store volatile i64 1, ptr %scratch
  br label %again"""
REFUSE = """
  ret i32 17"""

VALUE = Value(Type(dt.f32, (1024,)))


def kernel(body: str, *numbers: int) -> Kernel:
    return Kernel((Stage(f"{HEAD}{body}\n}}", (Address(VALUE), *numbers)),), scratch=64)


@pytest.fixture(scope="module")
def pool() -> Iterator[CompilePool]:
    with CompilePool(1, ObjectCache()) as found:
        yield found


def linked(pool: CompilePool, kernels: list[Kernel]) -> tuple[Image, Entries]:
    isa = isa_of(Target.host())
    sources = list(dict.fromkeys(stage.source for one in kernels for stage in one.stages))
    objects = pool.compile([Request(source, isa) for source in sources])
    image = link_image(pool, isa, {f"s{i}": one for i, one in enumerate(objects) if isinstance(one, bytes)})
    return image, {(source, False): image.blob.entries[f"s{i}"] for i, source in enumerate(sources)}


def times(pool: CompilePool, *kernels: Kernel) -> list[float | Refusal]:
    with Stopwatch(Point(2)) as clock:
        image, entries = linked(pool, list(kernels))
        return clock.time(kernels, image, entries, cache=1 << 20, expected=1e-4, seconds=0.01)


def test_forty_times_the_work_takes_longer(pool: CompilePool) -> None:
    short, far = times(pool, kernel(COUNT, 20_000), kernel(COUNT, 800_000))
    assert isinstance(short, float) and isinstance(far, float)
    assert 0 < short < far


def test_a_crash_and_an_endless_loop_are_refusals(pool: CompilePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_PATIENCE", 3.0)
    crash, good, endless = times(pool, kernel(CRASH), kernel(COUNT, 1000), kernel(ENDLESS))
    assert isinstance(good, float)
    assert isinstance(crash, Refusal) and "status -11" in crash.reason
    assert isinstance(endless, Refusal) and "does not end" in endless.reason


def test_an_error_of_the_kernel_is_a_refusal(pool: CompilePool) -> None:
    (found,) = times(pool, kernel(REFUSE))
    assert isinstance(found, Refusal)


def test_a_sheet_says_what_stages_need(pool: CompilePool) -> None:
    constant = Constant(Tensor(np.ones((3, 5), np.float32)))()
    size = dim.symbol("n", 1, 16)
    arguments = (Address(VALUE, 8), Packed(constant, (Cast(dt.f64),)), Workspace(size * 64), size, Address(VALUE))
    one = Kernel((Stage(f"{HEAD}{REFUSE}\n}}", arguments, parts=4 * THREADS),), 64, size * 100)
    sheet = measure.Sheet(Point(2), linked(pool, [one])[1])
    told = sheet.kernel(one)
    assert told["workspace"] == 1600
    ((_, parts, words),) = told["stages"]
    assert parts == 8
    assert words == [[0, 8], [1, 0], [stopwatch.WORKSPACE, 1024], 16, [0, 0]]
    assert sheet.buffers(cache=400, turns=8) == [[4096, True, 4, 2], [120, True, 8, 5]]


def test_copies_outgrow_the_cache() -> None:
    assert [copies_of(size, 100, 16) for size in (0, 1, 50, 75, 1000)] == [16, 16, 3, 2, 2]


@pytest.mark.parametrize("width", [2, 4, 8])
def test_made_up_floats_are_ordinary(width: int) -> None:
    memory = np.zeros(100 * width, np.uint8)
    fill(memory, floats=True, width=width)
    found = memory.view({2: dt.bf16.numpy, 4: np.float32, 8: np.float64}[width]).astype(np.float64)
    assert ((found > 0.4) & (found < 1.6)).all()


def test_the_point_is_one_image_of_usual_size() -> None:
    sizes = [dim.symbol(name, 1) for name in ("n", "h", "w", "t")]
    image, words = Value(Type(dt.f32, (sizes[0], 3, *sizes[1:3]))), Value(Type(dt.i64, (sizes[0], sizes[3])))
    at = Point(2, (image, words))
    assert [at(size) for size in (*sizes, sizes[1] * sizes[3], THREADS)] == [1, 224, 224, 64, 224 * 64, 2]
    assert Point(2)(sizes[1]) == 64
