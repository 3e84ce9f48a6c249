"""Tokens continued by engines, against transformers' own `generate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tenfold
import tenfold.torch
from tenfold.errors import InputError, OptionError, UnsupportedError
from tenfold.runtime.engine import Engine
from tests.torch import optimum
from tests.zoo.texts import GROUPED, SMALL, SPECIAL

BUILD: dict[str, Any] = {"effort": 0, "cache": False, "threads": 2}


@pytest.fixture(scope="module", autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


@pytest.fixture(scope="module")
def gpt2() -> Any:
    config = transformers.GPT2Config(
        vocab_size=200, n_embd=64, n_layer=2, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2
    )
    return transformers.GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def engine(gpt2: Any) -> Engine:
    return tenfold.torch.generation(gpt2, max_length=128, **BUILD).engine


def prompts(batch: int = 2, length: int = 7) -> torch.Tensor:
    return torch.randint(3, 200, (batch, length), generator=torch.Generator().manual_seed(batch * length))


def expected(model: Any, ids: torch.Tensor, **options: Any) -> torch.Tensor:
    given = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0, **options}
    found: torch.Tensor = model.generate(ids, **given)
    return found


def test_the_tokens_of_gpt2(gpt2: Any, engine: Engine) -> None:
    assert not engine.report["host_steps"] and engine.report["native_spans"] == 1
    for ids in (prompts(), prompts(1, 1), prompts(3, 20)):
        wanted = expected(gpt2, ids, max_new_tokens=24)
        found = tenfold.generate(engine, ids, max_new_tokens=24, eos_token_id=2, pad_token_id=0)
        assert torch.equal(found, wanted)


def test_prompts_padded_on_the_left(gpt2: Any, engine: Engine) -> None:
    ids, mask = prompts(), torch.ones((2, 7), dtype=torch.long)
    mask[0, :4] = 0
    wanted = expected(gpt2, ids, attention_mask=mask, max_new_tokens=16)
    found = tenfold.generate(engine, ids.numpy(), attention_mask=mask.numpy(), max_new_tokens=16, pad_token_id=0)
    np.testing.assert_array_equal(found, wanted.numpy())


def test_a_model_shaped_like_llama() -> None:
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, **SPECIAL, **GROUPED)).eval()
    made = tenfold.torch.generation(model, **BUILD)
    kinds = [region["domain"] for region in made.engine.report["regions"] if region["kind"] == "Copy"]
    assert all("past_sequence_length" not in size for domain in kinds for size in domain)
    ids = prompts()
    assert torch.equal(made.generate(ids, max_new_tokens=30), expected(model, ids, max_new_tokens=30))


def test_a_file_as_optimum_exports_it(gpt2: Any, tmp_path: Path) -> None:
    path = tmp_path / "gpt2.onnx"
    path.write_bytes(optimum.gpt2(gpt2))
    built = tenfold.build(path, state=True, **BUILD)
    assert [spec.name for spec in built.inputs] == ["input_ids", "attention_mask", "position_ids"]
    assert [spec.name for spec in built.outputs] == ["logits"]
    built.save(tmp_path / "gpt2.tenfold")
    loaded = tenfold.load(tmp_path / "gpt2.tenfold")
    ids = prompts()
    found = tenfold.generate(loaded, ids, max_new_tokens=24, eos_token_id=2, pad_token_id=0)
    assert torch.equal(found, expected(gpt2, ids, max_new_tokens=24))


def test_a_context_goes_on(gpt2: Any, engine: Engine) -> None:
    context, ids = engine.context(), prompts()
    first = tenfold.generate(context, ids, max_new_tokens=5)
    assert context.rows == ids.shape[1] + 4
    more = tenfold.generate(context, first[:, -1:], max_new_tokens=5)
    wanted = expected(gpt2, ids, max_new_tokens=10, eos_token_id=None)
    assert torch.equal(torch.cat([first, more[:, 1:]], 1), wanted)


def test_rows_end_and_are_filled(gpt2: Any, engine: Engine) -> None:
    ids = prompts()
    free = tenfold.generate(engine, ids, max_new_tokens=12)
    end = int(free[0, 9])
    found = tenfold.generate(engine, ids, max_new_tokens=12, eos_token_id=[end, 199], pad_token_id=1)
    assert torch.equal(found, expected(gpt2, ids, max_new_tokens=12, eos_token_id=[end, 199], pad_token_id=1))


def test_chosen_by_chance(engine: Engine) -> None:
    ids = prompts().numpy()
    greedy = tenfold.generate(engine, ids, max_new_tokens=8)
    one = tenfold.generate(engine, ids, max_new_tokens=8, do_sample=True, top_k=1)
    np.testing.assert_array_equal(one, greedy)
    np.testing.assert_array_equal(tenfold.generate(engine, ids, max_new_tokens=8, do_sample=True, top_p=1e-9), greedy)
    drawn = [tenfold.generate(engine, ids, max_new_tokens=8, do_sample=True, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


def test_scores_are_processed(engine: Engine) -> None:
    seen = []

    def only_seven(tokens: np.ndarray, scores: np.ndarray) -> np.ndarray:
        seen.append(tokens.shape)
        return np.where(np.arange(200) == 7, scores, -np.inf)

    steps = list(tenfold.stream(engine, prompts(), max_new_tokens=3, logits_processor=only_seven))
    assert [step.tolist() for step in steps] == [[7, 7]] * 3
    assert seen == [(2, 7), (2, 8), (2, 9)]


def test_bad_input_is_named(gpt2: Any, engine: Engine) -> None:
    with pytest.raises(InputError, match="input_ids is float"):
        tenfold.generate(engine, np.zeros((1, 3), np.float32))
    with pytest.raises(InputError, match="attention_mask"):
        tenfold.generate(engine, prompts(), attention_mask=np.ones((2, 3), np.int64))
    with pytest.raises(InputError, match="room for 128 rows"):
        tenfold.generate(engine, prompts(), max_new_tokens=200)
    with pytest.raises(OptionError, match="temperature"):
        tenfold.generate(engine, prompts(), do_sample=True, temperature=0.0)
    with pytest.raises(UnsupportedError, match="is not a decoder"):
        tenfold.torch.generation(torch.nn.Linear(2, 2))
