"""A configuration in the words of the TF Object Detection API: ``pipeline.config``, protobuf's text format.

Clients read the number of classes, the size of the pictures, the anchors and the suppression's settings from it. The
field names are those of the API's ``protos/`` (pipeline, ssd, faster_rcnn, grid_anchor_generator, train, optimizer,
post_processing).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from odml.config import (
    Configuration,
    Detection,
    FasterRCNNConfiguration,
    GridAnchors,
    SSDConfiguration,
    Training,
)
from odml.export.text_format import Symbol, to_text
from odml.targets import CODE_VARIANCE

_STRIDE = 16  # pixels between the cells of a Faster R-CNN's features
_BASE_SIZE = 256  # the API's default of grid anchors


def pipeline_config(configuration: Configuration, num_classes: int) -> str:
    """Write the ``pipeline.config`` of a detector."""
    return to_text({"model": _model(configuration, num_classes), "train_config": _train(configuration.training)})


def _model(configuration: Configuration, num_classes: int) -> dict[str, Any]:
    if isinstance(configuration, FasterRCNNConfiguration):
        return {"faster_rcnn": {"num_classes": num_classes} | _faster_rcnn(configuration)}
    assert isinstance(configuration, SSDConfiguration)
    return {"ssd": {"num_classes": num_classes} | _ssd(configuration)}


def _ssd(configuration: SSDConfiguration) -> dict[str, Any]:
    height, width = configuration.image_size
    return {
        "image_resizer": {"fixed_shape_resizer": {"height": height, "width": width}},
        "feature_extractor": {
            "type": f"ssd_{configuration.backbone}",
            "depth_multiplier": configuration.depth_multiplier,
            "min_depth": 16,
            "conv_hyperparams": _convolutions(configuration),
            "use_depthwise": configuration.depthwise_extra_layers,
        },
        "box_coder": {"faster_rcnn_box_coder": _box_coder()},
        "matcher": {"argmax_matcher": _matcher(configuration)},
        "similarity_calculator": {"iou_similarity": {}},
        "box_predictor": {"convolutional_box_predictor": _box_predictor(configuration)},
        "anchor_generator": {"ssd_anchor_generator": _anchors(configuration)},
        "post_processing": _post_processing(configuration.detection, score_converter="SIGMOID"),
        "normalize_loss_by_num_matches": True,
        "loss": _loss(configuration),
    }


def _convolutions(configuration: SSDConfiguration) -> dict[str, Any]:
    return {
        "regularizer": {"l2_regularizer": {"weight": configuration.training.weight_decay}},
        "initializer": {"truncated_normal_initializer": {"mean": 0.0, "stddev": 0.03}},
        "activation": Symbol("RELU_6"),
        "batch_norm": {
            "decay": configuration.batch_norm.momentum,
            "center": True,
            "scale": True,
            "epsilon": configuration.batch_norm.epsilon,
            "train": configuration.batch_norm.train,
        },
    }


def _box_coder() -> dict[str, Any]:
    names = ("y_scale", "x_scale", "height_scale", "width_scale")
    return {name: round(1 / variance, 6) for name, variance in zip(names, CODE_VARIANCE, strict=True)}


def _matcher(configuration: SSDConfiguration) -> dict[str, Any]:
    threshold = configuration.matching.threshold
    return {
        "matched_threshold": threshold,
        "unmatched_threshold": threshold,
        "ignore_thresholds": False,
        "negatives_lower_than_unmatched": True,
        "force_match_for_each_row": True,
    }


def _box_predictor(configuration: SSDConfiguration) -> dict[str, Any]:
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


def _anchors(configuration: SSDConfiguration) -> dict[str, Any]:
    anchors = configuration.anchors
    return {
        "num_layers": 2 + len(configuration.extra_layers),
        "min_scale": anchors.min_scale,
        "max_scale": anchors.max_scale,
        "aspect_ratios": list(anchors.aspect_ratios),
        "reduce_boxes_in_lowest_layer": anchors.reduce_boxes_in_lowest_layer,
    }


def _loss(configuration: SSDConfiguration) -> dict[str, Any]:
    losses = configuration.losses
    return {
        "localization_loss": {"weighted_smooth_l1": {}},
        "classification_loss": {"weighted_sigmoid": {}},
        "hard_example_miner": {
            "num_hard_examples": 0,
            "iou_threshold": losses.mining_iou_threshold,
            "loss_type": Symbol("CLASSIFICATION"),
            # A whole number there, and 0 would be no limit.
            "max_negatives_per_positive": max(1, round(losses.negatives_per_positive)),
            "min_negatives_per_image": losses.min_negatives,
        },
        "classification_weight": losses.classification_weight,
        "localization_weight": losses.localization_weight,
    }


def _faster_rcnn(configuration: FasterRCNNConfiguration) -> dict[str, Any]:
    """Give both stages; what the API's Faster R-CNN has no field for, such as its IoU thresholds, is left out."""
    resizer = {"min_dimension": configuration.min_side, "max_dimension": configuration.max_side}
    return {
        "image_resizer": {"keep_aspect_ratio_resizer": resizer},
        "feature_extractor": {
            "type": f"faster_rcnn_{configuration.backbone}",
            "first_stage_features_stride": _STRIDE,
            "batch_norm_trainable": configuration.batch_norm.train,
        },
        **_first_stage(configuration),
        **_second_stage(configuration),
    }


