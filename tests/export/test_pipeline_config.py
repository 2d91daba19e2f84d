from __future__ import annotations

from typing import Any

import pytest

from odml import config
from odml.config import Configuration
from odml.export.pipeline_config import pipeline_config

# What our recipe for fine-tuning has in place of the original's training.
RECIPE = {
    "train_config/optimizer/momentum_optimizer/learning_rate/cosine_decay_learning_rate/learning_rate_base": ["0.001"],
    "train_config/optimizer/momentum_optimizer/learning_rate/cosine_decay_learning_rate/warmup_steps": ["50"],
}
STEPS = "train_config/optimizer/momentum_optimizer/learning_rate/manual_step_learning_rate"


def values_of(text: str) -> dict[str, list[str]]:
    """Give each value of a text format message under the path of its field, an empty message as "{}"."""
    found: dict[str, list[str]] = {}
    inside: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line == "}":
            path = "/".join(inside)
            if not any(name.startswith(f"{path}/") for name in found):
                found.setdefault(path, []).append("{}")
            inside.pop()
        elif line.endswith("{"):
            inside.append(line.split()[0])
        else:
            name, value = line.split(": ")
            found.setdefault("/".join([*inside, name]), []).append(value)
    return found


def changed(model: str, **sections: Any) -> Configuration:
    data = config.load(model).model_dump()
    for name, value in sections.items():
        data[name] = data[name] | value if isinstance(value, dict) else value
    return config.validate(data, where="test")


def values(configuration: Configuration, num_classes: int = 3) -> dict[str, list[str]]:
    return values_of(pipeline_config(configuration, num_classes))


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101"])
def test_faster_rcnn_has_the_values_of_the_original(shared, backbone):
    name = f"faster-rcnn-{backbone.replace('resnet', 'resnet-')}_3.config"
    golden = values_of((shared / "golden" / "configs" / name).read_text())
    ours = values(changed(f"faster_rcnn_{backbone}", training={"average_decay": 0.0}))
    schedule = {path for path in golden if path.startswith(STEPS)}
    # The rest of what it says are defaults of the API; of ours, what it leaves at them.
    assert {path for path in golden if path not in ours} == schedule | {
        "model/faster_rcnn/second_stage_box_predictor/mask_rcnn_box_predictor/dropout_keep_probability"
    }
    assert {path: value for path, value in ours.items() if path not in golden} == RECIPE | {
        "model/faster_rcnn/feature_extractor/batch_norm_trainable": ["false"],
        "model/faster_rcnn/first_stage_minibatch_size": ["256"],
        "model/faster_rcnn/first_stage_positive_balance_fraction": ["0.5"],
        "model/faster_rcnn/second_stage_batch_size": ["64"],
        "model/faster_rcnn/second_stage_balance_fraction": ["0.25"],
    }
    assert {path: ours[path] for path in ours if path in golden} == {
        path: golden[path] for path in ours if path in golden
    }


def test_ssd_has_the_values_of_the_original(shared):
    golden = values_of((shared / "golden" / "configs" / "ssd-mobilenet-v2_3.config").read_text())
    ours = values(
        changed(
            "ssd_mobilenet_v2_plain",
            batch_norm={"momentum": 0.9997},
            losses={"mining_iou_threshold": 0.99},
            training={"optimizer": "adam", "schedule": "constant", "warmup_steps": 0},
        )
    )
    model = {path: value for path, value in ours.items() if path.startswith("model/")}
    different = {path: value for path, value in model.items() if value != golden.get(path)}
    assert different == {
        "model/ssd/feature_extractor/use_depthwise": ["false"],
        "model/ssd/anchor_generator/ssd_anchor_generator/reduce_boxes_in_lowest_layer": ["true"],
        "model/ssd/loss/hard_example_miner/num_hard_examples": ["0"],  # ours has no limit
    }
    assert set(golden) - set(model) - {path for path in golden if path.startswith("train_config/")} == {
        "model/ssd/box_predictor/convolutional_box_predictor/dropout_keep_probability"
    }


def test_recipe_of_2018_has_the_values_of_the_original():
    ours = values(config.load("ssd_mobilenet_v2_2018"))
    optimizer = "train_config/optimizer"
    assert ours["model/ssd/feature_extractor/conv_hyperparams/batch_norm/decay"] == ["0.9997"]
    found = {path.removeprefix(f"{optimizer}/"): ours[path] for path in ours if path.startswith(optimizer)}
    assert found == {
        "rms_prop_optimizer/learning_rate/constant_learning_rate/learning_rate": ["0.004"],
        "rms_prop_optimizer/momentum_optimizer_value": ["0.9"],
        "rms_prop_optimizer/decay": ["0.9"],
        "rms_prop_optimizer/epsilon": ["1.0"],
        "use_moving_average": ["true"],
        "moving_average_decay": ["0.9999"],
    }


