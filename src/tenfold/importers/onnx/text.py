"""ONNX's operators on strings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from tenfold.errors import LimitError
from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.shorthand import apply, cast, filled, part, reshaped
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ops import text
from tenfold.ops.arithmetic import Add, Mul
from tenfold.ops.constant import Constant
from tenfold.ops.index import Gather
from tenfold.ops.logic import And, Equal, Greater
from tenfold.ops.movement import Concat
from tenfold.ops.reduce import Reduce
from tenfold.ops.text import Case

MOST_COMPARED = 4096
MOST_COLUMNS = 1 << 24
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
    skipped = node.integer("max_skip_count")
    if skipped < 0:
        raise node.invalid(f"{skipped} items are skipped at most")
    lengths = range(node.integer("min_gram_length"), node.integer("max_gram_length") + 1)
    kept = [at for at, gram in enumerate(grams) if len(gram) in lengths]
    chosen, columns = tuple(grams[at] for at in kept), max(places, default=-1) + 1
    if columns > MOST_COLUMNS:
        raise LimitError(f"a result of {columns:,} columns, and {MOST_COLUMNS:,} are the most", operator=node.label)
    op = text.CountGrams(chosen, tuple(places[at] for at in kept), columns, skipped)
    x = reshaped(x, (1,)) if x.type.rank == 0 else x
    counted = apply(op, x) if x.type.dtype is dt.string else _counted(op, cast(x, dt.i64))
    weights = node.numbers("weights", ())
    if mode == "IDF":
        counted = cast(apply(Greater(), counted, 0), dt.f32)
    if mode == "TF" or not weights:
        return counted
    row = np.ones(columns, np.float32)
    row[list(places)] = weights
    return apply(Mul(), counted, Constant(Tensor(row))())


def _counted(op: text.CountGrams, x: Value) -> Value:
    """The same counts of integers: every window of each row compared with every n-gram, unless these are many."""
    last = dict(zip(op.grams, op.places, strict=True))
    many = max(len(last), op.most_skipped) > MOST_COMPARED
    if not last or many or len(set(last.values())) != len(last):
        return apply(op, x)
    rows = x if x.type.rank == 2 else reshaped(x, (1, *x.type.shape))
    lengths = sorted({len(gram) for gram in last})
    groups = [np.array([gram for gram in last if len(gram) == length], np.int64) for length in lengths]
    counts = [_windows(rows, grams, op.most_skipped) for grams in groups]
    empty = filled(0, (rows.type.shape[0], 1), dt.f32)
    order = [place for length in lengths for gram, place in last.items() if len(gram) == length]
    source = np.full(op.columns, len(order), np.int64)
    source[order] = np.arange(len(order))
    found = apply(Gather(1), Concat(1)(*counts, empty), Constant(Tensor(source))())
    return reshaped(found, (*x.type.shape[:-1], op.columns))


def _windows(rows: Value, grams: Array, most_skipped: int) -> Value:
    """[B, C] integers to [B, grams]: how often each n-gram stands in a row, its items up to `most_skipped` apart."""
    length = grams.shape[1]
    totals = []
    for apart in range(1, 2 if length == 1 else most_skipped + 2):
        count = dim.maximum(rows.type.shape[1] - (length - 1) * apart, 0)
        hits: list[Value] = []
        for item in range(length):
            start = dim.minimum(item * apart, rows.type.shape[1])
            column = part(rows, 1, start, count)
            hits.append(apply(Equal(), reshaped(column, (*column.type.shape, 1)), Constant(Tensor(grams[:, item]))()))
        whole = cast(reduce(lambda a, b: apply(And(), a, b), hits), dt.f32)
        totals.append(apply(Reduce("sum", (1,), keepdims=False), whole))
    return reduce(lambda a, b: apply(Add(), a, b), totals)


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
