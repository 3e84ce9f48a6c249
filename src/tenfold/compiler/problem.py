"""A region as a problem: a text that is the same for regions which the same kernels fit equally well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any

from tenfold.codegen.region import Body, Instruction, Operand, Region
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Graph, Value
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import scalar_text, type_text
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant

At = Callable[[Size], int]


def problem_of(region: Region, candidates: Iterable[str], about: Sequence[str], at: At) -> str:
    """The problem of building a region by one of some tactics. Sizes are what `at` makes of them, marked if they are
    open; buffers are told apart by number; constants are told from the rest, but not by what they hold. `about` names
    the machine and the versions.
    """
    writer = _Writer(at)
    lines = [type(region).__name__]
    lines += [f"{field.name}: {writer.told(getattr(region, field.name))}" for field in _fields(region)]
    return "\n".join([*about, *lines, "candidates: " + " ".join(candidates)])


def _fields(region: Region) -> list[Any]:
    """What tells one region from another; what few have, only of those that have it."""
    found = [field for field in fields(region) if field.name != "source"]
    return [one for one in found if "rare" not in one.metadata or getattr(region, one.name) is not None]


class _Writer:
    def __init__(self, at: At) -> None:
        self._at = at
        self._numbers: dict[Value, int] = {}

    def told(self, part: Any) -> str:
        """A part of a region in words."""
        match part:
            case Dim():
                return f"~{self._at(part)}"
            case Operand():
                return self._operand(part)
            case Region():
                return self.told(tuple(getattr(part, field.name) for field in _fields(part)))
            case Body():
                return f"{self.told(part.inputs)} {' '.join(map(self._instruction, part.code))} {part.outputs}"
            case Op():
                inside = ", ".join(self.told(value) for value in part.attributes.values())
                return f"{part.name}({inside})"
            case Tensor():
                return type_text(Type(part.dtype, part.shape))
            case Graph():
                return f"graph of {len(part)}"
            case tuple():
                return f"[{', '.join(map(self.told, part))}]"
        if hasattr(part, "__dataclass_fields__") and not hasattr(part, "bits"):
            return self.told(tuple(getattr(part, field.name) for field in fields(part)))
        return scalar_text(part)

    def _instruction(self, one: Instruction) -> str:
        return f"{self.told(one.op)}{one.args}:{one.dtype}"

    def _operand(self, operand: Operand) -> str:
        number = self._numbers.setdefault(operand.value, len(self._numbers))
        kind = "constant" if isinstance(operand.value.op, Constant) else "buffer"
        place = f"{self.told(operand.shape)} by {self.told(operand.strides)} from {self.told(operand.offset)}"
        return f"{kind} {number} {operand.dtype} {place}"
