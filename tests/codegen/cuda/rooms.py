"""Where kernels keep their barriers (mbarrier): shared memory that is nothing else's, from a kernel's start to its end.

PTX forbids to use a barrier's memory for anything else before it is invalidated, but Triton gives it away once the
barrier was used for the last time. On an H200 that goes well until another process has its turn on the GPU.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from triton._C.libtriton import ir, nvidia, passes
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend

_BYTES = {"i1": 1, "i8": 1, "f8": 1, "i16": 2, "f16": 2, "bf16": 2, "i64": 8, "f64": 8}
_SCALAR = 8
_CAPABILITY, _PTX = 90, 80


@dataclass(frozen=True)
class Room:
    """Bytes of shared memory of an operation."""

    begin: int
    size: int
    owner: str

    def meets(self, other: Room) -> bool:
        return self.begin < other.begin + other.size and other.begin < self.begin + self.size


def allocated(path: Path) -> str:
    """A kernel in TTGIR, each operation with its offset in shared memory."""
    context = ir.context()
    ir.load_dialects(context)
    CUDABackend(GPUTarget("cuda", _CAPABILITY, 32)).load_dialects(context)
    module = ir.parse_mlir_module(str(path), context)
    made = ir.pass_manager(context)
    passes.ttgpuir.add_combine_tensor_select_and_if(made)
    groups = passes.ttgpuir.add_allocate_warp_groups
    groups(made, False) if "bool" in (inspect.getdoc(groups) or "") else groups(made)
    passes.convert.add_scf_to_cf(made)
    passes.gluon.add_inliner(made)
    nvidia.passes.ttgpuir.add_allocate_shared_memory_nv(made, _CAPABILITY, _PTX)
    made.run(module, "rooms")
    return str(module)


def size_of(kind: str) -> int:
    """Bytes of `2x128xf32` and the like."""
    *sizes, element = kind.split("x")
    return math.prod(map(int, sizes)) * _BYTES.get(element, 4)


def rooms_of(text: str) -> Iterator[tuple[bool, Room]]:
    """Whether it is that of barriers, and the room, of each operation; at most what its largest operand takes."""
    for line in text.splitlines():
        at = re.search(r"allocation\.offset = (\d+)", line)
        if at is None:
            continue
        named = re.search(r"(?:ttg|ttng|tt)\.\w+", line)
        owner = named[0] if named else "reduction"
        kinds = re.findall(r"(?:memdesc|tensor)<((?:\d+x)+[a-z]+\d+)", line)
        is_local = owner == "ttg.local_alloc"
        kinds = kinds[-1:] if is_local else [] if "warp_specialize" in owner else kinds
        size = max(map(size_of, kinds), default=_SCALAR)
        yield is_local and kinds[-1].endswith("i64"), Room(int(at[1]), size, owner)


def given_away(path: Path) -> list[tuple[Room, Room]]:
    """Barriers' rooms with what else lies there."""
    if "init_barrier" not in path.read_text():
        return []
    found = [*rooms_of(allocated(path))]
    barriers = [room for is_barrier, room in found if is_barrier]
    others = [room for is_barrier, room in found if not is_barrier]
    pairs = [(one, other) for one in barriers for other in others if one.meets(other)]
    return pairs + [(a, b) for at, a in enumerate(barriers) for b in barriers[:at] if a.meets(b)]
