"""How folded constants are made again of new weights: what refit replays, with no compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.op import Array, Op
from tenfold.ir.tensor import Recipe, Tensor
from tenfold.ir.type import Type


@dataclass(frozen=True)
class Decision:
    """What a rewrite took for granted: every element of a constant is `number`, or with None, each is as it is.

    Refit must find it so again.
    """

    tensor: Tensor
    number: float | None
    rule: str

    def holds(self, weights: Mapping[str, Array]) -> bool:
        """Whether it is still so with the user's weights that `weights` names replaced."""
        again = replay(self.tensor, weights)
        return again == self.tensor if self.number is None else bool(np.all(again.array == self.number))


def sources(tensor: Tensor) -> tuple[str, ...]:
    """The names of the user's weights that a constant was made of, each once, in the order of their use."""
    if tensor.source is not None:
        return (tensor.source,)
    inner = tensor.recipe.inputs if tensor.recipe else ()
    return tuple(dict.fromkeys(name for one in inner for name in sources(one)))


def computed(op: Op, inputs: tuple[Tensor, ...], index: int = 0) -> Tensor:
    """Output `index` of an operation on constants of known sizes: a constant that is made when it is asked for."""
    recipe = Recipe(op, inputs, index)
    made = op.types(tuple(Type(one.dtype, one.shape) for one in inputs))[index]
    shape = tuple(size for size in made.shape if isinstance(size, int))
    return Tensor(partial(_content, recipe), dtype=made.dtype, shape=shape, recipe=recipe)


def _content(recipe: Recipe) -> Array:
    return recipe.op.results(tuple(one.array for one in recipe.inputs))[recipe.index]


def name_of(tensor: Tensor) -> str | None:
    """The name of a weight of the user's; None for any other constant."""
    return tensor.source


def recipe_graph(tensor: Tensor, constant: type[Op], given: Callable[[Tensor], str | None] = name_of) -> Graph:
    """The recipe as a graph from what is `given`, by the name of that, to the one output "result".

    Other constants without a recipe become nodes of `constant` (`tenfold.ops.Constant`).
    """
    graph = Graph(name="recipe")
    made: dict[int, Value] = {}

    def value(one: Tensor) -> Value:
        if id(one) not in made:
            made[id(one)] = build(one)
        return made[id(one)]

    def build(one: Tensor) -> Value:
        name = given(one)
        if name is not None:
            return named.setdefault(name, Value(Type(one.dtype, one.shape), name=name))
        if one.recipe is None:
            return Node(constant(one), ()).output  # type: ignore[call-arg]
        return Node(one.recipe.op, tuple(map(value, one.recipe.inputs))).outputs[one.recipe.index]

    named: dict[str, Value] = {}
    result = value(tensor)
    graph.inputs = list(named.values())
    graph.set_outputs([result], ["result"])
    return graph


def replay(tensor: Tensor, weights: Mapping[str, Array]) -> Tensor:
    """The constant made again, with the user's weights that `weights` names replaced; itself if it uses none."""
    if not set(sources(tensor)) & set(weights):
        return tensor
    if tensor.source is not None:
        return Tensor(weights[tensor.source], dtype=tensor.dtype, source=tensor.source)
    assert tensor.recipe is not None
    recipe = tensor.recipe
    arrays = tuple(replay(one, weights).array for one in recipe.inputs)
    return Tensor(recipe.op.results(arrays)[recipe.index], dtype=tensor.dtype, recipe=recipe)
