"""`python -m tests.models`: a table of the catalogue, each model run by ONNX Runtime on its sample."""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnxruntime
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.models.catalogue import BY_NAME, MODELS, Model
from tests.models.samples import Array


def session(path: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime on two threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of branches and loop bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def shown(value: onnx.ValueInfoProto) -> str:
    """name[dims]"""
    dims = (dim.dim_param or str(dim.dim_value or "?") for dim in value.type.tensor_type.shape.dim)
    return f"{value.name}[{','.join(dims)}]"


def milliseconds(run: onnxruntime.InferenceSession, inputs: dict[str, Array], turns: int = 15) -> float:
    """The median time of a run, after three to warm up."""
    times = []
    for _ in range(turns + 3):
        start = time.perf_counter()
        run.run(None, inputs)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def row(model: Model) -> tuple[str, ...]:
    """One line of the table."""
    path = model.load()
    proto, run, inputs = onnx.load(path), session(path), model.inputs(0)
    outputs = dict(zip((output.name for output in run.get_outputs()), run.run(None, inputs), strict=True))
    try:
        model.check(outputs)
        verdict = "right"
    except AssertionError as error:
        verdict = f"WRONG {error}".strip()
    operators = Counter(node.op_type for node in nodes(proto.graph))
    names = {initializer.name for initializer in proto.graph.initializer}
    declared = " ".join(escape(shown(value)) for value in proto.graph.input if value.name not in names)
    return (
        model.name,
        model.task,
        next(str(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx")),
        str(sum(operators.values())),
        str(len(operators)),
        declared,
        f"{milliseconds(run, inputs):.2f}",
        verdict,
    )


def main() -> None:
    """Print the table for the models named on the command line, or for all."""
    parser = argparse.ArgumentParser(prog="python -m tests.models", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BY_NAME)}; all if none is named")
    names = parser.parse_args().names
    if unknown := set(names) - set(BY_NAME):
        parser.error(f"no model is called {', '.join(sorted(unknown))}")
    table = Table(
        "model", "task", "opset", "nodes", "operators", "inputs", "ms", "answer", title="ONNX Runtime, 2 threads"
    )
    for model in [BY_NAME[name] for name in names] or MODELS:
        table.add_row(*row(model))
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
