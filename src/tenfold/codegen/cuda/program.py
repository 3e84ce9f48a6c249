"""Triton programs as data.

A `Program` is a kernel of ours with everything but its run-time arguments decided: element types, constants, and the
functions that fill its holes. It can be compared, hashed, and sent to a process that compiles. Triton is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tenfold.runtime.cuda.product import Asked


@dataclass(frozen=True)
class Word:
    """A run-time argument: `type` in Triton's words ("*fp16", "i64", "tensordesc<fp16[128, 64]>"). `aligned` promises
    a multiple of 16: of bytes for an address, else of the number itself. `rounded`: copies by a descriptor round f32 to
    TF32.
    """

    type: str
    aligned: bool = False
    rounded: bool = False


@dataclass(frozen=True)
class Hole:
    """A Triton function that fills a hole of a kernel: its text, which defines `hole`."""

    text: str


Parameter: TypeAlias = "Word | Hole | int | str | tuple[Parameter, ...]"
"""What a kernel's parameter holds: something given at run time, a function, a constant, a type's name, or several."""


@dataclass(frozen=True)
class Program:
    """`kernel` names a Triton function of this package as "module:function"; `parameters` fill its parameters in order.

    `warps` a block, `stages` of software pipelining, at most `registers` a thread where that is not 0, `room`
    bytes of shared memory behind what Triton asks for.
    """

    kernel: str
    parameters: tuple[tuple[str, Parameter], ...]
    warps: int = 4
    stages: int = 3
    registers: int = 0
    room: int = 0


@dataclass(frozen=True)
class Call:
    """What a library makes where it is installed, in the place of the `instead` launches that follow. Its arguments are
    addresses: a, b (images, filters), bias, residual, result, workspace.
    """

    product: Asked
    instead: int


@dataclass(frozen=True)
class TensorMap:
    """How a tile descriptor that a binary takes must be encoded (cuTensorMapEncodeTiled)."""

    block: tuple[int, ...]
    element_type: int
    element_size: int
    swizzle: int


@dataclass(frozen=True)
class Binary:
    """Machine code of a program. `shared` bytes of dynamic shared memory a block; `scratch` bytes of global scratch a
    block, aligned to `scratch_align`, passed after the arguments and before the (null) profile scratch.

    `maps` say of each descriptor argument how it is encoded; the kernel takes it by value, then its sizes (i32) and
    its strides (i64).
    """

    code: bytes
    name: str
    threads: int
    shared: int
    scratch: int
    scratch_align: int
    maps: tuple[TensorMap, ...]


def words(parameter: Parameter) -> Iterator[Word]:
    """The run-time arguments within a parameter, in order."""
    if isinstance(parameter, Word):
        yield parameter
    elif isinstance(parameter, tuple):
        for one in parameter:
            yield from words(one)


@dataclass(frozen=True)
class Failure:
    """Why a program became no machine code: Triton's words."""

    reason: str
