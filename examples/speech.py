"""When somebody speaks, by silero-vad's TorchScript file: 32 ms at a time, its state handed from step to step.

pip install tenfold torch && pip install --no-deps silero-vad
python examples/speech.py [SOUND.wav]        # 16 kHz, one channel; without it: espeak-ng speaks, or vowels are made
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import wave

import numpy as np
import torch
from beside import THREADS, folder, report

import tenfold

RATE, WINDOW = 16000, 512


def read(file: object) -> np.ndarray:
    """The samples of a wave file, from -1 to 1, at 16 kHz."""
    with wave.open(file) as sound:  # type: ignore[call-overload]
        rate, frames = sound.getframerate(), sound.readframes(sound.getnframes())
    samples = np.frombuffer(frames, np.int16).astype(np.float32) / 32768
    return np.interp(np.arange(0, len(samples), rate / RATE), np.arange(len(samples)), samples).astype(np.float32)


def vowels(seconds: float = 2.0) -> np.ndarray:
    """Something like speech: pulses through three resonances that glide from vowel to vowel."""
    time = np.arange(int(seconds * RATE)) / RATE
    pulses = np.diff(np.floor(np.cumsum(120 * (1 + 0.1 * np.sin(4 * time)) / RATE)), prepend=0.0)
    sound = pulses * (0.55 - 0.45 * np.cos(2 * np.pi * 5 * time))
    for low, high in ((300, 750), (850, 2300), (2250, 3000)):
        places = low + (high - low) * (0.5 + 0.5 * np.sin(2 * np.pi * 1.3 * time + low))
        turn, radius, out = 2 * np.pi * places / RATE, 0.985, np.zeros(len(sound) + 2)
        for at, pulse in enumerate(sound):
            out[at + 2] = pulse + 2 * radius * np.cos(turn[at]) * out[at + 1] - radius**2 * out[at]
        sound = out[2:] / np.abs(out).max()
    return (0.5 * sound).astype(np.float32)


def spoken() -> tuple[str, np.ndarray]:
    """A sound with a second of faint noise before and after it, and what it is."""
    if len(sys.argv) > 1:
        what, sound = sys.argv[1], read(sys.argv[1])
    elif shutil.which("espeak-ng"):
        command = ["espeak-ng", "--stdout", "The quick brown fox jumps over the lazy dog."]
        what, sound = (
            "espeak-ng's voice",
            read(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)),
        )
    else:
        what, sound = "made vowels", vowels()
    quiet = np.random.default_rng(0).normal(0, 1e-3, (2, RATE)).astype(np.float32)
    return what, np.concatenate([quiet[0], sound, quiet[1]])


torch.set_num_threads(THREADS)
file = folder("silero_vad") / "data" / "silero_vad.jit"
engine = tenfold.build(str(file), example_inputs=(torch.zeros(1, WINDOW), RATE), threads=THREADS)
network = torch.jit.load(str(file)).eval()
what, sound = spoken()
windows = [sound[at : at + WINDOW][None] for at in range(0, len(sound) - WINDOW + 1, WINDOW)]


def listen() -> np.ndarray:
    """How sure the network is of each window that somebody speaks."""
    found, state = [], {spec.name: np.zeros(spec.shape, np.float32) for spec in engine.inputs[1:]}
    for window in windows:
        results = engine.run({"x": window, **state})
        state = {name: results[name] for name in state}
        found.append(results["output"].item())
    return np.array(found)


def by_pytorch() -> np.ndarray:
    """The same by the TorchScript module, which keeps its state itself."""
    network.reset_states()
    with torch.inference_mode():
        return np.array([network(torch.from_numpy(window), RATE).item() for window in windows])


sure = listen()
print(f"{what}, {len(sound) / RATE:.1f} s; . nobody, # somebody, a mark for each 32 ms:")
print("".join(".:+#"[min(3, int(4 * one))] for one in sure))
apart = np.abs(sure - by_pytorch()).max()
print(f"somebody speaks in {(sure > 0.5).sum() * WINDOW / RATE:.1f} s of it (PyTorch says the same to {apart:.0e})")
report(listen, by_pytorch, "PyTorch")
