"""A layer of the user's model, as its converter sees it: its configuration, its variables, its inner layers, masks."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from tenfold.errors import LimitError, ModelError, UnsupportedError
from tenfold.importers.keras.values import dtype_of, policy_of
from tenfold.importers.keras.weights import Weights
from tenfold.importers.shorthand import axis_of, cast
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant

T = TypeVar("T")

DEEPEST = 32
_REQUIRED: Any = object()


class Context(Protocol):
    """The import that a layer is part of."""

    graph: Graph
    masks: dict[Value, Value]
    """For values of which places are masked out, where they count."""
    kept: dict[str, Value]
    """What stateful layers leave for the next call, by the names of the inputs that it comes in by."""

    @property
    def version(self) -> int:
        """The major version of Keras that wrote the model."""

    @property
    def assets(self) -> Mapping[str, bytes]:
        """The texts that lie beside the weights."""

    def call(self, layer: Layer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What a layer gives for these arguments."""

    def inner(self, layer: Layer, attribute: str, config: Any) -> Layer:
        """The layer that another one keeps under an attribute, of this serialized configuration."""

    def made(self, parent: Layer, name: str, one: Mapping[str, Any], weights: Weights | None) -> Layer:
        """A layer of a serialized configuration, within another."""


class Layer:
    """One layer; it is the same at each of its calls. Calling it gives what Keras's layer would give.

    `name` is its path in the model ("encoder/dense"), `kind` its class. Accessors read the configuration and raise
    ModelError where it is not as the class states it.
    """

    def __init__(
        self, name: str, kind: str, config: Mapping[str, Any], weights: Weights, context: Context, depth: int = 0
    ) -> None:
        if depth > DEEPEST:
            raise LimitError(f"layers within layers more than {DEEPEST} deep", operator=name)
        self.name, self.kind, self.config = name, kind, config
        self.context = context
        self.source, self.depth = weights, depth
        self.explicit: Any = None
        """The mask that the present call names."""
        self.prepared: Any = None
        """What its converter keeps from one call to the next."""
        self._weights: dict[str, Tensor] = {}
        self._inner: dict[str, Layer] = {}
        self.compute, self.variable = policy_of(config.get("dtype"), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer gives for these values, lists of values and settings."""
        return self.context.call(self, args, kwargs)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"

    def with_config(self, config: Mapping[str, Any]) -> Layer:
        """The same layer under another configuration."""
        return Layer(self.name, self.kind, config, self.source, self.context, self.depth)

    def _read(self, name: str, kind: builtins.type[T] | tuple[builtins.type, ...], default: Any) -> Any:
        found = self.config.get(name, default)
        if found is _REQUIRED:
            raise self.invalid(f"its configuration has no {name!r}")
        if found is not default and (isinstance(found, bool) or not isinstance(found, kind)):
            raise self.invalid(f"{name!r} of its configuration is {found!r}")
        return found

    def integer(self, name: str, default: Any = _REQUIRED) -> int:
        """A whole number."""
        found: int = self._read(name, int, default)
        return found

    def number(self, name: str, default: Any = _REQUIRED) -> float:
        """A number, also one that Keras writes as an array of one element."""
        found = self.config.get(name, default)
        if isinstance(found, Mapping):
            inner = found.get("config")
            found = inner.get("value") if isinstance(inner, Mapping) else None
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self.invalid(f"{name!r} of its configuration is {self.config.get(name)!r}")
        return float(found)

    def flag(self, name: str, default: Any = _REQUIRED) -> bool:
        """A truth value; None is false."""
        found = self.config.get(name, default)
        if found is _REQUIRED or not isinstance(found, bool | int | None):
            raise self.invalid(f"{name!r} of its configuration is no truth value")
        return bool(found)

    def text(self, name: str, default: Any = _REQUIRED, choices: Iterable[str] = ()) -> str:
        """A word, one of `choices` if any are given."""
        found: str = self._read(name, str, default)
        if choices and found not in choices:
            raise self.invalid(f"{name!r} is {found!r}, not one of {', '.join(map(str, choices))}")
        return found

    def each(self, name: str, rank: int, default: Any = _REQUIRED) -> tuple[int, ...]:
        """A whole number for each of `rank` axes; a single one stands for all."""
        found = self._read(name, (int, list, tuple), default)
        numbers = (found,) * rank if isinstance(found, int) else tuple(found)
        if len(numbers) != rank or not all(type(one) is int for one in numbers):
            raise self.invalid(f"{name!r} is {found!r}, not one whole number for each of {rank} axes")
        return numbers

    def pairs(self, name: str, rank: int) -> tuple[tuple[int, int], ...]:
        """Two whole numbers for each of `rank` axes; one number stands for both."""
        found = self._read(name, (int, list, tuple), _REQUIRED)
        rows: list[Any] = [found] * rank if isinstance(found, int) else [found] if rank == 1 else list(found)
        if rank == 1 and len(rows) == 1 and isinstance(rows[0], list | tuple) and len(rows[0]) == 1:
            rows = list(rows[0])
        full = [(one, one) if isinstance(one, int) else tuple(one) for one in rows]
        if len(full) != rank or not all(len(one) == 2 and all(type(n) is int for n in one) for one in full):
            raise self.invalid(f"{name!r} is {found!r}, not two whole numbers for each of {rank} axes")
        return tuple((one[0], one[1]) for one in full)

    def axes(self, name: str, rank: int, default: Any = _REQUIRED) -> tuple[int, ...]:
        """One axis or several, counted from the start and in order."""
        found = self._read(name, (int, list, tuple), default)
        numbers = (found,) if isinstance(found, int) else tuple(found)
        if not all(type(one) is int and -rank <= one < rank for one in numbers):
            raise self.invalid(f"{name!r} is {found!r}, and the input has {rank} axes")
        return tuple(sorted({axis_of(one, rank) for one in numbers}))

    def kind_of(self, name: str, default: DType) -> DType:
        """An element type."""
        found = self.config.get(name)
        return default if found is None else dtype_of(found, self.name)

    def channels_last(self, default: str = "channels_last") -> bool:
        """True if the channels are the last axis of images, not the second."""
        found = self.config.get("data_format") or default
        if found not in ("channels_last", "channels_first"):
            raise self.invalid(f"data_format is {found!r}")
        return bool(found == "channels_last")

    def weight(self, name: str, shape: Sequence[Size | None] | None = None, *, keep: bool = False) -> Value:
        """The variable of that name: the next of the layer's own at the first call, so that converters ask in Keras's
        order. It comes in the type that the layer computes in, or as it is stored where `keep` says so.

        ModelError if there is none, or if its shape is another than stated (None: any size).
        """
        if name not in self._weights:
            self._weights[name] = self._loaded(name, shape)
        found: Value = Constant(self._weights[name])()
        return cast(found, self.compute) if found.type.dtype.is_float and not keep else found

    def _loaded(self, name: str, shape: Sequence[Size | None] | None) -> Tensor:
        array = self.source.own(len(self._weights), name)
        if array is None:
            raise ModelError(
                f"the model has no weight {name!r} (variable {len(self._weights)}) for this {self.kind}",
                operator=self.name,
                remedy="build the layer on an input before the model is saved, and save the whole model",
            )
        fits = shape is None or len(shape) == array.ndim
        fits = fits and all(not isinstance(a, int) or a == b for a, b in zip(shape or (), array.shape, strict=False))
        if not fits:
            raise ModelError(
                f"weight {name!r} has the shape {list(array.shape)}, and the layer needs {list(shape or ())}",
                operator=self.name,
                remedy="save the model again from the model that the weights belong to",
            )
        path = f"{self.name}/{name}"
        floating = array.dtype.kind == "f" and self.variable.is_float
        tensor = Tensor(array.astype(self.variable.numpy, copy=False) if floating else array, source=path)
        self.context.graph.weights[path] = tensor
        return tensor

    def asset(self, name: str) -> bytes | None:
        """A text that the layer keeps beside the weights; None if there is none."""
        own = self.name.rpartition("/")[2]
        return self.context.assets.get(f"assets{self.source.place}/{name}", self.context.assets.get(f"{own}/{name}"))

    def child(self, attribute: str, config: Any = _REQUIRED) -> Layer:
        """The layer that this one keeps under an attribute, serialized in its configuration under `config`'s name or
        given as a serialized layer itself.
        """
        if attribute not in self._inner:
            stated = self.config.get(attribute) if config is _REQUIRED else config
            self._inner[attribute] = self.context.inner(self, attribute, stated)
        return self._inner[attribute]

    def mask(self, x: Value | None) -> Value | None:
        """Where x counts: the mask that the call names, or what came with x; None if everywhere."""
        if isinstance(self.explicit, Value):
            return self.explicit
        return None if x is None else self.context.masks.get(x)

    def masked(self, x: Value, mask: Value | None) -> Value:
        """x, with a mask for the layers after it."""
        if mask is not None:
            self.context.masks[x] = mask
        return x

    def unsupported(self, reason: str, remedy: str | None = None) -> UnsupportedError:
        """The error to raise where the layer is valid and cannot be built."""
        return UnsupportedError(f"{self.kind}: {reason}", operator=self.name, remedy=remedy)

    def invalid(self, reason: str) -> ModelError:
        """The error to raise where the layer is not as its class states it."""
        return ModelError(f"{self.kind}: {reason}", operator=self.name)


Converter = Callable[..., Any]
"""Takes the layer and the arguments of its call, gives values as the layer's call does."""

Table = Mapping[str, Converter]
