"""One model for each way that a built-in layer computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import layers as L
from keras import ops

from tests.importers.keras.running import functional

Make = Callable[[], Any]
Shape = tuple[int | None, ...]


def one(layer: Callable[[], Any], *shapes: Shape, types: tuple[str, ...] = (), **call: Any) -> Make:
    return lambda: functional(layer(), *shapes, types=types, **call)


def each(name: str, shape: Shape, *settings: dict[str, Any], types: tuple[str, ...] = ()) -> dict[str, Make]:
    kind = getattr(L, name)
    return {f"{name} {given}": one(lambda given=given: kind(**given), shape, types=types) for given in settings}


ACTIVATIONS = (
    *("relu", "relu6", "elu", "selu", "celu", "softplus", "softsign", "silu", "gelu", "tanh", "tanh_shrink"),
    *(
        "sigmoid",
        "exponential",
        "hard_sigmoid",
        "hard_silu",
        "hard_tanh",
        "hard_shrink",
        "soft_shrink",
        "linear",
        "mish",
    ),
    *("glu", "leaky_relu", "log_sigmoid", "log_softmax", "softmax", "sparse_plus", "sparse_sigmoid"),
    *("squareplus", "sparsemax"),
)

CORE: Mapping[str, Make] = {
    **each("Dense", (4,), {"units": 3}, {"units": 3, "use_bias": False, "activation": "gelu"}),
    "Dense of sequences": one(lambda: L.Dense(3, activation=L.LeakyReLU(0.1)), (None, 4)),
    **each(
        "EinsumDense",
        (4, 6),
        {"equation": "abc,cd->abd", "output_shape": (None, 5), "bias_axes": "d"},
        {"equation": "...x,xy->...y", "output_shape": (4, 3)},
        {"equation": "abc,bcd->abd", "output_shape": (4, 3), "bias_axes": "bd", "activation": "relu"},
        {"equation": "abc,cde->abde", "output_shape": (4, 2, 3), "bias_axes": "de"},
    ),
    **each("Embedding", (None,), {"input_dim": 5, "output_dim": 3}, types=("int32",)),
    **each("ReversibleEmbedding", (None,), {"input_dim": 5, "output_dim": 3}, types=("int32",)),
    "masked mean": lambda: functional(
        lambda x: L.GlobalAveragePooling1D()(L.Dropout(0.5)(L.Embedding(5, 3, mask_zero=True)(x))),
        (6,),
        types=("int32",),
    ),
    **{f"Activation {name}": one(lambda name=name: L.Activation(name), (4, 6)) for name in ACTIVATIONS},
    **each("ReLU", (4,), {}, {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}, {"max_value": 6}),
    **each("LeakyReLU", (4,), {"negative_slope": 0.2}),
    **each("ELU", (4,), {"alpha": 0.7}),
    **each("PReLU", (4, 3), {}, {"shared_axes": [1]}),
    **each("Softmax", (4, 3), {}, {"axis": 1}, {"axis": [1, 2]}),
    **each("Rescaling", (4,), {"scale": 0.5, "offset": 1.0}, {"scale": [1.0, 2.0, 3.0, 4.0]}),
    **each(
        "Normalization",
        (4, 3),
        {"mean": [1.0, 2.0, 3.0], "variance": [1.0, 4.0, 9.0]},
        {"mean": 1.0, "variance": 4.0, "axis": None, "invert": True},
        {},
    ),
    **{
        f"{name} at inference": one(lambda name=name, given=given: getattr(L, name)(*given), (6, 4, 3))
        for name, given in {
            **{"Identity": (), "ActivityRegularization": (0.1,), "Dropout": (0.5,), "AlphaDropout": (0.5,)},
            **{"GaussianDropout": (0.5,), "GaussianNoise": (0.5,), "SpatialDropout2D": (0.5,)},
        }.items()
    },
}

CONVOLUTIONS: Mapping[str, Make] = {
    **each(
        "Conv1D",
        (9, 4),
        {"filters": 6, "kernel_size": 3, "padding": "causal", "dilation_rate": 2},
        {"filters": 6, "kernel_size": 3, "padding": "same", "strides": 2, "groups": 2},
    ),
    **each(
        "Conv2D",
        (8, 7, 4),
        {"filters": 6, "kernel_size": 3},
        {"filters": 6, "kernel_size": (3, 2), "strides": 2, "padding": "same", "activation": "relu"},
        {"filters": 6, "kernel_size": 3, "dilation_rate": (2, 1), "padding": "same", "use_bias": False},
        {"filters": 8, "kernel_size": 3, "groups": 4},
        {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same", "data_format": "channels_first"},
    ),
    "Conv2D of open sizes": one(lambda: L.Conv2D(5, 3, strides=2, padding="same"), (None, None, 3)),
    **each("Conv3D", (5, 6, 4, 2), {"filters": 3, "kernel_size": 2, "padding": "same", "strides": 2}),
    **each("DepthwiseConv1D", (9, 4), {"kernel_size": 3, "depth_multiplier": 2, "padding": "same"}),
    **each(
        "DepthwiseConv2D",
        (8, 7, 4),
        {"kernel_size": 3, "depth_multiplier": 2, "strides": 2, "padding": "same", "activation": "relu6"},
        {"kernel_size": 3, "data_format": "channels_first"},
    ),
    **each("SeparableConv1D", (9, 4), {"filters": 5, "kernel_size": 3, "depth_multiplier": 2}),
    **each("SeparableConv2D", (8, 7, 4), {"filters": 5, "kernel_size": 3, "padding": "same", "activation": "relu"}),
    **each("Conv1DTranspose", (5, 4), {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}),
    **each(
        "Conv2DTranspose",
        (5, 4, 3),
        {"filters": 2, "kernel_size": 3, "strides": 2},
        {"filters": 2, "kernel_size": 4, "strides": 2, "padding": "same"},
        {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"},
        {"filters": 2, "kernel_size": 2, "strides": 3},
        {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "valid", "output_padding": 1},
        {"filters": 2, "kernel_size": 3, "padding": "same", "data_format": "channels_first"},
    ),
    **each("Conv3DTranspose", (3, 4, 2, 2), {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}),
}

POOLS: Mapping[str, Make] = {
    **{
        key: make
        for name in ("MaxPooling", "AveragePooling")
        for key, make in {
            **each(f"{name}1D", (9, 2), {"pool_size": 3, "strides": 2, "padding": "same"}),
            **each(
                f"{name}2D",
                (7, 7, 3),
                {"pool_size": 2},
                {"pool_size": 3, "strides": 2, "padding": "same"},
                {"pool_size": 2, "data_format": "channels_first"},
            ),
            **each(f"{name}3D", (5, 6, 4, 2), {"pool_size": 2}),
        }.items()
    },
    **{
        key: make
        for kind in ("Max", "Average")
        for rank, shape in enumerate([(5, 3), (5, 4, 3), (5, 4, 3, 2)], 1)
        for key, make in each(
            f"Global{kind}Pooling{rank}D", shape, {}, {"keepdims": True, "data_format": "channels_first"}
        ).items()
    },
    **each("AdaptiveAveragePooling1D", (7, 2), {"output_size": 3}),
    **each("AdaptiveAveragePooling2D", (7, 6, 2), {"output_size": (3, 2)}, {"output_size": 1}),
    **each("AdaptiveMaxPooling2D", (7, 6, 2), {"output_size": (3, 2)}, {"output_size": 1}),
    **each("AdaptiveMaxPooling3D", (7, 6, 5, 2), {"output_size": (3, 2, 2)}),
}

NORMS: Mapping[str, Make] = {
    **each("BatchNormalization", (4, 3), {}, {"axis": 1, "scale": False}, {"center": False, "epsilon": 0.1}),
    **each("LayerNormalization", (4, 3), {}, {"axis": [1, 2]}, {"center": False}, {"scale": False}),
    **each("RMSNormalization", (4, 3), {}, {"axis": [1, 2]}),
    **each("GroupNormalization", (5, 4, 6), {"groups": 3}, {"groups": -1}, {"groups": 2, "axis": 2}),
    **each("UnitNormalization", (4, 3), {}, {"axis": 1}),
    "SpectralNormalization": one(lambda: L.SpectralNormalization(L.Conv2D(3, 2)), (4, 4, 2)),
}

RESHAPING: Mapping[str, Make] = {
    **each("Flatten", (4, 3, 2), {}, {"data_format": "channels_first"}),
    **each("Reshape", (4, 6), {"target_shape": (3, -1)}, {"target_shape": (2, 3, 4)}),
    **each("Permute", (4, 3, 2), {"dims": (3, 1, 2)}),
    **each("RepeatVector", (4,), {"n": 3}),
    **each("Cropping1D", (6, 2), {"cropping": (1, 2)}, {"cropping": 1}),
    **each("Cropping2D", (6, 5, 4), {"cropping": ((1, 2), (0, 1))}, {"cropping": 1, "data_format": "channels_first"}),
    **each("Cropping3D", (6, 5, 4, 2), {"cropping": (1, 2, 1)}),
    **each("ZeroPadding1D", (6, 2), {"padding": (1, 2)}, {"padding": 2}),
    **each("ZeroPadding2D", (6, 5, 2), {"padding": ((1, 2), (0, 1))}, {"padding": (1, 2)}),
    **each("ZeroPadding3D", (3, 3, 3, 2), {"padding": 1}),
    **each("UpSampling1D", (4, 2), {"size": 3}),
    **each(
        "UpSampling2D",
        (4, 3, 2),
        {"size": (2, 3)},
        {"size": 2, "interpolation": "bilinear"},
        {"size": 2, "data_format": "channels_first"},
    ),
    **each("UpSampling3D", (2, 3, 2, 2), {"size": 2}),
    **each(
        "Resizing",
        (6, 5, 3),
        {"height": 9, "width": 4},
        {"height": 3, "width": 7, "interpolation": "nearest"},
        {"height": 3, "width": 3, "antialias": True},
        {"height": 4, "width": 8, "crop_to_aspect_ratio": True},
        {"height": 4, "width": 8, "pad_to_aspect_ratio": True, "fill_value": 2.0},
    ),
    **{
        f"{name} at inference": one(lambda name=name, given=given: getattr(L, name)(*given), (6, 5, 3))
        for name, given in {
            **dict.fromkeys(("RandomFlip", "RandomErasing", "RandomGrayscale", "RandAugment", "Solarization"), ()),
            **dict.fromkeys(("RandomContrast", "RandomBrightness", "RandomRotation", "RandomZoom"), (0.2,)),
        }.items()
    },
    "Pipeline": one(lambda: L.Pipeline([L.RandomFlip(), L.Resizing(4, 4), L.Rescaling(0.5)]), (6, 5, 3)),
    **each("CenterCrop", (6, 5, 3), {"height": 3, "width": 4}, {"height": 8, "width": 4}),
}

CATEGORIES: Mapping[str, Make] = {
    **each(
        "CategoryEncoding",
        (3,),
        *({"num_tokens": 6, "output_mode": mode} for mode in ("one_hot", "multi_hot", "count")),
        types=("int32",),
    ),
    "CategoryEncoding of single numbers": one(lambda: L.CategoryEncoding(6, "one_hot"), (1,), types=("int32",)),
    **each(
        "Discretization",
        (4,),
        {"bin_boundaries": [-0.5, 0.0, 0.5]},
        {"bin_boundaries": [-0.5, 0.5], "output_mode": "one_hot"},
    ),
}

MERGES: Mapping[str, Make] = {
    **{
        name: one(getattr(L, name), (4, 3), (4, 3))
        for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    },
    "Add of unlike ranks": one(L.Add, (4, 3), (3,)),
    "Concatenate along 1": one(lambda: L.Concatenate(axis=1), (4, 3), (2, 3), (1, 3)),
    "Dot": one(lambda: L.Dot(axes=1), (4,), (4,)),
    "Dot of matrices": one(lambda: L.Dot(axes=(1, 2), normalize=True), (4, 3), (2, 4)),
    "Dot of unlike ranks": one(lambda: L.Dot(axes=(2, 1)), (4, 3), (3,)),
}


def masked(layer: Callable[[], Any]) -> Make:
    return lambda: functional(lambda x: layer()(L.Embedding(5, 3, mask_zero=True)(x)), (6,), types=("int32",))


RECURRENT: Mapping[str, Make] = {
    **{
        key: make
        for name in ("LSTM", "GRU", "SimpleRNN")
        for key, make in {
            **each(
                name,
                (None, 4),
                {"units": 3},
                {"units": 3, "return_sequences": True, "go_backwards": True, "use_bias": False},
                {"units": 3, "return_sequences": True, "return_state": True, "activation": "gelu"},
                {"units": 3, "return_state": True, "activation": "relu"},
            ),
            f"{name} masked": masked(lambda name=name: getattr(L, name)(3, return_sequences=True)),
            f"{name} masked backwards": masked(lambda name=name: getattr(L, name)(3, go_backwards=True)),
            f"{name} masked with zeros": masked(
                lambda name=name: L.RNN(getattr(L, f"{name}Cell")(3), return_sequences=True, zero_output_for_mask=True)
            ),
        }.items()
    },
    "GRU that resets before": one(lambda: L.GRU(3, reset_after=False, recurrent_activation="hard_sigmoid"), (5, 4)),
    "GRU stepwise": one(lambda: L.GRU(3, reset_after=False, activation="silu"), (5, 4)),
    "stacked": one(lambda: L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_sequences=True, return_state=True), (5, 4)),
    "stacked stepwise": one(lambda: L.RNN([L.LSTMCell(3, activation="mish"), L.SimpleRNNCell(2)]), (5, 4)),
    **{
        f"Bidirectional {mode}": one(
            lambda mode=mode: L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode=mode), (None, 4)
        )
        for mode in ("concat", "sum", "ave", "mul", None)
    },
    "Bidirectional last": one(lambda: L.Bidirectional(L.GRU(3, return_state=True)), (5, 4)),
    "Bidirectional masked": masked(lambda: L.Bidirectional(L.LSTM(3, return_sequences=True))),
    "TimeDistributed": one(lambda: L.TimeDistributed(L.Conv2D(2, 3)), (3, 5, 5, 2)),
    "TimeDistributed of open length": one(lambda: L.TimeDistributed(L.Dense(2)), (None, 3)),
    "ConvLSTM1D": one(lambda: L.ConvLSTM1D(2, 3, padding="same", return_sequences=True), (4, 5, 3)),
    "ConvLSTM2D": one(lambda: L.ConvLSTM2D(2, 3, strides=2, return_state=True), (3, 7, 6, 2)),
    "ConvLSTM3D": one(lambda: L.ConvLSTM3D(2, 2, padding="same", go_backwards=True), (3, 4, 3, 3, 2)),
    "initial state": lambda: functional(
        lambda xs: L.LSTM(3, return_sequences=True)(xs[0], initial_state=xs[1:]), (5, 4), (3,), (3,)
    ),
}


def two(layer: Any, **call: Any) -> Callable[[Any], Any]:
    return lambda xs: layer(*xs, **call)


ATTENTION: Mapping[str, Make] = {
    "MultiHeadAttention": lambda: functional(two(L.MultiHeadAttention(2, 3)), (5, 4), (6, 4)),
    "MultiHeadAttention causal": lambda: functional(
        two(L.MultiHeadAttention(2, 3), use_causal_mask=True), (5, 4), (5, 4)
    ),
    "MultiHeadAttention with scores": lambda: functional(
        two(L.MultiHeadAttention(2, 3, value_dim=5, output_shape=7), return_attention_scores=True),
        (5, 4),
        (6, 4),
        (6, 2),
    ),
    "MultiHeadAttention over two axes": lambda: functional(
        two(L.MultiHeadAttention(2, 3, attention_axes=(1, 2))), (5, 2, 4), (3, 2, 4)
    ),
    "MultiHeadAttention over the second axis": lambda: functional(
        two(L.MultiHeadAttention(2, 3, attention_axes=2, use_bias=False)), (5, 2, 4), (5, 3, 4)
    ),
    "MultiHeadAttention masked": lambda: functional(
        lambda x: L.MultiHeadAttention(2, 3)(*(L.Embedding(5, 4, mask_zero=True)(x),) * 2), (6,), types=("int32",)
    ),
    "MultiHeadAttention with a mask": lambda: functional(
        lambda xs: L.MultiHeadAttention(2, 3)(xs[0], xs[0], attention_mask=ops.greater(xs[1], -1.0)), (5, 4), (5, 5)
    ),
    "GroupQueryAttention": lambda: functional(two(L.GroupQueryAttention(3, 4, 2)), (5, 4), (6, 4)),
    "GroupQueryAttention with scores": lambda: functional(
        two(L.GroupQueryAttention(3, 4, 2), return_attention_scores=True), (5, 4), (6, 4)
    ),
    "GroupQueryAttention causal": lambda: functional(
        two(L.GroupQueryAttention(3, 4, 2, use_bias=False), use_causal_mask=True), (5, 4), (5, 4)
    ),
    "Attention": one(L.Attention, (5, 4), (6, 4)),
    "Attention scaled": one(lambda: L.Attention(use_scale=True), (5, 4), (6, 3), (6, 4), use_causal_mask=True),
    "Attention concat": one(lambda: L.Attention(score_mode="concat"), (5, 4), (6, 4), return_attention_scores=True),
    "AdditiveAttention": one(L.AdditiveAttention, (5, 4), (6, 4)),
    "Attention masked": lambda: functional(
        lambda x: L.Attention()([L.Embedding(5, 4, mask_zero=True)(x)] * 2), (6,), types=("int32",)
    ),
}

FAMILIES: Mapping[str, Mapping[str, Make]] = {
    "core": CORE,
    "convolutions": CONVOLUTIONS,
    "pools": POOLS,
    "norms": NORMS,
    "reshaping": RESHAPING,
    "categories": CATEGORIES,
    "merges": MERGES,
    "recurrent": RECURRENT,
    "attention": ATTENTION,
}
