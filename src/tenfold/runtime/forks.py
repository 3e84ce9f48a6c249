"""Forks: a child has the one thread that forked, so what others did, and locks that they held, begin anew there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

Member = TypeVar("Member")
_members: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def enlist(member: Member, anew: Callable[[Member], None]) -> None:
    """Call `anew(member)` in each fork's child, as long as the member lives."""
    _members[member] = anew


def _after_fork() -> None:
    for member, anew in list(_members.items()):
        anew(member)


os.register_at_fork(after_in_child=_after_fork)
