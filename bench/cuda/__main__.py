"""Generated GPU kernels against cuBLAS, PyTorch and torch.compile on this machine's GPU, all in one run.

    PYTHONPATH=src:. python -m bench cuda [--only gemm,few,rows,pointwise] [--out FOLDER]

Every variant is checked against float64 with poisoned outputs, then timed: CUDA-graph replays between events, inputs
rotating through sets that do not fit the L2 cache together, the median of the replays. Each group of work runs in a
process of its own, so that a fault ends only its group. Prints one table; writes JSON, a line for each measurement.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton

from bench.cuda.launching import Call, Function
from tenfold.codegen.cuda import contraction, pointwise, reduce
from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.codegen.cuda.program import Binary, Program
from tenfold.codegen.cuda.triton import compile_program
from tenfold.codegen.region import Anchored, Body, Instruction, Operand, Phase, Pointwise, Region, Row, identity
from tenfold.codegen.strategy import Refusal, Strategy
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.type import Type
from tenfold.ops import activation, arithmetic, logic
from tenfold.ops.constant import scalar
from tenfold.ops.matmul import MatMul
from tenfold.runtime.cuda.product import VENDOR
from tenfold.target import Target

TARGET = Target("cuda", "sm_90")
SPREAD = 256 << 20
"""Bytes that the input sets take together: several times the L2 cache."""


def dense(dtype: DType, shape: Sequence[int], over: Sequence[int] | None = None) -> Operand:
    """A row-major tensor, repeated over the leading axes of `over`."""
    strides = [1] * len(shape)
    for axis in reversed(range(len(shape) - 1)):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    over = tuple(over or shape)
    return Operand(Value(Type(dtype, tuple(shape))), dtype, over, (*(0,) * (len(over) - len(shape)), *strides))


def body(inputs: Sequence[DType], *code: tuple[Any, tuple[int, ...], DType]) -> Body:
    """A body that gives its last register."""
    return Body(tuple(inputs), tuple(Instruction(*one) for one in code), (len(inputs) + len(code) - 1,))


@dataclass(frozen=True)
class Work:
    """A region, who may build it, what PyTorch calls the same, and what bounds it."""

    name: str
    region: Region
    inputs: tuple[Operand, ...]
    strategies: tuple[Strategy, ...]
    exact: Callable[..., Any]
    peers: dict[str, Callable[..., Any]]
    flops: float
    bytes: float
    most: int = 99
    select: Callable[[Any], bool] = lambda tactic: True


def product(m: int, n: int, k: int, select: Callable[[Any], bool], bias: bool = False) -> Work:
    a, b, c = dense(dt.f16, (m, k)), dense(dt.f16, (k, n)), dense(dt.f16, (m, n))
    extra = (dense(dt.f16, (n,), (m, n)),) if bias else ()
    what = body([dt.f16] * 2, (arithmetic.Add(), (0, 1), dt.f16), (activation.Gelu(), (2,), dt.f16)) if bias else None
    region = Anchored((m, n), (c,), MatMul(), (a, b), what or identity(dt.f16), extra)

    def exact(x: Any, y: Any, *rest: Any) -> Any:
        sums = x.double() @ y.double()
        return torch.nn.functional.gelu(sums + rest[0].double()) if rest else sums

    def transposed(x: Any, y: Any, out: Any) -> Any:
        if not hasattr(y, "turned"):
            y.turned = y.t().contiguous().t()
        return torch.mm(x, y.turned, out=out)

    def lt(run: Callable[..., Any]) -> Callable[..., Any]:
        def preferred(*given: Any) -> Any:
            torch.backends.cuda.preferred_blas_library("cublaslt")
            try:
                return run(*given)
            finally:
                torch.backends.cuda.preferred_blas_library("cublas")

        return preferred

    plain_peers = {"cublas": lambda x, y, out: torch.mm(x, y, out=out), "cublas-nt": transposed}
    peers: dict[str, Callable[..., Any]] = {
        **plain_peers,
        **{name.replace("cublas", "cublaslt"): lt(run) for name, run in plain_peers.items()},
    }
    if bias:
        fused = torch.compile(
            lambda x, y, z: torch.nn.functional.gelu(x @ y + z), mode="max-autotune-no-cudagraphs", dynamic=False
        )
        peers = {
            "cublas+eager": lambda x, y, z, out: torch.nn.functional.gelu(torch.addmm(z, x, y, out=out)),
            "torch.compile": lambda x, y, z, out: fused(x, y, z),
        }
    moved = 2.0 * (m * k + k * n + m * n)
    name = f"gemm{'+bias+gelu' if bias else ''} {m}x{n}x{k}"
    strategies = (contraction.STRATEGY,)
    return Work(name, region, (a, b, *extra), strategies, exact, peers, 2.0 * m * n * k, moved, TRIED, select)


def plain(tactic: Any) -> bool:
    return tactic.strategy != VENDOR


def softmax(rows: int, columns: int) -> Work:
    shape, wide = (rows, columns), dt.f32
    x, y = dense(dt.f16, shape), dense(dt.f16, shape)
    top = body([dt.f16], (logic.Cast(wide), (0,), wide))
    centred = ((logic.Cast(wide), (0,), wide), (arithmetic.Sub(), (2, 1), wide), (arithmetic.Exp(), (3,), wide))
    rest = ((logic.Cast(wide), (0,), wide), (arithmetic.Sub(), (3, 1), wide), (arithmetic.Exp(), (4,), wide))
    last = ((arithmetic.Div(), (5, 2), wide), (logic.Cast(dt.f16), (6,), dt.f16))
    phases = (Phase(top, "max"), Phase(body([dt.f16, wide], *centred), "sum"))
    region = Row(shape, (y,), 1, (x,), phases, body([dt.f16, wide, wide], *rest, *last))
    compiled = torch.compile(lambda x: torch.softmax(x, -1), mode="max-autotune-no-cudagraphs", dynamic=False)
    peers = {"eager": lambda x, out: torch.softmax(x, -1, out=out), "torch.compile": lambda x, out: compiled(x)}
    exact = lambda x: torch.softmax(x.double(), -1)  # noqa: E731
    return Work(f"softmax {rows}x{columns}", region, (x,), (reduce.STRATEGY,), exact, peers, 0, 4.0 * rows * columns)


def layer_norm(rows: int, columns: int) -> Work:
    shape, wide = (rows, columns), dt.f32
    x, y = dense(dt.f16, shape), dense(dt.f16, shape)
    scale, shift = dense(dt.f16, (columns,), shape), dense(dt.f16, (columns,), shape)
    inputs, part = [dt.f16] * 3, 1 / columns
    mean = ((scalar(part, wide), (), wide), (arithmetic.Mul(), (3, 4), wide), (logic.Cast(wide), (0,), wide))
    off = (arithmetic.Sub(), (6, 5), wide)
    phases = (
        Phase(body(inputs, (logic.Cast(wide), (0,), wide)), "sum"),
        Phase(body([*inputs, wide], *mean, off, (arithmetic.Mul(), (7, 7), wide)), "sum"),
    )
    code = (
        (scalar(part, wide), (), wide), (arithmetic.Mul(), (3, 5), wide), (logic.Cast(wide), (0,), wide),
        (arithmetic.Sub(), (7, 6), wide), (arithmetic.Mul(), (4, 5), wide), (scalar(1e-5, wide), (), wide),
        (arithmetic.Add(), (9, 10), wide), (arithmetic.Rsqrt(), (11,), wide), (arithmetic.Mul(), (8, 12), wide),
        (logic.Cast(wide), (1,), wide), (arithmetic.Mul(), (13, 14), wide), (logic.Cast(wide), (2,), wide),
        (arithmetic.Add(), (15, 16), wide), (logic.Cast(dt.f16), (17,), dt.f16),
    )  # fmt: skip
    region = Row(shape, (y,), 1, (x, scale, shift), phases, body([*inputs, wide, wide], *code))
    norm = torch.nn.functional.layer_norm
    compiled = torch.compile(
        lambda x, g, b: norm(x, (columns,), g, b), mode="max-autotune-no-cudagraphs", dynamic=False
    )
    peers = {
        "eager": lambda x, g, b, out: norm(x, (columns,), g, b),
        "torch.compile": lambda x, g, b, out: compiled(x, g, b),
    }
    exact = lambda x, g, b: norm(x.double(), (columns,), g.double(), b.double())  # noqa: E731
    operands, moved = (x, scale, shift), 4.0 * rows * columns
    return Work(f"layernorm {rows}x{columns}", region, operands, (reduce.STRATEGY,), exact, peers, 0, moved)


def add_gelu(rows: int, columns: int, bias: bool) -> Work:
    shape = (rows, columns)
    x, y = dense(dt.f16, shape), dense(dt.f16, (columns,), shape) if bias else dense(dt.f16, shape)
    what = body([dt.f16] * 2, (arithmetic.Add(), (0, 1), dt.f16), (activation.Gelu(), (2,), dt.f16))
    region = Pointwise(shape, (dense(dt.f16, shape),), (x, y), what)
    gelu = torch.nn.functional.gelu
    compiled = torch.compile(lambda x, y: gelu(x + y), mode="max-autotune-no-cudagraphs", dynamic=False)
    peers = {"eager": lambda x, y, out: gelu(x + y), "torch.compile": lambda x, y, out: compiled(x, y)}
    exact = lambda x, y: gelu(x.double() + y.double())  # noqa: E731
    name = f"add{'-row' if bias else ''}+gelu {rows}x{columns}"
    moved = (4.0 if bias else 6.0) * rows * columns
    return Work(name, region, (x, y), (pointwise.STRATEGY,), exact, peers, 0, moved)


LARGE = ((8192, 8192, 8192), (4096, 4096, 4096), (8192, 8192, 512), (1024, 3072, 768), (1024, 768, 3072))
TRIED = 16
"""How many tactics are tried at a product."""
GROUPS: dict[str, Callable[[], list[Work]]] = {
    "gemm": lambda: [product(*size, plain) for size in LARGE],
    "few": lambda: [product(m, 4096, 4096, plain) for m in (1, 16, 64)],
    "deep": lambda: [product(1024, 768, 3072, plain), *GROUPS["few"]()],
    "products": lambda: [*GROUPS["gemm"](), *GROUPS["few"]()],
    "rows": lambda: [
        *(softmax(*size) for size in ((8192, 1024), (65536, 512), (4096, 8192))),
        *(layer_norm(*size) for size in ((16384, 768), (8192, 4096), (512, 768))),
    ],
    "pointwise": lambda: [add_gelu(16384, 4096, False), add_gelu(16384, 4096, True), add_gelu(512, 3072, True)],
    "fused": lambda: [product(8192, 8192, 512, plain, True), product(1024, 3072, 768, plain, True)],
}


class Device:
    """Clocks and buffers."""

    def __init__(self) -> None:
        torch.zeros(1, device="cuda")
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        self.processors = torch.cuda.get_device_properties(0).multi_processor_count

    def sets(self, work: Work) -> list[list[Any]]:
        """Several sets of random inputs, each with its output behind them."""
        count = int(min(max(SPREAD // max(work.bytes, 1), 2), 24))
        torch.manual_seed(7)

        def random(one: Operand) -> Any:
            return torch.randn(tuple(one.value.type.shape), dtype=torch.float16, device="cuda")

        (out,) = work.region.outputs
        return [[*(random(one) for one in work.inputs), random(out)] for _ in range(count)]

    def time(self, run: Callable[[int], object], count: int, work: Work) -> float:
        """Microseconds of one run: the median of five replays."""
        replay = self.clock(run, count, work)
        return statistics.median(replay() for _ in range(5))

    def clock(self, run: Callable[[int], object], count: int, work: Work) -> Callable[[], float]:
        """What replays a graph of runs on `count` sets and gives the microseconds of one."""
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for place in range(min(count, 3)):
                run(place)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        guess = max(work.flops / 6e14, work.bytes / 3e12)
        repeats = count * max(1, min(200, int(2e-3 / guess)) // count)
        with torch.cuda.graph(graph):
            for place in range(repeats):
                run(place % count)
        graph.replay()
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def replay() -> float:
            start.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            return float(start.elapsed_time(end) * 1e3 / repeats)

        return replay

    def error(self, work: Work, buffers: Sequence[Any], found: Any) -> float:
        """Norm-wise distance from float64."""
        exact = work.exact(*buffers[:-1])
        return float((found.double() - exact).norm() / exact.norm())


def built(work: Work) -> Iterator[tuple[str, CudaKernel]]:
    for strategy in work.strategies:
        tactics = strategy.tactics(work.region, TARGET)
        if isinstance(tactics, Refusal):
            print(f"# {work.name}: {strategy.name} refuses: {tactics.reason}", flush=True)
            continue
        for tactic in [one for one in tactics if work.select(one)][: work.most]:
            yield str(tactic), strategy.build(work.region, tactic, TARGET)


def _compiled(program: Program) -> Binary | str:
    try:
        return compile_program(program, 90)
    except Exception as failure:
        return f"{type(failure).__name__}: {failure}"[:300]


def loaded(binary: Binary) -> Function | str:
    try:
        return Function(binary)
    except RuntimeError as failure:
        return str(failure)


def measure(device: Device, work: Work, variants: list[tuple[str, CudaKernel]], functions: dict, emit: Any) -> None:
    """Check and time every variant; then time the best again in turns with the peers, and early starts of them."""
    sets = device.sets(work)
    runs: dict[str, Callable[[int], object]] = {}
    errors: dict[str, float] = {}
    times: dict[str, float] = {}
    for name, peer in work.peers.items():
        errors[name] = device.error(work, sets[0], peer(*sets[0]))
        runs[name] = lambda place, peer=peer: peer(*sets[place])
    for name, kernel in variants:
        broken = [functions[one.program] for one in kernel.launches if isinstance(functions[one.program], str)]
        if broken:
            emit(work, name, None, None, broken[0])
            continue
        run = prepared(device, work, kernel, functions, sets)
        errors[name] = max(tested(device, work, run, sets, place) for place in (0, len(sets) - 1, 0))
        if not errors[name] < 2e-3:
            emit(work, name, None, errors[name], "wrong")
            continue
        times[name] = device.time(run, len(sets), work)
        emit(work, name, times[name], errors[name], "swept")
        runs[name] = run
    best = sorted(times, key=lambda name: times[name])[:4]
    for name in best:
        early = f"{name} early"
        runs[early] = lambda place, run=runs[name]: run(place, early=True)  # type: ignore[call-arg]
        errors[early] = max(tested(device, work, runs[early], sets, place) for place in (0, len(sets) - 1, 0))
    clocks = {
        name: device.clock(runs[name], len(sets), work)
        for name in (*work.peers, *best, *(f"{one} early" for one in best))
    }
    turns = [{name: replay() for name, replay in clocks.items()} for _ in range(11)]
    for name in clocks:
        emit(work, name, statistics.median(turn[name] for turn in turns), errors[name])


def prepared(device: Device, work: Work, kernel: CudaKernel, functions: dict, sets: Sequence[Any]) -> Any:
    operands = (*work.inputs, *work.region.outputs)
    size = kernel.workspace if isinstance(kernel.workspace, int) else 0
    workspace = torch.zeros(size + 256, dtype=torch.uint8, device="cuda")
    scratch, counters = (torch.zeros(8 << 20, dtype=torch.uint8, device="cuda") for _ in range(2))
    calls = [
        Call(kernel, functions, {one.value: x.data_ptr() for one, x in zip(operands, buffers, strict=True)},
             workspace.data_ptr(), scratch.data_ptr(), counters.data_ptr(), device.processors)
        for buffers in sets
    ]  # fmt: skip
    kept = (workspace, scratch, counters)

    def run(place: int, early: bool = False, kept: Any = kept) -> None:
        calls[place].run(torch.cuda.current_stream().cuda_stream, early)

    return run


def tested(device: Device, work: Work, run: Callable[[int], object], sets: Sequence[Any], place: int) -> float:
    sets[place][-1].fill_(float("nan"))
    run(place)
    return device.error(work, sets[place], sets[place][-1])


def ceilings(device: Device) -> dict[str, float]:
    x, y = (torch.randn(1 << 30, dtype=torch.float16, device="cuda") for _ in range(2))
    work = product(8192, 8192, 8192, plain)
    copy = device.time(
        lambda _: torch.neg(x, out=y), 1, Work("", work.region, (), (), work.exact, {}, 0, 4.0 * (1 << 30))
    )
    return {"copy_gb_s": 4.0 * (1 << 30) / copy / 1e3}


def group(name: str, out: Path) -> None:
    """One group of work; its measurements are appended to a file."""
    started = time.time()
    device = Device()
    file = (out / f"{name}.jsonl").open("w")

    def emit(work: Work, variant: str, us: float | None, error: float | None, why: str = "") -> None:
        row = {"work": work.name, "variant": variant, "us": us, "error": error}
        if us:
            row |= {"tflops": work.flops / us / 1e6, "gb_s": work.bytes / us / 1e3}
        file.write(json.dumps(row | ({"why": why} if why else {})) + "\n")
        file.flush()

    works = [(work, list(built(work))) for work in GROUPS[name]()]
    programs = {one.program for _, variants in works for _, kernel in variants for one in kernel.launches}
    with concurrent.futures.ProcessPoolExecutor(14, multiprocessing.get_context("spawn")) as pool:
        made = dict(zip(programs, pool.map(_compiled, programs), strict=True))
    print(f"# {name}: {len(programs)} programs compiled by {time.time() - started:.0f} s", flush=True)
    functions = {program: one if isinstance(one, str) else loaded(one) for program, one in made.items()}
    file.write(json.dumps(ceilings(device)) + "\n")
    for work, variants in works:
        measure(device, work, variants, functions, emit)
    print(f"# {name}: done by {time.time() - started:.0f} s", flush=True)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Of each work: every peer, and our best variants."""
    lines = [f"{'work':28} {'variant':100} {'µs':>8} {'TFLOP/s':>8} {'GB/s':>6} {'ratio':>6} {'error':>8}"]
    for name in dict.fromkeys(row["work"] for row in rows):
        found = [row for row in rows if row["work"] == name]
        timed = sorted((row for row in found if row["us"] and "why" not in row), key=lambda row: row["us"])
        peers = [row for row in timed if "(" not in row["variant"]]
        best = min((row["us"] for row in peers), default=0)
        ours = [row for row in timed if "(" in row["variant"]]
        for row in (*peers, *ours):
            lines.append(
                f"{name:28} {row['variant'][:100]:100} {row['us']:8.2f} {row['tflops']:8.1f} {row['gb_s']:6.0f} "
                f"{best / row['us']:6.3f} {row['error'] or 0:8.1e}"
            )
        failed = [row for row in found if not row["us"]]
        if failed:
            lines.append(f"{name:28} {len(failed)} of {len(found) - len(peers)} failed: {failed[0]['why'][:160]}")
    return "\n".join(lines)


def main() -> None:
    """Measure the groups, each in its own process; write the results and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="gemm,few,rows,pointwise,fused")
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--group")
    parser.add_argument("--seconds", type=int, default=150)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.group:
        group(options.group, options.out)
        return
    rows, ceiling = [], {}
    for name in options.only.split(","):
        command = [sys.executable, __file__, "--group", name, "--out", str(options.out)]
        try:
            code = subprocess.run(command, timeout=options.seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            code = -1
        file = options.out / f"{name}.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        rows += [line for line in lines if "work" in line]
        ceiling |= {f"{key} ({name})": line[key] for line in lines if "work" not in line for key in line}
        if code:
            print(f"# {name} ended with {code}", flush=True)
    about = {
        "gpu": torch.cuda.get_device_name(),
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda,
        "ceilings": ceiling,
    }
    text = table(rows)
    (options.out / "all.json").write_text(json.dumps(about | {"rows": rows}, indent=1))
    (options.out / "table.txt").write_text(json.dumps(about) + "\n" + text + "\n")
    print(json.dumps(about))
    print(text)


if __name__ == "__main__":
    main()
