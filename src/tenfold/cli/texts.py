"""What the texts of options mean: sizes, bounds, formats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from tenfold.errors import OptionError

Sizes = tuple[int | str, ...]
Said = TypeVar("Said")


def shapes_of(texts: Sequence[str] | None) -> dict[str, Sizes]:
    """The sizes of each input: "x=1x3xHxW" (or "x=1,3,H,W", where a name holds an x); OptionError for another text."""
    return _once("--shape", map(_shape, texts or ()))


def _shape(text: str) -> tuple[str, Sizes]:
    name, _, sizes = text.rpartition("=")
    words = sizes.split("," if "," in sizes else "x") if sizes else []
    if not name or not all(_is_size(word) for word in words):
        raise OptionError(f"{text!r} is no shape", argument="--shape", remedy="write it as x=1x3xHxW or x=1,3,H,W")
    return name, tuple(int(word) if word.isdigit() else word for word in words)


def _is_size(word: str) -> bool:
    return word.isdigit() or not re.fullmatch(r"[\d+.\s-]*", word)


_BOUNDS = re.compile(r"(?P<low>\d+)(?:\.\.(?P<high>\d+)(?:/(?P<multiple>[1-9]\d*))?)?")


def dims_of(texts: Sequence[str] | None) -> dict[str, int | tuple[int, ...]]:
    """The value or the bounds of each named size: "H=8", "H=32..640", "H=32..640/32"; OptionError for another text."""
    return _once("--dim", map(_dim, texts or ()))


def _dim(text: str) -> tuple[str, int | tuple[int, ...]]:
    name, _, bounds = text.rpartition("=")
    match = _BOUNDS.fullmatch(bounds)
    if not name or not match:
        raise OptionError(
            f"{text!r} is no size", argument="--dim", remedy="write it as H=32, H=32..640 or H=32..640/32"
        )
    numbers = tuple(int(number) for number in match.groups() if number is not None)
    return name, numbers[0] if len(numbers) == 1 else numbers


def formats_of(texts: Sequence[str] | None) -> dict[str, str]:
    """The format of each input or output: "x=f16,channels_last"; OptionError for another text."""
    return _once("--format", map(_format, texts or ()))


def _format(text: str) -> tuple[str, str]:
    name, _, words = text.rpartition("=")
    if not name or not words:
        raise OptionError(f"{text!r} is no format", argument="--format", remedy="write it as x=f16,channels_last")
    return name, words.replace(",", " ")


def _once(option: str, pairs: Iterable[tuple[str, Said]]) -> dict[str, Said]:
    """What is said by name; OptionError for a name of which two things are said."""
    found = dict[str, Said]()
    for name, said in pairs:
        if found.get(name, said) != said:
            raise OptionError(f"{option} says two things of {name}", argument=option, remedy="leave one out")
        found[name] = said
    return found
