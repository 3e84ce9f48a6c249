"""`python -m tests.runtime.cuda.faults`: on a GPU, what each kind of failure looks like, each in a process of its own.

Kernels that write where nothing is, and that never end, are timed among sound ones; an engine is run on an address that
is none, and asked for more memory than there is.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import triton
import triton.language as tl

import tenfold
from tenfold import ops
from tenfold.codegen.cuda.program import Program, Word
from tenfold.codegen.cuda.triton import compile_program
from tenfold.compiler.device import measure
from tenfold.compiler.device.functions import functions_of
from tenfold.compiler.device.job import Buffer, Call, Contestant, Job
from tenfold.errors import DeviceError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tenfold.runtime.cuda.arrays import DeviceArray
from tenfold.target import machine_gpu


@triton.jit
def sound(place):
    tl.store(place, 1.0)


@triton.jit
def wild(place):
    tl.store(place + (1 << 44), 1.0)


@triton.jit
def endless(place):
    while tl.load(place, volatile=True) < 1000.0:
        tl.store(place, 0.5)


def contestant(name: str) -> Contestant:
    program = Program(f"{__spec__.name}:{name}", (("place", Word("*fp32")),), 1, 1)
    code, functions = functions_of([(program, compile_program(program, machine_gpu() or 90))])
    return Contestant(code, functions, (Call(0, 1, ((0, 0),)),))


def clock() -> None:
    """A fault and an endless kernel among sound ones."""
    names = ("sound", "wild", "sound", "endless", "sound")
    job = Job((Buffer(4, np.dtype(np.float32), written=True),), tuple(map(contestant, names)), 2)
    measure._PATIENCE = 8.0
    measure.job_of = lambda *_: job  # type: ignore[assignment]
    begin = time.perf_counter()
    with measure.Stopwatch(132) as stopwatch:
        found = stopwatch.time(None, names, {})  # type: ignore[arg-type]
    for name, one in zip(names, found, strict=True):
        print(f"  {name:8} {one}")
    print(f"  {time.perf_counter() - begin:.1f} s")


def engine() -> tenfold.Engine:
    """Twice an array."""
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (symbol("n", 1), 1024)))
    graph.set_outputs([ops.Add()(x, x)], ["y"])
    return tenfold.build(graph, target="cuda", effort=0, cache=False)


def sticky() -> None:
    """An address that is none; then whatever else is done with the GPU."""
    made = engine()
    wrong = DeviceArray(made.inputs[0], 1 << 44, (4, 1024))
    for given in (wrong, np.ones((4, 1024), np.float32)):
        try:
            made.run([given])
            made._idle[-1]._driver.synchronize(made._idle[-1]._stream)  # type: ignore[attr-defined]
            print("  NOTHING was raised")
        except DeviceError as error:
            print(f"  {type(error).__name__}: {error}")
    sys.stdout.flush()


def memory() -> None:
    """More than there is; then a call that fits."""
    made = engine()
    try:
        made.run([DeviceArray(made.inputs[0], 1 << 44, (1 << 27, 1024))])
        print("  NOTHING was raised")
    except Exception as error:
        print(f"  {type(error).__name__}: {error}")
    print("  afterwards:", float(made(np.ones((2, 1024), np.float32)).sum()))


def hidden() -> None:
    """A machine whose GPU may not be seen."""
    for target in ("cuda", "cuda:sm_90"):
        try:
            graph = Graph()
            x = graph.input("x", Type(dt.f32, (4, 4)))
            graph.set_outputs([ops.Add()(x, x)], ["y"])
            tenfold.build(graph, target=target, effort=0, cache=False).context()
            print("  NOTHING was raised")
        except Exception as error:
            print(f"  {type(error).__name__}: {error}")


KINDS = {"clock": clock, "sticky": sticky, "memory": memory, "hidden": hidden}


def main() -> None:
    """Each kind in a process."""
    if len(sys.argv) > 1:
        KINDS[sys.argv[1]]()
        return
    for name in KINDS:
        print(name, flush=True)
        hide = ["env", "CUDA_VISIBLE_DEVICES="] if name == "hidden" else []
        subprocess.run([*hide, sys.executable, "-m", __spec__.name, name], check=False, timeout=120)


if __name__ == "__main__":
    main()
