"""Reads a page of text with RapidOCR, its three models running in Tenfold.

RapidOCR imports onnxruntime and is not changed: `tenfold.onnxruntime.install()` gives it Tenfold instead. Afterwards
each model is run again on what it was asked, in Tenfold and in ONNX Runtime by turns, and the medians are printed.

    python examples/ocr_demo.py [IMAGE] [--output out/page_annotated.png]

Sessions start at effort 0; TENFOLD_EFFORT=1 looks for faster kernels while they are built.
"""

from __future__ import annotations

import argparse
import statistics
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as peer
import rich
import skimage
from PIL import Image, ImageDraw, ImageFont
from rich.table import Table

import tenfold.onnxruntime

tenfold.onnxruntime.install()

import rapidocr_onnxruntime  # noqa: E402

THREADS, ROUNDS, PAUSE = 2, 7, 0.02
KEEP = 0.3
"""How sure the first model must be of a line; its usual 0.5 is for pages that lie flat."""
MODELS = {
    "find text": "ch_PP-OCRv4_det_infer.onnx",
    "turn lines": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "read lines": "ch_PP-OCRv4_rec_infer.onnx",
}


class Recorder:
    """A session that remembers what it was asked."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.asked: list[tuple[list[str], dict[str, Any]]] = []

    def run(self, names: list[str], inputs: dict[str, Any]) -> Any:
        """Note what is asked, and ask it."""
        self.asked.append((names, inputs))
        return self.session.run(names, inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def record(engine: rapidocr_onnxruntime.RapidOCR) -> list[Recorder]:
    """Put a recorder round each of the engine's three sessions, in the order of MODELS."""
    holders = (engine.text_det.infer, engine.text_cls.infer, engine.text_rec.session)
    for holder in holders:
        if not type(holder.session).__module__.startswith("tenfold"):
            raise SystemExit(f"RapidOCR got a session of {type(holder.session).__module__}, not of tenfold")
        holder.session = Recorder(holder.session)
    return [holder.session for holder in holders]


def milliseconds(work: Callable[[], object]) -> float:
    """How long `work` takes, after a pause that lets the other library's threads fall asleep."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def onnxruntime_session(path: Path) -> peer.InferenceSession:
    """ONNX Runtime itself, on as many threads."""
    options = peer.SessionOptions()
    options.intra_op_num_threads = THREADS
    return peer.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def compare(recorder: Recorder, path: Path) -> tuple[float, float, float]:
    """(Tenfold's median, ONNX Runtime's, largest norm-wise relative difference) for all that the session was asked."""
    sessions = (recorder.session, onnxruntime_session(path))
    difference = max(
        float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        for names, inputs in recorder.asked
        for ours, theirs in zip(*(session.run(names, inputs) for session in sessions), strict=True)
    )
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for session, spent in zip(sessions, times, strict=True):
            spent.append(milliseconds(lambda run=session.run: [run(*asked) for asked in recorder.asked]))
    return statistics.median(times[0]), statistics.median(times[1]), difference


def annotate(picture: Path, lines: Sequence[tuple[Any, str, float]], output: Path, scale: int = 3) -> None:
    """The picture with a box round each line and, beside it, what was read there."""
    page = Image.open(picture).convert("RGB")
    page = page.resize((page.width * scale, page.height * scale))
    sheet = Image.new("RGB", (2 * page.width, page.height), "white")
    sheet.paste(page)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(9 * scale)
    for box, text, _ in lines:
        corners = [(scale * x, scale * y) for x, y in box]
        draw.polygon(corners, outline="red", width=2)
        left, middle = corners[0][0], (corners[0][1] + corners[3][1]) / 2
        draw.text(
            (page.width + left, middle), unicodedata.normalize("NFKC", text), fill="black", font=font, anchor="lm"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output)


def main() -> None:
    """Read, annotate, compare."""
    parser = argparse.ArgumentParser(description="Reads a page of text with three OCR models running in Tenfold.")
    page = Path(skimage.__file__).parent / "data" / "page.png"
    parser.add_argument("image", nargs="?", type=Path, default=page, help="the page (default: scikit-image's page.png)")
    parser.add_argument("--output", type=Path, default=Path("out/page_annotated.png"), help="the annotated picture")
    arguments = parser.parse_args()

    start = time.perf_counter()
    engine = rapidocr_onnxruntime.RapidOCR(intra_op_num_threads=THREADS)
    effort = tenfold.onnxruntime.SessionOptions().effort
    rich.print(f"Three models built at effort {effort} in {time.perf_counter() - start:.1f} s. What the page says:\n")
    recorders = record(engine)
    lines, _ = engine(str(arguments.image), box_thresh=KEEP)
    if not lines:
        raise SystemExit("No text was found.")
    for _, text, score in lines:
        rich.print(f"  {score:.2f}  {text}")
    annotate(arguments.image, lines, arguments.output)
    rich.print(f"\nThe annotated picture: {arguments.output}\n")

    table = Table("model", "runs", "Tenfold ms", "ONNX Runtime ms", "ratio", "difference")
    table.title = (
        f"Medians of {ROUNDS} rounds by turns, {THREADS} threads, effort {effort}, ONNX Runtime {peer.__version__}"
    )
    folder = Path(rapidocr_onnxruntime.__file__).parent / "models"
    for recorder, (task, name) in zip(recorders, MODELS.items(), strict=True):
        ours, theirs, difference = compare(recorder, folder / name)
        figures = (f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.2f}", f"{difference:.1e}")
        table.add_row(task, str(len(recorder.asked)), *figures)
    rich.print(table)


main()
