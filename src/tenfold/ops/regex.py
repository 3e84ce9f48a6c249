"""Regular expressions in RE2's syntax, matched in linear time.

A pattern is read into a small tree, the tree becomes the states of an automaton (Thompson 1968), and all states that a
text can be in are followed at once, so no pattern can make a match slow. Only whether a whole text matches is asked:
groups capture nothing, and greedy is the same as lazy.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import NoReturn

MOST_REPEATS = 1000
MOST_STATES = 20_000
DEEPEST = 100

Ranges = tuple[tuple[str, str], ...]
LAST = "\U0010ffff"
DIGITS: Ranges = (("0", "9"),)
SPACES: Ranges = (("\t", "\n"), ("\f", "\r"), (" ", " "))
WORDS: Ranges = (*DIGITS, ("A", "Z"), ("a", "z"), ("_", "_"))
PERL = {"d": DIGITS, "s": SPACES, "w": WORDS}
ESCAPES = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
POSIX: dict[str, Ranges] = {
    "alnum": (*DIGITS, ("A", "Z"), ("a", "z")),
    "alpha": (("A", "Z"), ("a", "z")),
    "ascii": (("\0", "\x7f"),),
    "blank": (("\t", "\t"), (" ", " ")),
    "cntrl": (("\0", "\x1f"), ("\x7f", "\x7f")),
    "digit": DIGITS,
    "graph": (("!", "~"),),
    "lower": (("a", "z"),),
    "print": ((" ", "~"),),
    "punct": (("!", "/"), (":", "@"), ("[", "`"), ("{", "~")),
    "space": (("\t", "\r"), (" ", " ")),
    "upper": (("A", "Z"),),
    "word": WORDS,
    "xdigit": (*DIGITS, ("A", "F"), ("a", "f")),
}


@dataclass(frozen=True)
class Class:
    """One character of a set: ranges, Unicode categories ("Lu"), other classes; or of none of them if `negated`."""

    ranges: Ranges = ()
    categories: tuple[str, ...] = ()
    inner: tuple[Class, ...] = ()
    negated: bool = False
    folded: bool = False

    def holds(self, one: str) -> bool:
        """Whether a character is of the set."""
        variants = {one, one.lower(), one.upper()} if self.folded else {one}
        return any(map(self._has, variants)) != self.negated

    def _has(self, one: str) -> bool:
        within = any(low <= one <= high for low, high in self.ranges)
        named = any(unicodedata.category(one).startswith(name) for name in self.categories)
        return within or named or any(other.holds(one) for other in self.inner)


@dataclass(frozen=True)
class Edge:
    """No character, where a condition holds: "text", "line" (its start or its end), "word" or "inside" (no border)."""

    kind: str
    end: bool = False

    def holds(self, before: str, after: str) -> bool:
        """Whether the condition holds between two characters ("" beyond the text)."""
        if self.kind in ("word", "inside"):
            border = _is_word(before) != _is_word(after)
            return border == (self.kind == "word")
        beside = after if self.end else before
        return beside == "" or (self.kind == "line" and beside == "\n")


@dataclass(frozen=True)
class Row:
    """One after another."""

    items: tuple[Tree, ...]


@dataclass(frozen=True)
class Choice:
    """One of them."""

    items: tuple[Tree, ...]


@dataclass(frozen=True)
class Repeat:
    """From `least` to `most` times (None: any number)."""

    item: Tree
    least: int
    most: int | None


Tree = Class | Edge | Row | Choice | Repeat


@dataclass(frozen=True)
class State:
    """Reads `test` (or nothing) and goes on at any of `to`."""

    test: Class | Edge | None
    to: tuple[int, ...]


@dataclass
class Automaton:
    """States, each built before those that lead to it; state 0 accepts."""

    states: list[State] = field(default_factory=lambda: [State(None, ())])
    start: int = 0
    seen: dict[tuple[frozenset[int], str, str], frozenset[int]] = field(default_factory=dict)

    def fullmatch(self, text: str) -> bool:
        """Whether the whole text matches."""
        current, before = frozenset([self.start]), ""
        for one in text:
            current = self._step(current, before, one)
            if not current:
                return False
            before = one
        return 0 in self._reached(current, before, "")

    def add(self, state: State) -> int:
        """The number of a new state; ValueError if there are too many."""
        if len(self.states) >= MOST_STATES:
            raise ValueError(f"it needs more than {MOST_STATES} states")
        self.states.append(state)
        return len(self.states) - 1

    def built(self, tree: Tree, then: int) -> int:
        """The state that reads `tree` and goes on at `then`."""
        match tree:
            case Class() | Edge():
                return self.add(State(tree, (then,)))
            case Row(items):
                for item in reversed(items):
                    then = self.built(item, then)
                return then
            case Choice(items):
                return self.add(State(None, tuple(self.built(item, then) for item in items)))
            case Repeat(item, least, most):
                then = self._starred(item, then) if most is None else self._optional(item, then, most - least)
                for _ in range(least):
                    then = self.built(item, then)
                return then

    def _starred(self, item: Tree, then: int) -> int:
        again = self.add(State(None, ()))
        self.states[again] = State(None, (then, self.built(item, again)))
        return again

    def _optional(self, item: Tree, then: int, times: int) -> int:
        start = then
        for _ in range(times):
            start = self.add(State(None, (then, self.built(item, start))))
        return start

    def _step(self, current: frozenset[int], before: str, one: str) -> frozenset[int]:
        key = (current, before, one)
        if key not in self.seen:
            if len(self.seen) > MOST_STATES:
                self.seen.clear()
            reached = (self.states[number] for number in self._reached(current, before, one))
            self.seen[key] = frozenset(
                to for state in reached if isinstance(state.test, Class) and state.test.holds(one) for to in state.to
            )
        return self.seen[key]

    def _reached(self, current: frozenset[int], before: str, after: str) -> set[int]:
        found, waiting = set(current), list(current)
        while waiting:
            state = self.states[waiting.pop()]
            if isinstance(state.test, Class) or (state.test is not None and not state.test.holds(before, after)):
                continue
            new = set(state.to) - found
            found |= new
            waiting.extend(new)
        return found


_QUOTED = re.compile(r"(\\[^Q])|\\Q(.*?)(?:\\E|\Z)", re.DOTALL)


@cache
def compiled(pattern: str) -> Automaton:
    """A pattern made ready; ValueError says what of it RE2's syntax (or this reading of it) does not have."""
    reader = _Reader(_QUOTED.sub(lambda found: found[1] or re.escape(found[2]), pattern))
    tree = reader.choice()
    if reader.place < len(reader.text):
        reader.fail("an opening parenthesis for this one")
    automaton = Automaton()
    try:
        automaton.start = automaton.built(tree, 0)
    except ValueError as error:
        raise ValueError(f"pattern {pattern!r} is too large: {error}") from error
    return automaton


