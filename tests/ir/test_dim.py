from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.errors import InputError, ModelError
from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size
from tenfold.ir.substitute import evaluate, parse, substitute
from tests.ir.formulas import FORMULAS, SYMBOLS, Formula, bindings_of, value

N = dim.symbol("N", 1)
M = dim.symbol("M", 1)
P = dim.symbol("P")
X = dim.symbol("X", None)
H = dim.symbol("H", 32, 640, 32)
LARGEST = 2**63 - 1


@given(FORMULAS, st.integers(0, 2**32))
@settings(max_examples=400, deadline=None)
def test_the_normal_form_means_what_was_written(formula: Formula, seed: int) -> None:
    low, high = dim.bounds(formula.size)
    factor = dim.factor_of(formula.size)
    for bindings in bindings_of(seed):
        expected = value(formula, bindings)
        if expected is None:
            continue
        assert evaluate(formula.size, bindings) == expected
        assert (low is None or low <= expected) and (high is None or expected <= high)
        assert expected % factor == 0 if factor else expected == 0


@given(FORMULAS)
@settings(max_examples=300, deadline=None)
def test_text_reads_back_as_the_same_object(formula: Formula) -> None:
    assert parse(str(formula.size), SYMBOLS) is formula.size or parse(str(formula.size), {}) == formula.size


