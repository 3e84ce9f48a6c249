"""The element types of the arithmetic: every float narrower than 32 bits in f32, what goes in and out as declared."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, inline
from tenfold.ir.op import Op
from tenfold.ir.tensor import Recipe, Tensor
from tenfold.ops.constant import Constant
from tenfold.ops.logic import Cast
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Steps

NARROW = (dt.f16, dt.bf16)
"""What precision "f32" widens. Storage types of quantised weights stay: they are converted where the model says so."""


@dataclass(frozen=True)
class Widen(Pass):
    """f16 and bf16 become f32 throughout: constants, casts and results; inputs and outputs keep their types."""

    name: str = "widen"

    def run(self, graph: Graph, steps: Steps) -> None:
        """Rewrite the graph's nodes anew; `steps` counts one edit."""
        if not steps.exhausted and any(v.type.dtype in NARROW for node in graph.nodes for v in node.outputs):
            given = [Cast(dt.f32)(v) if v.type.dtype in NARROW else v for v in graph.inputs]
            declared = [value.type.dtype for value in graph.outputs]
            results = inline(graph, given, _wide_op)
            ends = [Cast(dtype)(v) if dtype in NARROW else v for v, dtype in zip(results, declared, strict=True)]
            old = graph.nodes
            graph.set_outputs(ends, graph.output_names)
            for node in reversed(old):
                graph.remove(node)


def _wide_op(op: Op) -> Op:
    changed = {name: wide for name, value in op.attributes.items() if (wide := _wide(value)) is not value}
    if isinstance(op, Constant) and op.tensor.dtype in NARROW:
        array = op.tensor.array.astype(dt.f32.numpy)
        return Constant(Tensor(array, recipe=Recipe(Cast(dt.f32), (op.tensor,), 0)))
    return dataclasses.replace(op, **changed) if changed else op  # type: ignore[type-var]


def _wide(attribute: Any) -> Any:
    if isinstance(attribute, DType) and attribute in NARROW:
        return dt.f32
    if isinstance(attribute, Tensor) and attribute.dtype in NARROW:
        return Tensor(attribute.array.astype(dt.f32.numpy))
    return _wide_branch(attribute) if isinstance(attribute, Graph) else attribute


def _wide_branch(branch: Graph) -> Graph:
    wide = Graph(name=branch.name)
    inputs = [wide.input(v.name, dataclasses.replace(v.type, dtype=_wide(v.type.dtype))) for v in branch.inputs]
    wide.set_outputs(inline(branch, inputs, _wide_op), branch.output_names)
    return wide
