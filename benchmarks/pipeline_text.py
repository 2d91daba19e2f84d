"""Reads the TF Object Detection API's ``pipeline.config`` (protobuf's text format) into our configuration.

Field names and defaults are those of the API's ``protos/``. All that shapes the network and its detections is read; a
field that asks for what ours cannot do is a ConfigurationError. What plays a part in training alone (losses, sampling)
is taken over where ours has the setting and passed over elsewhere; ``train_config`` is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from odml import config
from odml.config import Configuration
from odml.errors import ConfigurationError
from odml.export.pipeline_config import Symbol

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<mark>[{}<>:\[\],;])|(?P<word>[\w.+-]+)"""
)
_END = ""
# What the API's feature extractors are in ours.
_SSD_MODELS = {"ssd_mobilenet_v2": "ssd_mobilenet_v2"}
_FASTER_RCNN_MODELS = {
    "faster_rcnn_resnet50": "faster_rcnn_resnet50",
    "faster_rcnn_resnet101": "faster_rcnn_resnet101",
}

Fields = dict[str, list[Any]]


def read(text: str, *, where: str) -> Fields:
    """Read a message of the text format: each field's values in a list, a message as such a dict.

    Numbers are int or float, true and false are bool, names without quotes are ``Symbol``.

    Raises:
        ConfigurationError: not the text format.
    """
    tokens = list(_tokens(text, where))
    fields, rest = _message(tokens, where)
    if rest != [_END]:
        raise ConfigurationError(f"{where}: a {rest[0]!r} that nothing opened; is it a pipeline.config?")
    return fields