class _Reader:
    def __init__(self, pattern: str) -> None:
        self.text = pattern
        self.place = 0
        self.depth = 0
        self.flags = frozenset[str]()

    def fail(self, expected: str) -> NoReturn:
        rest = self.text[self.place : self.place + 12]
        raise ValueError(f"pattern {self.text!r} has no {expected} at {rest!r}")

    def accept(self, text: str) -> bool:
        found = self.text.startswith(text, self.place)
        self.place += len(text) if found else 0
        return found

    def take(self) -> str:
        if self.place >= len(self.text):
            self.fail("more characters")
        self.place += 1
        return self.text[self.place - 1]

    def until(self, end: str) -> str:
        at = self.text.find(end, self.place)
        if at < 0:
            self.fail(f"closing {end!r}")
        found, self.place = self.text[self.place : at], at + len(end)
        return found

    def choice(self) -> Tree:
        """Alternatives up to the end of the group; flags set in one hold in those after it."""
        found = [self.row()]
        while self.accept("|"):
            found.append(self.row())
        return found[0] if len(found) == 1 else Choice(tuple(found))

    def row(self) -> Tree:
        items: list[Tree] = []
        while self.place < len(self.text) and self.text[self.place] not in "|)":
            items.extend(self.repeated())
        return Row(tuple(items))

    def repeated(self) -> Iterator[Tree]:
        item = self.item()
        if item is None:
            return
        times, count = self.times(), 0
        while times is not None:
            count += 1
            if count > 1:
                self.fail("single repetition")
            item = Repeat(item, *times)
            self.accept("?")
            times = self.times()
        yield item

    def times(self) -> tuple[int, int | None] | None:
        for mark, found in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.accept(mark):
                return found
        end = self.text.find("}", self.place)
        inside = self.text[self.place + 1 : end].split(",")
        counts = all(part.isascii() and part.isdigit() for part in (*inside[:1], *filter(None, inside[1:])))
        if not self.text.startswith("{", self.place) or end < 0 or len(inside) > 2 or not counts:
            return None
        least = int(inside[0])
        most = least if len(inside) == 1 else int(inside[1]) if inside[1] else None
        if max(least, most or 0) > MOST_REPEATS or (most is not None and most < least):
            self.fail(f"repetition of at most {MOST_REPEATS}")
        self.place = end + 1
        return least, most

    def one(self, character: str) -> Class:
        return Class(((character, character),), folded="i" in self.flags)

    def item(self) -> Tree | None:
        """What a repetition may follow; None for flags set from here on."""
        match self.take():
            case "(":
                return self.group()
            case "[":
                return self.brackets()
            case "\\":
                return self.escape()
            case ".":
                return Class(((("\0", LAST),)) if "s" in self.flags else (("\0", "\t"), ("\v", LAST)))
            case "^" | "$" as mark:
                return Edge("line" if "m" in self.flags else "text", end=mark == "$")
            case "*" | "+" | "?":
                self.place -= 1
                self.fail("item to repeat")
            case character:
                return self.one(character)

    def group(self) -> Tree | None:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"nesting of at most {DEEPEST}")
        outer = self.flags
        ahead = self.text.startswith(("?<=", "?<!"), self.place)
        if not ahead and (self.accept("?P<") or self.accept("?<")):
            name = self.until(">")
            if not name or not all(c.isalnum() or c == "_" for c in name):
                self.fail("group name")
        elif self.accept("?") and self.set_flags():
            self.depth -= 1
            return None
        found = self.choice()
        if not self.accept(")"):
            self.fail("closing parenthesis")
        self.flags = outer
        self.depth -= 1
        return found

    def set_flags(self) -> bool:
        """Read flags up to `:` or `)`; True if they hold for the rest of the enclosing group."""
        on = True
        while True:
            match self.take():
                case "-" if on:
                    on = False
                case ":":
                    return False
                case ")":
                    return True
                case "i" | "m" | "s" | "U" as flag:
                    self.flags = self.flags | {flag} if on else self.flags - {flag}
                case _:
                    self.place -= 1
                    self.fail("flag i, m, s or U, and no look-around")

    def escape(self) -> Tree:
        place = self.place
        match self.take():
            case "A":
                return Edge("text")
            case "z":
                return Edge("text", end=True)
            case "b":
                return Edge("word")
            case "B":
                return Edge("inside")
        self.place = place
        shared = self.shorthand()
        return self.one(self.character()) if shared is None else shared

    def shorthand(self) -> Class | None:
        """A class that stands after a backslash, inside brackets or not: \\d, \\S, \\pL."""
        letter = self.text[self.place : self.place + 1]
        if letter and letter in "dswDSW":
            self.place += 1
            return Class(PERL[letter.lower()], negated=letter.isupper())
        if letter not in ("p", "P") or not letter:
            return None
        self.place += 1
        name = self.until("}") if self.accept("{") else self.take()
        negated = (letter == "P") != name.startswith("^")
        name = name.removeprefix("^")
        if name == "Any":
            return Class((("\0", LAST),), negated=negated)
        if not _CATEGORY.fullmatch(name):
            self.fail(f"support for the Unicode class {name!r}, which is no general category,")
        return Class(categories=(name,), negated=negated)

    def character(self) -> str:
        """One character written with a backslash, which was read already."""
        letter = self.take()
        if letter in ESCAPES:
            return ESCAPES[letter]
        if letter == "x":
            digits = self.until("}") if self.accept("{") else self.take() + self.take()
            return self.numbered(digits, 16)
        if letter in "01234567":
            digits = letter
            while len(digits) < 3 and self.text[self.place : self.place + 1] in tuple("01234567"):
                digits += self.take()
            if letter != "0" and len(digits) == 1:
                self.fail("support for references back, which RE2 does not have,")
            return self.numbered(digits, 8)
        if letter.isascii() and (letter.isalnum() or letter == "_"):
            self.fail(f"meaning for \\{letter}")
        return letter

    def numbered(self, digits: str, radix: int) -> str:
        known = string.octdigits if radix == 8 else string.hexdigits
        if not digits or any(digit not in known for digit in digits) or int(digits, radix) > ord(LAST):
            self.fail("character number")
        return chr(int(digits, radix))

    def brackets(self) -> Class:
        negated, first = self.accept("^"), True
        ranges: list[tuple[str, str]] = []
        inner: list[Class] = []
        while first or not self.accept("]"):
            first = False
            named = self.named()
            if named is not None:
                inner.append(named)
                continue
            low = high = self.bracketed()
            if self.text.startswith("-", self.place) and not self.text.startswith("-]", self.place):
                self.place += 1
                high = self.bracketed()
            if high < low:
                self.fail(f"range from {low!r} to {high!r}")
            ranges.append((low, high))
        return Class(tuple(ranges), inner=tuple(inner), negated=negated, folded="i" in self.flags)

    def named(self) -> Class | None:
        if self.accept("[:"):
            negated, name = self.accept("^"), self.until(":]")
            if name not in POSIX:
                self.fail(f"class {name!r}")
            return Class(POSIX[name], negated=negated)
        if not self.accept("\\"):
            return None
        found = self.shorthand()
        self.place -= 1 if found is None else 0
        return found

    def bracketed(self) -> str:
        one = self.take()
        return self.character() if one == "\\" else one


_CATEGORY = re.compile("C[cfos]?|L[lmotu]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?")


def _is_word(one: str) -> bool:
    return one != "" and one.isascii() and (one.isalnum() or one == "_")
