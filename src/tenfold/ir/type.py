"""What is known of a tensor before it exists: element type, sizes, and small integer contents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from tenfold.errors import LimitError
from tenfold.ir import dim
from tenfold.ir.atom import weight_of
from tenfold.ir.dim import Dim, Size
from tenfold.ir.dtype import ANY, DType

ENTRIES_LIMIT = 64
MOST_AXES = 64
"""As many as an array of NumPy can have."""
MOST_PARTS = 1 << 14
"""The most parts of a size: its text names shared parts again and again."""
MOST_FOLLOWED = 1 << 10
"""The most parts of an entry that is followed."""


@dataclass(frozen=True)
class Type:
    """The type of a tensor: its element type and its sizes, outermost first.

    `entries` holds the elements of an integer or boolean tensor of at most 64 elements, row-major,
    as symbolic sizes, where they are known and short: so shapes that a model computes with operators are followed.
    """

    dtype: DType
    shape: tuple[Size, ...]
    entries: tuple[Size, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.shape) > MOST_AXES:
            raise LimitError(f"a tensor of {len(self.shape)} axes, and {MOST_AXES} are the most")
        heaviest = max(map(weight_of, self.shape), default=0)
        if heaviest > MOST_PARTS:
            raise LimitError(f"a size is a formula of {heaviest:,} parts, and {MOST_PARTS:,} are the most")

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> Size:
        """The number of elements."""
        return dim.product(self.shape)

    @property
    def is_static(self) -> bool:
        """True if every size is a plain integer."""
        return all(isinstance(size, int) for size in self.shape)

    def with_entries(self, entries: tuple[Size, ...] | None) -> Type:
        """The same type with these entries, or with none if they are too many, too long or of another count."""
        if entries is not None and (len(entries) > ENTRIES_LIMIT or len(entries) != self.size):
            entries = None
        if max(map(weight_of, entries or ()), default=0) > MOST_FOLLOWED:
            entries = None
        return Type(self.dtype, self.shape, entries)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


_counter: ContextVar[list[int] | None] = ContextVar("unknown_sizes", default=None)
_depth: ContextVar[int] = ContextVar("unknown_sizes_numbered", default=0)


@contextmanager
def numbered_unknowns() -> Iterator[None]:
    """Within it, sizes that only the data decide are named _0, _1, … in order of creation: builds repeat exactly.

    Another one inside goes on counting.
    """
    if _depth.get():
        yield
        return
    depth, token = _depth.set(1), _counter.set([0])
    try:
        yield
    finally:
        _counter.reset(token)
        _depth.reset(depth)


def unknown_size(low: int | None = 0) -> Dim:
    """A new size that only the data decide (the count of NonZero); or, without a bound, a number."""
    counter = _numbers()
    counter[0] += 1
    return dim.unknown(f"_{counter[0] - 1}", low)


def reserve_unknowns(names: Iterable[str]) -> None:
    """Let no unknown size from here on have one of these names."""
    taken = [int(name[1:]) for name in names if name[1:].isdigit()]
    counter = _numbers()
    counter[0] = max([counter[0], *(number + 1 for number in taken)])


def _numbers() -> list[int]:
    counter = _counter.get()
    if counter is None:
        counter = [0]
        _counter.set(counter)
    return counter


def taken_out(element: Type) -> Type:
    """The type of one value out of a sequence or optional of `element`: each size that may be any is a new unknown."""
    return Type(element.dtype, tuple(unknown_size() if size is ANY else size for size in element.shape))
