"""Running engines on CPUs: memory, machine code, the team of workers, native calls."""

from __future__ import annotations
