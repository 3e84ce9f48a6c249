"""Every rule: it states its algebra, fires on its example, keeps the numbers, and leaves its near miss alone."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold import ops, passes
from tenfold.compiler.fuse.finish import finish_rows
from tenfold.ir import text
from tenfold.passes.algebra import EXACT
from tenfold.passes.channels import CHANNELS
from tenfold.passes.clean import IDENTITIES
from tenfold.passes.fold import FOLDING
from tenfold.passes.movement import MOVEMENT
from tenfold.passes.recognise.activations import ACTIVATIONS
from tenfold.passes.recognise.norms import NORMS
from tenfold.rewrite.rule import Rule, rewrite
from tests.passes.sample import assert_same, run, sample, sample_of_special_numbers

EXACT_RULES = (*IDENTITIES, *FOLDING, *MOVEMENT, *CHANNELS, *EXACT)
each_rule = pytest.mark.parametrize("rule", (*passes.RULES, finish_rows), ids=lambda rule: rule.name)


@each_rule
def test_a_rule_fires_on_its_example_and_keeps_the_numbers(rule: Rule) -> None:
    before, after = (text.parse(rule.fires, ops.ALL) for _ in range(2))
    steps = rewrite(after, (rule,))
    after.verify()
    assert steps.counts[rule.name] > 0
    assert text.show(after) != text.show(before)
    for seed in range(3):
        inputs = sample(before, seed)
        assert_same(run(before, inputs), run(after, inputs), exact=rule in EXACT_RULES)


@pytest.mark.parametrize("rule", [*EXACT_RULES, *ACTIVATIONS, *NORMS], ids=lambda rule: rule.name)
def test_nan_infinity_and_signed_zero_stay(rule: Rule) -> None:
    before, after = (text.parse(rule.fires, ops.ALL) for _ in range(2))
    rewrite(after, (rule,))
    for seed in range(20):
        inputs = sample_of_special_numbers(before, seed)
        with np.errstate(all="ignore"):
            pairs = zip(run(before, inputs).values(), run(after, inputs).values(), strict=True)
        for expected, found in pairs:
            if expected.dtype.kind == "f":
                np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
                np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
                zero = (found == 0) & (expected == 0)
                np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(expected[zero]))


@each_rule
def test_a_rule_leaves_its_near_miss_alone(rule: Rule) -> None:
    graph = text.parse(rule.misses, ops.ALL)
    assert not rewrite(graph, (rule,)).counts


@each_rule
def test_a_rule_states_its_algebra(rule: Rule) -> None:
    assert "->" in rule.algebra


def test_rules_have_distinct_names() -> None:
    names = [rule.name for rule in passes.RULES]
    assert len(set(names)) == len(names)
