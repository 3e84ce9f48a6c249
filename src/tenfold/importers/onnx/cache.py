"""Caches that grow in place: new elements laid over old ones from a place that each of the batch has."""

from __future__ import annotations

from tenfold.importers.shorthand import apply, cast, measure, number, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ops.activation import Clip
from tenfold.ops.arithmetic import Mod, Sub
from tenfold.ops.constant import Iota
from tenfold.ops.index import GatherND
from tenfold.ops.logic import And, GreaterOrEqual, Less, Where
from tenfold.ops.movement import Expand


def laid_over(cache: Value, update: Value, starts: Value, axis: int, *, circular: bool = False) -> Value:
    """The cache with the update along `axis` from place starts[b] on ([B] or [1]); `circular`: round its end."""
    batch, size, length = cache.type.shape[0], cache.type.shape[axis], update.type.shape[axis]
    order = (0, axis, *(one for one in range(1, cache.type.rank) if one != axis))
    back = tuple(order.index(one) for one in range(cache.type.rank))
    place = apply(Sub(), Iota(0, 1, size)(), reshaped(cast(starts, dt.i64), (starts.type.size, 1)))
    if circular:
        place = apply(Mod(), place, measure(size, dt.i64))
    within = apply(And(), apply(GreaterOrEqual(), place, 0), apply(Less(), place, measure(length, dt.i64)))
    nearest = apply(Clip(), place, number(0, place), measure(dim.maximum(length - 1, 0), dt.i64))
    spread = reshaped(Expand((batch, size))(nearest), (batch, size, 1))
    taken = GatherND(1)(transposed(update, order), spread)
    chosen = reshaped(within, (*within.type.shape, *(1,) * (cache.type.rank - 2)))
    return transposed(Where()(chosen, taken, transposed(cache, order)), back)
