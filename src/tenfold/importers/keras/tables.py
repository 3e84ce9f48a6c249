"""All converters by class of layer, those of operations of keras.ops as "ops.Class"."""

from __future__ import annotations

from collections.abc import Mapping

from tenfold.importers.keras import (
    activation,
    arrangement,
    attention,
    calculation,
    conv,
    core,
    functions,
    merging,
    normalize,
    numeric,
    older,
    pool,
    recurrent,
    resample,
    reshaping,
    signal,
    vocabulary,
)
from tenfold.importers.keras.layer import Table
from tenfold.importers.keras.values import CODE

LAYERS = (
    core,
    activation,
    conv,
    pool,
    normalize,
    recurrent,
    attention,
    reshaping,
    merging,
    resample,
    vocabulary,
    signal,
    older,
)
OPERATIONS = (calculation, numeric, arrangement, functions, signal)

TABLE: Table = {
    **{name: one for module in LAYERS for name, one in module.TABLE.items()},
    **{f"ops.{name}": one for module in OPERATIONS for name, one in module.OPERATIONS.items()},
}

MASKED = frozenset(
    (
        *("Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "Identity", "Dense", "MultiHeadAttention"),
        *("GroupQueryAttention", "BatchNormalization", "GroupNormalization", "LayerNormalization"),
        *("UnitNormalization", "Normalization", "Rescaling", "ActivityRegularization", "AlphaDropout", "Dropout"),
        *("GaussianDropout", "GaussianNoise"),
    )
)
"""Layers whose result keeps the mask of what came in."""

REFUSED: Mapping[str, str] = {
    "Lambda": CODE,
    "TorchModuleWrapper": "it holds a module of PyTorch",
    "JaxLayer": CODE,
    "FlaxLayer": CODE,
    **dict.fromkeys(("Hashing", "HashedCrossing"), "it hashes as TensorFlow does"),
    "TextVectorization": "it splits text by TensorFlow's regular expressions; vectorize before the engine",
    "TFSMLayer": "it holds a SavedModel of TensorFlow",
}
"""Why some of Keras's own layers have no converter."""
