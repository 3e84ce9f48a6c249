"""ONNX's operators on strings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.shorthand import apply, cast, reshaped
from tenfold.ir import dtype as dt
from tenfold.ir.tensor import Tensor
from tenfold.ops import text
from tenfold.ops.arithmetic import Mul
from tenfold.ops.constant import Constant
from tenfold.ops.logic import Greater
from tenfold.ops.text import Case

CASES: tuple[Case, ...] = ("NONE", "LOWER", "UPPER")

Gram = tuple[str | int, ...]


def string_concat(node: Operator) -> Results:
    """Both strings."""
    return apply(text.StringConcat(), node.input(0), node.input(1))


def string_split(node: Operator) -> Results:
    """Parts and counts."""
    most = node.integer("maxsplit") if "maxsplit" in node.attributes else None
    return list(text.StringSplit(node.text("delimiter", ""), most)(node.input(0)))


def string_normalizer(node: Operator) -> Results:
    """Stop words taken out, then the case changed; the locale is that of Unicode."""
    asked = node.text("case_change_action", "NONE", CASES)
    case = next(one for one in CASES if one == asked)
    stops = node.texts("stopwords", ())
    return apply(text.StringNormalizer(case, stops, node.flag("is_case_sensitive", False)), node.input(0))


def regex_full_match(node: Operator) -> Results:
    """A pattern of RE2's syntax."""
    try:
        return apply(text.RegexFullMatch(node.text("pattern")), node.input(0))
    except ValueError as error:
        raise node.unsupported(str(error)) from error


def tf_idf(node: Operator) -> Results:
    """Counts of n-grams, as they are or as presence, times weights."""
    x, mode = node.input(0), node.text("mode", choices=("TF", "IDF", "TFIDF"))
    grams = _grams(node)
    places = node.integers("ngram_indexes")
    if len(places) != len(grams) or min(places, default=0) < 0:
        raise node.invalid(f"{len(grams)} n-grams and {len(places)} places for them")
    lengths = range(node.integer("min_gram_length"), node.integer("max_gram_length") + 1)
    kept = [at for at, gram in enumerate(grams) if len(gram) in lengths]
    chosen, columns = tuple(grams[at] for at in kept), max(places, default=-1) + 1
    op = text.CountGrams(chosen, tuple(places[at] for at in kept), columns, node.integer("max_skip_count"))
    x = reshaped(x, (1,)) if x.type.rank == 0 else x
    counted = apply(op, x if x.type.dtype is dt.string else cast(x, dt.i64))
    weights = node.numbers("weights", ())
    if mode == "IDF":
        counted = cast(apply(Greater(), counted, 0), dt.f32)
    if mode == "TF" or not weights:
        return counted
    row = np.ones(columns, np.float32)
    row[list(places)] = weights
    return apply(Mul(), counted, Constant(Tensor(row))())


def _grams(node: Operator) -> list[Gram]:
    """The n-grams of the pool: first the single items, then the pairs, …, each group beginning where it is stated."""
    pool: Sequence[str | int] = node.integers("pool_int64s", ()) or node.texts("pool_strings", ())
    starts = node.integers("ngram_counts")
    if list(starts) != sorted(starts) or any(not 0 <= one <= len(pool) for one in starts):
        raise node.invalid(f"groups of n-grams begin at {list(starts)} of {len(pool)} items")
    found: list[Gram] = []
    for length, (start, end) in enumerate(zip(starts, (*starts[1:], len(pool)), strict=True), start=1):
        if (end - start) % length:
            raise node.invalid(f"{end - start} items are no n-grams of {length}")
        found.extend(tuple(pool[at : at + length]) for at in range(start, end, length))
    return found


TABLE: Table = {
    ("", "RegexFullMatch"): ((20, regex_full_match),),
    ("", "StringConcat"): ((20, string_concat),),
    ("", "StringNormalizer"): ((10, string_normalizer),),
    ("", "StringSplit"): ((20, string_split),),
    ("", "TfIdfVectorizer"): ((9, tf_idf),),
}
