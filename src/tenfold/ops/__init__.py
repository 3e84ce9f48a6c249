"""What each operation means: `ALL` is the catalogue; calling an operation on values writes a network by hand."""

from __future__ import annotations

from tenfold.ir.op import Op
from tenfold.ops.activation import (
    Affine,
    Celu,
    Clip,
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    LogSigmoid,
    Mish,
    PRelu,
    Relu,
    ScaledTanh,
    Selu,
    Shrink,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Swish,
    ThresholdedRelu,
)
from tenfold.ops.arithmetic import (
    Abs,
    Acos,
    Acosh,
    Add,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Div,
    Erf,
    Exp,
    Expm1,
    Floor,
    Log,
    Log1p,
    Maximum,
    Minimum,
    Mod,
    Mul,
    Neg,
    Pow,
    Reciprocal,
    Round,
    Rsqrt,
    Sign,
    Sin,
    Sinh,
    Sqrt,
    Sub,
    Tan,
    Tanh,
    Trunc,
)
from tenfold.ops.attention import Attention, PagedAttention, RotaryEmbedding
from tenfold.ops.constant import Constant, Fill, Iota, Sizes, scalar
from tenfold.ops.control import If, Loop, Require, Scan
from tenfold.ops.conv import Conv, ConvTranspose, Gated
from tenfold.ops.dynamic import (
    Deferred,
    Head,
    Known,
)
from tenfold.ops.image import GridSample, ImageDecoder, Resample, Resize
from tenfold.ops.index import Compress, Gather, GatherElements, GatherND, NonZero, ScatterElements, ScatterND
from tenfold.ops.linear import QR, SVD, Cholesky, Det, Eigh, Inverse, Solve
from tenfold.ops.logic import (
    And,
    BitAnd,
    BitCast,
    BitNot,
    BitOr,
    BitXor,
    Cast,
    Equal,
    Greater,
    GreaterOrEqual,
    IsInf,
    IsNan,
    Less,
    LessOrEqual,
    Not,
    NotEqual,
    Or,
    ShiftLeft,
    ShiftRight,
    Where,
    Xor,
)
from tenfold.ops.mapping import CastMap, DictVectorizer, ZipMap
from tenfold.ops.matmul import MatMul, PairedMatMul
from tenfold.ops.moments import Centred, LineSums, Moments, Standardise
from tenfold.ops.movement import (
    Append,
    Concat,
    DepthToSpace,
    Expand,
    Pad,
    Reshape,
    Slice,
    SpaceToDepth,
    Split,
    Tile,
    Transpose,
)
from tenfold.ops.normalize import LRN, GroupNorm, LayerNorm, LogSoftmax, LpNormalize, RMSNorm, Softmax
from tenfold.ops.pool import MaxPoolIndices, Pool
from tenfold.ops.primitive import Copy, Pick, Windows, Within
from tenfold.ops.quantize import Dequantize, Quantize
from tenfold.ops.random import Uniform
from tenfold.ops.recurrent import GRU, LSTM, RNN
from tenfold.ops.reduce import ArgReduce, Cumulative, Reduce
from tenfold.ops.sampling import DeformConv, RoiAlign
from tenfold.ops.sequence import (
    ConcatFromSequence,
    GetElement,
    HasElement,
    MapSequence,
    OptionalOf,
    SequenceAt,
    SequenceErase,
    SequenceInsert,
    SequenceLength,
    SequenceOf,
    SplitToSequence,
    Unstack,
)
from tenfold.ops.signal import DFT, STFT, Fourier
from tenfold.ops.sort import NonMaxSuppression, Suppression, TopK, Unique
from tenfold.ops.strassen import StrassenFactors
from tenfold.ops.text import CountGrams, Lookup, RegexFullMatch, StringConcat, StringNormalizer, StringSplit
from tenfold.ops.winograd import WinogradFilter

