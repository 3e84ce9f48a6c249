"""What kernels find wrong with the numbers they are given, as exceptions that name the user's operator."""

from __future__ import annotations

from tenfold.errors import ExecutionError
from tenfold.runtime.plan import Label

ALARM = 4
"""Bytes of an alarm, which a GPU's kernel sets."""


def outside(label: Label) -> ExecutionError:
    """Of a kernel that was given an index outside of its axis."""
    return ExecutionError(
        f"an index lies outside of the axis that it counts along (in the kernel of {label.kind})",
        operator=", ".join(label.source) or None,
        remedy="give indices from -n to n - 1 for an axis of n elements",
    )
