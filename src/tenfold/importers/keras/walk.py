"""From a saved model to a graph: its layers in order, each through its converter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenfold.errors import ModelError, TenfoldError
from tenfold.importers.convert import Missing, report
from tenfold.importers.keras.declared import Declared
from tenfold.importers.keras.layer import Converter, Layer, Table
from tenfold.importers.keras.network import Network, flat, is_operation, network_kind, prepared
from tenfold.importers.keras.saved import Saved
from tenfold.importers.keras.tables import MASKED, REFUSED, TABLE
from tenfold.importers.keras.values import Ref, dtype_of
from tenfold.importers.keras.weights import NoWeights, Weights
from tenfold.importers.overrides import unknown_name
from tenfold.importers.shorthand import cast, reshaped
from tenfold.importers.sources import label
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.type import Type
from tenfold.runtime.structure import Structure

OPERATION = "ops."
UNCAST = frozenset({"Embedding", "TFOpLambda", "SlicingOpLambda"})
"""Layers that take their inputs as they come."""

OWN = ("keras.", "keras_core.", "tf_keras.")


@dataclass
class Import:
    """The graph that is being made of one model."""

    saved: Saved
    graph: Graph
    plugins: Table
    masks: dict[Value, Value] = field(default_factory=dict)
    missing: dict[Missing, None] = field(default_factory=dict)
    results: dict[str, list[Value]] = field(default_factory=dict)
    """What each layer gave, by its path: the first call's tensors first."""
    labelled: set[Node] = field(default_factory=set)
    shared: dict[int, Layer] = field(default_factory=dict)
    kept: dict[str, Value] = field(default_factory=dict)
    """What stateful layers leave for the next call, by the names of the inputs that it comes in by."""

    @property
    def version(self) -> int:
        """The major version of Keras that wrote the model."""
        return self.saved.version

    @property
    def assets(self) -> Mapping[str, bytes]:
        """The texts that lie beside the weights."""
        return self.saved.assets

    def run(self, declared: Declared, outputs: Sequence[str] | None) -> None:
        """Fill the graph."""
        top = self._top()
        network = prepared(top)
        given: dict[str, Value] = {}
        for name, stated in network.stated.items():
            sizes = declared.sizes(name, stated.get("batch_shape", stated.get("batch_input_shape")))
            given[name] = self.graph.input(name, Type(dtype_of(stated.get("dtype") or "float32", name), sizes))
        declared.check(list(given))
        self.results.update((name, [value]) for name, value in given.items())
        if outputs is None:
            self._set_outputs(network, network.run(given, network.outputs))
            return
        tops = [name.partition("/")[0] for name in outputs]
        network.run(given, [Ref(name, 0, 0) for name in tops if (name, 0) in network.calls])
        self.graph.set_outputs([self._chosen(network, name) for name in outputs], list(outputs))

    def _top(self) -> Layer:
        config = self.saved.config
        inner = config.get("config")
        if isinstance(inner, list):
            inner = {"name": "sequential", "layers": inner}
        if not isinstance(inner, Mapping) or not network_kind(str(config.get("class_name")), inner):
            raise report([Missing("keras", str(config.get("class_name")), 0, "the model", "its call is Python code")])
        kind = str(config["class_name"])
        return Layer("", kind, {**inner, "dtype": None, "name": inner.get("name", kind)}, self.saved.weights, self)

    def _set_outputs(self, network: Network, found: Any) -> None:
        named = {name: value for name, value in _named("", network.outputs, found, set())}
        self.graph.set_outputs([*named.values(), *self.kept.values()], [*named, *self.kept])
        self.graph.states = tuple(self.kept)
        if isinstance(network.outputs, Mapping):
            numbers = iter(range(len(named)))
            parameters = tuple((one.name, at) for at, one in enumerate(self.graph.inputs) if one.name not in self.kept)
            self.graph.structure = Structure(parameters, _described(network.outputs, numbers)).written()

    def _chosen(self, network: Network, name: str) -> Value:
        if name not in self.results:
            raise unknown_name("layer", name, {*network.layers, *self.results}, "outputs")
        return self.results[name][0]

    def made(self, parent: Layer, name: str, one: Mapping[str, Any], weights: Weights | None) -> Layer:
        """A layer of a serialized configuration, within another; the same again for what is one object to Keras."""
        number = one.get("shared_object_id")
        if type(number) is int and number in self.shared:
            return self.shared[number]
        config, path = one["config"], f"{parent.name}/{name}" if parent.name else name
        kind = _kind(one)
        layer = Layer(path, kind, _settled(kind, config), weights or NoWeights(), self, parent.depth + 1)
        if type(number) is int:
            self.shared[number] = layer
        if network_kind(kind, config):
            prepared(layer)
        elif self.converter(layer) is None and kind != "InputLayer":
            self.missing[Missing("keras", kind, 0, path, REFUSED.get(kind, ""))] = None
        return layer

    def inner(self, layer: Layer, attribute: str, config: Any) -> Layer:
        """The layer that another one keeps under an attribute."""
        if not isinstance(config, Mapping) or not isinstance(config.get("config"), Mapping):
            raise layer.invalid(f"its {attribute} states no layer")
        name = config["config"].get("name")
        part = name if isinstance(name, str) else attribute
        return self.made(layer, part, config, layer.source.child(attribute))

    def converter(self, layer: Layer) -> Converter | None:
        """The converter of a layer's class: a plugin's, or ours."""
        if layer.kind in self.plugins:
            return self.plugins[layer.kind]
        return _run_network if network_kind(layer.kind, layer.config) else TABLE.get(layer.kind)

    def call(self, layer: Layer, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What a layer gives for these arguments."""
        convert = self.converter(layer)
        if convert is None:
            kind = layer.kind
            own = Missing("keras", kind, 0, layer.name, REFUSED.get(kind, ""))
            raise report(list({**self.missing, own: None}))
        settings = {name: one for name, one in kwargs.items() if name != "training"}
        before, first = layer.explicit, next((one for one in flat(args) if isinstance(one, Value)), None)
        if not layer.kind.startswith(OPERATION):
            layer.explicit = settings.pop("mask", None)
            args, settings = _cast(layer, list(args)), _cast(layer, settings)
        try:
            result = convert(layer, *args, **settings)
        except TenfoldError as error:
            error.operator = error.operator or layer.name
            raise
        except (ValueError, IndexError, KeyError, OverflowError, ZeroDivisionError, TypeError, AttributeError) as error:
            raise ModelError(f"{layer.kind}: {error}", operator=layer.name) from error
        finally:
            mask = layer.mask(first)
            layer.explicit = before
        if layer.kind in MASKED and isinstance(result, Value) and mask is not None:
            self.masks.setdefault(result, mask)
        self._finish(layer, result)
        return result

    def _finish(self, layer: Layer, result: Any) -> None:
        values = [one for one in flat(result) if isinstance(one, Value)]
        for value in values:
            label(value, layer.name, self.labelled)
        if layer.name not in self.results:
            self.results[layer.name] = values
            for number, value in enumerate(values):
                value.name = value.name or (f"{layer.name}:{number}" if number else layer.name)


def _kind(one: Mapping[str, Any]) -> str:
    """What a layer's converter is found by: its class, or for a class that is not Keras's own its registered name."""
    kind, module = str(one.get("class_name")), one.get("module")
    foreign = module is None or not str(module).startswith(OWN)
    if "module" in one and foreign:
        return str(one.get("registered_name") or kind)
    return f"{OPERATION}{kind}" if is_operation(one) else kind


def _settled(kind: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """An operation's `dtype` is a setting of its own, not a policy."""
    return (
        {**config, "to": config["dtype"], "dtype": None} if kind.startswith(OPERATION) and "dtype" in config else config
    )


def _cast(layer: Layer, nest: Any) -> Any:
    """Floating-point arguments in the type that the layer computes in."""
    if isinstance(nest, Value):
        own = network_kind(layer.kind, layer.config) or layer.kind in UNCAST
        wide = nest.type.dtype.is_float and layer.compute.is_float and not own
        return cast(nest, layer.compute) if wide else nest
    if isinstance(nest, list | tuple):
        return [_cast(layer, one) for one in nest]
    if isinstance(nest, Mapping):
        return {name: _cast(layer, one) for name, one in nest.items()}
    return nest


def _run_network(layer: Layer, *args: Any) -> Any:
    """A model within a model."""
    network = prepared(layer)
    given = args[0] if len(args) == 1 else list(args)
    if isinstance(given, Mapping) and not isinstance(network.inputs, Mapping):
        given = [given[ref.layer] for ref in flat(network.inputs)]
    names = [ref.layer for ref in flat(network.inputs)]
    values = list(flat(given))
    if len(values) != len(names):
        raise layer.invalid(f"it takes {len(names)} tensors, and {len(values)} are given")
    inputs = {}
    for name, value in zip(names, values, strict=True):
        stated = network.stated[name]
        mask = layer.mask(value)
        moved = _fitted(cast(value, dtype_of(stated.get("dtype") or "float32", name)), stated)
        inputs[name] = layer.masked(moved, mask)
    return network.run(inputs, network.outputs)


def _fitted(x: Value, stated: Mapping[str, Any]) -> Value:
    """x with a last axis of size 1 added or taken away where the input layer has one more, or one fewer."""
    shape = stated.get("batch_shape", stated.get("batch_input_shape"))
    if not isinstance(shape, list | tuple):
        return x
    if len(shape) == x.type.rank + 1 and shape[-1] == 1:
        return reshaped(x, (*x.type.shape, 1))
    if len(shape) == x.type.rank - 1 and x.type.shape[-1] == 1:
        return reshaped(x, x.type.shape[:-1])
    return x


def _named(path: str, nest: Any, found: Any, used: set[str]) -> Iterator[tuple[str, Value]]:
    """The outputs with their names: the keys of dicts, else the layers that give them."""
    if isinstance(nest, Mapping):
        for key in nest:
            yield from _named(f"{path}.{key}" if path else str(key), nest[key], found[key], used)
    elif isinstance(nest, list):
        for one, value in zip(nest, found, strict=True):
            yield from _named(path, one, value, used)
    else:
        wanted = path or nest.layer
        number, name = 0, wanted
        while name in used:
            number, name = number + 1, f"{wanted}_{number + 1}"
        used.add(name)
        yield name, found


def _described(nest: Any, numbers: Iterator[int]) -> Any:
    if isinstance(nest, Mapping):
        return {"dict": [[key, _described(one, numbers)] for key, one in nest.items()]}
    if isinstance(nest, list):
        return {"list": [_described(one, numbers) for one in nest]}
    return next(numbers)
