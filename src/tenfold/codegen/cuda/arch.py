"""What NVIDIA GPUs have: one table. Everything that generators ask of a machine stands in a row of it."""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.errors import TargetError
from tenfold.ir.dim import symbol
from tenfold.target import Target

PROCESSORS = symbol("multiprocessors", 1, 4096)
"""The multiprocessors of the GPU that runs: a symbol that grids of persistent kernels may mention, and nothing else."""


@dataclass(frozen=True)
class Arch:
    """One row. `sm` is the compute capability as in sm_90, `processors` the multiprocessors of its usual chip,
    `shared` the bytes of shared memory that one block may take, `dot` the tensor cores' (m, n, k) for 16-bit floats.

    `tensor_copy`: tiles move by descriptor (TMA).
    """

    sm: int
    processors: int
    shared: int
    dot: tuple[int, int, int]
    tensor_copy: bool = False

    @property
    def static(self) -> int:
        """Bytes of shared memory that a kernel may declare; what else a block takes is asked for at its launch."""
        return 48 << 10

    @property
    def early(self) -> bool:
        """Whether a kernel may start before the one ahead of it has ended, and wait inside."""
        return self.sm >= 90

    @property
    def no_teams(self) -> str | None:
        """Why kernels in which a warp loads by descriptor what teams of four multiply do not run; None if they do."""
        return None if self.sm == 90 else f"sm_{self.sm} has other tensor cores than these tiles are for"


ARCHES = (
    Arch(80, 108, 163 << 10, (16, 8, 16)),
    Arch(86, 84, 99 << 10, (16, 8, 16)),
    Arch(89, 142, 99 << 10, (16, 8, 16)),
    Arch(90, 132, 227 << 10, (64, 256, 16), tensor_copy=True),
    Arch(100, 148, 227 << 10, (128, 256, 16), tensor_copy=True),
    Arch(120, 170, 99 << 10, (16, 8, 16), tensor_copy=True),
)
"""CUDA C++ Programming Guide 13, "Technical specifications per compute capability"; PTX ISA 9, "wgmma", "tcgen05"."""

_BY_SM = {row.sm: row for row in ARCHES}


def arch_of(target: Target) -> Arch:
    """The row of a target such as cuda:sm_90; TargetError if it has none."""
    number = target.level.removeprefix("sm_")
    row = _BY_SM.get(int(number)) if number.isdigit() else None
    if target.kind != "cuda" or row is None:
        raise TargetError(
            f"target {target} has no CUDA code generator",
            argument="target",
            remedy="use one of " + ", ".join(f"cuda:sm_{row.sm}" for row in ARCHES),
        )
    return row
