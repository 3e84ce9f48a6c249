"""Small stages for testing the dispatcher and the team, compiled once a process for each target."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from tenfold.codegen.cpu.image import Image, link_image
from tenfold.codegen.cpu.isa import ROWS, Isa, isa_of
from tenfold.codegen.cpu.pool import CompilePool, ObjectCache, Request
from tenfold.runtime import steps
from tenfold.runtime.cpu.block import Denormals
from tenfold.runtime.cpu.code import Code
from tenfold.runtime.cpu.invoke import Executable, Invocation
from tenfold.runtime.cpu.team import Team, team_of
from tenfold.target import Target

_HEAD = 'define i32 @stage(ptr %args, i64 %part, ptr %scratch) nounwind "no-builtins" "frame-pointer"="all" {'

STAGES = {
    # args[0][part] += 1
    "increment": """
  %p = load ptr, ptr %args
  %at = getelementptr i64, ptr %p, i64 %part
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  ret i32 0""",
    # returns args[0][part]
    "status": """
  %p = load ptr, ptr %args
  %at = getelementptr i64, ptr %p, i64 %part
  %value = load i64, ptr %at
  %status = trunc i64 %value to i32
  ret i32 %status""",
    # args[0][part] = 1000 * args[1] + args[2]
    "mix": """
  %p = load ptr, ptr %args
  %at = getelementptr i64, ptr %p, i64 %part
  %a1 = getelementptr i64, ptr %args, i64 1
  %a2 = getelementptr i64, ptr %args, i64 2
  %v1 = load i64, ptr %a1
  %v2 = load i64, ptr %a2
  %k = mul i64 %v1, 1000
  %sum = add i64 %k, %v2
  store i64 %sum, ptr %at
  ret i32 0""",
    # writes the part into the scratch and reads it back args[1] times; args[0][part] += 1; 17 if it was disturbed
    "linger": """
  %a1 = getelementptr i64, ptr %args, i64 1
  %turns = load i64, ptr %a1
  store volatile i64 %part, ptr %scratch
  br label %again
again:
  %turn = phi i64 [0, %0], [%next, %fine]
  %mine = load volatile i64, ptr %scratch
  %same = icmp eq i64 %mine, %part
  br i1 %same, label %fine, label %disturbed
disturbed:
  ret i32 17
fine:
  %next = add i64 %turn, 1
  %more = icmp ult i64 %next, %turns
  br i1 %more, label %again, label %done
done:
  %p = load ptr, ptr %args
  %at = getelementptr i64, ptr %p, i64 %part
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  ret i32 0""",
    # args[0][part] *= 0.5, in float
    "halve": """
  %p = load ptr, ptr %args
  %at = getelementptr float, ptr %p, i64 %part
  %old = load float, ptr %at
  %new = fmul float %old, 0.5
  store float %new, ptr %at
  ret i32 0""",
}


@functools.cache
def image(isa: Isa) -> Image:
    """All stages, the dispatcher and the crew for a target."""
    with CompilePool(1, ObjectCache()) as pool:
        made = pool.compile([Request(f"{_HEAD}{body}\n}}", isa) for body in STAGES.values()])
        objects = {name: data for name, data in zip(STAGES, made, strict=True) if isinstance(data, bytes)}
        assert len(objects) == len(STAGES), made
        return link_image(pool, isa, objects)


@functools.cache
def code() -> Code:
    """This machine's image, mapped."""
    return Code.from_bytes(image(isa_of(Target.host())).blob.code)


def entry(name: str) -> int:
    """The offset of a stage in this machine's image."""
    return image(isa_of(Target.host())).blob.entries[name]


def team() -> Team:
    """The process's team."""
    crew = image(isa_of(Target.host())).crew
    return team_of(lambda: crew.code, crew.entries)


def invocation(
    rows: Sequence[steps.Row],
    frame: dict[int, int] | None = None,
    *,
    argmap: Sequence[int] = (),
    binds: Sequence[Sequence[int]] = (),
    bases: Sequence[int] = (),
    threads: int = 1,
    scratch: int = 64,
    cancel: np.ndarray | None = None,
    denormals: Denormals = Denormals.KEEP,
) -> Invocation:
    """A call of this machine's stages with a frame of 16 slots."""
    executable = Executable(
        code(),
        image(isa_of(Target.host())).blob.entries,
        steps.table(rows),
        np.array(argmap, np.int32),
        np.array(binds, np.int64).reshape(-1, 3),
        slots=16,
        bases=len(bases),
        scratch=scratch,
    )
    made = Invocation(executable, threads=threads, team=team, cancel=cancel, denormals=denormals)
    for slot, value in (frame or {}).items():
        made.frame[slot] = value
    made.bases[: len(bases)] = bases
    return made


FOREIGN = tuple(row for row in ROWS if row.architecture == "aarch64")
