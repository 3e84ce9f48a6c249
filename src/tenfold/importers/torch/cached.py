"""Language models of transformers with their cache of keys and values as arguments and results."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from tenfold.errors import UnsupportedError

Example = dict[str, Any]
Shape = tuple[int | str, ...]
_EXAMPLE_PAST, _EXAMPLE_TOKENS, _EXAMPLE_ROWS = 3, 4, 2


class Cached(nn.Module):
    """A decoder as a function of tokens, mask, positions and what it has seen; it gives the last token's logits and all
    keys and values.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._transformers = sys.modules[type(model).__module__.partition(".")[0]]
        config: Any = model.config
        self._window: int | None = getattr(config, "sliding_window", None)
        self._kinds: tuple[str, ...] = tuple(dict.fromkeys(getattr(config, "layer_types", None) or ()))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past_key_values: list[dict[str, torch.Tensor]],
    ) -> dict[str, Any]:
        """`logits` [batch, 1, vocabulary] and `present`, one dict of `key` and `value` for each layer."""
        past = [(one["key"], one["value"]) for one in past_key_values]
        cache = self._transformers.DynamicCache(past)
        found = self.model(
            input_ids=input_ids,
            attention_mask=self._seen(attention_mask, input_ids.shape[1], past[0][0].shape[2]),
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return {"logits": found.logits, "present": [{"key": one.keys, "value": one.values} for one in cache.layers]}

    def _seen(self, mask: torch.Tensor, tokens: int, past: int) -> Any:
        """Which tokens each new token sees, [batch, 1, tokens, all]; by kind of layer where there are several."""
        keys = torch.arange(mask.shape[1], device=mask.device)
        queries = (torch.arange(tokens, device=mask.device) + past)[:, None]
        whole = (keys <= queries) & (mask[:, None, None, :] != 0)
        if self._window is None:
            return whole
        near = whole & (keys > queries - self._window)
        if len(self._kinds) < 2:
            return near if self._kinds != ("full_attention",) else whole
        return {kind: near if kind.startswith("sliding") else whole for kind in self._kinds}


def with_cache(model: nn.Module, rows: int | None) -> tuple[Cached, Example, dict[str, Shape], dict[str, Any]]:
    """A decoder with its cache outside, example inputs, their shapes and the ranges of open sizes; `rows` is the most
    tokens that are seen before a call.

    UnsupportedError for a model that is not a decoder of transformers, or has another kind of cache.
    """
    layers = _layers(model)
    ids = torch.zeros((_EXAMPLE_ROWS, _EXAMPLE_TOKENS), dtype=torch.long)
    past = [{name: _seen_before(one) for name, one in layer.items()} for layer in layers]
    example = {
        "input_ids": ids,
        "attention_mask": torch.ones((_EXAMPLE_ROWS, _EXAMPLE_PAST + _EXAMPLE_TOKENS), dtype=torch.long),
        "position_ids": torch.arange(_EXAMPLE_TOKENS).repeat(_EXAMPLE_ROWS, 1) + _EXAMPLE_PAST,
        "past_key_values": past,
    }
    shapes: dict[str, Shape] = {
        "input_ids": ("batch_size", "sequence_length"),
        "attention_mask": ("batch_size", "past_sequence_length + sequence_length"),
        "position_ids": ("batch_size", "sequence_length"),
    }
    for number, layer in enumerate(layers):
        for name, one in layer.items():
            kept = ("batch_size", one.shape[1], "past_sequence_length", one.shape[3])
            shapes[f"past_key_values.{number}.{name}"] = kept
    dims = {"past_sequence_length": (0, rows)} if rows is not None else {}
    return Cached(model), example, shapes, dims


def _seen_before(one: torch.Tensor) -> torch.Tensor:
    return one.new_zeros((_EXAMPLE_ROWS, one.shape[1], _EXAMPLE_PAST, one.shape[3]))


def _layers(model: nn.Module) -> list[dict[str, Any]]:
    """Keys and values of each layer, as the model leaves them after two tokens."""
    config = getattr(model, "config", None)
    if config is None or not hasattr(model, "generate") or getattr(config, "is_encoder_decoder", False):
        raise UnsupportedError(
            f"{type(model).__name__} is not a decoder of transformers",
            remedy="take its cache as an argument, return the new one, and build with state={…}",
        )
    with torch.no_grad():
        cache = getattr(model(torch.zeros((1, 2), dtype=torch.long), use_cache=True), "past_key_values", None)
    held = getattr(cache, "layers", ())
    layers: list[dict[str, Any]] = [{name: getattr(one, f"{name}s", None) for name in ("key", "value")} for one in held]
    found = [one for layer in layers for one in layer.values()]
    if not found or any(one is None or one.dim() != 4 for one in found):
        raise UnsupportedError(
            f"the cache of {type(model).__name__} is not keys and values [batch, heads, tokens, size] for each layer",
            remedy="take its cache as an argument, return the new one, and build with state={…}",
        )
    return layers
