"""What follows sums in the one form that libraries have: a bias, a residual, an activation last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.codegen.region import Body
from tenfold.ir.op import Op
from tenfold.ops.activation import Gelu, Relu
from tenfold.ops.arithmetic import Add


@dataclass(frozen=True)
class Ending:
    """Which operands beside the sums are added to them, and what is applied then."""

    bias: int | None
    residual: int | None
    activation: Op | None


def ending_of(body: Body, kinds: Sequence[str], does: tuple[type[Op], ...]) -> Ending | None:
    """The ending of a body of such operations; `kinds` say of each operand beside the sums what adding it is: "bias",
    "residual", or "" for neither. None where anything else follows the sums.
    """
    found: dict[str, int] = {}
    activation: Op | None = None
    at = 0
    for number, one in enumerate(body.code, len(body.inputs)):
        others = [arg for arg in one.args if arg != at]
        if at not in one.args or activation or not isinstance(one.op, does):
            return None
        at = number
        if isinstance(one.op, Add):
            beside = others[0] - 1 if others and 0 < others[0] < len(body.inputs) else None
            if beside is None or not kinds[beside] or kinds[beside] in found:
                return None
            found[kinds[beside]] = beside
        elif isinstance(one.op, Gelu | Relu):
            activation = one.op
    return Ending(found.get("bias"), found.get("residual"), activation) if body.outputs == (at,) else None
