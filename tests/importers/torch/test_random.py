"""Draws by their distributions: PyTorch's own numbers are not ours, their moments are."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

import tenfold
from tenfold.importers import open_model
from tests.importers.torch.families import Together
from tests.importers.torch.running import interpreted

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

N = 40000
Draw = Callable[[torch.Tensor], torch.Tensor]


class Drawing(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        y = torch.empty(20000)
        return y.normal_(2.0, 0.5), torch.rand_like(x).uniform_(-1.0, 1.0), torch.bernoulli(x)


DRAWS: dict[str, tuple[Draw, float, float]] = {
    "rand": (lambda x: torch.rand(N), 0.5, 1 / math.sqrt(12)),
    "rand_like": (lambda x: torch.rand_like(x, dtype=torch.float64), 0.5, 1 / math.sqrt(12)),
    "randn": (lambda x: torch.randn(N), 0.0, 1.0),
    "randn_like": (torch.randn_like, 0.0, 1.0),
    "randint": (lambda x: torch.randint(10, (N,)).float(), 4.5, math.sqrt(99 / 12)),
    "randint low": (lambda x: torch.randint_like(x, 3, 5), 3.5, 0.5),
    "bernoulli": (lambda x: torch.bernoulli(x), 0.25, math.sqrt(3 / 16)),
    "bernoulli p": (lambda x: torch.empty(N).bernoulli_(0.5), 0.5, 0.5),
    "normal": (lambda x: torch.normal(x, 2.0), 0.25, 2.0),
    "normal both": (lambda x: torch.normal(x, x + 0.75), 0.25, 1.0),
    "normal numbers": (lambda x: torch.normal(1.0, 3.0, (N,)), 1.0, 3.0),
    "normal in place": (lambda x: torch.empty(N).normal_(1.0, 0.5), 1.0, 0.5),
    "uniform": (lambda x: torch.empty(N).uniform_(-1, 3), 1.0, 4 / math.sqrt(12)),
    "exponential": (lambda x: torch.empty(N).exponential_(2.0), 0.5, 0.5),
    "log normal": (lambda x: torch.empty(N).log_normal_(0.0, 0.25), math.exp(1 / 32), 0.2576),
    "geometric": (lambda x: torch.empty(N).geometric_(0.5), 2.0, math.sqrt(2)),
    "random": (lambda x: torch.empty(N).random_(4), 1.5, math.sqrt(5 / 4)),
    "multinomial": (
        lambda x: torch.multinomial(torch.tensor([1.0, 0.0, 2.0, 1.0]), N, replacement=True).float(),
        1.75,
        math.sqrt(11 / 4 + 3 / 2 - 1.75**2),
    ),
    "without replacement": (
        lambda x: torch.multinomial(torch.tensor([[1.0, 0.0, 3.0]]).expand(N, 3), 1).float(),
        1.5,
        math.sqrt(3) / 2,
    ),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, torch.Tensor]:
    module = Together({name: one for name, (one, _, _) in DRAWS.items()})
    found = interpreted(open_model(module, example_inputs=(torch.full((N,), 0.25),)), (torch.full((N,), 0.25),))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", DRAWS)
def test_the_moments_are_the_distributions(name: str, drawn: dict[str, torch.Tensor]) -> None:
    _, mean, deviation = DRAWS[name]
    found = drawn[name].double()
    assert float(found.mean()) == pytest.approx(mean, abs=5 * deviation / math.sqrt(N))
    assert float(found.std()) == pytest.approx(deviation, rel=0.05)


def test_draws_of_one_module_differ(drawn: dict[str, torch.Tensor]) -> None:
    assert abs(float(torch.corrcoef(torch.stack([drawn["rand"], drawn["uniform"]]))[0, 1])) < 0.03
    assert abs(float(torch.corrcoef(torch.stack([drawn["randn"], drawn["randn_like"]]))[0, 1])) < 0.03


def test_permutations_and_cauchy() -> None:
    functions: dict[str, Callable[..., torch.Tensor]] = {
        "permutation": lambda x: torch.randperm(50),
        "cauchy": lambda x: torch.empty(N).cauchy_(1.0, 2.0),
        "whole": lambda x: torch.empty(N, dtype=torch.int32).random_(),
    }
    engine = tenfold.build(Together(functions), example_inputs=(torch.zeros(1),), cache=False, effort=0)
    found = engine(torch.zeros(1))
    assert sorted(found["permutation"].tolist()) == list(range(50))
    low, middle, high = found["cauchy"].quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    assert (low, middle, high) == pytest.approx((-1, 1, 3), abs=0.1)
    assert float(found["whole"].double().mean()) == pytest.approx(2**30, rel=0.02) and int(found["whole"].min()) >= 0


def test_draws_of_a_script() -> None:
    script = torch.jit.script(Drawing())
    given = (torch.full((20000,), 0.75),)
    normal, uniform, hits = interpreted(open_model(script, example_inputs=given), given)
    assert float(normal.mean()) == pytest.approx(2.0, abs=0.02) and float(normal.std()) == pytest.approx(0.5, abs=0.02)
    assert float(uniform.mean()) == pytest.approx(0.0, abs=0.03) and float(uniform.min()) < -0.99
    assert float(hits.mean()) == pytest.approx(0.75, abs=0.02)
