"""Strings: joined, cut, matched, normalised, counted, looked up. No kernel touches them: these run on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.op import Array, Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type, unknown_size
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.regex import compiled

Case = Literal["NONE", "LOWER", "UPPER"]
FOLD: Mapping[Case, Callable[[str], str]] = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}


def strings(items: Sequence[Any], shape: Sequence[int]) -> Array:
    """Objects, row-major, as an object array of that shape."""
    flat = np.empty(len(items), np.object_)
    flat[:] = items
    return flat.reshape(tuple(shape))


class StringConcat(Op):
    """Each string of one tensor before that of the other, broadcast as in NumPy."""

    def infer(self, x: Type, y: Type) -> Type:
        """The shape that both broadcast to."""
        _check_strings("StringConcat", x, y)
        return Type(dt.string, broadcast_shapes(x.shape, y.shape))

    def evaluate(self, x: Array, y: Array) -> Array:
        """Python's concatenation."""
        return np.add(x, y, dtype=np.object_)


class StringSplit(Op):
    """The parts of each string between delimiters ("": runs of white space), and how many there are.

    At most `most` cuts are made where it is not None. Fewer parts than the most of any string are filled up with "".
    """

    delimiter: str = ""
    most: int | None = None

    def infer(self, x: Type) -> tuple[Type, Type]:
        """Parts along a new last axis, and counts."""
        _check_strings("StringSplit", x)
        return Type(dt.string, (*x.shape, unknown_size())), Type(dt.i64, x.shape)

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        """Python's split."""
        most = -1 if self.most is None else self.most
        parts = [text.split(self.delimiter or None, most) for text in x.ravel()]
        counts = [len(one) for one in parts]
        width = max(counts, default=0)
        flat = [one for row in parts for one in (*row, *[""] * (width - len(row)))]
        return strings(flat, (*x.shape, width)), np.array(counts, np.int64).reshape(x.shape)


class StringNormalizer(Op):
    """The strings of a row without stop words, in one case; one empty string if nothing is left.

    Stop words are compared as they are if `case_sensitive`, else without regard to case.
    """

    case: Case = "NONE"
    stop_words: tuple[str, ...] = ()
    case_sensitive: bool = False

    def infer(self, x: Type) -> Type:
        """[C] or [1, C] with another C."""
        _check_strings("StringNormalizer", x)
        if x.rank not in (1, 2) or (x.rank == 2 and isinstance(x.shape[0], int) and x.shape[0] != 1):
            raise ValueError(f"StringNormalizer takes [C] or [1, C], not {x}")
        return Type(dt.string, (*x.shape[:-1], unknown_size() if self.stop_words else x.shape[-1]))

    def evaluate(self, x: Array) -> Array:
        """Word by word."""
        compared = FOLD["NONE" if self.case_sensitive else "LOWER"]
        stops = {compared(word) for word in self.stop_words}
        kept = [FOLD[self.case](word) for word in x.ravel() if compared(word) not in stops]
        kept = kept or ([""] if self.stop_words else [])
        return strings(kept, (*x.shape[:-1], len(kept)))


class RegexFullMatch(Op):
    """Whether a pattern of RE2's syntax matches each string as a whole."""

    pattern: str

    def infer(self, x: Type) -> Type:
        """Bools; ValueError for a pattern that cannot be read."""
        _check_strings("RegexFullMatch", x)
        compiled(self.pattern)
        return Type(dt.boolean, x.shape)

    def evaluate(self, x: Array) -> Array:
        """Text by text."""
        match = compiled(self.pattern).fullmatch
        return np.array([match(text) for text in x.ravel()], np.bool_).reshape(x.shape)


class Lookup(Op):
    """values[i] where the element equals keys[i] (NaN equals NaN), `default` where it equals none of them.

    Of equal keys the last counts.
    """

    keys: Tensor
    values: Tensor
    default: Tensor

    def infer(self, x: Type) -> Type:
        """The shape of the input, the element type of the values."""
        if x.dtype != self.keys.dtype or self.keys.shape != self.values.shape or len(self.keys.shape) != 1:
            raise ValueError(f"Lookup of {x} among {self.keys.size} keys of {self.keys.dtype}")
        return Type(self.values.dtype, x.shape)

    def evaluate(self, x: Array) -> Array:
        """A dictionary."""
        table = {_key(key): value for key, value in zip(self.keys.array, self.values.array, strict=True)}
        default = self.default.array.ravel()[0]
        found = strings([table.get(_key(one), default) for one in x.ravel()], x.shape)
        return found.astype(self.values.dtype.numpy)


class CountGrams(Op):
    """How often each n-gram of a vocabulary stands in each row: x [C] or [B, C] to f32 [columns] or [B, columns].

    Gram `i` is counted in column `places[i]`. Its items stand `skip` + 1 apart, for every skip up to `most_skipped`;
    single items are counted once.
    """

    grams: tuple[tuple[str | int, ...], ...]
    places: tuple[int, ...]
    columns: int
    most_skipped: int = 0

    def infer(self, x: Type) -> Type:
        """One row of counts for each row."""
        if x.rank not in (1, 2) or len(self.grams) != len(self.places):
            raise ValueError(f"counting n-grams takes [C] or [B, C], not {x}")
        return Type(dt.f32, (*x.shape[:-1], self.columns))

    def evaluate(self, x: Array) -> Array:
        """Every gram that begins at every place, looked up."""
        table = {gram: place for gram, place in zip(self.grams, self.places, strict=True)}
        lengths = sorted({len(gram) for gram in self.grams})
        rows = x if x.ndim == 2 else x[None]
        counts = np.zeros((len(rows), self.columns), np.float32)
        for row, count in zip(rows.tolist(), counts, strict=True):
            for length in lengths:
                for apart in range(1, 2 if length == 1 else min(self.most_skipped, x.shape[-1]) + 2):
                    for start in range(len(row) - (length - 1) * apart):
                        place = table.get(tuple(row[start : start + (length - 1) * apart + 1 : apart]))
                        if place is not None:
                            count[place] += 1
        return counts.reshape(*x.shape[:-1], self.columns)


def _key(value: Any) -> Any:
    return "NaN" if value != value and not isinstance(value, str) else value


def _check_strings(name: str, *types: Type) -> None:
    if any(one.dtype is not dt.string for one in types):
        raise ValueError(f"{name} takes strings, not {', '.join(map(str, types))}")
