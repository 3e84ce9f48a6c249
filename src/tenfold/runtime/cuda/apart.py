"""Keeping the blocks of a launch apart.

Blocks that start early (programmatic dependent launch) come where the kernel ahead leaves room, so that many of them
lie on few multiprocessors while others have none. Three of them cannot where each asks for a third of a
multiprocessor's shared memory: the driver adds 1 KiB of its own to each.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Apart:
    """Of a GPU with so many multiprocessors, each with so many bytes of shared memory."""

    processors: int
    shared: int

    @property
    def most(self) -> int:
        """The bytes that a block is made to ask for at most."""
        return self.shared // 3

    def room(self, blocks: int) -> int:
        """The bytes that each of so many blocks asks for at least: where there is about one a multiprocessor. Fewer
        leave most of the machine idle wherever they lie, more come to all of it.
        """
        return self.most if self.processors // 4 <= blocks <= self.processors else 0
