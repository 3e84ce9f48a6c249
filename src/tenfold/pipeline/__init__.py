"""Pre- and post-processing inside the engine: one engine takes an image u8 and gives labels or boxes.

>>> from tenfold import pipeline
>>> graph = pipeline.join(
...     "model.onnx",
...     before=[pipeline.Resize(256), pipeline.CenterCrop(224), pipeline.Normalize(mean, std)],
...     after=[pipeline.Softmax(), pipeline.TopK(5)],
...     labels=names,
... )
>>> scores, labels = tenfold.build(graph)(image)

A step before the model maps a `Picture` to a `Picture`, one after it `Answers` to `Answers`: a function of your own
that does so is a step.
"""

from __future__ import annotations

from tenfold.pipeline.answers import Answers
from tenfold.pipeline.boxes import Decode, Suppress
from tenfold.pipeline.classes import ArgMax, Sigmoid, Softmax, TopK
from tenfold.pipeline.colour import Grey, SwapRedBlue
from tenfold.pipeline.crop import CenterCrop, Letterbox
from tenfold.pipeline.join import join, labels_of
from tenfold.pipeline.normalize import Normalize
from tenfold.pipeline.picture import Picture
from tenfold.pipeline.resize import Resize
from tenfold.pipeline.text import CollapseCTC

__all__ = (
    "Answers", "ArgMax", "CenterCrop", "CollapseCTC", "Decode", "Grey", "Letterbox", "Normalize", "Picture", "Resize",
    "Sigmoid", "Softmax", "Suppress", "SwapRedBlue", "TopK", "join", "labels_of",
)  # fmt: skip
