"""Node tests of ONNX whose operators we hold, and which we refuse: each with the reason."""

from __future__ import annotations

_RANDOM = "training drops elements at random"

REFUSED: dict[str, str] = {
    "test_training_dropout_default": _RANDOM,
    "test_training_dropout_default_mask": _RANDOM,
    "test_training_dropout": _RANDOM,
    "test_training_dropout_mask": _RANDOM,
    "test_scan_sum": "Scan of operator set 8 runs over batches",
}
