"""`python -m tests.runtime.cuda.lasting [part …]`: on a GPU, what a call leaves behind it. Memory that others lent or
take over while the GPU still works, states and arenas that change between repeated calls, kernels with shared memory of
their own, a process that ends while others hold results. A line for each, with "WRONG" where something is.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack

import tenfold
from tenfold import ops, runtime
from tenfold.errors import OutOfMemory
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.runtime.cuda import dlpack
from tenfold.runtime.cuda.arrays import DeviceArray
from tests.runtime.cuda.test_state import Bench
from tests.runtime.test_state import kept, table

SHAPE = (512, 1024)
ROUNDS = 8

JAX = """
import numpy as np, jax, jax.numpy as jnp, tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
graph = Graph()
x = graph.input("x", Type(dt.f32, (64, 1024)))
graph.set_outputs([ops.Add()(x, x), ops.Softmax(1)(x)], ["y", "z"])
made = tenfold.build(graph, target="cuda", effort=0, cache=False)
kept, given = [], jax.random.normal(jax.random.key(0), (64, 1024), jnp.float32)
for number in range(6):
    kept += [jnp.from_dlpack(one) for one in made(given + number)]
right = all(bool(jnp.allclose(y, 2 * (given + n))) for n, y in enumerate(kept[::2]))
print("kept" if right else "not equal", type(kept[0]).__module__, jax.devices()[0].platform, flush=True)
"""

PTX = """.version 8.0
.target sm_90
.address_size 64
.shared .align 16 .b8 own[40960];
.extern .shared .align 16 .b8 asked[];
.visible .entry both(.param .u64 out) {
  .reg .u64 %rd<8>;
  .reg .u32 %r<8>;
  ld.param.u64 %rd1, [out];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, 7;
  mov.u64 %rd2, own;
  mov.u64 %rd3, asked;
  st.volatile.shared.u32 [%rd2+40956], %r2;
  st.volatile.shared.u32 [%rd3+20476], %r1;
  ld.volatile.shared.u32 %r3, [%rd2+40956];
  ld.volatile.shared.u32 %r4, [%rd3+20476];
  add.u32 %r5, %r3, %r4;
  mul.wide.u32 %rd4, %r1, 4;
  add.u64 %rd5, %rd1, %rd4;
  st.global.u32 [%rd5], %r5;
  ret;
}
"""


def told(what: str, right: bool, *about: object) -> None:
    print(f"  {what:72} {'right' if right else 'WRONG'}", *about, flush=True)


def built(graph: Graph) -> tenfold.Engine:
    return tenfold.build(graph, target="cuda", cache=False, effort=0)


def double(*operators: Any, shape: tuple[int, int] = SHAPE) -> tenfold.Engine:
    """The sum of two arrays, or what else of them."""
    graph = Graph(name="lasting")
    x, z = (graph.input(name, Type(dt.f32, shape)) for name in "xz")
    made = operators or (ops.Add(),)
    graph.set_outputs([one(x, z) for one in made], [f"y{number}" for number in range(len(made))])
    return built(graph)


def stream_of() -> Any:
    """Another stream of PyTorch's."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


class Work:
    """Keeps a stream of PyTorch's busy for about 20 ms."""

    def __init__(self) -> None:
        self.matrix = torch.randn(4096, 4096, device="cuda") / 64
        torch.cuda.synchronize()

    def __call__(self) -> torch.Tensor:
        wide = self.matrix
        for _ in range(8):
            wide = wide @ self.matrix
        return wide


class Lent:
    """Speaks DLPack alone; once let go, its memory is somebody else's, who writes there at once."""

    side: Any = None

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA_DEVICE, 0

    def __dlpack__(self, *, stream: object = None) -> Any:
        owner = type("Owner", (), {})()
        weakref.finalize(owner, _spoiled, self.tensor)
        return dlpack.capsule(owner, self.tensor.data_ptr(), tuple(self.tensor.shape), dt.f32)


def _spoiled(tensor: torch.Tensor) -> None:
    with torch.cuda.stream(Lent.side):
        tensor.fill_(float("nan"))


def lent() -> None:
    """Inputs by DLPack are read before their memory is let go."""
    work, Lent.side = Work(), stream_of()
    other = torch.randn(SHAPE, device="cuda")
    with double().context() as context:
        found = []
        for number in range(ROUNDS):
            x = torch.full(SHAPE, float(number), device="cuda")
            torch.cuda.synchronize()
            work()
            found.append(context.call([Lent(x), other])[0])
    torch.cuda.synchronize()
    right = [bool((torch.utils.dlpack.from_dlpack(y) == other + n).all()) for n, y in enumerate(found)]
    told("an input lent by DLPack is kept until it is read", all(right), right)


