"""Arguments of aten's operators: bound to their schema, without what only says how a tensor is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

STORAGE = frozenset(
    {"layout", "device", "pin_memory", "memory_format", "non_blocking", "generator", "sparse_grad", "implicit"}
)
"""Arguments by name that change no number."""


def bound(schema: Any, given: Sequence[Any], named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments for a converter: those by position without trailing ones at their default, then those by name only
    that are not at theirs.
    """
    places: list[Any] = []
    used = 0
    keywords: dict[str, Any] = {}
    for at, argument in enumerate(schema.arguments):
        name, default = argument.name, _default(argument)
        value = given[at] if at < len(given) else named.get(name, default)
        if argument.kwarg_only:
            if name not in STORAGE and not _same(value, default):
                keywords[name] = value
            continue
        places.append(value)
        if not argument.has_default_value() or not _same(value, default):
            used = len(places)
    return places[:used], keywords


def _default(argument: Any) -> Any:
    return argument.default_value if argument.has_default_value() else None


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, tuple | list) and isinstance(default, tuple | list):
        return list(value) == list(default)
    plain = isinstance(value, bool | int | float | str | None)
    return plain and type(value) is type(default) and value == default
