"""Maps from strings or integers to numbers or strings. They run on the host."""

from __future__ import annotations

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.objects import box, unbox
from tenfold.ir.op import Array, Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type, unknown_size
from tenfold.ops.logic import Cast


class ZipMap(Op):
    """A list of maps, one for each row: from keys to the row's elements."""

    keys: Tensor

    def infer(self, x: Type) -> Type:
        """x[C] or x[N, C], with as many columns as there are keys."""
        if x.rank not in (1, 2) or (isinstance(x.shape[-1], int) and x.shape[-1] != self.keys.size):
            raise ValueError(f"ZipMap of {x} with {self.keys.size} keys")
        make = dt.text_map if self.keys.dtype is dt.string else dt.int_map
        return Type(dt.sequence(Type(make(Type(x.dtype, ())), ())), ())

    def evaluate(self, x: Array) -> Array:
        """One dict a row."""
        keys = self.keys.array.tolist()
        return box([box(dict(zip(keys, row, strict=True))) for row in x.reshape(-1, len(keys)).tolist()])


class DictVectorizer(Op):
    """The values of a map at keys, in order; 0 or "" where it has none."""

    keys: Tensor
    dtype: DType

    def infer(self, x: Type) -> Type:
        """One row."""
        if _values(x) != self.dtype:
            raise ValueError(f"{x} holds no values of {self.dtype}")
        return Type(self.dtype, (1, self.keys.size))

    def evaluate(self, x: Array) -> Array:
        """Looked up one by one."""
        found, empty = unbox(x), "" if self.dtype is dt.string else 0
        return np.array([[found.get(key, empty) for key in self.keys.array.tolist()]], self.dtype.numpy)


class CastMap(Op):
    """The values of a map from integers in the order of its keys, as one row.

    With a `size`, each stands at the place that its key names, among that many.
    """

    to: DType
    size: int | None = None

    def infer(self, x: Type) -> Type:
        """One row of the wanted type."""
        _values(x)
        return Type(self.to, (1, unknown_size() if self.size is None else self.size))

    def evaluate(self, x: Array) -> Array:
        """Sorted, placed, cast."""
        found = dict(sorted(unbox(x).items()))
        if self.size is not None:
            empty = "" if any(isinstance(value, str) for value in found.values()) else 0.0
            found = {at: found.get(at, empty) for at in range(self.size)}
        values = list(found.values())
        texts = any(isinstance(value, str) for value in values)
        row = np.array([values], np.object_ if texts else np.float32)
        return row if texts and self.to is dt.string else Cast(self.to).evaluate(row)


def _values(x: Type) -> DType:
    if x.dtype.kind is not Kind.MAP or x.dtype.element is None:
        raise ValueError(f"{x} is no map")
    return x.dtype.element.dtype
