"""Programs to the code of an engine: machine code, each content stored once, and a table of functions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tenfold.codegen.cpu.pool import CompilePool, Told
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.codegen.cuda.pool import GpuPool
from tenfold.codegen.cuda.program import Binary, Failure, Program, Word, words
from tenfold.compiler.backend import MachineCode
from tenfold.compiler.device.schedule import DeviceScheduler
from tenfold.compiler.items import Item, Piece, kernels
from tenfold.compiler.tune import Chosen
from tenfold.errors import UnsupportedError
from tenfold.ops.attention import Attention
from tenfold.target import Target

_ALIGNMENT = 64


class GpuBackend:
    """NVIDIA GPUs."""

    kept: frozenset[type] = frozenset({Attention})
    scheduler = DeviceScheduler

    def machine_code(
        self, items: Sequence[Item], target: Target, pool: CompilePool, tell: Told | None = None
    ) -> MachineCode:
        """Compile every program of the pieces; UnsupportedError for one that Triton refuses."""
        arch = arch_of(target)
        with GpuPool(len(os.sched_getaffinity(0)), arch.sm, pool.cache) as compiler:
            made = _compiled(list(kernels(items)), target, compiler, tell)
        programs = list(dict.fromkeys(program for piece in kernels(items) for program in programs_of(piece)))
        binaries = [(program, binary) for program in programs if isinstance(binary := made[program], Binary)]
        code, functions = functions_of(binaries)
        entries = {program: number for number, (program, _) in enumerate(binaries)}
        manifest = {"functions": functions, "processors": arch.processors}
        return MachineCode(entries, {"code": code}, manifest, f"{len(functions)} functions, {len(code)} bytes of code")


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


def programs_of(piece: Piece) -> list[Program]:
    """The programs that a piece launches."""
    assert isinstance(piece.kernel, CudaKernel)
    return [one.program for one in piece.kernel.launches]


def refusal(made: Binary | Failure, shared: int) -> str | None:
    """Why a program cannot run on a machine with so much shared memory a block; None if it can."""
    if isinstance(made, Failure):
        return made.reason
    if made.shared > shared:
        return f"it takes {made.shared} bytes of shared memory, and a block has {shared}"
    return "it takes scratch memory of its own" if made.scratch else None


def functions_of(binaries: Sequence[tuple[Program, Binary]]) -> tuple[bytes, list[dict[str, Any]]]:
    """One block of code and, of each function, where its code lies in it and how it is launched."""
    code, places, functions = bytearray(), dict[bytes, int](), list[dict[str, Any]]()
    for program, binary in binaries:
        if binary.code not in places:
            code += bytes(-len(code) % _ALIGNMENT)
            places[binary.code] = len(code)
            code += binary.code
        functions.append(
            {
                "offset": places[binary.code],
                "size": len(binary.code),
                "name": binary.name,
                "threads": binary.threads,
                "shared": binary.shared,
                "early": dict(program.parameters).get("EARLY") == 1,
                "words": list(_words(program, binary)),
            }
        )
    return bytes(code), functions


def _words(program: Program, binary: Binary) -> Iterator[list[Any]]:
    """How each argument is passed: an address, an integer of 32 or 64 bits, or a tile descriptor."""
    maps = iter(binary.maps)
    for _, parameter in program.parameters:
        for word in words(parameter):
            if word.type.startswith("tensordesc"):
                one = next(maps)
                yield ["tile", list(one.block), one.element_type, one.element_size, one.swizzle]
            else:
                yield [_kind(word)]


def _kind(word: Word) -> str:
    return "address" if word.type.startswith("*") else word.type
