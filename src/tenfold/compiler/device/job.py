"""What the process that times kernels on a GPU is asked, and what it answers: plain data, for it loads no compiler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Word: TypeAlias = "int | tuple[int, int]"
"""An argument: a number, or (buffer, bytes behind its start)."""


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory of `nbytes`, in `copies`: `content` if that is given, else random numbers of the type `kind`, else zeros.
    What kernels `write` there alone is held against what the others write; it is made up of `kind`, too.
    """

    nbytes: int
    kind: np.dtype[Any] | None = None
    copies: int = 1
    content: NDArray[Any] | None = None
    written: bool = False


@dataclass(frozen=True)
class Call:
    """A launch: the number of its function, the blocks of its grid, its arguments."""

    function: int
    grid: int
    words: tuple[Word, ...]


@dataclass(frozen=True, eq=False)
class Contestant:
    """A kernel: its machine code, the table of its functions, its launches in order."""

    code: bytes
    functions: list[dict[str, Any]]
    calls: tuple[Call, ...]


@dataclass(frozen=True, eq=False)
class Job:
    """Kernels that do the same with the same buffers, in so many turns; each takes the next copy of every buffer."""

    buffers: tuple[Buffer, ...]
    contestants: tuple[Contestant, ...]
    turns: int


Answer: TypeAlias = "Mapping[str, Any]"
"""{"begun": number of a contestant} before it first runs; {"ended": why} where the GPU is lost with it; last {"found":
for each contestant its seconds, or why it may not be taken}.
"""
