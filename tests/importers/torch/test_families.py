from __future__ import annotations

import pytest
import torch

from tenfold.importers.torch.tables import has_converter
from tests.importers.torch import core
from tests.importers.torch.families import FAMILIES, Together
from tests.importers.torch.running import check


@pytest.mark.parametrize("family", FAMILIES)
def test_functions_give_what_pytorch_gives(family: str) -> None:
    one = FAMILIES[family]
    check(Together(one.functions).eval(), one.inputs)


@pytest.mark.parametrize("kind", core.CALLS)
def test_operators_of_the_core_give_what_pytorch_gives(kind: str) -> None:
    check(Together(core.CALLS[kind]), core.inputs())


def test_the_whole_core_is_called_and_converted() -> None:
    packets = [getattr(torch.ops.aten, name) for name in dir(torch.ops.aten)]
    overloads = [
        getattr(packet, one) for packet in packets if hasattr(packet, "overloads") for one in packet.overloads()
    ]
    names = {str(one).removeprefix("aten.") for one in overloads if torch.Tag.core in one.tags}
    assert len(names) > 150
    called = {name for calls in core.CALLS.values() for name in calls} | set(core.CHANCE)
    assert called == names - set(core.NOT_CONVERTED)
    sizes = {name for name in names if name.startswith("sym_") or name == "_local_scalar_dense.default"}
    assert {one for one in names - sizes if not has_converter(f"aten::{one}", {})} == set(core.NOT_CONVERTED)
