"""What a user may say of sizes is the same for every importer."""

from __future__ import annotations

import pytest

from tenfold.errors import OptionError
from tenfold.importers.overrides import Overrides
from tenfold.ir import dim


def test_a_name_is_a_number_or_a_range_and_open_without_either() -> None:
    overrides = Overrides(None, {"n": 3, "h": (32, 640, 32)})
    assert overrides.named("n") == 3
    assert overrides.named("h") == dim.symbol("h", low=32, high=640, multiple=32)
    assert overrides.named("w") == dim.symbol("w", low=0)
    overrides.check(())


@pytest.mark.parametrize("bounds", [-1, True, (1,), (1, 2, 3, 4), (1.0, 2), "8", (5, 4)])
def test_what_bounds_nothing_is_refused(bounds: object) -> None:
    with pytest.raises(OptionError, match=r"dims\['n'\]"):
        Overrides(None, {"n": bounds}).named("n")  # type: ignore[dict-item]


def test_a_name_that_the_model_lacks_is_refused_with_the_nearest() -> None:
    overrides = Overrides(None, {"batch": 3})
    overrides.named("batches")
    with pytest.raises(OptionError, match=r"no dimension 'batch'.*\n.*'batches'"):
        overrides.check(())
    with pytest.raises(OptionError, match=r"no input 'y'.*\n.*it has x"):
        Overrides({"y": (1,)}, None).check(["x"])


@pytest.mark.parametrize("argument", ["shapes", "dims"])
def test_what_is_no_dict_is_refused_with_an_example(argument: str) -> None:
    with pytest.raises(OptionError, match=rf"{argument}= is a tuple\n  remedy: give a dict by the names of .*: \{{"):
        Overrides(**{"shapes": None, "dims": None, argument: (1, 3)})  # type: ignore[arg-type]
