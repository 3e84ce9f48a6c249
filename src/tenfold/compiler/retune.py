"""An engine tuned anew from its own file: the graph, the constants and what a refit must know are read back from it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from tenfold import ops
from tenfold.codegen.cpu.pool import CompilePool, ObjectCache
from tenfold.compiler import conditions
from tenfold.compiler.before import Before
from tenfold.compiler.build import workers
from tenfold.compiler.cache import cache_folder
from tenfold.compiler.phases import Phases, Progress, never
from tenfold.compiler.road import Means, image_of
from tenfold.compiler.timings import Timings
from tenfold.errors import EngineError
from tenfold.ir.dtype import parse as dtype_of
from tenfold.ir.graph import Carry, Graph, Value
from tenfold.ir.op import Op
from tenfold.ir.recipe import Decision, computed
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import parse
from tenfold.ir.type import numbered_unknowns
from tenfold.ops.constant import Constant
from tenfold.options import Options
from tenfold.plugin import chosen
from tenfold.runtime import format
from tenfold.runtime.contents import CONSTANTS, GRAPH, WEIGHTS, constant_in
from tenfold.runtime.format import File
from tenfold.runtime.refit import Recipes
from tenfold.target import Target


def retune(
    file: File,
    effort: int,
    *,
    threads: int | None = None,
    plugins: Sequence[Any] = (),
    cache: bool | str | os.PathLike[str] = True,
    progress: Progress | None = None,
    stop: Callable[[], bool] = never,
) -> format.Bytes:
    """The bytes of the same engine with its kernels chosen again, with this much effort, for so many threads (None: the
    engine's own default). Once `stop()` is true nothing more is timed, and the engine has what was won so far. What is
    not timed stays as it was, where it had been timed. Other arguments are those of a build.

    EngineError for a file that an older version made without what this needs.
    """
    manifest, added = file.manifest, chosen(plugins)
    if "conditions" not in manifest:
        raise EngineError(f"{file.name} does not hold what tuning needs", remedy="build it again with this version")
    options = Options(
        tuple(_nearest(Target.parse(name)[0]) for name in manifest["targets"]),
        manifest["precision"],
        effort,
        threads or manifest["threads"],
        manifest["memory_limit"],
        manifest["winograd"],
    )
    folder = cache_folder(cache)
    with numbered_unknowns(), CompilePool(workers(), ObjectCache(folder)) as pool:
        graph = Reader(file, (*ops.ALL, *(op for one in added for op in one.ops))).graph()
        needed = conditions.read(manifest["conditions"], graph)
        before = {name: Before.of(entry.get("report", {})) for name, entry in manifest["targets"].items()}
        means = Means(options, pool, Phases(progress, stop), added, Timings(folder), before=before)
        return image_of(graph, needed, means)


def _nearest(target: Target) -> Target:
    """This machine's own form of a target of its level: with its cache sizes."""
    host = Target.host()
    return host if host.portable == target else target


class Reader:
    """The graph of an engine file as the build had it: constants know what they were made of."""

    def __init__(self, file: File, catalogue: Iterable[type[Op]]) -> None:
        self._file, self._recipes = file, Recipes(file)
        self._catalogue = catalogue
        data = self._recipes.data
        self._made = {recipe["offset"]: recipe for recipe in data["weights"]}
        self._parts = {key: part for one in data["weights"] for key, part in one.get("parts", {}).items()}
        self._table: Mapping[str, list[Any]] = json.loads(file.section(CONSTANTS).tobytes())
        self._weights = {name: self._weight(name, *about) for name, about in data["sources"].items()}

    def graph(self) -> Graph:
        """The graph."""
        text = self._file.section(GRAPH).tobytes().decode()
        graph = parse(text, self._catalogue, {key: self._constant(key) for key in self._table})
        manifest, data = self._file.manifest, self._recipes.data
        graph.metadata, graph.structure = manifest["model"], manifest.get("structure")
        graph.carried = tuple(Carry(*one) for one in manifest.get("carried", ()))
        graph.weights = {**self._weights, **{name: _known_by(digest) for name, digest in data["fixed"].items()}}
        graph.decisions = tuple(map(self._decision, data["decisions"]))
        return graph

    def _weight(self, name: str, dtype: str, shape: list[int]) -> Tensor:
        """A weight of the user's: with its content, if the file has it as it was."""
        if name in self._table:
            found = constant_in(self._file.section(WEIGHTS), *self._table[name])
            return Tensor(partial(_array, found), dtype=found.dtype, shape=found.shape, source=name)
        if name in self._recipes.kept:
            return Tensor(self._recipes.kept[name].array, dtype=dtype_of(dtype), source=name)
        return _promised(name, dtype, shape)

    def _constant(self, key: str) -> Tensor:
        if key in self._weights:
            return self._weights[key]
        found = constant_in(self._file.section(WEIGHTS), *self._table[key])
        offset, _, _, unpack = self._table[key]
        recipe = self._parts.get(key) or self._made.get(offset)
        if recipe is None:
            return found
        made = self._followed(recipe, self._weights)
        if unpack and key not in self._parts:
            graph = parse(unpack, self._catalogue)
            made = _through(graph, {graph.inputs[0]: made})
        return Tensor(partial(_array, found), dtype=found.dtype, shape=found.shape, recipe=made.recipe)

    def _followed(self, recipe: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Tensor:
        graph = parse(recipe["graph"], self._catalogue, self._recipes.kept)
        parts = {key: self._followed(part, weights) for key, part in recipe.get("parts", {}).items()}
        return _through(graph, {value: (parts or weights)[value.name] for value in graph.inputs})

    def _decision(self, data: Mapping[str, Any]) -> Decision:
        tensor = self._followed(data, self._weights)
        content = partial(_array, tensor)
        known = Tensor(content, dtype=tensor.dtype, shape=tensor.shape, source=tensor.source, recipe=tensor.recipe)
        known.__dict__["digest"] = data["digest"]
        return Decision(known, data["number"], data["rule"])


def _array(tensor: Tensor) -> Any:
    return tensor.array


def _promised(name: str, dtype: str, shape: list[int]) -> Tensor:
    """A weight of which the file holds only what was made of it."""

    def missing() -> Any:
        raise EngineError(f"the engine does not hold the weight {name!r} itself", remedy="build the model again")

    found = Tensor(missing, dtype=dtype_of(dtype), shape=tuple(shape), source=name)
    found.__dict__["digest"] = f"weight {name}"
    return found


def _known_by(digest: str | None) -> Tensor | None:
    if digest is None:
        return None
    found = _promised("", "f32", [])
    found.__dict__["digest"] = digest
    return found


def _through(graph: Graph, given: Mapping[Value, Tensor]) -> Tensor:
    """The tensor that a graph makes of tensors, not computed, with its recipe."""
    made: dict[Value, Tensor] = dict(given)
    for node in graph.nodes:
        if isinstance(node.op, Constant):
            made[node.output] = node.op.tensor
            continue
        inputs = tuple(made[value] for value in node.inputs)
        made.update({value: computed(node.op, inputs, index) for index, value in enumerate(node.outputs)})
    return made[graph.outputs[0]]
