"""What a later refit needs: how each stored weight was made, and what was taken for granted of the user's weights.

Two sections of the engine file. "recipes" is JSON: graphs in textual form, from the user's weights by name to stored
weights. "originals" holds the arrays those graphs need besides: constants of theirs, and weights of the user's that are
small and folded together with others, so that the others can be replaced alone. What is concatenated of several
constants of the engine's graph has "parts": how each of these was made, by its key in the section "constants", which
gives back those that nothing replaces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tenfold.compiler.weights import Weight, WeightStore, origin
from tenfold.ir.graph import Graph, Value
from tenfold.ir.op import Op
from tenfold.ir.recipe import Decision, name_of, recipe_graph, sources
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import INLINE_ELEMENTS, Weights, show
from tenfold.ops.constant import Constant
from tenfold.ops.movement import Concat

KEPT_BYTES = 1 << 13
"""The largest weight of the user's that is kept beside what was folded from it."""

LITERAL = "written into the code as a number"


class RefitNotes:
    """Collects what a refit must know while an engine is built for one target after the other."""

    def __init__(self, weights: Mapping[str, Tensor | None]) -> None:
        self.weights = weights
        self.decisions: dict[str, Decision] = {}
        self._originals = WeightStore()
        self._kept: dict[str, list[Any]] = {}

    def note(self, graph: Graph, hosted: bool) -> None:
        """What the rewrites of a graph that is now compiled took for granted; `hosted` if it has host steps."""
        literals = (tensor for tensor in _constants(graph) if tensor.size <= (INLINE_ELEMENTS if hosted else 1))
        taken = (Decision(tensor, None, LITERAL) for tensor in literals if sources(tensor))
        for decision in (*graph.decisions, *taken):
            self.decisions.setdefault(self._said(decision), decision)

    def _said(self, decision: Decision) -> str:
        return f"{self._recipe(decision.tensor, ())['graph']} {decision.number} {decision.rule}"

    def listed(self) -> list[dict[str, Any]]:
        """What was taken for granted so far, for the build report: of which weights, by which rule, and the number
        that all elements are (None: each is as it is).
        """
        return [
            {"weights": list(sources(one.tensor)), "rule": one.rule, "number": one.number}
            for one in self.decisions.values()
        ]

    def sections(self, store: WeightStore, tensors: Weights) -> dict[str, Any]:
        """The sections of the engine file, once all weights are stored; its graphs refer to `tensors`."""
        made = [weight for weight in store.weights.values() if sources(weight.tensor)]
        keys = {origin(tensor): key for key, tensor in tensors.items()}
        found: dict[str, Any] = {
            "weights": [{"offset": one.offset, "size": one.nbytes, **self._made(one, keys)} for one in made],
            "decisions": [self._decision(one) for one in self.decisions.values()],
            "sources": self._sources(made),
            "kept": self._kept,
        }
        found["fixed"] = self._fixed(found["sources"])
        return {"recipes": json.dumps(found, sort_keys=True).encode(), "originals": self._originals.contents()}

    def _decision(self, decision: Decision) -> dict[str, Any]:
        about = {"number": decision.number, "digest": decision.tensor.digest, "rule": decision.rule}
        return about | self._recipe(decision.tensor, ())

    def _made(self, weight: Weight, keys: Mapping[object, str]) -> dict[str, Any]:
        """How a stored weight was made: of the user's weights, or of parts that are made of these."""
        pieces = [known(one, keys) for one in concatenated(weight.tensor)]
        names = {id(one): keys[origin(one)] for one in pieces if one}
        if not pieces or None in pieces:
            return self._recipe(weight.tensor, weight.recipe)
        parts = {names[id(one)]: self._recipe(one, ()) for one in pieces if one}
        return {**self._recipe(weight.tensor, weight.recipe, lambda one: names.get(id(one))), "parts": parts}

    def _recipe(
        self, tensor: Tensor, packing: tuple[Op, ...], given: Callable[[Tensor], str | None] = name_of
    ) -> dict[str, Any]:
        """The graph that makes a tensor of what is given and packs it, in textual form, and the names of that."""
        graph = recipe_graph(tensor, Constant, given)
        value: Value = graph.outputs[0]
        for op in packing:
            value = op(value)
        graph.set_outputs([value], ["result"])
        table: Weights = {}
        text = show(graph, table)
        for key, constant in table.items():
            self._keep(key, constant)
        if len(graph.inputs) > 1 and given is name_of:
            for one in _leaves(tensor):
                if one.source and one.nbytes <= KEPT_BYTES:
                    self._keep(one.source, one)
        return {"graph": text, "inputs": [value.name for value in graph.inputs]}

    def _keep(self, key: str, tensor: Tensor) -> None:
        if key not in self._kept:
            self._kept[key] = [self._originals.stored(tensor, ()), tensor.dtype.name, list(tensor.shape)]

    def _sources(self, made: list[Weight]) -> dict[str, Any]:
        """The element type and the sizes of each weight of the user's that something was made of."""
        tensors = [*(one.tensor for one in made), *(one.tensor for one in self.decisions.values())]
        leaves = {one.source: one for tensor in tensors for one in _leaves(tensor) if one.source}
        return {str(name): [one.dtype.name, list(one.shape)] for name, one in leaves.items()}

    def _fixed(self, refitted: Mapping[str, Any]) -> dict[str, str | None]:
        """The digests of the weights that decided the graph's form and are in it no more; None for unused ones."""
        others = {name: tensor for name, tensor in self.weights.items() if name not in refitted}
        return {name: tensor.digest if tensor else None for name, tensor in others.items()}


def concatenated(tensor: Tensor) -> tuple[Tensor, ...]:
    """What a constant is a concatenation of, be it reshaped since; nothing for any other."""
    while tensor.source is None and tensor.recipe:
        if isinstance(tensor.recipe.op, Concat):
            return tensor.recipe.inputs
        if len(tensor.recipe.inputs) > 1:
            return ()
        (tensor,) = tensor.recipe.inputs
    return ()


def known(tensor: Tensor, keys: Mapping[object, str]) -> Tensor | None:
    """The constant that has a key, of which this one was reshaped or the like, or it itself; None if there is none."""
    while origin(tensor) not in keys:
        if tensor.source is not None or tensor.recipe is None or len(tensor.recipe.inputs) > 1:
            return None
        (tensor,) = tensor.recipe.inputs
    return tensor


def _constants(graph: Graph) -> Iterator[Tensor]:
    for node in graph.nodes:
        if isinstance(node.op, Constant):
            yield node.op.tensor
        for inner in node.op.graphs:
            yield from _constants(inner)


def _leaves(tensor: Tensor) -> Iterator[Tensor]:
    """What a constant was made of: weights of the user's, and constants of none."""
    if tensor.source is not None or tensor.recipe is None:
        yield tensor
    else:
        for one in tensor.recipe.inputs:
            yield from _leaves(one)
