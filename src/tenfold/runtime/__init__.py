"""How an engine runs: it imports no compiler, so it deploys alone."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from tenfold.errors import TargetError

if TYPE_CHECKING:
    from tenfold.runtime.cuda.device import Device


@functools.cache
def open_device() -> Device:
    """This machine's GPU; TargetError where the way to its driver is not installed."""
    try:
        from tenfold.runtime.cuda.device import Device
    except ModuleNotFoundError as error:
        reason = f"engines run on GPUs through cuda-bindings: {error}"
        raise TargetError(reason, remedy="pip install 'tenfold[cuda]'") from error
    return Device()