# fmt: off
__all__ = (
    "ALL", "DFT", "GRU", "LRN", "LSTM", "QR", "RNN", "STFT", "SVD", "Abs", "Acos", "Acosh", "Add", "Affine", "And",
    "Append", "ArgReduce", "Asin", "Asinh", "Atan", "Atanh", "Attention", "BitAnd", "BitCast", "BitNot", "BitOr",
    "BitXor", "Cast", "CastMap", "Ceil", "Celu", "Centred", "Cholesky", "Clip", "Compress", "Concat",
    "ConcatFromSequence", "Constant", "Conv", "ConvTranspose", "Copy", "Cos", "Cosh", "CountGrams", "Cumulative",
    "Deferred", "DeformConv", "DepthToSpace", "Dequantize", "Det", "DictVectorizer", "Div", "Eigh", "Elu", "Equal",
    "Erf", "Exp", "Expand", "Expm1", "Fill", "Floor", "Fourier", "Gated", "Gather", "GatherElements", "GatherND",
    "Gelu", "GetElement", "Greater", "GreaterOrEqual", "GridSample", "GroupNorm", "HardSigmoid", "HardSwish",
    "HasElement", "Head", "If", "ImageDecoder", "Inverse", "Iota", "IsInf", "IsNan", "Known", "LayerNorm", "LeakyRelu",
    "Less", "LessOrEqual", "LineSums", "Log", "Log1p", "LogSigmoid", "LogSoftmax", "Lookup", "Loop", "LpNormalize",
    "MapSequence", "MatMul", "MaxPoolIndices", "Maximum", "Minimum", "Mish", "Mod", "Moments", "Mul", "Neg",
    "NonMaxSuppression", "NonZero", "Not", "NotEqual", "OptionalOf", "Or", "PRelu", "Pad", "PagedAttention",
    "PairedMatMul", "Pick", "Pool", "Pow", "Quantize", "RMSNorm", "Reciprocal", "Reduce", "RegexFullMatch", "Relu",
    "Require", "Resample", "Reshape", "Resize", "RoiAlign", "RotaryEmbedding", "Round", "Rsqrt", "ScaledTanh", "Scan",
    "ScatterElements", "ScatterND", "Selu", "SequenceAt", "SequenceErase", "SequenceInsert", "SequenceLength",
    "SequenceOf", "ShiftLeft", "ShiftRight", "Shrink", "Sigmoid", "Sign", "Silu", "Sin", "Sinh", "Sizes", "Slice",
    "Softmax", "Softplus", "Softsign", "Solve", "SpaceToDepth", "Split", "SplitToSequence", "Sqrt", "Standardise",
    "StrassenFactors", "StringConcat", "StringNormalizer", "StringSplit", "Sub", "Suppression", "Swish", "Tan", "Tanh",
    "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trunc", "Uniform", "Unique", "Unstack", "Where", "Windows",
    "WinogradFilter", "Within", "Xor", "ZipMap", "scalar",
)

ALL: tuple[type[Op], ...] = (
    Add, Sub, Mul, Div, Mod, Pow, Minimum, Maximum, Neg, Abs, Sign, Floor, Ceil, Trunc, Round, Sqrt, Rsqrt,
    Reciprocal, Exp, Log, Log1p, Expm1, Erf, Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh, Tanh, Asinh, Acosh, Atanh,
    Constant, Sizes, Fill, Iota, Copy, Pick, Windows, Within, Moments, LineSums, Centred, Standardise,
    If, Loop, Scan, Require,
    SequenceOf, Unstack, SplitToSequence, SequenceAt, SequenceInsert, SequenceErase, SequenceLength,
    ConcatFromSequence, MapSequence, OptionalOf, HasElement, GetElement,
    ZipMap, DictVectorizer, CastMap,
    CountGrams, Lookup, RegexFullMatch, StringConcat, StringNormalizer, StringSplit,
    Deferred,
    Head, Known,
    Gather, GatherElements, GatherND, ScatterElements, ScatterND, NonZero, Compress,
    Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual, And, Or, Xor, Not, BitAnd, BitOr, BitXor, BitNot,
    ShiftLeft, ShiftRight, IsNan, IsInf, Where, Cast, BitCast,
    Reshape, Transpose, Expand, Slice, Concat, Append, Split, Pad, Tile, SpaceToDepth, DepthToSpace,
    Reduce, ArgReduce, Cumulative,
    TopK, Unique, NonMaxSuppression, Suppression,
    Affine, Celu, Clip, Elu, Gelu, HardSigmoid, HardSwish, LeakyRelu, LogSigmoid, Mish, PRelu, Relu, ScaledTanh,
    Selu, Shrink, Sigmoid, Silu, Softplus, Softsign, Swish, ThresholdedRelu,
    Attention, PagedAttention, RotaryEmbedding,
    Conv, ConvTranspose, Gated, StrassenFactors, WinogradFilter,
    GridSample, ImageDecoder, Resample, Resize,
    MatMul, PairedMatMul, Det, Inverse, Solve, Cholesky, Eigh, SVD, QR,
    Uniform,
    RoiAlign, DeformConv,
    GroupNorm, LayerNorm, LogSoftmax, LpNormalize, LRN, RMSNorm, Softmax,
    MaxPoolIndices, Pool,
    Dequantize, Quantize,
    GRU, LSTM, RNN,
    DFT, STFT, Fourier,
)
# fmt: on
