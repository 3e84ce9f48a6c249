from __future__ import annotations

import pytest
import torch

from tenfold.importers.torch.tables import TABLE, find
from tests.importers.torch.families import FAMILIES, Together
from tests.importers.torch.running import check

NOT_CONVERTED = {
    **{f"{name}.default": "a gradient" for name in ("_adaptive_avg_pool2d_backward", "avg_pool2d_backward")},
    **{f"{name}.default": "a gradient" for name in ("convolution_backward", "embedding_dense_backward")},
    **{f"{name}.default": "a gradient" for name in ("native_group_norm_backward", "native_layer_norm_backward")},
    "max_pool2d_with_indices_backward.default": "a gradient",
    "_native_batch_norm_legit.default": "changes its arguments: exported as _native_batch_norm_legit_functional",
    "atan2.out": "writes into its argument: torch.export never leaves one",
    "resize_.default": "changes its argument: torch.export never leaves one",
    "rand.default": "random numbers",
    "randn.default": "random numbers",
    "randperm.default": "random numbers",
}
"""Operators of core ATen without a converter, each with the reason."""


@pytest.mark.parametrize("family", FAMILIES)
def test_functions_give_what_pytorch_gives(family: str) -> None:
    one = FAMILIES[family]
    check(Together(one.functions).eval(), one.inputs)


def test_the_whole_core_is_converted() -> None:
    packets = [getattr(torch.ops.aten, name) for name in dir(torch.ops.aten)]
    overloads = [
        getattr(packet, one) for packet in packets if hasattr(packet, "overloads") for one in packet.overloads()
    ]
    core = {str(one).removeprefix("aten.") for one in overloads if torch.Tag.core in one.tags}
    sizes = {name for name in core if name.startswith("sym_") or name == "_local_scalar_dense.default"}
    assert len(core) > 150
    assert {name for name in core - sizes if find(TABLE, name) is None} == set(NOT_CONVERTED)
