"""Pipelines: order, observers, verification, limits, cutting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tenfold import ops
from tenfold.errors import OptionError
from tenfold.ir import text
from tenfold.ir.graph import Graph
from tenfold.passes.clean import IDENTITIES, CommonSubexpressions, DeadCode
from tenfold.rewrite.pipeline import Dump, Pass, Pipeline, Record, Rewrite, size
from tenfold.rewrite.rule import Steps

SOURCE = "graph (%x: f32[2]) { %a = Neg(Neg(%x)) %b = Neg(Neg(%x)) %c = Exp(%x) return Add(%a, %b) }"
PIPELINE = Pipeline(DeadCode(), CommonSubexpressions()) + Pipeline(Rewrite("identities", IDENTITIES))


def parse(source: str = SOURCE) -> Graph:
    return text.parse(source, ops.ALL)


def test_passes_run_in_order_and_observers_are_told() -> None:
    told: list[Record] = []
    graph = PIPELINE(parse(), observers=[lambda record, _: told.append(record)])
    assert [(record.name, record.before, record.after) for record in told] == [
        ("dead code", 6, 5),
        ("common subexpressions", 5, 3),
        ("identities", 3, 1),
    ]
    assert told[2].edits == {"twice_back": 1} and "twice_back 1" in str(told[2])
    assert [node.op.name for node in graph.nodes] == ["Add"]


def test_a_limit_counts_over_all_passes() -> None:
    sizes = [size(PIPELINE(parse(), limit=limit)) for limit in range(5)]
    assert sizes == [6, 5, 4, 3, 1]


def test_it_stops_at_a_pass() -> None:
    assert size(PIPELINE.stopping_at("dead code")(parse())) == 5
    with pytest.raises(OptionError, match="no pass is called 'dead'"):
        PIPELINE.stopping_at("dead")


@dataclass(frozen=True)
class Break(Pass):
    """Leaves a node that does not know its use."""

    name: str = "break"

    def run(self, graph: Graph, steps: Steps) -> None:
        graph.inputs[0].uses.clear()


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    with pytest.raises(AssertionError) as caught:
        Pipeline(Break())(parse())
    assert caught.value.__notes__ == ["after the pass break"]


def test_dumps_are_numbered_and_read_back(tmp_path: Path) -> None:
    graph = PIPELINE(parse(), observers=[Dump(tmp_path)])
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["00-dead code.txt", "01-common subexpressions.txt", "02-identities.txt"]
    assert files[-1].read_text() == text.show(graph)
    for file in files:
        parse(file.read_text()).verify()
