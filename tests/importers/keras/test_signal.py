"""Layers that make spectrograms."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.importers.keras.running import check, functional

pytestmark = pytest.mark.filterwarnings("ignore")
L = keras.layers
SIGNAL = np.random.default_rng(3).standard_normal((2, 100)).astype("f")


@pytest.mark.parametrize("mode", ["log", "magnitude", "psd", "real", "imag", "angle", "stft"])
def test_spectrograms_by_convolution(mode: str) -> None:
    model = functional(L.STFTSpectrogram(mode, 16, 8, 16, expand_dims=mode == "psd"), (100, 1))
    check(model, [SIGNAL[..., None]], 1e-4)


@pytest.mark.parametrize("options", [{}, {"power_to_db": False}, {"window": "hamming", "sequence_length": 24}])
def test_mel_spectrograms(options: dict[str, Any]) -> None:
    layer = L.MelSpectrogram(fft_length=32, sequence_stride=8, num_mel_bins=10, sampling_rate=8000, **options)
    check(functional(layer, (100,)), [SIGNAL], 2e-4)
