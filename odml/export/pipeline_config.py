"""A configuration in the words of the TF Object Detection API: ``pipeline.config``, protobuf's text format.

Clients read the number of classes, the size of the pictures, the anchors and the suppression's settings from it. The
field names are those of the API's ``protos/`` (pipeline, ssd, train, optimizer, post_processing).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from odml.config import Configuration
from odml.targets import CODE_VARIANCE


class Symbol(str):
    """A value of an enumeration, which the text format writes without quotes."""


def to_text(message: Mapping[str, Any]) -> str:
    """Write a message in protobuf's text format: a dict is a message, a list a repeated field."""
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, values in message.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, Mapping):
                yield f"{indent}{name} {{"
                yield from _lines(value, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not isinstance(value, Symbol):
        return f'"{value}"'
    return str(value)


def pipeline_config(configuration: Configuration, num_classes: int) -> str:
    """Write the ``pipeline.config`` of a detector."""
    return to_text(
        {
            "model": _MODELS[configuration.architecture](configuration, num_classes),
            "train_config": _train(configuration),
        }
    )


def _ssd(configuration: Configuration, num_classes: int) -> dict[str, Any]:
    height, width = configuration.image_size
    return {
        "ssd": {
            "num_classes": num_classes,
            "image_resizer": {"fixed_shape_resizer": {"height": height, "width": width}},
            "feature_extractor": {
                "type": f"ssd_{configuration.backbone}",
                "depth_multiplier": configuration.depth_multiplier,
                "min_depth": 16,
                "conv_hyperparams": _convolutions(configuration),
                "use_depthwise": True,
            },
            "box_coder": {"faster_rcnn_box_coder": _box_coder()},
            "matcher": {"argmax_matcher": _matcher(configuration)},
            "similarity_calculator": {"iou_similarity": {}},
            "box_predictor": {"convolutional_box_predictor": _box_predictor(configuration)},
            "anchor_generator": {"ssd_anchor_generator": _anchors(configuration)},
            "post_processing": _post_processing(configuration),
            "normalize_loss_by_num_matches": True,
            "loss": _loss(configuration),
        }
    }


_MODELS = {"ssd": _ssd}


def _convolutions(configuration: Configuration) -> dict[str, Any]:
    return {
        "regularizer": {"l2_regularizer": {"weight": configuration.training.weight_decay}},
        "initializer": {"truncated_normal_initializer": {"mean": 0.0, "stddev": 0.03}},
        "activation": Symbol("RELU_6"),
        "batch_norm": {
            "decay": configuration.batch_norm.momentum,
            "center": True,
            "scale": True,
            "epsilon": configuration.batch_norm.epsilon,
            "train": True,
        },
    }


def _box_coder() -> dict[str, Any]:
    names = ("y_scale", "x_scale", "height_scale", "width_scale")
    return {name: round(1 / variance, 6) for name, variance in zip(names, CODE_VARIANCE, strict=True)}


def _matcher(configuration: Configuration) -> dict[str, Any]:
    threshold = configuration.matching.threshold
    return {
        "matched_threshold": threshold,
        "unmatched_threshold": threshold,
        "ignore_thresholds": False,
        "negatives_lower_than_unmatched": True,
        "force_match_for_each_row": True,
    }


def _box_predictor(configuration: Configuration) -> dict[str, Any]:
    return {
        "conv_hyperparams": _convolutions(configuration),
        "min_depth": 0,
        "max_depth": 0,
        "num_layers_before_predictor": 0,
        "use_dropout": False,
        "kernel_size": configuration.head_kernel_size,
        "box_code_size": 4,
        "apply_sigmoid_to_scores": False,
    }


def _anchors(configuration: Configuration) -> dict[str, Any]:
    anchors = configuration.anchors
    return {
        "num_layers": 2 + len(configuration.extra_layers),
        "min_scale": anchors.min_scale,
        "max_scale": anchors.max_scale,
        "aspect_ratios": list(anchors.aspect_ratios),
        "reduce_boxes_in_lowest_layer": anchors.reduce_boxes_in_lowest_layer,
    }


def _post_processing(configuration: Configuration) -> dict[str, Any]:
    detection = configuration.detection
    suppression = {
        "score_threshold": detection.score_threshold,
        "iou_threshold": detection.iou_threshold,
        "max_detections_per_class": detection.max_detections_per_class,
        "max_total_detections": detection.max_detections,
    }
    return {"batch_non_max_suppression": suppression, "score_converter": Symbol("SIGMOID")}


def _loss(configuration: Configuration) -> dict[str, Any]:
    losses = configuration.losses
    return {
        "localization_loss": {"weighted_smooth_l1": {}},
        "classification_loss": {"weighted_sigmoid": {}},
        "hard_example_miner": {
            "num_hard_examples": 0,
            "iou_threshold": 1.0,
            "loss_type": Symbol("CLASSIFICATION"),
            "max_negatives_per_positive": losses.negatives_per_positive,
            "min_negatives_per_image": losses.min_negatives,
        },
        "classification_weight": losses.classification_weight,
        "localization_weight": losses.localization_weight,
    }


def _train(configuration: Configuration) -> dict[str, Any]:
    training = configuration.training
    return {
        "batch_size": training.batch_size,
        "data_augmentation_options": [
            {name: {}} for key, name in _AUGMENTATIONS.items() if getattr(training.augmentation, key)
        ],
        "optimizer": _optimizer(configuration),
        "gradient_clipping_by_norm": training.clip_gradient_norm,
    }


_AUGMENTATIONS = {
    "horizontal_flip": "random_horizontal_flip",
    "random_crop": "ssd_random_crop",
    "random_color": "random_distort_color",
}


def _optimizer(configuration: Configuration) -> dict[str, Any]:
    training = configuration.training
    rate = {"learning_rate_base": training.learning_rate, "warmup_steps": training.warmup_steps}
    schedule = {"learning_rate": {"cosine_decay_learning_rate": rate}}
    if training.optimizer == "adam":
        return {"adam_optimizer": schedule, "use_moving_average": False}
    momentum = {"momentum_optimizer_value": training.momentum}
    return {"momentum_optimizer": schedule | momentum, "use_moving_average": False}
