"""Values that need not be computed: what follows from the sizes of a call alone becomes a constant of those sizes."""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from tenfold.ir import dim
from tenfold.ir.dim import Dim
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant, Sizes


def from_sizes(value: Value, contents: Set[str]) -> Value:
    """The value itself, or where all its entries follow from sizes (and no symbol of `contents`) a constant of them."""
    entries = value.type.entries
    if entries is None or value.producer is None or isinstance(value.op, Constant | Sizes):
        return value
    shape = tuple(size for size in value.type.shape if isinstance(size, int))
    if len(shape) != value.type.rank or any(_from_contents(entry, contents) for entry in entries):
        return value
    known = [entry for entry in entries if isinstance(entry, int)]
    low, high = value.type.dtype.limits
    if not all(low <= entry <= high for entry in known):
        value.type = Type(value.type.dtype, value.type.shape)
        return value
    if len(known) < len(entries):
        result: Value = Sizes(entries, shape, value.type.dtype)()
        return result
    array = np.array(known, dtype=np.object_).astype(value.type.dtype.numpy).reshape(shape)
    result = Constant(Tensor(array))()
    return result


def _from_contents(entry: int | Dim, contents: Set[str]) -> bool:
    return isinstance(entry, Dim) and (entry.data_dependent or not contents.isdisjoint(dim.symbols(entry)))
