from __future__ import annotations

import pytest

from tests.zoo.entry import Entry
from tests.zoo.families import FAMILIES, REFUSED
from tests.zoo.measure import TOLERANCE, measured

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("entry", [one for one in FAMILIES if one.light], ids=lambda one: one.name)
def test_a_family_is_built_whole_and_exact(entry: Entry) -> None:
    row = measured(entry, effort=0, seconds=0)
    assert row.captured == 100, row.reason
    assert row.error <= TOLERANCE


@pytest.mark.parametrize("name", ["ResNet", "BERT"])
def test_routes_lead_to_the_same_engine(name: str) -> None:
    entry = next(one for one in FAMILIES if one.name == name)
    row = measured(entry, "torchscript", effort=0, seconds=0)
    assert row.good, row.reason


def test_the_list_of_refused_families_is_short() -> None:
    assert len(REFUSED) <= 3 and set(REFUSED) <= {one.name for one in FAMILIES}