def _tokens(text: str, where: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            line = text.count("\n", 0, position) + 1
            raise ConfigurationError(f"{where}: line {line}: cannot read {text[position]!r}; is it a pipeline.config?")
        if found.lastgroup and found[0] not in (",", ";"):
            yield found[0]
        position = found.end()
    yield _END


def _message(tokens: list[str], where: str) -> tuple[Fields, list[str]]:
    """Read fields up to what closes the message; give what follows too."""
    fields: Fields = {}
    while tokens[0] not in (_END, "}", ">"):
        name, *tokens = tokens
        if tokens[0] == ":":
            tokens = tokens[1:]
        values, tokens = _values(tokens, f"{where}: {name}")
        fields.setdefault(name, []).extend(values)
    return fields, tokens


def _values(tokens: list[str], where: str) -> tuple[list[Any], list[str]]:
    first, *rest = tokens
    if first == "[":
        end = rest.index("]") if "]" in rest else 0
        return [_scalar(token, where) for token in rest[:end]], rest[end + 1 :]
    if first not in ("{", "<"):
        return [_scalar(first, where)], rest
    fields, rest = _message(rest, where)
    if rest[0] == _END:
        raise ConfigurationError(f"{where}: is not closed; is it a pipeline.config?")
    return [fields], rest[1:]


def _scalar(token: str, where: str) -> Any:
    if token in ("true", "false"):
        return token == "true"
    if token[:1] in ('"', "'"):
        return token[1:-1]
    for number in (int, float):
        try:
            return number(token)
        except ValueError:
            continue
    if not re.fullmatch(r"[A-Za-z_]\w*", token):
        raise ConfigurationError(f"{where}: found {token!r} where a value belongs; is it a pipeline.config?")
    return Symbol(token)


class Message:
    """A message whose fields are asked for one by one, so that those that nobody asked for can be named."""

    def __init__(self, fields: Fields, file: str, path: tuple[str, ...] = ()):
        self.where = ": ".join([file, ".".join(path)] if path else [file])
        self._fields = fields
        self._file = file
        self._path = path
        self._asked: set[str] = set()
        self._inner: list[Message] = []

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def all(self, name: str) -> list[Any]:
        """Give the values of a repeated field."""
        self._asked.add(name)
        return self._fields.get(name, [])

    def get(self, name: str, default: Any) -> Any:
        """Give the value of a field, of several the last."""
        return (self.all(name) or [default])[-1]

    def message(self, name: str) -> Message:
        """Give the message of a field, an empty one where it is absent."""
        fields = self.get(name, {})
        if not isinstance(fields, dict):
            raise ConfigurationError(f"{self.where}.{name}: is {fields!r}; a message belongs there")
        self._inner.append(Message(fields, self._file, (*self._path, name)))
        return self._inner[-1]

    def only(self, name: str) -> Message:
        """Give the message of the one field that a choice of several (``oneof``) must have here."""
        if name not in self:
            raise ConfigurationError(f"{self.where}: has {', '.join(self._fields) or 'nothing'}; only {name} is known")
        return self.message(name)

    def expect(self, **values: Any) -> None:
        """Raise unless the fields have these values, which are the API's defaults or what ours always does."""
        for name, value in values.items():
            if (found := self.get(name, value)) != value:
                raise ConfigurationError(f"{self.where}.{name}: is {found}; only {value} is known")

    def ignore(self, *names: str) -> None:
        """Pass over fields that change neither network nor detections."""
        self._asked.update(names)

    def check_all_read(self) -> None:
        """Raise if a field was neither asked for nor passed over."""
        for name in self._fields:
            if name not in self._asked:
                raise ConfigurationError(f"{self.where}.{name}: is not known; remove it if the detections do without")
        for message in self._inner:
            message.check_all_read()


def configuration(text: str, *, where: str) -> tuple[Configuration, int]:
    """Give the configuration of a ``pipeline.config`` and its number of classes; ``training`` is the shipped model's.

    Raises:
        ConfigurationError: not the text format, or a network that ours cannot be.
    """
    model = Message(read(text, where=where), where).only("model")
    family = next((name for name in _FAMILIES if name in model), "ssd or faster_rcnn")
    detector = model.only(family)
    num_classes = int(detector.get("num_classes", 0))
    data = _FAMILIES[family](detector)
    model.check_all_read()
    return config.validate(data, where=where), num_classes


def _shipped(models: dict[str, str], extractor: Message) -> dict[str, Any]:
    kind = extractor.get("type", "")
    if kind not in models:
        raise ConfigurationError(f"{extractor.where}.type: is {kind!r}; known are {', '.join(models)}")
    return config.load(models[kind]).model_dump()


def _ssd(ssd: Message) -> dict[str, Any]:
    ssd.ignore("similarity_calculator", "normalize_loss_by_num_matches", "normalize_loc_loss_by_codesize")
    ssd.ignore("negative_class_weight", "encode_background_as_zeros", "inplace_batchnorm_update")
    extractor = ssd.message("feature_extractor")
    data = _shipped(_SSD_MODELS, extractor)
    generator = ssd.message("anchor_generator").only("ssd_anchor_generator")
    _check_box_coder(ssd.message("box_coder"))
    batch_norm = _ssd_batch_norm(extractor)
    train = batch_norm["train"] and not ssd.get("freeze_batchnorm", False)
    return data | {
        "image_size": _fixed_size(ssd.message("image_resizer")),
        "depth_multiplier": extractor.get("depth_multiplier", 1.0),
        "depthwise_extra_layers": extractor.get("use_depthwise", False),
        "extra_layers": _extra_layers(generator, data["extra_layers"]),
        "head_kernel_size": _head_kernel_size(ssd.message("box_predictor")),
        "batch_norm": batch_norm | {"train": train},
        "anchors": _ssd_anchors(generator),
        "matching": _matching(ssd.message("matcher")),
        "losses": data["losses"] | _ssd_losses(ssd.message("loss")),
        "detection": _detection(ssd.message("post_processing"), "SIGMOID"),
    }


def _fixed_size(resizer: Message) -> tuple[int, int]:
    fixed = resizer.only("fixed_shape_resizer")
    fixed.expect(resize_method="BILINEAR", convert_to_grayscale=False)
    return fixed.get("height", 300), fixed.get("width", 300)


def _ssd_batch_norm(extractor: Message) -> dict[str, Any]:
    extractor.expect(min_depth=16, pad_to_multiple=1, use_explicit_padding=False)
    overrides = extractor.get("override_base_feature_extractor_hyperparams", False)
    convolutions = extractor.message("conv_hyperparams")
    convolutions.ignore("op", "regularizer", "initializer")
    convolutions.expect(activation="RELU_6")
    batch_norm = convolutions.only("batch_norm")
    batch_norm.expect(center=True, scale=True)
    epsilon = batch_norm.get("epsilon", 0.001)
    if epsilon != 0.001 and not overrides:
        raise ConfigurationError(f"{batch_norm.where}.epsilon: is {epsilon}, the backbone's 0.001; only one is known")
    return {"momentum": batch_norm.get("decay", 0.999), "epsilon": epsilon, "train": batch_norm.get("train", True)}


def _head_kernel_size(predictor: Message) -> int:
    heads = predictor.only("convolutional_box_predictor")
    heads.ignore("conv_hyperparams", "min_depth", "max_depth", "use_dropout", "dropout_keep_probability")
    heads.ignore("class_prediction_bias_init")
    heads.expect(num_layers_before_predictor=0, box_code_size=4, apply_sigmoid_to_scores=False, use_depthwise=False)
    return int(heads.get("kernel_size", 1))


def _extra_layers(generator: Message, depths: tuple[int, ...]) -> tuple[int, ...]:
    count = generator.get("num_layers", 6) - 2
    if not 0 <= count <= len(depths):
        raise ConfigurationError(f"{generator.where}.num_layers: is {count + 2}; known are 2 to {len(depths) + 2}")
    return depths[:count]


def _ssd_anchors(generator: Message) -> dict[str, Any]:
    generator.expect(interpolated_scale_aspect_ratio=1.0, base_anchor_height=1.0, base_anchor_width=1.0)
    return {
        "min_scale": generator.get("min_scale", 0.2),
        "max_scale": generator.get("max_scale", 0.95),
        "aspect_ratios": generator.all("aspect_ratios"),
        "reduce_boxes_in_lowest_layer": generator.get("reduce_boxes_in_lowest_layer", True),
    }


def _matching(matcher: Message) -> dict[str, Any]:
    argmax = matcher.message("argmax_matcher")
    argmax.ignore("unmatched_threshold", "ignore_thresholds", "negatives_lower_than_unmatched")
    argmax.ignore("force_match_for_each_row", "use_matmul_gather")
    return {"threshold": argmax.get("matched_threshold", 0.5)}


def _ssd_losses(loss: Message) -> dict[str, Any]:
    loss.ignore("localization_loss", "classification_loss")
    miner = loss.message("hard_example_miner")
    miner.ignore("num_hard_examples", "loss_type")
    return {
        "classification_weight": loss.get("classification_weight", 1.0),
        "localization_weight": loss.get("localization_weight", 1.0),
        "negatives_per_positive": miner.get("max_negatives_per_positive", 0) or 3,
        "min_negatives": miner.get("min_negatives_per_image", 0),
        "mining_iou_threshold": miner.get("iou_threshold", 0.7),
    }


def _check_box_coder(coder: Message) -> None:
    coder.only("faster_rcnn_box_coder").expect(y_scale=10.0, x_scale=10.0, height_scale=5.0, width_scale=5.0)


def _detection(post_processing: Message, score_converter: str) -> dict[str, Any]:
    post_processing.expect(score_converter=score_converter, logit_scale=1.0)
    suppression = post_processing.message("batch_non_max_suppression")
    suppression.ignore("use_static_shapes")
    suppression.expect(use_class_agnostic_nms=False, soft_nms_sigma=0.0)
    return {
        "score_threshold": suppression.get("score_threshold", 0.0),
        "iou_threshold": suppression.get("iou_threshold", 0.6),
        "max_detections_per_class": suppression.get("max_detections_per_class", 100),
        "max_detections": suppression.get("max_total_detections", 100),
    }


def _faster_rcnn(detector: Message) -> dict[str, Any]:
    detector.ignore(
        "inplace_batchnorm_update", "hard_example_miner", "use_static_shapes", "use_matmul_gather_in_matcher"
    )
    detector.ignore("use_static_balanced_label_sampler", "second_stage_classification_loss")
    detector.ignore("first_stage_box_predictor_conv_hyperparams", "second_stage_mask_prediction_loss_weight")
    detector.expect(number_of_stages=2, first_stage_atrous_rate=1, first_stage_box_predictor_kernel_size=3)
    detector.expect(first_stage_box_predictor_depth=512, use_matmul_crop_and_resize=False, clip_anchors_to_image=False)
    extractor = detector.message("feature_extractor")
    extractor.expect(first_stage_features_stride=16)
    data = _shipped(_FASTER_RCNN_MODELS, extractor)
    _check_second_stage(detector.message("second_stage_box_predictor"))
    train = extractor.get("batch_norm_trainable", False)
    return data | {
        **_aspect_kept(detector.message("image_resizer")),
        "batch_norm": data["batch_norm"] | {"train": train},
        "anchors": _grid_anchors(detector.message("first_stage_anchor_generator")),
        "rpn": data["rpn"] | _rpn(detector),
        "roi": data["roi"] | _roi(detector),
        "losses": _faster_rcnn_losses(detector),
        "detection": _detection(detector.message("second_stage_post_processing"), "SOFTMAX"),
    }


def _aspect_kept(resizer: Message) -> dict[str, Any]:
    kept = resizer.only("keep_aspect_ratio_resizer")
    kept.expect(resize_method="BILINEAR", pad_to_max_dimension=False, convert_to_grayscale=False)
    return {"min_side": kept.get("min_dimension", 600), "max_side": kept.get("max_dimension", 1024)}


def _grid_anchors(generator: Message) -> dict[str, Any]:
    grid = generator.only("grid_anchor_generator")
    grid.expect(height_stride=16, width_stride=16, height_offset=0, width_offset=0)
    size = grid.get("height", 256)
    if grid.get("width", 256) != size:
        raise ConfigurationError(
            f"{grid.where}.width: is {grid.get('width', 256)}, height {size}; only squares are known"
        )
    return {"base_size": size, "scales": grid.all("scales"), "aspect_ratios": grid.all("aspect_ratios")}


def _rpn(detector: Message) -> dict[str, Any]:
    return {
        "batch_size": detector.get("first_stage_minibatch_size", 256),
        "positive_fraction": detector.get("first_stage_positive_balance_fraction", 0.5),
        "score_threshold": detector.get("first_stage_nms_score_threshold", 0.0),
        "iou_threshold": detector.get("first_stage_nms_iou_threshold", 0.7),
        "max_proposals": detector.get("first_stage_max_proposals", 300),
    }


def _roi(detector: Message) -> dict[str, Any]:
    pool_size = detector.get("maxpool_kernel_size", 2)
    detector.expect(maxpool_stride=pool_size)
    return {
        "crop_size": detector.get("initial_crop_size", 14),
        "pool_size": pool_size,
        "batch_size": detector.get("second_stage_batch_size", 64),
        "positive_fraction": detector.get("second_stage_balance_fraction", 0.25),
    }


def _check_second_stage(predictor: Message) -> None:
    heads = predictor.only("mask_rcnn_box_predictor")
    heads.ignore("fc_hyperparams", "conv_hyperparams", "use_dropout", "dropout_keep_probability")
    heads.ignore("mask_prediction_conv_depth", "mask_height", "mask_width")
    heads.expect(box_code_size=4, predict_instance_masks=False, share_box_across_classes=False)


def _faster_rcnn_losses(detector: Message) -> dict[str, Any]:
    return {
        "rpn_objectness_weight": detector.get("first_stage_objectness_loss_weight", 1.0),
        "rpn_localization_weight": detector.get("first_stage_localization_loss_weight", 1.0),
        "classification_weight": detector.get("second_stage_classification_loss_weight", 1.0),
        "localization_weight": detector.get("second_stage_localization_loss_weight", 1.0),
    }


_FAMILIES = {"ssd": _ssd, "faster_rcnn": _faster_rcnn}
