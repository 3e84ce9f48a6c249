"""The ONNX importer: a ModelProto becomes a graph."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from onnx import GraphProto, ModelProto

from tenfold.errors import ModelError, OptionError, UnsupportedError
from tenfold.importers.convert import Table, report
from tenfold.importers.onnx import (
    attention,
    contrib,
    contrib_attention,
    contrib_paged,
    contrib_quant,
    control,
    conv,
    early,
    einsum,
    image,
    index,
    math,
    ml,
    nn,
    predictors,
    quant,
    random,
    recurrent,
    region,
    sequence,
    signal,
    tensor,
    text,
    training,
    trees,
)
from tenfold.importers.onnx.control import unlike_ranks, with_any_rank
from tenfold.importers.onnx.external import folder_of
from tenfold.importers.onnx.functions import model_functions, versions
from tenfold.importers.onnx.inputs import Declared
from tenfold.importers.onnx.proto import element_type, read_model
from tenfold.importers.onnx.scope import Scope
from tenfold.importers.onnx.walk import Undecided, Walk
from tenfold.importers.overrides import Bounds, Shape, unknown_name
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import numbered_unknowns
from tenfold.ops.constant import Sizes
from tenfold.ops.control import If

MOST_ATTEMPTS = 32

MODULES = (
    *(math, tensor, index, control),
    *(nn, early, conv, recurrent, attention, einsum, image, region, signal, quant),
    *(contrib, contrib_attention, contrib_paged, contrib_quant),
    *(random, training),
    *(text, sequence, ml, predictors, trees),
)

TABLE: Table = {key: rows for module in MODULES for key, rows in module.TABLE.items()}


def import_onnx(
    model: str | os.PathLike[str] | bytes | ModelProto,
    *,
    shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, Bounds] | None = None,
    outputs: Sequence[str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    converters: Table | None = None,
) -> Graph:
    """The graph of an ONNX model, given as a path, as bytes or as a message.

    `shapes` and `dims` override declared sizes, `outputs` names values of the model to return instead of its own
    outputs, `data_root` is a folder that external data may lie in (by default the model's own). Raises ModelError if
    the model is damaged or contradicts itself, UnsupportedError listing every operator that no converter takes,
    neither of `converters` nor of TABLE, OptionError for a name that the model does not have.
    """
    message, folder = read_model(model)
    root = folder_of(folder, data_root)
    declared = Declared(shapes, dims)
    walk = Walk({**TABLE, **(converters or {})}, model_functions(message), root, declared.contents)
    return _decided(message, walk, declared, outputs, [MOST_ATTEMPTS])


def _decided(
    message: ModelProto, walk: Walk, declared: Declared, outputs: Sequence[str] | None, left: list[int]
) -> Graph:
    """The graph under the decisions that `walk` holds; an If that they leave open is tried both ways."""
    left[0] -= 1
    if left[0] < 0:
        raise UnsupportedError("too many Ifs return tensors of unlike ranks", remedy="fix sizes by shapes= or dims=")
    try:
        with numbered_unknowns():
            return _graph(message, walk, declared, outputs)
    except Undecided as open_question:
        key = open_question.key
    graphs: list[Graph] = []
    errors: list[ModelError | UnsupportedError] = []
    for choice in (True, False):
        trial = Walk(walk.table, walk.functions, walk.root, walk.contents, {**walk.decisions, key: choice})
        try:
            graphs.append(_decided(message, trial, declared, outputs, left))
        except (ModelError, UnsupportedError) as error:
            errors.append(error)
    if not graphs:
        raise errors[0]
    return graphs[0] if len(graphs) == 1 else _either(key, *graphs)


def _either(key: tuple[str, Size], yes: Graph, no: Graph) -> Graph:
    """Both graphs under one If, where the model is valid whichever way its own If goes."""
    _, condition = key
    unlike = unlike_ranks(yes, no)
    for one in (yes, no):
        with_any_rank(one, unlike)
    graph = Graph((Value(value.type, name=value.name) for value in yes.inputs), name=yes.name)
    found = If(yes, no)(Sizes((condition,), (), dt.boolean)(), *graph.inputs)
    graph.set_outputs([found] if isinstance(found, Value) else found, yes.output_names)
    unmet = dim.logical_not(condition)
    for branch, taken, other in ((yes, condition, unmet), (no, unmet, condition)):
        kept = [(dim.logical_or(other, one), who) for one, who in branch.assumptions if one != taken]
        graph.assumptions, branch.assumptions = (*graph.assumptions, *kept), ()
    graph.metadata, graph.weights = yes.metadata, yes.weights | no.weights
    return graph


def _graph(message: ModelProto, walk: Walk, declared: Declared, outputs: Sequence[str] | None) -> Graph:
    body = message.graph
    graph, scope = Graph(name=body.name), Scope()
    initial = {tensor.name for tensor in body.initializer} | {one.values.name for one in body.sparse_initializer}
    for info in body.input:
        if info.name not in initial or declared.states(info.name):
            scope.bind(info.name, graph.input(info.name, declared.type(info)))
    declared.check([value.name for value in graph.inputs])
    wanted = list(outputs) if outputs is not None else [info.name for info in body.output]
    _check_outputs(body, wanted, chosen=outputs is not None)
    values = walk.graph(body, scope, versions(message.opset_import), wanted)
    if walk.missing:
        raise report(list(walk.missing))
    graph.assumptions = tuple(walk.assumptions)
    graph.metadata, graph.weights = _metadata(message), walk.weights
    graph.set_outputs([value for value in values if value is not None], _distinct(wanted))
    walk.complete(graph)
    return graph


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, one that is repeated with a number: y, y~2."""
    found: list[str] = []
    for name in names:
        others = (f"{name}~{number}" for number in itertools.count(2))
        found.append(next(one for one in itertools.chain([name], others) if one not in found))
    return found


def _metadata(message: ModelProto) -> dict[str, Any]:
    """What the model says of itself, by onnxruntime's names; and the weights that it lets a call replace."""
    version = {"version": message.model_version} if message.HasField("model_version") else {}
    optional = {"overridable": _overridable(message)} if message.ir_version >= _DEFAULTS_SINCE else {}
    return (
        {name: one for name, one in optional.items() if one}
        | version
        | {
            "producer_name": message.producer_name,
            "graph_name": message.graph.name,
            "domain": message.domain,
            "description": message.doc_string,
            "graph_description": message.graph.doc_string,
            "custom_metadata_map": {entry.key: entry.value for entry in message.metadata_props},
        }
    )


_DEFAULTS_SINCE = 4
"""The version of the format since which an initializer of an input's name is its default."""


def _overridable(message: ModelProto) -> list[Any]:
    """Name, element type and sizes of the inputs that have a default."""
    tensors = {one.name: one for one in message.graph.initializer}
    found = [tensors[info.name] for info in message.graph.input if info.name in tensors]
    return [[one.name, str(element_type(one.data_type, one.name)), list(one.dims)] for one in found]


def _check_outputs(body: GraphProto, wanted: Sequence[str], *, chosen: bool) -> None:
    if not wanted:
        if chosen:
            raise OptionError("outputs= names no value", argument="outputs", remedy="name one, or leave it out")
        raise ModelError("the model has no outputs")
    if chosen and len(set(wanted)) != len(wanted):
        problem = f"outputs= names a value twice: {', '.join(wanted)}"
        raise OptionError(problem, argument="outputs", remedy="name each once")
    known = [name for node in body.node for name in node.output if name]
    known += [info.name for info in body.input] + [one.name for one in body.initializer]
    known += [one.values.name for one in body.sparse_initializer]
    for name in set(wanted) - set(known):
        if chosen:
            raise unknown_name("value", name, known, "outputs")
        raise ModelError(f"nothing defines the output {name!r}")
