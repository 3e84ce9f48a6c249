"""How a region becomes machine code."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tenfold.errors import TargetError

if TYPE_CHECKING:
    from tenfold.codegen.strategy import Strategy
    from tenfold.options import Options
    from tenfold.target import Target


def strategies_for(target: Target, options: Options | None = None) -> Sequence[Strategy]:
    """The strategies of a target that the options allow, best first; TargetError if there are none."""
    if target.kind == "cpu":
        from tenfold.codegen.cpu.strategies import STRATEGIES

        barred = {"conv.winograd", "strassen"} if options and options.winograd == "off" else set()
        return [one for one in STRATEGIES if one.name not in barred]
    if target.kind == "cuda":
        if find_spec("triton") is None:
            raise TargetError(f"target {target} is built with Triton", remedy="pip install 'tenfold[cuda]'")
        from tenfold.codegen.cuda.strategies import STRATEGIES as FOR_GPUS

        return FOR_GPUS
    raise TargetError(f"target {target} has no code generator yet", remedy="use a CPU target")
