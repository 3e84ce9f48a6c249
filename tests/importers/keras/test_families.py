from __future__ import annotations

import pytest

from tests.importers.keras.families import FAMILIES
from tests.importers.keras.running import check, randomised, samples

pytestmark = pytest.mark.filterwarnings("ignore")

CASES = [(family, name) for family, cases in FAMILIES.items() for name in cases]


@pytest.mark.parametrize(("family", "name"), CASES, ids=[f"{family}: {name}" for family, name in CASES])
def test_layers_give_what_keras_gives(family: str, name: str) -> None:
    model = randomised(FAMILIES[family][name]())
    check(model, samples(model))
