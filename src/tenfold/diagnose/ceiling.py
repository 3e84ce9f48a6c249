"""What this machine can do at most: fused multiply-adds and bytes from memory a second, by generated code.

Run as a program, `python -m tenfold.diagnose.ceiling THREADS`, it measures and prints one JSON object: a process of its
own, so that a program which only runs engines loads no compiler.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np

from tenfold.codegen.cpu.image import Image, link_image
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.pool import CompilePool, Failure, Request
from tenfold.errors import UnsupportedError
from tenfold.runtime import steps
from tenfold.runtime.cpu.code import Code
from tenfold.runtime.cpu.invoke import Executable, Invocation
from tenfold.runtime.cpu.team import team_of
from tenfold.target import Target

TURNS, PARTS, READ, TRIES = 1 << 17, 16, 1 << 27, 9
WIDTH, UNROLLED = 4, 16
_HEAD = 'define i32 @stage(ptr %args, i64 %part, ptr %scratch) nounwind "no-builtins" "frame-pointer"="all" {'


def multiply_add(isa: Isa) -> str:
    """A stage that does args[1] turns of `accumulators(isa)` independent fused multiply-adds on vectors of f32."""
    vector = f"<{isa.lanes(WIDTH)} x float>"
    count = accumulators(isa)
    phis = "\n".join(f"  %a{i} = phi {vector} [zeroinitializer, %entry], [%b{i}, %again]" for i in range(count))
    call = f"call {vector} @llvm.fma.{_suffix(isa)}({vector} %x, {vector} %x, {vector}"
    work = "\n".join(f"  %b{i} = {call} %a{i})" for i in range(count))
    total = "\n".join(f"  %s{i} = fadd {vector} %{f's{i - 1}' if i else 'x'}, %b{i}" for i in range(count))
    return f"""declare {vector} @llvm.fma.{_suffix(isa)}({vector}, {vector}, {vector})
{_HEAD}
entry:
{_ARGUMENTS}
  %x = load {vector}, ptr %data, align 64
  br label %again
again:
  %turn = phi i64 [0, %entry], [%next, %again]
{phis}
{work}
  %next = add i64 %turn, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %again, label %done
done:
{total}
  store {vector} %s{count - 1}, ptr %scratch, align 64
  ret i32 0
}}"""


def read(isa: Isa) -> str:
    """A stage that adds up args[1] bytes from args[0] + part * args[1] on."""
    vector, size = f"<{isa.lanes(WIDTH)} x float>", isa.vector_bytes
    phis = "\n".join(f"  %a{i} = phi {vector} [zeroinitializer, %entry], [%b{i}, %again]" for i in range(UNROLLED))
    lines = []
    for i in range(UNROLLED):
        lines.append(f"  %p{i} = getelementptr i8, ptr %here, i64 {i * size}")
        lines.append(f"  %v{i} = load {vector}, ptr %p{i}, align 64")
        lines.append(f"  %b{i} = fadd {vector} %a{i}, %v{i}")
    work = "\n".join(lines)
    total = "\n".join(f"  %s{i} = fadd {vector} %{f's{i - 1}' if i else 'b0'}, %b{i}" for i in range(UNROLLED))
    return f"""{_HEAD}
entry:
{_ARGUMENTS}
  %skipped = mul i64 %part, %count
  %start = getelementptr i8, ptr %data, i64 %skipped
  br label %again
again:
  %at = phi i64 [0, %entry], [%next, %again]
{phis}
  %here = getelementptr i8, ptr %start, i64 %at
{work}
  %next = add i64 %at, {UNROLLED * size}
  %more = icmp ult i64 %next, %count
  br i1 %more, label %again, label %done
done:
{total}
  store {vector} %s{UNROLLED - 1}, ptr %scratch, align 64
  ret i32 0
}}"""


_ARGUMENTS = """  %data = load ptr, ptr %args
  %second = getelementptr i64, ptr %args, i64 1
  %count = load i64, ptr %second"""


def accumulators(isa: Isa) -> int:
    """How many sums hide the latency of a multiply-add and leave registers over."""
    return isa.vector_registers - 4


def _suffix(isa: Isa) -> str:
    return f"v{isa.lanes(WIDTH)}f32"


def measure(threads: int) -> dict[str, float]:
    """Multiply-adds in f32 a second (each two operations) and bytes read from memory a second, on so many threads."""
    isa = isa_of(Target.host())
    image = _image(isa)
    data = np.arange(READ // WIDTH + 16, dtype=np.float32).view(np.uint8)
    data = data[-data.ctypes.data % 64 :][:READ]
    parts = PARTS * threads
    flops = 2 * isa.lanes(WIDTH) * accumulators(isa) * TURNS * parts
    seconds = {
        "multiply_add": _best(_call(image, "multiply_add", data, TURNS, parts, threads, isa)),
        "read": _best(_call(image, "read", data, READ // parts // 4096 * 4096, parts, threads, isa)),
    }
    bytes_read = READ // parts // 4096 * 4096 * parts
    return {"flops": flops / seconds["multiply_add"], "bandwidth": bytes_read / seconds["read"]}


def _image(isa: Isa) -> Image:
    with CompilePool(2) as pool:
        sources = {"multiply_add": multiply_add(isa), "read": read(isa)}
        made = pool.compile([Request(source, isa) for source in sources.values()])
        objects: dict[str, bytes] = {}
        for name, data in zip(sources, made, strict=True):
            if isinstance(data, Failure):
                raise UnsupportedError(f"the measurement {name!r} does not compile: {data.reason}")
            objects[name] = data
        return link_image(pool, isa, objects)


def _call(
    image: Image, name: str, data: np.ndarray, count: int, parts: int, threads: int, isa: Isa
) -> Callable[[], object]:
    table = steps.table([steps.call(image.blob.entries[name], 0, 2, parts=2), steps.end()])
    program = Executable(
        Code.from_bytes(image.blob.code),
        image.blob.entries,
        table,
        np.array([0, 1], np.int32),
        np.zeros((0, 3), np.int64),
        slots=3,
        bases=1,
        scratch=isa.vector_bytes,
    )
    call = Invocation(program, threads=threads, team=lambda: team_of(lambda: image.crew.code, image.crew.entries))
    call.frame[:] = data.ctypes.data, count, parts
    return call.run


def _best(action: Callable[[], object]) -> float:
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(int(sys.argv[1]))))
