"""Tests of the Keras importer, beside Keras on its PyTorch backend."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
