"""PyTorch's face: `compile` turns a module into one that runs an engine; `backend` serves torch.compile.

>>> fast = tenfold.torch.compile(module)
>>> fast(x)
>>> torch.compile(module, backend="tenfold")

>>> tenfold.torch.generation(model).generate(tokens, max_new_tokens=50)

All are for inference: weights are those of the moment of building, and results carry no gradient. torch.compile finds
the backend once this module is imported, or where Tenfold is installed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._dynamo.backends.registry import register_backend
from torch.utils import _pytree as pytree

from tenfold.compiler.build import build
from tenfold.errors import InputError, OptionError, TenfoldError
from tenfold.importers.overrides import Bounds, Shape
from tenfold.importers.torch import import_module
from tenfold.importers.torch.cached import with_cache
from tenfold.importers.torch.export import Arguments, named_arguments
from tenfold.importers.torch.structure import leaf_paths
from tenfold.plugin import chosen
from tenfold.runtime.engine import Engine
from tenfold.runtime.generation import generate
from tenfold.runtime.structure import Structure

_log = logging.getLogger("tenfold")

Key = tuple[Any, ...]
_OPTIONS = frozenset(signature(build).parameters) - {"model", "example_inputs"}


def compile(
    module: nn.Module,
    *,
    shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, Bounds] | None = None,
    dynamic_batch: bool = False,
    **options: Any,
) -> Compiled:
    """A module that runs an engine of `module`, built at its first call.

    Every new combination of shapes builds another engine, unless `shapes` and `dims` leave sizes open (as for
    `tenfold.build`), or `dynamic_batch` leaves the first axis of every tensor open. `options` are those of
    `tenfold.build`. A call raises what a build raises, and InputError where an argument needs a gradient, or is
    an array of NumPy. OptionError for what is no module.
    """
    if not isinstance(module, nn.Module):
        remedy = "give a torch.nn.Module, an object and no class"
        raise OptionError(f"module is a {type(module).__name__}", argument="module", remedy=remedy)
    if unknown := sorted(options.keys() - _OPTIONS):
        near = get_close_matches(unknown[0], _OPTIONS, 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"use any of {', '.join(sorted(_OPTIONS))}"
        raise OptionError(f"there is no option {unknown[0]!r}", argument=unknown[0], remedy=remedy)
    return Compiled(module, shapes, dims, dynamic_batch, options)


class Compiled(nn.Module):
    """What `compile` returns. `engines` are those built so far; buffers that the module changes are changed."""

    def __init__(
        self,
        module: nn.Module,
        shapes: Mapping[str, Shape] | None,
        dims: Mapping[str, Bounds] | None,
        dynamic_batch: bool,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.module = module
        self._opening: tuple[Any, Any] = (shapes, dims)
        self._dynamic_batch = dynamic_batch
        self._options = dict(options)
        self._built: dict[Key, _Built] = {}

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engines built so far."""
        return tuple(one.engine for one in self._built.values())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's result, from the engine for these shapes."""
        leaves = pytree.tree_leaves((args, kwargs))
        if any(isinstance(one, np.ndarray) for one in leaves):
            raise InputError(
                "an argument is NumPy's array", argument="args", remedy="give a tensor: torch.from_numpy(array)"
            )
        tensors = [one for one in leaves if isinstance(one, torch.Tensor)]
        if torch.is_grad_enabled() and any(one.requires_grad for one in tensors):
            raise InputError("an argument needs a gradient", remedy="call it within torch.inference_mode()")
        key = self._key(args, kwargs)
        if key not in self._built:
            self._built[key] = self._build(args, kwargs)
        return self._built[key](self.module, args, kwargs)

    def _key(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Key:
        leaves, spec = pytree.tree_flatten((tuple(args), dict(kwargs)))
        settled = self._dynamic_batch or any(self._opening)
        return (str(spec), *(_kind(leaf, None if settled else 0) for leaf in leaves))

    def _build(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Built:
        shapes, dims = self._opening
        given = Arguments(tuple(args), dict(kwargs))
        if self._dynamic_batch:
            leaves = [x for name, one in named_arguments(self.module, given) for x in leaf_paths(name, one)]
            shapes = {**{name: _batched(one) for name, one in leaves if _has_batch(one)}, **(shapes or {})}
        own = _converters(self._options)
        graph = import_module(self.module, given, shapes=shapes, dims=dims, states=True, converters=own)
        structure = Structure.read(graph.structure, -1)
        assert structure is not None
        inputs = [value.name for value in graph.inputs]
        return _Built(build(graph, **self._options), structure, tuple(graph.states), len(inputs) - len(graph.states))


@dataclass(frozen=True)
class _Built:
    """An engine, how arguments and results are nested, and the buffers that come in last and go out last."""

    engine: Engine
    structure: Structure
    states: tuple[str, ...]
    count: int

    def __call__(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        buffers = [module.get_buffer(name) for name in self.states]
        found = list(self.engine.run([*self.structure.arrays(args, kwargs), *buffers]).values())
        with torch.no_grad():
            for buffer, new in zip(buffers, found[len(found) - len(buffers) :], strict=True):
                buffer.copy_(torch.as_tensor(new))
        return self.structure.restored(found)


def _converters(options: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    plugins = chosen(options.get("plugins", ()))
    return {name: convert for one in plugins for name, convert in one.torch.items()}


def _kind(leaf: Any, sizes: int | None) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return (leaf.dtype, leaf.dim() if sizes is None else tuple(leaf.shape))


def _has_batch(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.dim() > 0


def _batched(leaf: Any) -> tuple[Any, ...]:
    return ("batch", *leaf.shape[1:])


def generation(model: nn.Module, *, max_length: int | None = None, **options: Any) -> Generation:
    """A decoder of transformers that generates by an engine, which keeps keys and values in place.

    `max_length` is the most tokens of prompt and answer together; without it there is room for as many as come.
    `options` are those of `tenfold.build`. UnsupportedError for a model whose cache is of another kind.
    """
    with torch.no_grad():
        wrapped, example, shapes, dims = with_cache(model, max_length)
    given = {**options, "dims": {**dims, **options.pop("dims", {})}}
    engine = build(wrapped.eval(), example_inputs=example, shapes=shapes, state=True, **given)
    return Generation(engine, getattr(model, "generation_config", None))


class Generation:
    """What `generation` returns. `engine` can be saved and loaded elsewhere, for `tenfold.generate`."""

    def __init__(self, engine: Engine, config: Any) -> None:
        self.engine = engine
        known = {name: getattr(config, name, None) for name in ("eos_token_id", "pad_token_id")}
        self._defaults = {name: value for name, value in known.items() if value is not None}

    def generate(self, input_ids: torch.Tensor, **options: Any) -> torch.Tensor:
        """As the method of transformers' models, greedy by default; `options` are those of `tenfold.generate`."""
        found: torch.Tensor = generate(self.engine, input_ids, **{**self._defaults, **options})
        return found


@dataclass
class Capture:
    """One graph that torch.compile captured: how many operators it has, the engines built of it for the shapes seen,
    and why PyTorch runs it instead ("" if it does not).
    """

    operators: int
    engines: list[Engine] = field(default_factory=list)
    reason: str = ""


CAPTURES: list[Capture] = []
"""What torch.compile captured in this process, in order: its report."""


@register_backend(name="tenfold")
def backend(graph: torch.fx.GraphModule, example_inputs: Sequence[Any], **options: Any) -> Callable[..., Any]:
    """What torch.compile calls for each graph that it captures: a function that runs engines of it.

    Weights become constants. Sizes that torch.compile leaves open are open in the engine, if it can be built so; else
    there is one for each combination of sizes. A graph that cannot be built, or is to be differentiated, runs in
    PyTorch; `CAPTURES` and the log say why.
    """
    capture = Capture(sum(node.op.startswith("call") for node in graph.graph.nodes))
    CAPTURES.append(capture)
    fixed = {at: one for at, one in enumerate(example_inputs) if _is_weight(one)}
    return _Captured(graph, fixed, options.get("options") or {}, capture)


def _is_weight(example: Any) -> bool:
    return isinstance(example, nn.Parameter) or bool(getattr(example, "_dynamo_static_input_type", None))


class _Opening:
    """Which sizes of a captured graph's arguments are open, and which arguments are such sizes themselves.

    `shapes` holds by argument its sizes and the names of open ones; `sizes` by argument the place of a size: another
    argument, and its axis. Neither holds anything where a size is open that is no plain name.
    """

    def __init__(self, graph: torch.fx.GraphModule, fixed: Mapping[int, Any]) -> None:
        places = [node.meta.get("example_value") for node in graph.graph.nodes if node.op == "placeholder"]
        self.shapes: dict[int, tuple[int | str, ...]] = {}
        self.sizes: dict[int, tuple[int, int]] = {}
        found: dict[str, tuple[int, int]] = {}
        for at, one in enumerate(places):
            if isinstance(one, torch.Tensor) and at not in fixed and any(map(_is_open, one.shape)):
                self.shapes[at] = tuple(str(size) if _is_open(size) else int(size) for size in one.shape)
                found |= {str(size): (at, axis) for axis, size in enumerate(one.shape) if _is_open(size)}
        names = {at: str(one) for at, one in enumerate(places) if _is_open(one)}
        if all(name.isidentifier() for name in found) and set(names.values()) <= set(found):
            self.sizes = {at: found[name] for at, name in names.items()}
        else:
            self.shapes = {}


def _is_open(size: Any) -> bool:
    return isinstance(size, torch.SymInt) and not str(size).isdigit()


class _Rest(nn.Module):
    """A captured graph as a module of its arguments that are neither weights nor sizes of others."""

    def __init__(
        self, graph: torch.fx.GraphModule, fixed: Mapping[int, torch.Tensor], sizes: Mapping[int, tuple[int, int]]
    ) -> None:
        super().__init__()
        self.graph = graph
        self._sizes, self._held = sizes, set(fixed)
        self._count = sum(node.op == "placeholder" for node in graph.graph.nodes)
        for at, one in fixed.items():
            self.register_buffer(f"weight{at}", one.detach())

    def forward(self, *given: Any) -> Any:
        rest = iter(given)
        known = {at: next(rest) for at in range(self._count) if at not in self._held and at not in self._sizes}
        for at in range(self._count):
            if at in self._held:
                known[at] = getattr(self, f"weight{at}")
            elif at in self._sizes:
                other, axis = self._sizes[at]
                known[at] = known[other].shape[axis]
        return self.graph(*(known[at] for at in range(self._count)))


class _Captured:
    """Runs a captured graph by the engine for the shapes of each call."""

    def __init__(
        self, graph: torch.fx.GraphModule, fixed: Mapping[int, Any], options: Mapping[str, Any], capture: Capture
    ) -> None:
        self._graph, self._fixed, self._options, self._capture = graph, dict(fixed), dict(options), capture
        self._opening = _Opening(graph, fixed)
        self._engines: dict[Key, Engine] = {}

    def __call__(self, *given: Any) -> Any:
        if not self._capture.reason and torch.is_grad_enabled() and any(map(_needs_gradient, given)):
            self._give_up("it is to be differentiated; call it within torch.inference_mode()")
        if self._capture.reason:
            return self._graph(*given)
        engine = self._engine(given)
        if engine is None:
            return self._graph(*given)
        found = engine(*(given[at] for at in self._places(given)))
        return tuple(found) if isinstance(found, tuple | list) else (found,)

    def _places(self, given: Sequence[Any]) -> list[int]:
        """The arguments that an engine takes."""
        return [at for at in range(len(given)) if at not in self._fixed and at not in self._opening.sizes]

    def _engine(self, given: Sequence[Any]) -> Engine | None:
        """The engine for these arguments; None where PyTorch runs them."""
        opening = self._opening
        key = tuple(_kind(given[at], None if at in opening.shapes else 0) for at in self._places(given))
        if key not in self._engines:
            try:
                self._build(key, given)
            except TenfoldError as error:
                if not opening.shapes:
                    self._give_up(str(error))
                    return None
                opening.shapes, opening.sizes = {}, {}
                return self._engine(given)
        return self._engines.get(key)

    def _build(self, key: Key, given: Sequence[Any]) -> None:
        places = self._places(given)
        shapes = {f"given.{places.index(at)}": shape for at, shape in self._opening.shapes.items()}
        module = _Rest(self._graph, self._fixed, self._opening.sizes)
        rest = tuple(given[at] for at in places)
        graph = import_module(module, rest, shapes=shapes, converters=_converters(self._options))
        if graph.states:
            self._give_up(f"it changes {', '.join(graph.states)} in place")
            return
        self._engines[key] = build(graph, **self._options)
        self._capture.engines.append(self._engines[key])

    def _give_up(self, reason: str) -> None:
        self._capture.reason = reason
        _log.warning("a graph of %d operators runs in PyTorch: %s", self._capture.operators, reason)


def _needs_gradient(one: Any) -> bool:
    return isinstance(one, torch.Tensor) and one.requires_grad
