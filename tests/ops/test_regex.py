"""RE2's syntax against Python's engine where both read a pattern alike, and where they do not."""

from __future__ import annotations

import random
import re

import pytest

from tenfold.ops.regex import compiled

ALIKE = {
    r"a*b|c+": None,
    r"(ab|a)(bc|c)?": None,
    r"[^a-c]+": None,
    r"(?i)aBc": None,
    r"a{2,3}?b": None,
    r"\d+\.\d*": None,
    r"(a|b)*abb": None,
    r"^a.*z": None,
    r"\bfoo\b.*": None,
    r"[\w.+-]+@[\w-]+\.[\w.-]+": None,
    r"(?s).*": None,
    r".*": None,
    r"[]a]+": None,
    r"(|b)c": None,
    r"x{0}": None,
    r"[a-]+": None,
    r"(?:a(?i)b|c)d": r"(?:a(?i:b)|(?i:c))d",
    r"\x41\x{42}": "AB",
    r"\Qa.b\E+": r"a\.b+",
    r"[[:alpha:]]+\d": r"[A-Za-z]+\d",
    r"\101b": "Ab",
    r"(?<name>ab)+": "(?P<name>ab)+",
    r"(?m)^a$\nb": None,
}
TEXTS = ("abb", "aabb", "foo bar", "ab", "abc", "aab", "aaab", "cD", "aBd", "foo", "AB", "a.bb", "a1", "a@b.c", "a\nb")


@pytest.mark.parametrize("pattern", ALIKE)
def test_alike(pattern: str) -> None:
    ours, theirs = compiled(pattern), re.compile(ALIKE[pattern] or pattern, re.ASCII)
    dice = random.Random(7)
    texts = ["".join(dice.choices("abcABCxyz019 .@-_\n]foo", k=dice.randint(0, 6))) for _ in range(500)]
    for text in (*texts, *TEXTS):
        assert ours.fullmatch(text) == bool(theirs.fullmatch(text)), text


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"\p{Lu}\PL\pN", "É-3", True),
        (r"\p{^Lu}", "É", False),
        (r"\w", "é", False),
        (r"\d", "٣", False),
        (r"\s", "\v", False),
        (r"(?i)é", "É", True),
        (r"a{,3}", "a{,3}", True),
        (r"a$\n?", "a\n", False),
        (r"a\z", "a", True),
        (r"\pL+", "Straße", True),
    ],
)
def test_apart(pattern: str, text: str, matches: bool) -> None:
    assert compiled(pattern).fullmatch(text) is matches


def test_no_pattern_is_slow() -> None:
    assert not compiled("(a+)+b").fullmatch("a" * 20_000)


REFUSED = ["(", ")", "a**", "a++", r"\1", "(?=a)", "(?<=a)", "(?<!a)", r"\p{Greek}", "[b-a]", "[", "a{2000}", "*a"]
REFUSED += ["\\", r"\x{zz}", "(" * 300, r"\8", "(?P<>a)", "(?P=x)", "(?>a)", "[[:foo:]]", "(?", r"\p", "(?i", r"[a-\d]"]
REFUSED += ["((a{100}){100}){100}", r"\Z"]


@pytest.mark.parametrize("pattern", REFUSED)
def test_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        compiled(pattern)
