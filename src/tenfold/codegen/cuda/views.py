"""Shared memory seen as another shape: the oldest Triton that is allowed calls it by another name than the newest."""

from __future__ import annotations

from triton.experimental.gluon import language as gl

_memory = gl.shared_memory_descriptor
seen_as = _memory.reinterpret if hasattr(_memory, "reinterpret") else _memory._reinterpret
"""`seen_as(memory, dtype, shape, layout)`: what lies from the beginning of some shared memory."""