def copies() -> None:
    """A copy of an input lives until another stream has read it."""
    engine, work, right = double(), Work(), []
    with engine.context() as context:
        for number in range(ROUNDS):
            mine = torch.full(SHAPE, float(number), device="cuda")
            turned = torch.randn(SHAPE[::-1], device="cuda").t()
            wanted = turned + number
            stream = stream_of()
            torch.cuda.synchronize()
            with torch.cuda.stream(stream):
                work()
            first = DeviceArray(engine.inputs[0], mine.data_ptr(), SHAPE, stream.cuda_stream, mine)
            y = context.call([first, turned])[0]
            spoiled = [torch.full(SHAPE, float("nan"), device="cuda") for _ in range(4)]
            torch.cuda.synchronize()
            right.append(bool(torch.equal(torch.utils.dlpack.from_dlpack(y), wanted)))
            del spoiled
    told("a copy of an input lives until the first input's stream has read it", all(right), right)


def results() -> None:
    """Memory of a result that one stream still reads is not written by another."""
    engine, work, right = double(), Work(), []
    one, two = stream_of(), stream_of()
    with engine.context() as context:
        for number in range(ROUNDS):
            x = torch.full(SHAPE, float(number), device="cuda")
            torch.cuda.synchronize()
            with torch.cuda.stream(one):
                y = context.call([x, x])[0]
                work()
                late = y.clone()
                del y
            with torch.cuda.stream(two):
                z = context.call([x + 100, x])[0]
                again = z.clone()
            torch.cuda.synchronize()
            right.append(bool((late == 2 * number).all() and (again == 2 * number + 100).all()))
            del z
    told("a result that one stream reads is not written by another", all(right), right)


def states() -> None:
    """Repeated calls see a state that was seeded, reset or forked."""
    found = []
    with kept(table("plain"), Bench()).context() as context:  # type: ignore[arg-type]
        given = [torch.tensor([[3]], device="cuda"), torch.ones(1, 4, device="cuda")]
        context.call(given)
        (name,) = context.state
        context.reset()
        for turn in range(30):
            before = [context.call(given)[0].clone() for _ in range(turn % 4 + 1)]
            context.seed({name: np.full((16, 4), 7 + turn, np.float32)})
            seeded = context.call(given)[0].clone()
            context.reset()
            after = context.call(given)[0].clone()
            rows = int(np.count_nonzero(context.state[name]))
            found.append((float(seeded[0, 0]) == 2 * (7 + turn), rows == 4, torch.equal(before[0], after) or turn == 0))
            context.reset()
    told("repeated calls see a state that was seeded or reset, 30 times", all(map(all, found)), len(found))


def growing() -> Graph:
    graph = Graph(name="grows")
    value = graph.input("x", Type(dt.f32, (symbol("n"), 16)))
    random = np.random.default_rng(0)
    for before, after in ((16, 64), (64, 64), (64, 8)):
        weight = ops.Constant(Tensor(random.standard_normal((before, after)).astype(np.float32)))()
        value = ops.MatMul()(ops.Softmax(1)(value), weight)
    graph.set_outputs([value], ["y"])
    return graph


def arenas() -> None:
    """A call that finds no memory leaves no graph on what it gave back."""
    driver: Any = runtime.open_device().driver
    with built(growing()).context() as context:
        small = torch.randn(16, 16, device="cuda")
        wanted, *_ = [context.call([small])[0].clone() for _ in range(3)]
        for size, limited in ((512, True), (1 << 20, True), (1 << 29, False)):
            allocate = type(driver).allocate
            try:
                if limited:
                    type(driver).allocate = _refused
                context.call([torch.empty(size, 16, device="cuda")])
                told(f"{size} rows find no memory", False, "NOTHING was raised")
            except (OutOfMemory, torch.OutOfMemoryError) as error:
                told(f"{size} rows find no memory", isinstance(error, OutOfMemory), str(error)[:90])
            finally:
                type(driver).allocate = allocate
            torch.cuda.empty_cache()
            spoiled = [torch.full((1 << 18,), float("nan"), device="cuda") for _ in range(8)]
            found = [context.call([small])[0].clone() for _ in range(4)]
            told("  afterwards small calls are right", all(torch.equal(one, wanted) for one in found))
            del spoiled


def _refused(driver: Any, size: int, stream: Any) -> int:
    raise OutOfMemory("no", remedy="none")


def modes() -> None:
    """Negative and conjugated views; inference mode."""
    negative = torch.full(SHAPE, 1 + 2j, device="cuda").conj().imag
    ones = torch.ones(SHAPE, device="cuda")
    with double().context() as context:
        told("a negative view", bool(torch.equal(context.call([negative, ones])[0], negative + 1)))
        with torch.inference_mode():
            inside = [context.call([ones, ones])[0] for _ in range(4)]
        after = context.call([ones, ones])[0]
        told("results after inference mode are usual", not after.is_inference() and bool((after == 2).all()))
        told("results within it are right", all(bool((one == 2).all()) for one in inside))
        weight = torch.ones(SHAPE, device="cuda", requires_grad=True)
        (weight * after).sum().backward()
        told("and a gradient goes through them", bool((weight.grad == 2).all()))  # type: ignore[union-attr]


