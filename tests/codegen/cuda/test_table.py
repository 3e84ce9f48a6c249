"""What runs on a device alone, as far as it goes without one: the table's cases are built, a library is left out."""

from __future__ import annotations

import pytest

from tests.codegen.cuda.interpreting import TARGET

from bench.gpu.own import left_out  # isort: skip
from tenfold.codegen.cuda import contraction  # isort: skip
from tenfold.codegen.cuda.conv import kept  # isort: skip
from tenfold.runtime.cuda.product import VENDOR  # isort: skip
from tests.codegen.cuda import compiling, device  # isort: skip
from tests.codegen.cuda.recast import RECAST  # isort: skip
from tests.codegen.cuda.staples import STAPLES  # isort: skip
from tests.codegen.cuda.table import TABLE, Entry  # isort: skip


@pytest.mark.parametrize("entry", [*STAPLES(), *RECAST(), *TABLE()], ids=lambda entry: entry.name)
def test_a_case_has_tactics(entry: Entry) -> None:
    if "kept" in entry.name and not kept.LOOKS_FURTHER:
        pytest.skip("this Triton cannot keep weights in shared memory")
    assert device.kernels_of(entry)


def test_a_vendor_is_left_out() -> None:
    region = compiling.product(1024, 768, 3072)

    def vendors() -> bool:
        return any(one.strategy == VENDOR for one in contraction.STRATEGY.tactics(region, TARGET))

    assert vendors()
    with left_out():
        assert not vendors()
    assert vendors()
