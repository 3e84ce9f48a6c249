"""`python -m tests.runtime.cuda.arrays`: on a GPU, arrays of PyTorch and CuPy in place, callers' streams, changed
addresses, shapes without end. Prints a line for each, with "WRONG" where something is.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import cupy
import numpy as np
import torch

import tenfold
from bench.gpu.own import left_out
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tenfold.runtime.cuda import untouched
from tenfold.runtime.cuda.queued import REMEMBERED


def engine() -> tenfold.Engine:
    """A row's softmax, and its double."""
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (symbol("n", 1), 1024)))
    graph.set_outputs([ops.Softmax(1)(x), ops.Add()(x, x)], ["y", "z"])
    return tenfold.build(graph, target="cuda", effort=0, cache=False)


def told(what: str, right: bool, *about: object) -> None:
    print(f"  {what:50} {'right' if right else 'WRONG'}", *about, flush=True)


def same(y: torch.Tensor, x: torch.Tensor) -> bool:
    return bool(torch.allclose(y, torch.softmax(x, 1), atol=1e-6))


def kinds(made: tenfold.Engine) -> None:
    """Results are of the first input's kind."""
    here = np.random.default_rng(0).standard_normal((8, 1024)).astype(np.float32)
    x = torch.from_numpy(here).cuda()
    y, _ = made(x)
    told("PyTorch's in place", isinstance(y, torch.Tensor) and y.is_cuda and same(y, x))
    c = cupy.asarray(here)
    y, z = made(c)
    told("CuPy's in place", isinstance(y, cupy.ndarray) and bool(cupy.allclose(z, c + c)), type(y).__module__)

    class Plain:
        __cuda_array_interface__ = c.__cuda_array_interface__

    y, z = made(Plain())
    told("any with __cuda_array_interface__", bool(cupy.allclose(cupy.asarray(z), c + c)), type(z).__name__)
    told("what comes out speaks DLPack", same(torch.from_dlpack(y), x))
    odd = torch.randn(8 * 1024 + 1, device="cuda")[1:].view(8, 1024)
    told("an address that is not aligned", same(made(odd)[0], odd))
    told("the host's tensors", same(made(x.cpu())[0].cuda(), x))


def streams(made: tenfold.Engine) -> None:
    """A call waits for what its caller's stream was given before, and what comes after waits for the call."""
    wide = torch.randn(4096, 4096, device="cuda")
    for number in range(4):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream), made.context() as context:
            x = torch.zeros(64, 1024, device="cuda")
            for _ in range(3):
                for _ in range(20):
                    wide = (wide @ wide).clamp(-1, 1)
                x += wide[:64, :1024]
                y = context.run([x])["y"] * 2
                right = same(y / 2, x)
            waiting = context.submit([x + number])
            right = right and same(waiting.result()["y"], x + number)
        told(f"a caller's stream, {number}", right)


def addresses(made: tenfold.Engine) -> None:
    """Every call with other memory, and shapes without end."""
    with made.context() as context:
        arrays = [torch.randn(16, 1024, device="cuda") for _ in range(20)]
        kept = [context.run([x])["y"] for x in arrays for _ in range(2)]
        told("other addresses in each call", all(same(y, x) for y, x in zip(kept[::2], arrays, strict=True)))
        for n in range(1, 3 * REMEMBERED):
            x = torch.randn(n, 1024, device="cuda")
            if not same(context.run([x])["y"], x):
                told(f"{n} rows", False)
        count = len(context._lane._graphs)  # type: ignore[attr-defined]
        told("graphs are bounded", count <= REMEMBERED, count)


def again(made: tenfold.Engine) -> None:
    """Results that come again are the caller's alone: whatever was done to those before, and whoever holds them."""
    told("words of tensors tell their uses", untouched.watchable(torch))
    weight = torch.ones(1, device="cuda", requires_grad=True)
    uses: dict[str, Callable[[torch.Tensor], object]] = {
        "nothing": lambda y: None, "itself": lambda y: y, "a view": lambda y: y[1:], "a product": lambda y: weight * y,
        "a storage": lambda y: y.untyped_storage(), "CuPy's": cupy.from_dlpack, "DLPack's": torch.from_dlpack,
        "transposed": lambda y: y.t_() is None, "resized": lambda y: y.resize_(2, 2) is None,
        "a gradient": lambda y: y.requires_grad_() is None, "other memory": lambda y: setattr(y, "data", weight.data),
        "an attribute": lambda y: setattr(y, "tag", 1), "put elsewhere": lambda y: y.set_(weight.detach()) is None,
    }  # fmt: skip
    x = torch.randn(16, 1024, device="cuda")
    for name, use in uses.items():
        with made.context() as context:
            right = True
            for _ in range(6):
                y = context.call([x])[1]
                before, place = y.clone(), y.data_ptr()
                held = use(y)
                del y
                x.normal_()
                y, z = context.call([x])
                right = right and same(y, x) and bool(torch.equal(z, x + x)) and not z.requires_grad
                if not isinstance(held, bool | None):
                    there = cupy.ndarray((16, 1024), cupy.float32, memory(place, before.nbytes))
                    right = right and z.data_ptr() != place and bool((torch.from_dlpack(there) == before).all())
                del y, z, held
            told(f"after a caller's use: {name}", right, len(context._repeats._all[0]._sets))  # type: ignore[attr-defined]


def tiles(_: tenfold.Engine) -> None:
    """Products whose tile descriptors move with fresh tensors; what is given where a result goes is read first."""
    graph = Graph()
    a, b = (graph.input(name, Type(dt.f16, (256, 256))) for name in "ab")
    graph.set_outputs([ops.MatMul()(a, b)], ["c"])
    with left_out():
        made = tenfold.build(graph, target="cuda", effort=0, cache=False)
    mine = torch.zeros(256, 256, dtype=torch.float16, device="cuda")
    for bound in ({}, {"c": mine}):
        with made.context() as context:
            context.bind(outputs=bound)
            far, kept = 0.0, list[torch.Tensor]()
            for number in range(12):
                x, y = (torch.randn(256, 256, dtype=torch.float16, device="cuda") for _ in range(2))
                x = mine if bound and number % 3 == 2 else x
                kept += [x, y]
                wanted = x.double() @ y.double()
                found = context.call([x, y])[0].double()
                far = max(far, float((found - wanted).norm() / wanted.norm()))
                mine.mul_(1 / 16)
            one = context._repeats._all[0]._sets[0].launches._launches  # type: ignore[attr-defined]
            told(f"fresh tensors of a product, {len(bound)} bound", far < 2e-3, f"{far:.1e}", len(one._tiles), "tiles")


def memory(place: int, size: int) -> cupy.cuda.MemoryPointer:
    """What lies there, for CuPy."""
    return cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(place, size, None), 0)


def tuned(made: tenfold.Engine) -> None:
    """`tenfold tune FILE`."""
    made.save("/tmp/arrays.tenfold")
    script = "from tenfold.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", script, "tune", "/tmp/arrays.tenfold", "--effort", "2", "--cache", "off"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told("tenfold tune FILE", ran.returncode == 0, ran.stdout.strip()[-300:], ran.stderr.strip()[-300:])
    x = torch.randn(4, 1024, device="cuda")
    told("the tuned file", same(tenfold.load("/tmp/arrays.tenfold")(x)[0], x))


def main() -> None:
    """All of them."""
    made = engine()
    parts: tuple[Callable[[tenfold.Engine], None], ...] = (kinds, streams, addresses, again, tiles, tuned)
    for part in parts:
        part(made)


if __name__ == "__main__":
    main()
