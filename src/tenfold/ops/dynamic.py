"""What has sizes that only the data decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tenfold.ir.graph import Graph
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type, unknown_size
from tenfold.ops.control import escaped, visible_symbols

if TYPE_CHECKING:
    from tenfold.ir.interpret import Interpreter


class Deferred(Op):
    """A graph whose sizes follow from the contents of its small integer inputs, run once these are known.

    Their entries in the graph are symbols of its own; a size that depends on one is unknown outside.
    """

    body: Graph

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The body's types as seen from outside."""
        if len(self.body.inputs) != len(inputs):
            raise ValueError(f"its graph takes {len(self.body.inputs)} inputs, and {len(inputs)} are given")
        outer = visible_symbols(*inputs)
        types = (value.type for value in self.body.outputs)
        return tuple(Type(one.dtype, escaped(one.shape, outer)) for one in types)

    def run(self, interpreter: Interpreter, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Run the body."""
        return interpreter.call(self.body, inputs)


class Head(Op):
    """The first elements of x along its first axis, as many as a number says: what was filled of a buffer.

    It takes no copy: where kernels run, the number is read back, and the rest of the call is laid out for it.
    """

    def infer(self, x: Type, count: Type) -> Type:
        """Only the data decide the count."""
        if not x.rank or count.rank or not count.dtype.is_integer:
            raise ValueError(f"Head takes a tensor with an axis and a whole number, not {x} and {count}")
        return Type(x.dtype, (unknown_size(), *x.shape[1:]))

    def evaluate(self, x: Array, count: Array) -> Array:
        """NumPy's slice."""
        return x[: int(count)]


class Known(Op):
    """x, a few integers that only the data decide: they are read back, and sizes may follow from them."""

    deterministic: ClassVar[bool] = False

    def infer(self, x: Type) -> Type:
        """The same type, every element a number of its own."""
        if not isinstance(x.size, int):
            raise ValueError(f"Known takes a tensor of known size, not {x}")
        return Type(x.dtype, x.shape).with_entries(tuple(unknown_size(None) for _ in range(x.size)))

    def evaluate(self, x: Array) -> Array:
        """The input itself."""
        return x
