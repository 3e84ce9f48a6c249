"""Chains of arithmetic recognised as what they mean: activations, norms, softmax, attention, rotary embeddings."""

from __future__ import annotations

from tenfold.passes.recognise.activations import ACTIVATIONS
from tenfold.passes.recognise.attention import ATTENTION
from tenfold.passes.recognise.norms import NORMS

RECOGNISE = NORMS + ACTIVATIONS + ATTENTION
