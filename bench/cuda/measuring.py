"""Kernels and their peers checked against float64, then timed by turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from bench.cuda.launching import Call, Function
from bench.cuda.works import Work, plain, product
from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.codegen.cuda.program import Binary, Program
from tenfold.codegen.cuda.triton import compile_program
from tenfold.codegen.region import Operand
from tenfold.codegen.strategy import Refusal
from tenfold.target import Target

TARGET = Target("cuda", "sm_90")
SPREAD = 256 << 20
"""Bytes that the input sets take together: several times the L2 cache."""


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
    regions = {"": work.region, **({" nt": work.turned} if work.turned else {})}
    for strategy, kind in ((one, kind) for one in work.strategies for kind in regions):
        region = regions[kind]
        tactics = strategy.tactics(region, TARGET)
        if isinstance(tactics, Refusal):
            print(f"# {work.name}: {strategy.name} refuses: {tactics.reason}", flush=True)
            continue
        for tactic in [one for one in tactics if work.select(one)][: work.most]:
            yield f"{tactic}{kind}", strategy.build(region, tactic, TARGET)


def compiled(program: Program) -> Binary | str:
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
        given = [turned(one) for one in sets] if name.endswith(" nt") else sets
        run = prepared(device, work, kernel, functions, given)
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


def turned(buffers: Sequence[Any]) -> list[Any]:
    """Buffers with the second matrix turned, as peers called nt get it."""
    x, y, *rest = buffers
    if not hasattr(y, "turned"):
        y.turned = y.t().contiguous().t()
    return [x, y.turned, *rest]


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
