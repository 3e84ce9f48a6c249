"""Engines without a vendor's kernels: what the generated ones do alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tenfold.codegen.cuda.vendor import Vendor
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Refusal
from tenfold.target import Target


@contextmanager
def left_out() -> Iterator[None]:
    """Within it no product has a tactic of cuBLASLt, be it timed, remembered or shipped."""
    offered = Vendor.tactics
    Vendor.tactics = _refused  # type: ignore[method-assign]
    try:
        yield
    finally:
        Vendor.tactics = offered  # type: ignore[method-assign]


def _refused(self: Vendor, region: Region, target: Target) -> Refusal:
    return Refusal("left out")
