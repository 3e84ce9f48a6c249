"""Operators defined by others: functions that the model brings, and those that ONNX itself defines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, TensorProto, TypeProto
from onnx.defs import SchemaError

from tenfold.errors import ModelError
from tenfold.importers.onnx.proto import NUMBERS
from tenfold.importers.onnx.scope import shown
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Value
from tenfold.ir.type import Type

FunctionKey = tuple[str, str, str]
STANDARD_DOMAINS = ("", "ai.onnx")
_MOST_VERSION = 1 << 31


def domain_of(name: str) -> str:
    """The name of an operator set's domain: the standard one is ""."""
    return "" if name in STANDARD_DOMAINS else name


def versions(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """The version of each operator set that a model or function is written to."""
    found = {domain_of(one.domain): one.version for one in imports}
    for domain, version in found.items():
        if not 0 < version < _MOST_VERSION:
            raise ModelError(f"the model is written to version {version} of the operator set {domain or 'ai.onnx'!r}")
    return found


def model_functions(model: ModelProto) -> Mapping[FunctionKey, FunctionProto]:
    """The functions of a model by domain, name and overload; ModelError if two are the same."""
    found: dict[FunctionKey, FunctionProto] = {}
    for function in model.functions:
        key = (domain_of(function.domain), function.name, function.overload)
        if key in found:
            raise ModelError(f"the function {function.domain}.{function.name} is defined twice")
        found[key] = function
    return found


def operator_counts(functions: Mapping[FunctionKey, FunctionProto], most: int) -> dict[FunctionKey, int]:
    """How many operators a call of each function comes to once all calls are written out, counted up to `most`.

    A function that calls itself counts only to where it does.
    """
    found: dict[FunctionKey, int] = {}
    for start in functions:
        stack = [start]
        while stack:
            key = stack[-1]
            calls = Counter(one for one in _calls(functions[key].node) if one in functions)
            waiting = [one for one in calls if one not in found]
            if waiting and key not in found:
                found[key] = 0
                stack.extend(waiting)
                continue
            stack.pop()
            inner = sum(count * found[one] for one, count in calls.items())
            found[key] = min(most, len(functions[key].node) + inner)
    return found


def _calls(nodes: Iterable[NodeProto]) -> Iterator[FunctionKey]:
    stack = list(nodes)
    while stack:
        node = stack.pop()
        yield domain_of(node.domain), node.op_type, node.overload
        for attribute in node.attribute:
            stack.extend(inner for graph in (attribute.g, *attribute.graphs) for inner in graph.node)


KNOWN: Mapping[str, int] = {"": 28, "ai.onnx.ml": 5, "ai.onnx.preview": 1, "ai.onnx.preview.training": 1}
"""The newest operator set of each domain of ONNX that the converters are written for."""


def changed(node: NodeProto, domain: str, version: int) -> str:
    """Why an operator of an operator set newer than `KNOWN` cannot be taken for the one known here; "" if it can.

    Where the installed onnx knows the newer set, it says whether the operator changed; else what the node uses does.
    """
    known = KNOWN[domain]
    try:
        newest: Any = onnx.defs.get_schema(node.op_type, version, domain)
        ours: Any = onnx.defs.get_schema(node.op_type, known, domain)
    except SchemaError:
        return f"no operator set up to {known} has it"
    if newest.since_version > known:
        return f"it changed in operator set {newest.since_version}, and this version knows sets up to {known}"
    strange = [f"attribute {one.name!r}" for one in node.attribute if one.name not in ours.attributes]
    strange += ["inputs"] if len(node.input) > ours.max_input else []
    strange += ["outputs"] if len(node.output) > ours.max_output else []
    return f"it has {', '.join(strange)} that no operator set up to {known} knows" if strange else ""


@cache
def takes_holders(kind: str, domain: str, version: int) -> bool:
    """True if some input of an operator may be a sequence, an optional value or a map."""
    try:
        schema: Any = onnx.defs.get_schema(kind, version, domain)
    except SchemaError:
        return False
    allowed = {one for inputs in schema.inputs for one in inputs.types}
    return any(one.startswith(("seq(", "optional(", "map(")) for one in allowed)


LATEST = 1 << 16
"""Beyond every version of an operator set."""


@cache
def input_counts(kind: str, domain: str, version: int) -> tuple[int, int] | None:
    """Least and most inputs of an operator as ONNX defines it; None for an operator that it does not define."""
    try:
        schema: Any = onnx.defs.get_schema(kind, version, domain)
    except SchemaError:
        return None
    return schema.min_input, schema.max_input


def standard_function(
    node: NodeProto, domain: str, version: int, inputs: Sequence[Value | None]
) -> FunctionProto | None:
    """ONNX's own definition of an operator by other operators, at the newest version not newer; None if it has none."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, version, domain)
    except SchemaError:
        return None
    if schema.has_function:
        known = [one for one in schema.function_opset_versions if one <= version]
        return _parsed(schema.get_function_with_opset_version(max(known))) if known else None
    if schema.has_context_dependent_function:
        return _in_context(schema, node, version, inputs)
    return None


def _in_context(schema: Any, node: NodeProto, version: int, inputs: Sequence[Value | None]) -> FunctionProto | None:
    known = [one for one in schema.context_dependent_function_opset_versions if one <= version]
    if not known:
        return None
    types = [_type(value).SerializeToString() for value in inputs]
    try:
        data = schema.get_context_dependent_function_with_opset_version(max(known), node.SerializeToString(), types)
    except (ValueError, RuntimeError) as error:
        raise ModelError(str(error), operator=shown(node)) from error
    return _parsed(data) if data else None


def _parsed(data: bytes) -> FunctionProto:
    function = FunctionProto()
    function.ParseFromString(data)
    return function


def _type(value: Value | None) -> TypeProto:
    return TypeProto() if value is None else _stated(value.type)


def _stated(type: Type) -> TypeProto:
    if type.dtype.element is None:
        return onnx.helper.make_tensor_type_proto(NUMBERS[type.dtype], [None] * type.rank)
    if type.dtype.kind is Kind.MAP:
        key = TensorProto.STRING if type.dtype.name.startswith("textmap") else TensorProto.INT64
        return onnx.helper.make_map_type_proto(key, _stated(type.dtype.element))
    make = {Kind.SEQUENCE: onnx.helper.make_sequence_type_proto, Kind.OPTIONAL: onnx.helper.make_optional_type_proto}
    return make[type.dtype.kind](_stated(type.dtype.element))


def instantiated(function: FunctionProto, caller: NodeProto, *, named: bool) -> list[NodeProto]:
    """The nodes of a function with the caller's attributes in place, called after the caller.

    `named` keeps their own names after the caller's.
    """
    given = {attribute.name: attribute for attribute in function.attribute_proto}
    given |= {attribute.name: attribute for attribute in caller.attribute}
    nodes = []
    for node in function.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{shown(caller)}/{node.name or node.op_type}" if named else shown(caller)
        _resolve(copy, given)
        nodes.append(copy)
    return nodes


def _resolve(node: NodeProto, given: Mapping[str, AttributeProto]) -> None:
    kept = []
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            kept.append(attribute)
        elif attribute.ref_attr_name in given:
            resolved = AttributeProto()
            resolved.CopyFrom(given[attribute.ref_attr_name])
            resolved.name = attribute.name
            kept.append(resolved)
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                _resolve(inner, given)
    whole = NodeProto(attribute=kept)
    node.ClearField("attribute")
    node.attribute.extend(whole.attribute)