def test_ssd_says_what_its_configuration_says():
    ours = values(
        changed("ssd_mobilenet_v2", image_size=[240, 320], extra_layers=[64, 32], batch_norm={"train": False}), 5
    )
    assert ours["model/ssd/num_classes"] == ["5"]
    assert ours["model/ssd/image_resizer/fixed_shape_resizer/height"] == ["240"]
    assert ours["model/ssd/image_resizer/fixed_shape_resizer/width"] == ["320"]
    assert ours["model/ssd/anchor_generator/ssd_anchor_generator/num_layers"] == ["4"]
    assert ours["model/ssd/post_processing/batch_non_max_suppression/max_total_detections"] == ["100"]
    assert ours["model/ssd/feature_extractor/use_depthwise"] == ["true"]
    assert ours["model/ssd/feature_extractor/conv_hyperparams/batch_norm/train"] == ["false"]
    assert ours["model/ssd/loss/hard_example_miner/iou_threshold"] == ["1.0"]


def test_faster_rcnn_says_what_its_configuration_says():
    ours = values(
        changed(
            "faster_rcnn_resnet50",
            min_side=128,
            max_side=192,
            anchors={"base_size": 32, "scales": [1, 2], "aspect_ratios": [1]},
            rpn={"max_proposals": 20},
            roi={"crop_size": 7, "pool_size": 1},
            losses={"rpn_objectness_weight": 0.5, "localization_weight": 3},
        )
    )
    inside = "model/faster_rcnn"
    assert ours[f"{inside}/image_resizer/keep_aspect_ratio_resizer/min_dimension"] == ["128"]
    assert ours[f"{inside}/image_resizer/keep_aspect_ratio_resizer/max_dimension"] == ["192"]
    # Of 256 pixels, the API's own base.
    assert ours[f"{inside}/first_stage_anchor_generator/grid_anchor_generator/scales"] == ["0.125", "0.25"]
    assert ours[f"{inside}/first_stage_anchor_generator/grid_anchor_generator/aspect_ratios"] == ["1.0"]
    assert ours[f"{inside}/first_stage_max_proposals"] == ["20"]
    assert ours[f"{inside}/initial_crop_size"] == ["7"]
    assert ours[f"{inside}/maxpool_kernel_size"] == ours[f"{inside}/maxpool_stride"] == ["1"]
    assert ours[f"{inside}/first_stage_objectness_loss_weight"] == ["0.5"]
    assert ours[f"{inside}/second_stage_localization_loss_weight"] == ["3.0"]


def rates(**training: Any) -> dict[str, list[str]]:
    """Give the learning rate of a recipe with the rate 0.01."""
    recipe = {"learning_rate": 0.01, "warmup_steps": 0, "decay_factor": 0.1} | training
    inside = "train_config/optimizer/momentum_optimizer/learning_rate/"
    ours = values(changed("faster_rcnn_resnet50", training=recipe))
    return {path.removeprefix(inside): value for path, value in ours.items() if path.startswith(inside)}


def test_cosine_schedule():
    assert rates(schedule="cosine", warmup_steps=5) == {
        "cosine_decay_learning_rate/learning_rate_base": ["0.01"],
        "cosine_decay_learning_rate/warmup_steps": ["5"],
    }


def test_constant_schedule():
    assert rates(schedule="constant", decay_steps=[7]) == {"constant_learning_rate/learning_rate": ["0.01"]}


def test_steps_of_the_learning_rate():
    assert rates(schedule="steps", decay_steps=[100, 200]) == {
        "manual_step_learning_rate/initial_learning_rate": ["0.01"],
        "manual_step_learning_rate/schedule/step": ["100", "200"],
        "manual_step_learning_rate/schedule/learning_rate": ["0.001", "0.0001"],
    }
    assert rates(schedule="steps", decay_steps=[]) == {"constant_learning_rate/learning_rate": ["0.01"]}


def test_warm_up_is_a_first_step_that_the_rate_rises_to():
    assert rates(schedule="steps", decay_steps=[100], warmup_steps=10) == {
        "manual_step_learning_rate/initial_learning_rate": ["0.0"],
        "manual_step_learning_rate/schedule/step": ["10", "100"],
        "manual_step_learning_rate/schedule/learning_rate": ["0.01", "0.001"],
        "manual_step_learning_rate/warmup": ["true"],
    }
    assert rates(schedule="constant", warmup_steps=10)["manual_step_learning_rate/schedule/step"] == ["10"]


def test_adam_and_augmentations_are_named():
    augmentation = {"horizontal_flip": True, "random_crop": True, "random_color": True, "mosaic": 0.5}
    ours = values(changed("ssd_mobilenet_v2", training={"optimizer": "adam", "augmentation": augmentation}))
    rate = "train_config/optimizer/adam_optimizer/learning_rate/cosine_decay_learning_rate"
    assert ours[f"{rate}/warmup_steps"] == ["150"]
    assert [path.rsplit("/", 1)[1] for path in ours if "data_augmentation_options" in path] == [
        "random_horizontal_flip",
        "ssd_random_crop",
        "random_distort_color",
    ]
