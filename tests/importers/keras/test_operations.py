from __future__ import annotations

import keras
import pytest

from tests.importers.keras.operations import OPERATIONS
from tests.importers.keras.running import check, samples

pytestmark = pytest.mark.filterwarnings("ignore")

CASES = [(family, name) for family, functions in OPERATIONS.items() for name in functions]


@pytest.mark.parametrize(("family", "name"), CASES, ids=[f"{family}: {name}" for family, name in CASES])
def test_operations_give_what_keras_gives(family: str, name: str) -> None:
    x, y = (keras.Input((4, 6), batch_size=2, name=one) for one in "xy")
    model = keras.Model([x, y], OPERATIONS[family][name](x, y))
    check(model, samples(model))
