"""What an operation is: frozen attributes, and what they mean for types and for numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import OptionError
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.type import Type

Array = NDArray[Any]


@dataclass(frozen=True)
class Cost:
    """What an operation must do at least: floating-point operations, and bytes read and written."""

    flops: Size
    bytes: Size


@dataclass_transform(frozen_default=True)
class Op:
    """An operation. A subclass states its attributes as fields and becomes a frozen dataclass;
    calling an instance on values makes a node that no graph holds yet.

    `infer` maps input types to output types and raises ValueError with a sentence for the user if they
    do not fit; `evaluate` computes the same on arrays, in plain NumPy, and is never made fast.
    """

    elementwise: ClassVar[bool] = False
    deterministic: ClassVar[bool] = True

    infer: ClassVar[Callable[..., Type | tuple[Type, ...]]]
    evaluate: ClassVar[Callable[..., Array | tuple[Array, ...]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True)(cls)

    def __call__(self, *inputs: Value) -> Any:
        """A floating node of this operation on `inputs`: its output, or a tuple of them if there are several."""
        outputs = Node(self, inputs).outputs
        return outputs[0] if len(outputs) == 1 else outputs

    def types(self, inputs: tuple[Type, ...]) -> tuple[Type, ...]:
        """`infer`, always as a tuple."""
        inferred: Any = self.infer(*inputs)
        found: tuple[Any, ...] = inferred if isinstance(inferred, tuple) else (inferred,)
        if not all(isinstance(one, Type) for one in found):
            given = next(type(one).__name__ for one in found if not isinstance(one, Type))
            raise OptionError(
                f"infer of {self.name} gives a {given}",
                argument="infer",
                remedy="have it return a Type, or a tuple of them",
            )
        return found

    def results(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """`evaluate`, always as a tuple of arrays (a NumPy scalar becomes an array of rank 0)."""
        found = self.evaluate(*inputs)
        return tuple(np.asarray(r) for r in (found if isinstance(found, tuple) else (found,)))

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """By default one operation an output element, and each tensor moved once."""
        moved = sum((t.size * t.dtype.itemsize for t in (*inputs, *outputs)), start=0)
        return Cost(sum((t.size for t in outputs), start=0), moved)

    def with_graphs(self, change: Callable[[Graph], Graph]) -> Op:
        """The operation with each of its subgraphs changed; itself if it has none."""
        changed = {name: change(value) for name, value in self.attributes.items() if isinstance(value, Graph)}
        return replace(self, **changed) if changed else self  # type: ignore[type-var]

    @property
    def name(self) -> str:
        """The operation's name in the textual form."""
        return type(self).__name__

    @property
    def attributes(self) -> dict[str, Any]:
        """Its fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @cached_property
    def graphs(self) -> tuple[Graph, ...]:
        """The subgraphs among its attributes."""
        return tuple(value for value in self.attributes.values() if isinstance(value, Graph))
