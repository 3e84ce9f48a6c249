"""Engines without a vendor's kernels: what the generated ones do alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from tenfold.codegen.cuda.conv.library import Library
from tenfold.codegen.cuda.vendor import Vendor
from tenfold.codegen.strategy import Refusal


@contextmanager
def left_out() -> Iterator[None]:
    """Within it nothing has a tactic of cuBLASLt or cuDNN, be it timed, remembered or shipped."""
    with ExitStack() as stack:
        for one in (Vendor, Library):
            stack.enter_context(patch.object(one, "tactics", return_value=Refusal("left out")))
        yield
