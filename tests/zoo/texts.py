"""Language models of transformers, at small configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers
from torch import nn

from tests.zoo.entry import Entry, Inputs, words

SMALL: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def encoder(name: str, **config: Any) -> Callable[[], tuple[nn.Module, Inputs]]:
    """A model that takes tokens and a mask."""

    def make() -> tuple[nn.Module, Inputs]:
        made = getattr(transformers, f"{name}Config")(**SMALL, **config)
        ids = words()
        mask = (ids != ids).long() + 1
        mask[1, 17:] = 0
        return getattr(transformers, f"{name}Model")(made), {"input_ids": ids, "attention_mask": mask}

    return make


def decoder(name: str, **config: Any) -> Callable[[], tuple[nn.Module, Inputs]]:
    """A model that continues tokens, without a cache."""

    def make() -> tuple[nn.Module, Inputs]:
        made = getattr(transformers, f"{name}Config")(**{**SMALL, **SPECIAL, "use_cache": False, **config})
        kind = {"GPT2": "GPT2LMHeadModel"}.get(name, f"{name}ForCausalLM")
        return getattr(transformers, kind)(made), {"input_ids": words()}

    return make


def translator(name: str, **config: Any) -> Callable[[], tuple[nn.Module, Inputs]]:
    """An encoder and a decoder."""

    def make() -> tuple[nn.Module, Inputs]:
        made = getattr(transformers, f"{name}Config")(**{"vocab_size": 200, "use_cache": False, **SPECIAL, **config})
        kind = getattr(transformers, f"{name}ForConditionalGeneration", None) or getattr(transformers, f"{name}MTModel")
        return kind(made), {"input_ids": words(), "decoder_input_ids": words(length=9)}

    return make


GROUPED: dict[str, Any] = {"num_key_value_heads": 2}
BART: dict[str, Any] = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_position_embeddings": 64,
}
T5: dict[str, Any] = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}


def _distilbert() -> tuple[nn.Module, Inputs]:
    config = transformers.DistilBertConfig(vocab_size=200, dim=64, n_layers=2, n_heads=4, hidden_dim=128)
    ids = words()
    return transformers.DistilBertModel(config), {"input_ids": ids, "attention_mask": ids.clamp(max=1)}


def _gemma3() -> tuple[nn.Module, Inputs]:
    config = transformers.Gemma3TextConfig(**SMALL, **SPECIAL, **GROUPED, head_dim=16, use_cache=False)
    return transformers.Gemma3ForCausalLM(config), {"input_ids": words()}


def _mamba() -> tuple[nn.Module, Inputs]:
    config = transformers.MambaConfig(
        vocab_size=200, hidden_size=64, num_hidden_layers=2, state_size=8, use_cache=False, **SPECIAL
    )
    return transformers.MambaForCausalLM(config), {"input_ids": words(1, 16)}


def _rwkv() -> tuple[nn.Module, Inputs]:
    config = transformers.RwkvConfig(vocab_size=200, hidden_size=64, num_hidden_layers=2, use_cache=False, **SPECIAL)
    return transformers.RwkvForCausalLM(config), {"input_ids": words(1, 8)}


ENTRIES = (
    Entry("BERT", encoder("Bert"), light=True),
    Entry("RoBERTa", encoder("Roberta", max_position_embeddings=80)),
    Entry("DistilBERT", _distilbert),
    Entry("ModernBERT", encoder("ModernBert", **SPECIAL, cls_token_id=1, sep_token_id=2)),
    Entry("ALBERT", encoder("Albert", embedding_size=32)),
    Entry("ELECTRA", encoder("Electra", embedding_size=32)),
    Entry("MPNet", encoder("MPNet", max_position_embeddings=80)),
    Entry("DeBERTa-v2", encoder("DebertaV2", relative_attention=True, pos_att_type=["p2c", "c2p"])),
    Entry("T5", translator("T5", **T5, decoder_start_token_id=0)),
    Entry("BART", translator("Bart", **BART)),
    Entry("Marian", translator("Marian", **BART, decoder_start_token_id=0)),
    Entry("GPT-2", decoder("GPT2", n_embd=64, n_layer=2, n_head=4, n_positions=64)),
    Entry("GPT-NeoX", decoder("GPTNeoX")),
    Entry("OPT", decoder("OPT", ffn_dim=128, word_embed_proj_dim=64, max_position_embeddings=64)),
    Entry("BLOOM", decoder("Bloom", n_layer=2, n_head=4)),
    Entry("Falcon", decoder("Falcon", new_decoder_architecture=True, num_kv_heads=2)),
    Entry("Llama", decoder("Llama", **GROUPED), light=True),
    Entry("Qwen2", decoder("Qwen2", **GROUPED)),
    Entry("Qwen3", decoder("Qwen3", **GROUPED, head_dim=16)),
    Entry("Gemma", decoder("Gemma", **GROUPED, head_dim=16)),
    Entry("Gemma2", decoder("Gemma2", **GROUPED, head_dim=16)),
    Entry("Gemma3", _gemma3),
    Entry("Mistral", decoder("Mistral", **GROUPED, sliding_window=16)),
    Entry("Mixtral", decoder("Mixtral", **GROUPED, num_local_experts=4)),
    Entry("Phi", decoder("Phi", partial_rotary_factor=0.5)),
    Entry("Phi-3", decoder("Phi3", **GROUPED)),
    Entry("StableLM", decoder("StableLm", **GROUPED)),
    Entry("Mamba", _mamba, light=True),
    Entry("RWKV", _rwkv),
)
