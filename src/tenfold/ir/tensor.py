"""Constant data: an array in memory, one that is read when asked for, or a slice of a mapped file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType

if TYPE_CHECKING:
    from tenfold.ir.op import Op


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a folded constant was made: output `index` of an operation on other constants."""

    op: Op
    inputs: tuple[Tensor, ...]
    index: int = 0


class Tensor:
    """Immutable constant data. Equal when dtype, shape and bytes are equal; hashed by content.

    `source` names the weight of the user's model that it is, `recipe` says how it was folded from others: what refit
    replays. A constant of neither came with the model's operators.
    """

    def __init__(
        self,
        array: NDArray[Any] | Callable[[], NDArray[Any]],
        *,
        dtype: DType | None = None,
        shape: tuple[int, ...] | None = None,
        source: str | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        if callable(array):
            if dtype is None or shape is None:
                raise ValueError("a lazy tensor states its dtype and shape")
            self._load, self.dtype, self.shape = array, dtype, shape
        else:
            fixed = np.asarray(array)
            self._load = lambda: fixed
            self.dtype, self.shape = dtype or dt.of(fixed.dtype), fixed.shape
        self.source = source
        self.recipe = recipe

    @property
    def array(self) -> NDArray[Any]:
        """The data as a read-only NumPy array in row-major order."""
        loaded = np.ascontiguousarray(self._load()).reshape(self.shape)
        view = loaded.view()
        view.flags.writeable = False
        return view

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.size * self.dtype.itemsize

    @cached_property
    def digest(self) -> str:
        """SHA-256 over dtype, shape and content, as 64 hexadecimal digits."""
        state = hashlib.sha256(f"{self.dtype}{self.shape}".encode())
        if self.dtype is dt.string:
            for item in self.array.ravel():
                state.update(repr(item).encode())
        else:
            state.update(self.array.reshape(-1).view(np.uint8).data if self.size else b"")
        return state.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tensor) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        if self.size <= 8:
            return f"Tensor({self.dtype}, {self.array.tolist()})"
        return f"Tensor({self.dtype}, {self.shape}, {self.digest[:8]})"
