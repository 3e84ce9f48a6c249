"""Models of layers: Functional graphs and Sequential stacks, at any depth, as calls in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tenfold.errors import ModelError
from tenfold.importers.keras.layer import Context, Layer
from tenfold.importers.keras.values import Ref, decoded, reference
from tenfold.importers.keras.weights import Weights
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant

FUNCTIONAL, SEQUENTIAL = "Functional", "Sequential"


def network_kind(kind: str, config: Any) -> str:
    """Which kind of model a serialized object is; "" if it is none."""
    if kind == SEQUENTIAL:
        return SEQUENTIAL
    if isinstance(config, Mapping) and {"layers", "input_layers", "output_layers"} <= set(config):
        return FUNCTIONAL
    return ""


@dataclass(frozen=True)
class Call:
    """One call of a layer in a graph: its arguments, in which tensors are `Ref`s."""

    layer: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


@dataclass
class Network:
    """A model's layers by name, and the calls of each. `inputs` and `outputs` nest `Ref`s as the model nests them."""

    name: str
    layers: dict[str, Layer] = field(default_factory=dict)
    calls: dict[tuple[str, int], Call] = field(default_factory=dict)
    inputs: Any = None
    outputs: Any = None
    stated: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The configurations of its input layers."""

    def run(self, given: Mapping[str, Value], wanted: Any) -> Any:
        """The values of `wanted`, which nests `Ref`s, when the input layers give these."""
        found: dict[tuple[str, int], Any] = {(name, 0): value for name, value in given.items()}
        for key in self._ordered(list(_refs(wanted)), found):
            call = self.calls[key]
            args = [_read(one, found) for one in call.args]
            kwargs = {name: _read(one, found) for name, one in call.kwargs.items()}
            found[key] = self.layers[call.layer](*args, **kwargs)
        return _read(wanted, found)

    def _ordered(self, wanted: Sequence[Ref], given: Mapping[tuple[str, int], Any]) -> list[tuple[str, int]]:
        """The calls that these tensors need, each after those that it needs itself; ModelError for a cycle."""
        order: list[tuple[str, int]] = []
        state: dict[tuple[str, int], int] = dict.fromkeys(given, 2)
        stack = [(ref.layer, ref.call) for ref in reversed(wanted)]
        while stack:
            key = stack[-1]
            if state.get(key) == 2:
                stack.pop()
            elif state.get(key) == 1:
                state[key] = 2
                order.append(stack.pop())
            else:
                state[key] = 1
                waiting = self._needed(key)
                if any(state.get(one) == 1 for one in waiting):
                    raise ModelError("it depends on itself", operator=key[0])
                stack.extend(reversed(waiting))
        return order

    def _needed(self, key: tuple[str, int]) -> list[tuple[str, int]]:
        call = self.calls.get(key)
        if call is None:
            raise ModelError(f"nothing in {self.name!r} gives call {key[1]} of the layer {key[0]!r}", operator=key[0])
        return [(ref.layer, ref.call) for ref in _refs([call.args, call.kwargs])]


def _refs(nest: Any) -> Iterator[Ref]:
    if isinstance(nest, Ref):
        yield nest
    elif isinstance(nest, Mapping):
        for one in nest.values():
            yield from _refs(one)
    elif isinstance(nest, list | tuple):
        for one in nest:
            yield from _refs(one)


def _read(nest: Any, found: Mapping[tuple[str, int], Any]) -> Any:
    if isinstance(nest, Ref):
        return _tensor(nest, found[nest.layer, nest.call])
    if isinstance(nest, np.ndarray):
        constant: Value = Constant(Tensor(nest))()
        return constant
    if isinstance(nest, list | tuple):
        return [_read(one, found) for one in nest]
    if isinstance(nest, Mapping) and "class_name" not in nest:
        return {name: _read(one, found) for name, one in nest.items()}
    return nest


def _tensor(ref: Ref, result: Any) -> Any:
    leaves = list(flat(result))
    if ref.index >= len(leaves):
        raise ModelError(f"it returns {len(leaves)} tensors, and one of number {ref.index} is used", operator=ref.layer)
    return leaves[ref.index]


def flat(nest: Any) -> Iterator[Any]:
    """What nested dicts, lists and tuples hold, dicts in the order of their sorted keys as Keras lays them flat."""
    if isinstance(nest, Mapping):
        for key in sorted(nest):
            yield from flat(nest[key])
    elif isinstance(nest, list | tuple):
        for one in nest:
            yield from flat(one)
    elif nest is not None:
        yield nest


def functional(layer: Layer) -> Network:
    """The graph of a Functional model."""
    entries = [_entry(layer, one) for one in _listed(layer, "layers")]
    names = [name for name, _, _ in entries]
    if len(set(names)) != len(names):
        raise layer.invalid("two of its layers have the same name")
    made = _layers(layer, entries)
    network = Network(layer.name, dict(zip(names, made, strict=True)))
    older = any(isinstance(node, list) for _, _, one in entries for node in one.get("inbound_nodes") or ())
    for name, _, one in entries:
        for number, node in enumerate(one.get("inbound_nodes") or ()):
            args, kwargs = _arguments(name, node, network.layers)
            network.calls[name, number] = Call(name, args, kwargs)
    if older:
        network.calls = {key: _recounted(call, network, True) for key, call in network.calls.items()}
    network.inputs = _nested(layer.config["input_layers"], layer.name)
    network.outputs = _recounted(_nested(layer.config["output_layers"], layer.name), network, older)
    network.stated = {name: network.layers[name].config for name in _input_names(network)}
    return network


def _input_names(network: Network) -> list[str]:
    names = [ref.layer for ref in _refs(network.inputs)]
    for name in names:
        if name not in network.layers:
            raise ModelError(f"its input {name!r} is none of its layers", operator=network.name)
    return names


def _listed(layer: Layer, name: str) -> list[Any]:
    found = layer.config.get(name)
    if not isinstance(found, list) or not found:
        raise layer.invalid(f"its configuration lists no {name}")
    return found


def _entry(layer: Layer, one: Any) -> tuple[str, str, Mapping[str, Any]]:
    """The name and class of a serialized layer, and itself."""
    if not isinstance(one, Mapping) or not isinstance(one.get("config"), Mapping):
        raise layer.invalid("one of its layers states no configuration")
    name, kind = one.get("name") or one["config"].get("name"), one.get("class_name")
    if not isinstance(name, str) or not isinstance(kind, str):
        raise layer.invalid("one of its layers has no name or no class")
    return name, kind, one


def _layers(layer: Layer, entries: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[Layer]:
    """The layers of a model with their weights; what is the same object to Keras is the same layer."""
    owning = [(kind, name) for name, kind, one in entries if not is_operation(one)]
    weights = dict(zip([name for _, name in owning], layer.source.listed("layers", owning), strict=True))
    return [layer.context.made(layer, name, one, weights.get(name)) for name, _, one in entries]


def is_operation(one: Mapping[str, Any]) -> bool:
    """True for an operation of keras.ops recorded in a graph, which is no layer."""
    module = one.get("module")
    if isinstance(module, str):
        return ".ops." in module or module.endswith(".ops")
    config = one["config"]
    return one.get("class_name") not in ("InputLayer",) and not {"trainable", "dtype", "layers"} & set(config)


def _arguments(name: str, node: Any, layers: Mapping[str, Layer]) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(node, Mapping) and "args" in node:
        args, kwargs = decoded(node["args"], name), decoded(node.get("kwargs") or {}, name)
        if isinstance(args, list) and isinstance(kwargs, dict):
            return args, kwargs
    elif isinstance(node, list | Mapping):
        kwargs = {}
        tensors = _older(name, node, kwargs, layers)
        single = isinstance(tensors, list) and len(tensors) == 1
        return [tensors[0] if single else tensors], kwargs
    raise ModelError("a call of it states no arguments", operator=name)


def _older(name: str, node: Any, kwargs: dict[str, Any], layers: Mapping[str, Layer]) -> Any:
    """The tensors of a call as Keras 2 writes them: [layer, call, tensor, keywords]."""
    if isinstance(node, Mapping):
        return {str(key): _older(name, one, kwargs, layers) for key, one in node.items()}
    if isinstance(node, list) and len(node) in (3, 4) and isinstance(node[0], str):
        if len(node) == 4 and isinstance(node[3], Mapping):
            kwargs.update(decoded(node[3], name, layers))
        return node[2] if node[0] == "_CONSTANT_VALUE" else reference(node[:3], name)
    if isinstance(node, list):
        return [_older(name, one, kwargs, layers) for one in node]
    raise ModelError(f"{node!r} names no tensor of the model", operator=name)


def _nested(value: Any, where: str) -> Any:
    """Input or output layers as the model nests them."""
    if isinstance(value, Mapping):
        return {str(key): _nested(one, where) for key, one in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], str):
        return reference(value, where)
    if isinstance(value, list):
        return [_nested(one, where) for one in value]
    raise ModelError(f"{value!r} names no tensor of the model", operator=where)


def _recounted(nest: Any, network: Network, older: bool) -> Any:
    """Calls of models within models counted from 0: Keras counts a call that a Functional model has by itself, before
    version 3 everywhere, since then where outputs are named.
    """
    if isinstance(nest, Call):
        return Call(nest.layer, _recounted(nest.args, network, older), _recounted(nest.kwargs, network, older))
    if isinstance(nest, Mapping):
        return {key: _recounted(one, network, older) for key, one in nest.items()}
    if isinstance(nest, list):
        return [_recounted(one, network, older) for one in nest]
    if not isinstance(nest, Ref) or nest.layer not in network.layers or nest.call == 0:
        return nest
    layer = network.layers[nest.layer]
    kind = network_kind(layer.kind, layer.config)
    counted = kind == FUNCTIONAL or (older and kind == SEQUENTIAL)
    return Ref(nest.layer, nest.call - 1, nest.index) if counted else nest


def sequential(layer: Layer) -> Network:
    """The graph of a Sequential model."""
    entries = [_entry(layer, one) for one in _listed(layer, "layers")]
    made = _layers(layer, entries)
    network = Network(layer.name, {name: one for (name, _, _), one in zip(entries, made, strict=True)})
    first = entries[0]
    if first[1] == "InputLayer":
        start, rest = first[0], entries[1:]
        network.stated[start] = first[2]["config"]
    else:
        start, rest = _implied_input(layer, first[2]["config"], network), entries
    network.inputs = last = Ref(start, 0, 0)
    counts: dict[str, int] = {}
    for name, _, _ in rest:
        number = counts[name] = counts.get(name, -1) + 1
        network.calls[name, number] = Call(name, [last], {})
        last = Ref(name, number, 0)
    network.outputs = last
    return network


def _implied_input(layer: Layer, first: Mapping[str, Any], network: Network) -> str:
    """Keras calls the input of a stack that has no input layer after its first layer."""
    name = f"{layer.name.rpartition('/')[2]}_input"
    shape = layer.config.get("build_input_shape") or first.get("batch_input_shape") or first.get("batch_shape")
    kind = "int32" if first.get("input_dim") and "output_dim" in first else "float32"
    network.stated[name] = {"name": name, "batch_shape": shape, "dtype": kind}
    return name


def prepared(layer: Layer) -> Network:
    """The network of a layer that is a model, made once."""
    if layer.prepared is None:
        kind = network_kind(layer.kind, layer.config)
        layer.prepared = sequential(layer) if kind == SEQUENTIAL else functional(layer)
    found: Network = layer.prepared
    return found


__all__ = ["Call", "Context", "Network", "Weights", "flat", "is_operation", "network_kind", "prepared"]
