"""Fourier transforms: operations on pairs of real and imaginary parts, and the spectrograms that are layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tenfold.importers.angle import angle
from tenfold.importers.keras.conv import correlated
from tenfold.importers.keras.layer import Converter, Layer, Table
from tenfold.importers.keras.operands import as_value, real
from tenfold.importers.shorthand import apply, cast, constant, part, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ops.arithmetic import Add, Log, Maximum, Mul, Pow, Sqrt, Sub
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Pad
from tenfold.ops.reduce import Reduce
from tenfold.ops.signal import DFT, STFT

EPSILON = 1e-7


def _paired(x: Any) -> Value:
    """Real and imaginary parts on a last axis of 2; of a real signal on one of 1."""
    parts = [reshaped(real(one), (*one.type.shape, 1)) for one in (x if isinstance(x, list | tuple) else [x])]
    found: Value = Concat(parts[0].type.rank - 1)(*parts) if len(parts) > 1 else parts[0]
    return found


def _apart(y: Value) -> list[Value]:
    last = y.type.rank - 1
    return [reshaped(part(y, last, at, 1), y.type.shape[:-1]) for at in range(2)]


def transform(count: int, *, inverse: bool = False) -> Converter:
    """Along the last axes, so many."""

    def convert(layer: Layer, x: Any) -> list[Value]:
        y = _paired(x)
        for at in range(y.type.rank - 1 - count, y.type.rank - 1):
            y = apply(DFT(at, y.type.shape[at], inverse, False), y)
        return _apart(y)

    return convert


def _length(layer: Layer, stated: Any) -> Any:
    return layer.integer("fft_length") if layer.config.get("fft_length") is not None else stated


def of_real(layer: Layer, x: Value) -> list[Value]:
    """The frequencies that decide a real signal."""
    return _apart(apply(DFT(x.type.rank - 1, _length(layer, x.type.shape[-1]), False, True), _paired(x)))


def to_real(layer: Layer, x: Sequence[Value]) -> Value:
    """The real signal of such frequencies."""
    y, last = _paired(x), x[0].type.rank - 1
    found = apply(DFT(last, _length(layer, 2 * (y.type.shape[last] - 1)), True, True), y)
    return reshaped(found, found.type.shape[:-1])


def _window(layer: Layer, length: int, size: int) -> Array:
    """A window of `length` in the middle of `size`: Hann's, Hamming's, ones, or the one that is given."""
    stated = layer.config.get("window")
    turns = 2 * np.pi * np.arange(length) / length
    known = {"hann": 0.5 - 0.5 * np.cos(turns), "hamming": 0.54 - 0.46 * np.cos(turns), None: np.ones(length)}
    if isinstance(stated, str | None) and stated not in known:
        raise layer.unsupported(f"the window {stated!r}")
    window = known[stated] if isinstance(stated, str | None) else np.asarray(stated, np.float64)
    before = (size - length) // 2
    return np.pad(window, (before, size - length - before))


def _frames(layer: Layer, x: Value, length: int, step: int, size: int, centred: bool) -> Value:
    """The transforms [..., frames, frequencies, 2] of windowed frames of the last axis."""
    front, kind = x.type.shape[:-1], x.type.dtype
    flat = reshaped(x, (dim.product(front), x.type.shape[-1], 1))
    if centred:
        flat = Pad((0, size // 2, 0), (0, size // 2, 0), "reflect")(flat)
    found = apply(STFT(step), flat, constant(_window(layer, length, size).astype(kind.numpy)))
    return reshaped(found, (*front, *found.type.shape[1:]))


def short(layer: Layer, x: Value) -> list[Value]:
    """Transforms of frames that overlap."""
    length, step, size = (layer.integer(name) for name in ("sequence_length", "sequence_stride", "fft_length"))
    return _apart(_frames(layer, real(x), length, step, size, layer.flag("center", True)))


def spectrogram(layer: Layer, x: Value) -> Value:
    """STFTSpectrogram: two convolutions by kernels that are the layer's weights."""
    mode = layer.text("mode", "log", ("log", "magnitude", "psd", "real", "imag", "angle", "stft"))
    length, last = layer.integer("frame_length", 256), layer.channels_last()
    step = layer.config.get("frame_step") or length // 2
    signal = transposed(x, (0, 2, 1)) if last else x
    batch, channels, samples = signal.type.shape
    size = layer.config.get("fft_length") or 2 ** int(np.ceil(np.log2(length)))
    lines = reshaped(signal, (batch * channels, 1, samples))

    def along(name: str) -> Value:
        kernel = layer.weight(name, (length, 1, size // 2 + 1))
        y = correlated(lines, kernel, (step,), (1,), layer.text("padding", "valid").lower(), 1)
        return reshaped(y, (batch, channels, *y.type.shape[1:]))

    found = _of_mode(mode, along)
    if last:
        found = transposed(found, (0, 3, 2, 1) if layer.flag("expand_dims", False) else (0, 3, 1, 2))
    elif layer.flag("expand_dims", False):
        found = transposed(found, (0, 1, 3, 2))
    if layer.flag("expand_dims", False):
        return found
    shape = found.type.shape
    return reshaped(
        found, (shape[0], shape[1], shape[2] * shape[3]) if last else (shape[0], shape[1] * shape[2], shape[3])
    )


def _of_mode(mode: str, along: Callable[[str], Value]) -> Value:
    """What a spectrogram shows of [N, C, frequencies, frames]."""
    if mode in ("real", "imag"):
        return along(f"{mode}_kernel")
    a, b = along("real_kernel"), along("imag_kernel")
    if mode == "angle":
        return angle(b, a)
    if mode == "stft":
        joined: Value = Concat(2)(a, b)
        return joined
    power = apply(Add(), apply(Mul(), a, a), apply(Mul(), b, b))
    if mode == "psd":
        inner = part(power, 2, 1, power.type.shape[2] - 2)
        twice: Value = Pad((0, 0, 1, 0), (0, 0, 1, 0), "constant")(inner)
        return apply(Add(), power, twice)
    size = apply(Sqrt(), apply(Maximum(), power, EPSILON))
    return size if mode == "magnitude" else apply(Log(), apply(Maximum(), size, EPSILON))


def mel_spectrogram(layer: Layer, x: Value) -> Value:
    """MelSpectrogram: [..., bins, frames] of the frames' sizes by bands, in decibels if wanted."""
    size = layer.integer("fft_length", 2048)
    length = layer.config.get("sequence_length") or size
    pair = _frames(layer, x, length, layer.integer("sequence_stride", 512), size, True)
    power = apply(Reduce("sum", (pair.type.rank - 1,), False), apply(Mul(), pair, pair))
    spectrum = apply(Pow(), apply(Sqrt(), power), layer.number("mag_exp", 2.0))
    bands = apply(MatMul(), spectrum, constant(_bands(layer, size // 2 + 1).astype(x.type.dtype.numpy)))
    if layer.flag("power_to_db", True):
        bands = _decibels(layer, bands)
    rank = bands.type.rank
    return cast(transposed(bands, (*range(rank - 2), rank - 1, rank - 2)), layer.compute)


def _decibels(layer: Layer, x: Value) -> Value:
    least, tenfold = layer.number("min_power", 1e-10), 10 / np.log(10)
    reference = 10 * np.log10(max(abs(layer.number("ref_power", 1.0)), least))
    found = apply(Sub(), apply(Mul(), apply(Log(), apply(Maximum(), x, least)), tenfold), float(reference))
    top = apply(Reduce("max", tuple(range(x.type.rank))), found)
    return apply(Maximum(), found, apply(Sub(), top, layer.number("top_db", 80.0)))


def _bands(layer: Layer, count: int) -> Array:
    """The triangles of HTK's mel scale, [frequencies, bins]; the frequency 0 is in none."""
    bins, rate = layer.integer("num_mel_bins", 128), layer.number("sampling_rate", 16000)
    low, high = layer.number("min_freq", 20.0), layer.config.get("max_freq") or int(rate / 2)
    mel = 1127.0 * np.log1p(np.linspace(0, rate / 2, count)[1:, None] / 700.0)
    edges = np.linspace(1127.0 * np.log1p(low / 700.0), 1127.0 * np.log1p(high / 700.0), bins + 2)
    lower, middle, upper = edges[:-2], edges[1:-1], edges[2:]
    slopes = np.minimum((mel - lower) / (middle - lower), (upper - mel) / (upper - middle))
    return np.pad(np.maximum(slopes, 0), ((1, 0), (0, 0)))


def two_angles(layer: Layer, y: Any, x: Any) -> Value:
    """The angle of (x, y)."""
    a, b = (real(as_value(one, x.type.dtype if isinstance(x, Value) else y.type.dtype)) for one in (y, x))
    return angle(a, b)


TABLE: Table = {"STFTSpectrogram": spectrogram, "MelSpectrogram": mel_spectrogram}

OPERATIONS: Table = {
    "FFT": transform(1),
    "FFT2": transform(2),
    "IFFT2": transform(2, inverse=True),
    "RFFT": of_real,
    "IRFFT": to_real,
    "STFT": short,
    "Arctan2": two_angles,
}
