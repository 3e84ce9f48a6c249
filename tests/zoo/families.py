"""All families of the zoo."""

from __future__ import annotations

from tests.zoo import convolutional, senses, texts
from tests.zoo.entry import Entry

FAMILIES: tuple[Entry, ...] = (*convolutional.ENTRIES, *texts.ENTRIES, *senses.ENTRIES)
