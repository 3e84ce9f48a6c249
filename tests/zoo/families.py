"""All families of the zoo."""

from __future__ import annotations

from tests.zoo import applications, convolutional, detection, generative, real, senses, texts
from tests.zoo.entry import Entry

FAMILIES: tuple[Entry, ...] = (
    *convolutional.ENTRIES,
    *detection.ENTRIES,
    *generative.ENTRIES,
    *texts.ENTRIES,
    *senses.ENTRIES,
    *applications.ENTRIES,
    *real.ENTRIES,
)

REFUSED: dict[str, str] = {}
"""Families that the pinned torch.export refuses, each with its words and the route it comes by instead: at most 3."""