def _first_stage(configuration: FasterRCNNConfiguration) -> dict[str, Any]:
    rpn, losses = configuration.rpn, configuration.losses
    initializer = {"truncated_normal_initializer": {"stddev": 0.01}}
    return {
        "first_stage_anchor_generator": {"grid_anchor_generator": _grid_anchors(configuration.anchors)},
        "first_stage_box_predictor_conv_hyperparams": _layers(configuration.training, "CONV", initializer),
        "first_stage_minibatch_size": rpn.batch_size,
        "first_stage_positive_balance_fraction": rpn.positive_fraction,
        "first_stage_nms_score_threshold": rpn.score_threshold,
        "first_stage_nms_iou_threshold": rpn.iou_threshold,
        "first_stage_max_proposals": rpn.max_proposals,
        "first_stage_localization_loss_weight": losses.rpn_localization_weight,
        "first_stage_objectness_loss_weight": losses.rpn_objectness_weight,
    }


def _grid_anchors(anchors: GridAnchors) -> dict[str, Any]:
    return {
        "height_stride": _STRIDE,
        "width_stride": _STRIDE,
        # The API's base size is a whole number, and OpenCV takes it to be the default: the scales carry ours.
        "scales": [scale * anchors.base_size / _BASE_SIZE for scale in anchors.scales],
        "aspect_ratios": list(anchors.aspect_ratios),
    }


def _second_stage(configuration: FasterRCNNConfiguration) -> dict[str, Any]:
    roi, losses = configuration.roi, configuration.losses
    initializer = {"variance_scaling_initializer": {"factor": 1.0, "uniform": True, "mode": Symbol("FAN_AVG")}}
    predictor = {"fc_hyperparams": _layers(configuration.training, "FC", initializer), "use_dropout": False}
    return {
        "initial_crop_size": roi.crop_size,
        "maxpool_kernel_size": roi.pool_size,
        "maxpool_stride": roi.pool_size,
        "second_stage_box_predictor": {"mask_rcnn_box_predictor": predictor},
        "second_stage_batch_size": roi.batch_size,
        "second_stage_balance_fraction": roi.positive_fraction,
        "second_stage_post_processing": _post_processing(configuration.detection, score_converter="SOFTMAX"),
        "second_stage_localization_loss_weight": losses.localization_weight,
        "second_stage_classification_loss_weight": losses.classification_weight,
    }


def _layers(training: Training, operation: str, initializer: Mapping[str, Any]) -> dict[str, Any]:
    regularizer = {"l2_regularizer": {"weight": training.weight_decay}}
    return {"op": Symbol(operation), "regularizer": regularizer, "initializer": initializer}


def _post_processing(detection: Detection, *, score_converter: str) -> dict[str, Any]:
    suppression = {
        "score_threshold": detection.score_threshold,
        "iou_threshold": detection.iou_threshold,
        "max_detections_per_class": detection.max_detections_per_class,
        "max_total_detections": detection.max_detections,
    }
    return {"batch_non_max_suppression": suppression, "score_converter": Symbol(score_converter)}


def _train(training: Training) -> dict[str, Any]:
    return {
        "batch_size": training.batch_size,
        "data_augmentation_options": [
            {name: {}} for key, name in _AUGMENTATIONS.items() if getattr(training.augmentation, key)
        ],
        "optimizer": _optimizer(training),
        "gradient_clipping_by_norm": training.clip_gradient_norm,
    }


_AUGMENTATIONS = {
    "horizontal_flip": "random_horizontal_flip",
    "random_crop": "ssd_random_crop",
    "random_color": "random_distort_color",
}


def _optimizer(training: Training) -> dict[str, Any]:
    schedule = {"learning_rate": _learning_rate(training)}
    averages: dict[str, Any] = {"use_moving_average": training.average_decay > 0}
    if training.average_decay:
        averages["moving_average_decay"] = training.average_decay
    if training.optimizer == "adam":
        return {"adam_optimizer": schedule} | averages
    momentum = {"momentum_optimizer_value": training.momentum}
    if training.optimizer == "rmsprop":
        rms = {"decay": training.rms_decay, "epsilon": training.rms_epsilon}
        return {"rms_prop_optimizer": schedule | momentum | rms} | averages
    return {"momentum_optimizer": schedule | momentum} | averages


def _learning_rate(training: Training) -> dict[str, Any]:
    base = training.learning_rate
    if training.schedule == "cosine":
        return {"cosine_decay_learning_rate": {"learning_rate_base": base, "warmup_steps": training.warmup_steps}}
    falls = sorted(training.decay_steps) if training.schedule == "steps" else []
    steps = [(step, base * training.decay_factor**count) for count, step in enumerate(falls, start=1)]
    return _piecewise(base, steps, warmup_steps=training.warmup_steps)


def _piecewise(base: float, steps: list[tuple[int, float]], *, warmup_steps: int) -> dict[str, Any]:
    """Give a rate that jumps at steps; a warm-up is a first one to which it rises from zero."""
    if not steps and not warmup_steps:
        return {"constant_learning_rate": {"learning_rate": base}}
    if warmup_steps:
        steps = [(warmup_steps, base), *(each for each in steps if each[0] > warmup_steps)]
    rates = {
        "initial_learning_rate": 0.0 if warmup_steps else base,
        "schedule": [{"step": step, "learning_rate": float(f"{rate:.6g}")} for step, rate in steps],
    }
    return {"manual_step_learning_rate": rates | ({"warmup": True} if warmup_steps else {})}
