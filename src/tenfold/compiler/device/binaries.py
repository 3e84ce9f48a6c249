"""Programs to the code of an engine: machine code, each content stored once, and a table of functions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tenfold.codegen.cpu.pool import CompilePool, Told
from tenfold.codegen.cuda import heads
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, Launch
from tenfold.codegen.cuda.pool import GpuPool
from tenfold.codegen.cuda.program import Binary, Failure, Program
from tenfold.codegen.strategy import Strategy
from tenfold.compiler.assemble import linked
from tenfold.compiler.backend import MachineCode
from tenfold.compiler.device.chains import chained, expanded, pooled
from tenfold.compiler.device.functions import binary_of, functions_of, refusal
from tenfold.compiler.device.groups import grouped
from tenfold.compiler.device.schedule import DeviceScheduler
from tenfold.compiler.device.shared import place_of
from tenfold.compiler.device.tune import tune_device
from tenfold.compiler.items import Item, Piece, kernels
from tenfold.compiler.layout import Layout
from tenfold.compiler.tune import Chosen, Tuning
from tenfold.compiler.ways import Stretch
from tenfold.errors import UnsupportedError
from tenfold.ir.graph import Graph, Node
from tenfold.ops.attention import Attention, PagedAttention
from tenfold.target import Target


class GpuBackend:
    """NVIDIA GPUs."""

    scheduler = DeviceScheduler
    tune = staticmethod(tune_device)

    def joined(
        self, items: Sequence[Item], layout: Layout, strategies: Sequence[Strategy], tuning: Tuning
    ) -> list[Item]:
        """The items with chains and groups in the place of their parts where the clock says that they are faster, and
        that their results agree, here or where the choice was shipped from; groups also where a guess says so.
        """
        found = pooled(chained(items, strategies, tuning), layout, strategies, tuning)
        return grouped(expanded(found, layout, strategies, tuning), layout, strategies, tuning)

    def stretches(self, graph: Graph, target: Target) -> Sequence[Stretch]:
        """None: a GPU takes the whole batch at once, and attention by its own kernel."""
        return ()

    def keeps(self, node: Node) -> bool:
        """Attention that has a kernel of its own."""
        if not isinstance(node.op, (Attention, PagedAttention)):
            return False
        q, k, v = (value.type for value in node.inputs[:3])
        return heads.refusal([q.dtype, k.dtype, v.dtype], [q.shape[3], v.shape[3]]) is None

    def machine_code(
        self, items: Sequence[Item], target: Target, pool: CompilePool, tell: Told | None = None
    ) -> MachineCode:
        """Compile every program of the pieces, and the stages of those that run on the CPU; UnsupportedError for one
        that Triton or LLVM refuses.
        """
        arch = arch_of(target)
        launched = [piece for piece in kernels(items) if isinstance(piece.kernel, CudaKernel)]
        with GpuPool(len(os.sched_getaffinity(0)), arch.sm, pool.cache) as compiler:
            made = _compiled(launched, target, compiler, tell)
        programs = list(dict.fromkeys(one.program for piece in launched for one in launches_of(piece)))
        code, functions = functions_of([(program, binary_of(made, program)) for program in programs])
        entries: dict[Any, int] = {program: number for number, program in enumerate(programs)}
        manifest = {"functions": functions, "processors": arch.processors}
        said = f"{len(functions)} functions, {len(code)} bytes of code"
        if all(place_of(item) == "cuda" for item in items):
            return MachineCode(entries, {"code": code}, manifest, said)
        beside = linked(
            [piece for piece in kernels(items) if piece.kernel.place == "cpu"], target.cpu, pool, tell, "beside"
        )
        return MachineCode(
            entries | dict(beside.entries),
            {"code": code, **beside.sections},
            {**manifest, **beside.manifest, "cpu": str(target.cpu.portable)},
            f"{said}; on the CPU {beside.said}",
        )


def _compiled(
    pieces: Sequence[Piece], target: Target, compiler: GpuPool, tell: Told | None
) -> dict[Program, Binary | Failure]:
    """Machine code for all pieces; one that cannot be made gives way to the next candidate of its piece."""
    made: dict[Program, Binary | Failure] = {}
    shared = arch_of(target).shared
    while True:
        made |= compiler.compile([one for piece in pieces for one in programs_of(piece) if one not in made], tell)
        problems = {piece: refusal(made[one], shared) for piece in pieces for one in programs_of(piece)}
        refused = {piece: problem for piece, problem in problems.items() if problem}
        if not refused:
            return made
        for piece, problem in refused.items():
            _take_next(piece, problem, target)


def _take_next(piece: Piece, problem: str, target: Target) -> None:
    """The next candidate's kernel for a piece; UnsupportedError if there is none left."""
    candidates = piece.candidates if isinstance(piece, Chosen) else ()
    names = [str(tactic) for _, tactic in candidates]
    following = names.index(piece.tactic) + 1 if piece.tactic in names else len(names)
    if following >= len(names):
        raise UnsupportedError(f"no kernel for {piece.label.kind} was made: {problem}", remedy="report this")
    strategy, tactic = candidates[following]
    piece.refused += ((piece.tactic, problem),)
    piece.kernel, piece.tactic = strategy.build(piece.region, tactic, target), str(tactic)
    piece.label = replace(piece.label, tactic=str(tactic))


def launches_of(piece: Piece) -> tuple[Launch, ...]:
    """What a piece launches."""
    assert isinstance(piece.kernel, CudaKernel)
    return piece.kernel.launches


def programs_of(piece: Piece) -> list[Program]:
    """The programs of ours that a piece launches."""
    return [one.program for one in launches_of(piece) if isinstance(one.program, Program)]
