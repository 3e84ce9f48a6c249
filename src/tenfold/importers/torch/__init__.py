"""The PyTorch importer: modules, exported programs, their files and TorchScript become graphs."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.utils import _pytree as pytree

from tenfold.errors import OptionError
from tenfold.importers.overrides import Bounds, Shape
from tenfold.importers.torch.declared import Declared
from tenfold.importers.torch.export import arguments_of, decomposed, exported, named_arguments, quiet
from tenfold.importers.torch.inputs import Leaf, inputs_of
from tenfold.importers.torch.program import Walk, as_output, changed, new_states
from tenfold.importers.torch.results import set_outputs
from tenfold.importers.torch.scripted import import_script, load_script
from tenfold.importers.torch.signal import Complex
from tenfold.importers.torch.structure import described
from tenfold.importers.torch.tables import Converters, with_foreign
from tenfold.importers.torch.weights import Weights
from tenfold.ir.dim import Dim
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import numbered_unknowns
from tenfold.runtime.structure import Node, Structure


def import_module(
    module: Any,
    example_inputs: Any,
    *,
    shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, Bounds] | None = None,
    outputs: Sequence[str] | None = None,
    states: bool | Collection[str] = False,
    converters: Converters | None = None,
) -> Graph:
    """The graph of a module, exported whole on example inputs.

    `shapes` names the open sizes of inputs, `dims` bounds or fixes them; `outputs` chooses among the results by path.
    Buffers that the module changes come out after its results; with `states`, True or
    some of their names, their old values are inputs, last of all.
    `converters` are a user's own, which come before ours.
    Raises UnsupportedError if torch.export refuses the module, or listing every operator that no converter takes;
    ModelError if the module fails on the examples; OptionError for a name that the module does not have.
    """
    given, declared, added = arguments_of(example_inputs), Declared(shapes, dims), with_foreign(converters)
    program = exported(module, given, declared, added)
    parameters = [name for name, _ in named_arguments(module, given)]
    return graph_of(program, parameters, declared, outputs, type(module).__name__, added, states=states)


def import_program(
    program: ExportedProgram,
    *,
    shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, Bounds] | None = None,
    outputs: Sequence[str] | None = None,
    states: bool | Collection[str] = False,
    converters: Converters | None = None,
) -> Graph:
    """The graph of an exported program; its open sizes are called "input.axis" unless `shapes` names them."""
    added = with_foreign(converters)
    return graph_of(decomposed(program, added), None, Declared(shapes, dims), outputs, "program", added, states=states)


def graph_of(
    program: ExportedProgram,
    parameters: list[str] | None,
    declared: Declared,
    outputs: Sequence[str] | None,
    name: str,
    added: Converters,
    *,
    states: bool | Collection[str] = False,
) -> Graph:
    """The graph of a program without mutation, whose arguments are called so (by default as it names them itself)."""
    graph = Graph(name=name)
    inputs = inputs_of(program, parameters, declared)
    weights = Weights({**program.state_dict, **program.constants}, graph)
    with numbered_unknowns():
        walk = Walk(program, graph, weights, added, inputs.types, inputs.names, inputs.contents)
        found = walk.run([name for name in changed(program) if states is True or (states and name in states)])
    specs = program.graph_signature.output_specs
    returned = [one for spec, one in zip(specs, found, strict=True) if spec.kind is OutputKind.USER_OUTPUT]
    collected, result = _results(program, returned)
    graph.structure = Structure(tuple(inputs.parameters), result).written()
    after = new_states(program, found)
    graph.states = tuple(after)
    set_outputs(graph, collected | after, outputs)
    graph.metadata = {"producer_name": "pytorch", "graph_name": name}
    return graph


def _results(program: ExportedProgram, returned: Sequence[Any]) -> tuple[dict[str, Value], Node]:
    """What the program returns by path, and how it is nested."""
    spec = program.call_spec.out_spec
    tree = pytree.tree_unflatten([Leaf(at) for at in range(spec.num_leaves)], spec)
    collected: dict[str, Value] = {}

    def node_of(path: str, leaf: Leaf) -> Node:
        found = returned[leaf.at]
        if not isinstance(found, Value | Dim | Complex):
            return {"constant": found}
        collected[path] = as_output(found)
        at = len(collected) - 1
        return at if isinstance(found, Value) else {"number": at}

    root = "" if isinstance(tree, Mapping) else "output"
    return collected, described(root, tree, node_of)


def import_torch(
    kind: str,
    model: Any,
    example_inputs: Any,
    *,
    shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, Bounds] | None = None,
    outputs: Sequence[str] | None = None,
    states: bool | Collection[str] = False,
    converters: Converters | None = None,
) -> Graph:
    """The graph of a model of a kind that `importers.sniff` knows: a module, a program, or the file of one."""
    opening: dict[str, Any] = {"shapes": shapes, "dims": dims, "outputs": outputs, "converters": converters}
    if kind == "module":
        return import_module(model, example_inputs, **opening, states=states)
    if kind in ("script", "torchscript"):
        return import_script(model if kind == "script" else load_script(model), example_inputs, **opening)
    if example_inputs is not None:
        raise OptionError(
            "an exported program has its inputs with it", argument="example_inputs", remedy="leave example_inputs out"
        )
    return import_program(model if kind == "program" else load_program(model), **opening, states=states)


def load_program(model: Any) -> ExportedProgram:
    """The program in a .pt2 file, or in the bytes of one."""
    source = io.BytesIO(model) if isinstance(model, bytes | bytearray | memoryview) else os.fspath(model)
    with quiet():
        return torch.export.load(source)