def captures() -> None:
    """Engines are built, run and become garbage in other threads while graphs are captured."""
    failed: list[str] = []

    def one(number: int) -> None:
        try:
            random = torch.Generator("cuda").manual_seed(number)
            stream = stream_of()
            for turn in range(12):
                cycle: list[Any] = [double(shape=(8 + turn, 64 + 64 * number))]
                cycle.append(cycle)
                engine: tenfold.Engine = cycle[0]
                with torch.cuda.stream(stream), engine.context() as context:
                    for _ in range(4):
                        x = torch.randn(engine.inputs[0].shape, generator=random, device="cuda")  # type: ignore[arg-type]
                        if not torch.equal(context.call([x, x])[0], 2 * x):
                            failed.append(f"thread {number}, turn {turn}: not equal")
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told("four threads capture while engines become garbage", not failed and gc.isenabled(), failed[:2])


def graphs() -> None:
    """Products of sizes that may disagree, and a long chain ahead of a sum."""
    graph = Graph(name="deep")
    value = graph.input("x", Type(dt.f32, (1, 131072)))
    for _ in range(500):
        value = ops.Add()(ops.Abs()(value), ops.Constant(Tensor(np.array(1, np.float32)))())
    graph.set_outputs([ops.Reduce("sum", (1,), True)(value)], ["y"])
    x = torch.rand(1, 131072, device="cuda")
    wanted = (x.double() + 500).sum()
    told("a long chain ahead of a sum", abs(float(built(graph)(x)) / float(wanted) - 1) < 1e-6)
    other = Graph(name="disagree")
    a = other.input("a", Type(dt.f32, (1, symbol("n"))))
    b = other.input("b", Type(dt.f32, (symbol("k"), 1)))
    other.set_outputs([ops.MatMul()(a, b)], ["y"])
    engine = built(other)
    p, q = torch.randn(1, 300, device="cuda"), torch.randn(300, 1, device="cuda")
    told("a product of sizes that agree", abs(float(engine(p, q)) - float(p.double() @ q.double())) < 1e-3)
    try:
        engine(p, q[:1])
        told("a product of sizes that do not", False, "NOTHING was raised")
    except tenfold.errors.TenfoldError as error:
        told("a product of sizes that do not", True, f"{type(error).__name__}: {error}"[:90])


def shared() -> None:
    """40 KiB of a kernel's own and 20 KiB asked for, alone and in clusters, launched and in a graph."""
    driver: Any = runtime.open_device().driver
    driver.enter()
    module, stream = driver.load(PTX.encode() + b"\0"), driver.open_stream()
    function = driver.function(module, "both", 20480)
    place = driver.allocate(64, stream)
    argument = ctypes.c_uint64(place)
    addresses = (ctypes.c_uint64 * 1)(ctypes.addressof(argument))
    for cluster in (1, 2, 4):
        for graph in (False, True):
            driver.clear(place, 64, stream)

            def emit(cluster: int = cluster) -> None:
                driver.launch(function, 8, 32, 20480, ctypes.addressof(addresses), cluster, False, stream)

            if graph:
                made = driver.capture(stream, emit)
                driver.change(made, [0], [driver.node(function, 8, 32, 20480, ctypes.addressof(addresses))])
                driver.replay(made, stream)
            else:
                emit()
            found = np.zeros(8, np.int32)
            driver.download(found.ctypes.data, place, 32, stream)
            driver.synchronize(stream)
            right = found.tolist() == list(range(7, 15))
            told(f"60 KiB of shared memory, clusters of {cluster}{', a graph' * graph}", right, found[:3])


def jax() -> None:
    """JAX holds results when its process ends."""
    for turn in range(2):
        ran = subprocess.run([sys.executable, "-c", JAX], capture_output=True, text=True, check=False)
        right = ran.returncode == 0 and "kept" in ran.stdout
        told(f"a process ends while JAX holds results, {turn}", right, ran.returncode, ran.stdout.strip()[-60:])
        if not right:
            print(ran.stderr[-1500:], flush=True)


PARTS: tuple[Callable[[], None], ...] = (lent, copies, results, states, arenas, modes, captures, graphs, shared, jax)


def main() -> None:
    """All of them, or those that are named."""
    for part in PARTS:
        if len(sys.argv) == 1 or part.__name__ in sys.argv[1:]:
            try:
                part()
            except Exception:
                told(part.__name__, False, "FAILED")
                traceback.print_exc(file=sys.stdout)


if __name__ == "__main__":
    main()