@given(FORMULAS, FORMULAS, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_what_is_known_holds(a: Formula, b: Formula, seed: int) -> None:
    difference, ordered = dim.known_equal(a.size, b.size), dim.known_le(a.size, b.size)
    quotient = dim.divide_exact(a.size, b.size)
    for bindings in bindings_of(seed, 20):
        left, right = value(a, bindings), value(b, bindings)
        if left is None or right is None:
            continue
        assert not difference or left == right
        assert not ordered or left <= right
        assert quotient is None or right == 0 or evaluate(quotient, bindings) * right == left


@given(FORMULAS, FORMULAS, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_substitution_is_evaluation_in_two_steps(outer: Formula, inner: Formula, seed: int) -> None:
    for bindings in bindings_of(seed, 10):
        bound = value(inner, bindings)
        expected = None if bound is None else value(outer, {**bindings, "x": bound})
        if expected is None:
            continue
        joined = substitute(outer.size, {"x": inner.size})
        assert evaluate(joined, bindings) == expected
        half = substitute(outer.size, {name: bindings[name] for name in ("n", "image.2")})
        assert evaluate(half, {**bindings, "x": bound}) == expected


@given(FORMULAS, FORMULAS, FORMULAS)
@settings(max_examples=200, deadline=None)
def test_ring_laws_are_identities(a: Formula, b: Formula, c: Formula) -> None:
    x, y, z = a.size, b.size, c.size
    assert same(x + y, y + x)
    assert same(x * y, y * x)
    assert same((x + y) + z, x + (y + z))
    assert same(x * (y + z), x * y + x * z)
    assert same(x - x, 0)
    assert same(dim.minimum(x, dim.minimum(y, x)), dim.minimum(y, x))


def same(a: Size, b: Size) -> bool:
    return a is b if isinstance(a, Dim) else a == b


IDENTITIES: list[tuple[Size, Size]] = [
    ((N * 4) // 4, N),
    ((N * 4 + 3) // 4, N),
    ((N * 4 + 7) // 4, N + 1),
    ((N * 4 + 6) // 8, (2 * N + 3) // 4),
    ((3 * N + 5) // 3, N + 1),
    ((7 * X) // 3, 2 * X + X // 3),
    ((4 * N) % 4, 0),
    ((4 * N + 6) % 4, 2),
    ((4 * X + 2) % 8, 4 * (X % 2) + 2),
    (N // 1, N),
    (X % 1, 0),
    ((N // 3) // 5, N // 15),
    (((N + 1) // 2 + 1) // 2, (N + 3) // 4),
    ((N * 2 + 3 - 1) // 2, N + 1),
    (X // 2 * 2 + X % 2, X),
    (N // -2, (-N) // 2),
    (N % -2, -((-N) % 2)),
    (H // 32 * 32, H),
    (2 * (H // 2), H),
    ((H // 2) // 2 * 4, H),
    (dim.ceildiv(H, 32), H // 32),
    ((H * N) % 16, 0),
    ((N * M * 8) // (N * 4), 2 * M),
    ((N * M + N) // N, M + 1),
    ((N * N - M * M) // (N + M), N - M),
    (N % N, 0),
    ((N * M + P) // N, M + P // N),
    (dim.minimum(N, 1), 1),
    (dim.minimum(N, LARGEST), N),
    (dim.maximum(N - LARGEST, 0), 0),
    (dim.maximum(N, M, N, 0), dim.maximum(M, N)),
    (dim.minimum(N * M, N), N),
    (dim.minimum(dim.minimum(N, M), 5), dim.minimum(5, M, N)),
    (dim.minimum(N, N + 1, N - 1), N - 1),
    (dim.maximum(N // 2, N), N),
    (dim.minimum(dim.maximum(N, M), N), N),
    (dim.broadcast(N, 1), N),
    (dim.broadcast(1, 7), 7),
    (dim.broadcast(N, 7), 7),
    (dim.broadcast(N, N), N),
    (dim.broadcast(H, N), H),
    (dim.broadcast(N, dim.broadcast(M, N)), dim.broadcast(M, N)),
    (dim.select(1, N, M), N),
    (dim.select(0, N, M), M),
    (dim.select(dim.less(N, M), N, N), N),
    (dim.select(dim.logical_not(dim.less(N, M)), N, M), dim.select(dim.less(N, M), M, N)),
    (dim.select(dim.less(N, M), 1, 0), dim.less(N, M)),
    (dim.equal(N, 0), 0),
    (dim.equal(N, N), 1),
    (dim.equal(2 * N, 2 * M), dim.equal(M, N)),
    (dim.equal(2 * N, 2 * M + 1), 0),
    (dim.equal(H, 48), 0),
    (dim.less(N, 1), 0),
    (dim.less_equal(1, N), 1),
    (dim.less(2 * N, 2 * M + 1), dim.less_equal(N, M)),
    (dim.less(N, M) + dim.less_equal(M, N), 1),
    (dim.less(N, M) * dim.less(N, M), dim.less(N, M)),
    (dim.logical_and(N, dim.less(N, M)), dim.less(N, M)),
    (dim.logical_or(dim.less(N, M), 0), dim.less(N, M)),
    (dim.truncdiv(N, 2), N // 2),
    (dim.truncdiv(-N, 2), -(N // 2)),
    (dim.truncdiv(-7, 2), -3),
    (dim.product([N, 3, M]), 3 * M * N),
    (dim.product([]), 1),
    (dim.total([N, 3, -N]), 3),
    (dim.total([]), 0),
    (dim.divide_exact(12 * N * M, 4 * M), 3 * N),
    (dim.divide_exact(N * M + N, M + 1), N),
    (dim.divide_exact(P * 6, P), 6),
    (dim.divide_exact(H * N, 64 // 2), N * (H // 32)),
    (dim.divide_exact(N // 8 * 8, 8), N // 8),
    (dim.divide_exact(12, 4), 3),
]


@pytest.mark.parametrize("number", range(len(IDENTITIES)))
def test_identities_of_the_normal_form(number: int) -> None:
    found, expected = IDENTITIES[number]
    assert same(found, expected), f"{found} is not {expected}"


def test_what_does_not_divide_stays() -> None:
    assert dim.divide_exact(N * M + 3, M) is None
    assert dim.divide_exact(3 * N, 2) is None
    assert dim.divide_exact(N, 0) is None
    assert dim.divide_exact(7, N) is None
    assert dim.divide_exact(7, 2) is None
    assert (N * M + 3) // 2 is not None
    assert isinstance(P * M // P, Dim), "0 // 0 does not exist"


def test_sizes_are_never_guessed_equal() -> None:
    found = dim.broadcast(N, M)
    assert isinstance(found, Dim)
    assert evaluate(found, {"N": 1, "M": 5}) == 5
    with pytest.raises(InputError, match="2 and 5 do not broadcast"):
        evaluate(found, {"N": 2, "M": 5})
    with pytest.raises(InputError, match="3 and 4"):
        dim.broadcast(3, 4)


def test_bounds() -> None:
    assert dim.bounds(7) == (7, 7)
    assert dim.bounds(H) == (32, 640)
    assert dim.bounds(X) == (None, None)
    assert dim.bounds(N * M - N) == (0, None)
    assert dim.bounds(2 * (N // 2) - N) == (-1, 0)
    assert dim.bounds(X % 5) == (0, 4)
    assert dim.bounds(dim.minimum(P, 10)) == (0, 10)
    assert dim.known_le(dim.minimum(P, M), M)
    assert dim.known_le((N + 1) // 2, N)
    assert dim.known_positive((H + 1) // 2)
    assert not dim.known_positive(P)
    assert dim.known_equal(N + M, M + N)
    assert not dim.known_equal(N, M)
    assert dim.divisible(H * N + 64, 32)
    assert not dim.divisible(N, 2)


def test_symbols_keep_what_is_known_of_them() -> None:
    assert dim.symbol("N", 1) is N
    assert dim.symbol("N", 2) is not N
    assert H.symbol is not None
    assert H.symbol[:4] == ("H", 32, 640, 32)
    assert (H + 1).symbol is None
    count = dim.unknown("u0")
    assert count.data_dependent
    assert (count * N + 1).data_dependent
    assert not (N + 1).data_dependent  # type: ignore[union-attr]
    assert dim.symbols(N * M // 7 + P) == {"N", "M", "P"}
    assert dim.symbols(7) == frozenset()
    assert dim.declared(N // 7 + H) == (H, N)
    assert [H.symbol.nearest(value) for value in (0, 100, 10**6)] == [32, 96, 640]
    with pytest.raises(ValueError, match="no multiple of 32"):
        dim.symbol("H", 33, 63, 32)


def test_a_size_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match=r"dim\.known_positive"):
        bool(N)
    with pytest.raises(TypeError):
        N < M  # type: ignore[operator]  # noqa: B015
    with pytest.raises((TypeError, AttributeError)):
        N + 0.5  # type: ignore[operator]


def test_numbers_of_numpy_are_numbers() -> None:
    assert N + np.int64(3) is N + 3
    assert np.int64(3) + N is N + 3
    assert N * np.int64(2) // np.int32(2) is N
    assert dim.maximum(N, np.int64(0)) is N
    assert type(dim.maximum(np.int64(3), np.int64(0))) is int
    assert dim.equal(np.uint8(3), np.uint8(4)) == 0
    assert dim.known_positive(np.int64(3))
    assert dim.known_le(np.uint8(4), np.int64(5))


def test_evaluation_names_what_is_wrong() -> None:
    with pytest.raises(InputError, match="needs a number for M"):
        evaluate(N + M, {"N": 3})
    with pytest.raises(InputError, match="H is 48; it must be a multiple of 32") as caught:
        evaluate(H, {"H": 48})
    assert caught.value.argument == "H"
    with pytest.raises(InputError, match="at most 640"):
        evaluate(H, {"H": 672})
    with pytest.raises(InputError, match="does not exist"):
        evaluate(N // P, {"N": 3, "P": 0})
    with pytest.raises(InputError, match="does not exist"):
        N // 0


def test_only_the_chosen_branch_need_exist() -> None:
    safe = dim.select(dim.equal(P, 0), 7, N // P)
    assert evaluate(safe, {"N": 3, "P": 0}) == 7
    assert evaluate(safe, {"N": 3, "P": 2}) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N +", "a number"),
        ("N K", "the end"),
        ("Q", "one of the symbols"),
        ("f(N)", "one of the functions"),
        ("(N", r"\)"),
    ],
)
def test_text_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse(text, {"N": N})


def test_text_is_readable() -> None:
    awkward = dim.symbol('a "b" + 1')
    size = 2 * H * N + (N + 1) // 2 - dim.minimum(M, awkward, 4) * P + dim.select(dim.less(M, N), P % 8, -M)
    text = '2*H*N - P*minimum(4, M, "a \\"b\\" + 1") + (N + 1)//2 + select(less(M, N), P%8, -M)'
    assert parse(text, {"H": H, "N": N, "M": M, "P": P, 'a "b" + 1': awkward}) is size
    assert sorted(str(size)) == sorted(text)
    assert str(H // 2) == "16*(H//32)"


def test_copies_are_the_same_object() -> None:
    size = dim.select(dim.less(N, M), P % 8, H // 64)
    assert pickle.loads(pickle.dumps(size)) is size
    assert copy.deepcopy([size])[0] is size


def test_threads_make_the_same_objects() -> None:
    found: list[list[Size]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def make(results: list[Size]) -> None:
        start.wait()
        for number in range(300):
            fresh = dim.symbol(f"thread{number}", 1)
            results.append(dim.minimum(fresh * N + number, fresh // 7) % 5)

    threads = [threading.Thread(target=make, args=(results,)) for results in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one is other for results in found for one, other in zip(found[0], results, strict=True))


DETERMINED = """
from tenfold.ir import dim
from tenfold.ir.program import Program
names = [dim.symbol(name, 1) for name in ("b", "a", "image.2", "zz")]
size = dim.total(x * y // 3 + dim.minimum(x, y * 2, x % 7) - dim.broadcast(x, y) for x in names for y in names)
size = dim.select(dim.less(names[0], names[1]), size * names[2], dim.maximum(*names))
print(size)
print(Program.compile([size], sorted(dim.symbols(size))).rows.tobytes().hex())
"""


def test_order_does_not_depend_on_hash_seeds() -> None:
    sources = str(Path(dim.__file__).parents[2])
    texts = {
        subprocess.run(
            [sys.executable, "-c", DETERMINED],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": sources},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(texts) == 1
    assert "image.2" in texts.pop()


def test_a_capped_size_broadcasts_with_its_own() -> None:
    n, m = dim.symbol("N", 1), dim.symbol("M", 1)
    assert dim.broadcast(n, dim.minimum(n, 512)) is n
    assert dim.broadcast(dim.minimum(n, 512), m) is not m
    assert dim.broadcast(n, dim.minimum(n, 1)) is n
