"""Benchmarks: what stands behind each figure that the documentation quotes."""

from __future__ import annotations
