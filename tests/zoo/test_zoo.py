from __future__ import annotations

import pytest

from tests.zoo.entry import Entry
from tests.zoo.families import FAMILIES
from tests.zoo.measure import TOLERANCE, measured

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("entry", [one for one in FAMILIES if one.light], ids=lambda one: one.name)
def test_a_family_is_built_whole_and_exact(entry: Entry) -> None:
    row = measured(entry, effort=0, timed=False)
    assert row.captured == 100, row.reason
    assert row.error <= TOLERANCE
