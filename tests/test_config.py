from pathlib import Path

import pydantic
import pytest

from odml import config
from odml.config import FasterRCNNConfiguration, SSDConfiguration
from odml.errors import ConfigurationError

SSD = "ssd_mobilenet_v2"
FASTER_RCNN = "faster_rcnn_resnet50"
SSD_KEYS = (
    "architecture, backbone, batch_norm, detection, training, image_size, depth_multiplier, extra_layers, "
    "depthwise_extra_layers, head_kernel_size, anchors, matching, losses"
)
FASTER_RCNN_KEYS = (
    "architecture, backbone, batch_norm, detection, training, min_side, max_side, anchors, rpn, roi, losses"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def message_of(model: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        config.load(model)
    return str(raised.value)


@pytest.mark.parametrize("name", config.shipped_models())
def test_every_shipped_configuration_is_valid(name):
    assert config.validate(config.load(name).model_dump(mode="json"), where=name) == config.load(name)


def test_models_that_come_with_odml():
    assert config.shipped_models() == [
        "faster_rcnn_resnet101",
        "faster_rcnn_resnet50",
        "ssd_mobilenet_v2",
        "ssd_mobilenet_v2_2018",
        "ssd_mobilenet_v2_plain",
        "ssd_mobilenet_v2_shapes",
    ]


def test_ssd_has_the_released_topology():
    ssd = config.load(SSD)
    assert isinstance(ssd, SSDConfiguration)
    assert ssd.image_size == (300, 300)
    assert ssd.extra_layers == (512, 256, 256, 128)
    assert ssd.head_kernel_size == 3
    assert ssd.anchors.aspect_ratios == (1.0, 2.0, 0.5, 3.0, 0.3333)
    assert (ssd.matching.threshold, ssd.losses.negatives_per_positive, ssd.losses.min_negatives) == (0.5, 3, 3)
    assert (ssd.detection.iou_threshold, ssd.detection.max_detections) == (0.6, 100)


def test_faster_rcnn_has_the_released_topology():
    network = config.load(FASTER_RCNN)
    assert isinstance(network, FasterRCNNConfiguration)
    assert (network.min_side, network.max_side) == (600, 1024)
    assert (network.anchors.scales, network.anchors.aspect_ratios) == ((0.25, 0.5, 1.0, 2.0), (0.5, 1.0, 2.0))
    assert (network.rpn.iou_threshold, network.rpn.max_proposals) == (0.7, 300)
    assert (network.roi.crop_size, network.roi.pool_size) == (14, 2)
    assert (network.detection.iou_threshold, network.detection.max_detections) == (0.6, 300)
    assert (network.training.batch_size, network.batch_norm.train) == (1, False)


def test_the_faster_rcnns_differ_in_their_backbone_only():
    small, large = config.load(FASTER_RCNN), config.load("faster_rcnn_resnet101")
    assert large.model_dump() == small.model_dump() | {"backbone": "resnet101"}


def test_configuration_cannot_be_changed():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.load(SSD).training.batch_size = 1


def test_file_changes_what_it_names_and_keeps_the_rest(folder):
    path = write(
        folder,
        "mine.yml",
        f"extends: {SSD}\nimage_size: [64, 96]\ntraining: {{augmentation: {{random_crop: false}}}}\n",
    )
    mine, ssd = config.load(path), config.load(SSD)
    assert mine.image_size == (64, 96)
    assert not mine.training.augmentation.random_crop
    assert mine.training.augmentation.random_color
    assert mine.training.batch_size == ssd.training.batch_size
    assert mine.anchors == ssd.anchors


def test_earlier_of_several_bases_wins_and_files_are_found_beside_the_file(folder):
    write(folder, "parts/small.yml", "image_size: [64, 64]\ntraining: {batch_size: 4}\n")
    write(folder, "parts/slow.yml", "extends: [more/slower.yml]\ntraining: {batch_size: 2, learning_rate: 0.5}\n")
    write(folder, "parts/more/slower.yml", "training: {learning_rate: 0.25, momentum: 0.5}\n")
    mine = config.load(write(folder, "parts/mine.yml", f"extends: [small.yml, slow.yml, {SSD}]\n"))
    assert (mine.image_size, mine.training.batch_size) == ((64, 64), 4)
    assert (mine.training.learning_rate, mine.training.momentum) == (0.5, 0.5)


def test_rate_without_a_point_is_a_number(folder):
    # YAML 1.1 reads 1e-3 as text.
    path = write(folder, "mine.yml", f"extends: {SSD}\ntraining: {{learning_rate: 1e-3}}\n")
    assert config.load(path).training.learning_rate == 0.001


def test_training_changes_leave_what_is_not_given():
    ssd = config.load(SSD)
    changed = ssd.with_training(batch_size=3, learning_rate=None)
    assert changed.training.batch_size == 3
    assert changed.training.learning_rate == ssd.training.learning_rate
    assert changed.with_training(batch_size=ssd.training.batch_size) == ssd


def test_training_change_of_a_faster_rcnn_leaves_its_family():
    network = config.load(FASTER_RCNN)
    changed = network.with_training(checkpoint_every=7)
    assert isinstance(changed, FasterRCNNConfiguration)
    assert changed == network.model_copy(
        update={"training": network.training.model_copy(update={"checkpoint_every": 7})}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "training.batch_size: Input should be greater than 0 (found 0)"),
        (
            {"schedule": "step"},
            "training.schedule: Input should be 'cosine', 'constant' or 'steps'; did you mean 'steps'? (found 'step')",
        ),
        (
            {"rate": 1},
            "training.rate: there is no such key (keys here: batch_size, precision, optimizer, learning_rate, "
            "momentum, rms_decay, rms_epsilon, warmup_steps, schedule, decay_steps, decay_factor, weight_decay, "
            "clip_gradient_norm, average_decay, "
            "frozen_blocks, checkpoint_every, keep_checkpoints, patience, augmentation)",
        ),
    ],
)
def test_training_change_that_is_not_allowed(changes, message):
    with pytest.raises(ConfigurationError) as raised:
        config.load(SSD).with_training(**changes)
    assert str(raised.value) == f"parameters: {message}"


@pytest.mark.parametrize("name", config.shipped_models())
def test_written_configuration_is_read_as_it_was(folder, name):
    path = write(folder, "mine.yml", config.load(name).to_yaml())
    assert config.load(path) == config.load(name)


def test_written_configuration_shows_what_was_changed():
    text = config.load(SSD).with_training(learning_rate=1e-5, decay_steps=(3, 5)).to_yaml()
    assert "\n  learning_rate: 1.0e-05\n" in text
    assert "\n  decay_steps: [3, 5]\n" in text
    assert text.startswith("architecture: ssd\nbackbone: mobilenet_v2\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image_sise: [64, 64]",
            f"image_sise: there is no such key; did you mean 'image_size'? (keys here: {SSD_KEYS})",
        ),
        ("quux: 1", f"quux: there is no such key (keys here: {SSD_KEYS})"),
        (
            "anchors: {ratios: [1]}",
            "anchors.ratios: there is no such key; did you mean 'aspect_ratios'? (keys here: min_scale, max_scale, "
            "aspect_ratios, reduce_boxes_in_lowest_layer)",
        ),
        (
            "training: {augmentation: {flip: true}}",
            "training.augmentation.flip: there is no such key (keys here: horizontal_flip, random_crop, random_color, "
            "mosaic)",
        ),
        ("image_size: [64, 20]", "image_size.1: Input should be greater than or equal to 32 (found 20)"),
        ("image_size: 64", "image_size: Input should be a valid tuple (found 64)"),
        ("architecture: yolo", "architecture: Input should be 'ssd' or 'faster_rcnn' (found 'yolo')"),
        ("backbone: resnet50", "backbone: Input should be 'mobilenet_v2' (found 'resnet50')"),
        ("head_kernel_size: 2", "head_kernel_size: Input should be 1 or 3 (found 2)"),
        (
            "training: {optimizer: sdg}",
            "training.optimizer: Input should be 'sgd', 'adam' or 'rmsprop'; did you mean 'sgd'? (found 'sdg')",
        ),
        (
            "detection: {iou_threshold: 60}",
            "detection.iou_threshold: Input should be less than or equal to 1 (found 60)",
        ),
        (
            "training: {learning_rate: fast}",
            "training.learning_rate: Input should be a valid number, unable to parse string as a number (found 'fast')",
        ),
        ("training: {learning_rate: .inf}", "training.learning_rate: Input should be a finite number (found inf)"),
        (
            "anchors: {aspect_ratios: []}",
            "anchors.aspect_ratios: Tuple should have at least 1 item after validation, not 0 (found [])",
        ),
        ("matching: 0.5", "matching: Input should be a valid dictionary or instance of Matching (found 0.5)"),
    ],
    ids=lambda value: value.split(":")[0],
)
def test_key_or_value_that_is_not_allowed(folder, text, message):
    write(folder, "mine.yml", f"extends: {SSD}\n{text}\n")
    assert message_of("mine.yml") == f"mine.yml: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image_size: [600, 600]",
            f"image_size: there is no such key; did you mean 'max_side'? (keys here: {FASTER_RCNN_KEYS})",
        ),
        (
            "backbone: resnet5",
            "backbone: Input should be 'resnet50' or 'resnet101'; did you mean 'resnet50'? (found 'resnet5')",
        ),
        (
            "rpn: {threshold: 0.7}",
            "rpn.threshold: there is no such key; did you mean 'iou_threshold'? (keys here: matched_threshold, "
            "unmatched_threshold, batch_size, positive_fraction, score_threshold, iou_threshold, max_proposals)",
        ),
        ("roi: {batch_size: 0}", "roi.batch_size: Input should be greater than 0 (found 0)"),
    ],
    ids=lambda value: value.split(":")[0],
)
def test_each_family_has_its_own_keys(folder, text, message):
    write(folder, "mine.yml", f"extends: {FASTER_RCNN}\n{text}\n")
    assert message_of("mine.yml") == f"mine.yml: {message}"


def test_key_of_an_extended_file_is_named_with_that_file(folder):
    write(folder, "parts/rates.yml", "training: {learning_rate: 0}\n")
    write(folder, "parts/base.yml", f"extends: [rates.yml, {SSD}]\nanchors: {{min_scal: 0.1}}\n")
    write(folder, "mine.yml", "extends: parts/base.yml\ntraining: {learning_rate: 0.1}\n")
    assert message_of("mine.yml") == (
        "parts/base.yml: anchors.min_scal: there is no such key; did you mean 'min_scale'? (keys here: min_scale, "
        "max_scale, aspect_ratios, reduce_boxes_in_lowest_layer)"
    )
    write(folder, "mine.yml", "extends: parts/base.yml\nanchors: {max_scale: 0.9}\n")
    write(folder, "parts/base.yml", f"extends: [rates.yml, {SSD}]\n")
    assert message_of("mine.yml") == (
        "parts/rates.yml: training.learning_rate: Input should be greater than 0 (found 0)"
    )


def test_entry_of_a_list_is_named_with_the_file_that_has_the_list(folder):
    write(folder, "base.yml", f"extends: {SSD}\nanchors: {{aspect_ratios: [1, -2]}}\n")
    write(folder, "mine.yml", "extends: base.yml\nanchors: {max_scale: 0.9}\n")
    assert message_of("mine.yml") == "base.yml: anchors.aspect_ratios.1: Input should be greater than 0 (found -2)"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"extend: {SSD}", "architecture"),
        ("architecture: ssd", "backbone"),
        (f"extends: {SSD}\nimage_size: [64]", "image_size.1"),
    ],
)
def test_missing_key_is_named_without_all_the_others(folder, text, key):
    write(folder, "mine.yml", f"{text}\n")
    message = f"mine.yml: {key}: is missing; give it, or name a model that has it in extends"
    assert message_of("mine.yml") == message


def test_unknown_model():
    assert message_of("ssd_mobilnet_v2") == (
        f"model: there is no 'ssd_mobilnet_v2'; did you mean '{SSD}'? (a name of {config.shipped_models()} or a .yml"
        " file)"
    )


def test_missing_file(folder):
    assert (
        message_of("none.yml")
        == "none.yml: cannot be read (No such file or directory); pass a model's name or a .yml file"
    )


def test_missing_base(folder):
    write(folder, "mine.yml", "extends: [parts/none.yml]\n")
    assert message_of("mine.yml") == (
        "parts/none.yml: cannot be read (No such file or directory); pass a model's name or a .yml file"
    )


def test_file_that_is_no_text(folder):
    (folder / "mine.yml").write_bytes(b"\xff\xfe\x00")
    assert message_of("mine.yml") == "mine.yml: cannot be read (not UTF-8 text); pass a model's name or a .yml file"


def test_file_that_is_not_yaml(folder):
    write(folder, "mine.yml", "a: [1\nb: 2\n")
    assert message_of("mine.yml") == (
        'mine.yml: is not YAML: while parsing a flow sequence in "<unicode string>", line 1, column 4: a: [1 ^ '
        "expected ',' or ']', but got ':' in \"<unicode string>\", line 2, column 2: b: 2 ^"
    )


@pytest.mark.parametrize("text", ["", "- 1\n", "word\n"])
def test_file_without_keys(folder, text):
    write(folder, "mine.yml", text)
    assert message_of("mine.yml") == f"mine.yml: holds no keys; see {config.shipped_models()[0]}.yml for the form"


def test_extends_that_is_no_name(folder):
    write(folder, "mine.yml", "extends: 3\n")
    assert message_of("mine.yml") == "mine.yml: extends is 3; give a name, a .yml file or a list of them"


def test_file_that_extends_itself(folder):
    write(folder, "parts/a.yml", "extends: b.yml\n")
    write(folder, "parts/b.yml", "extends: ../parts/a.yml\n")
    assert message_of("parts/a.yml") == "parts/a.yml: extends itself; remove it from extends"


def test_thresholds_that_cross(folder):
    path = write(folder, "mine.yml", "extends: faster_rcnn_resnet50\nrpn: {unmatched_threshold: 0.8}\n")
    assert message_of(path) == (
        f"{path}: rpn.unmatched_threshold: Input should not be above matched_threshold, 0.7 (found 0.8)"
    )


def without(data: dict, *keys: str) -> dict:
    """Give a copy without the keys, each a path like ``training.precision``."""
    copy = {name: dict(value) if isinstance(value, dict) else value for name, value in data.items()}
    for key in keys:
        *sections, last = key.split(".")
        section = copy
        for name in sections:
            section[name] = dict(section[name])
            section = section[name]
        del section[last]
    return copy


@pytest.mark.parametrize("model", [SSD, FASTER_RCNN])
def test_saved_configuration_of_before_mosaics_and_precision_can_be_read(model):
    data = config.load(model).model_dump(mode="json")
    older = without(data, "training.precision", "training.augmentation.mosaic")
    assert config.restore(older, where="model.json") == config.load(model)
    with pytest.raises(ConfigurationError, match=r"^mine\.yml: training\.precision: is missing; "):
        config.validate(older, where="mine.yml")


def test_first_saved_configurations_can_be_read():
    later = ["precision", "rms_decay", "rms_epsilon", "schedule", "decay_steps", "decay_factor", "average_decay"]
    later += ["frozen_blocks", "keep_checkpoints", "patience", "augmentation.mosaic"]
    others = ["depth_multiplier", "depthwise_extra_layers", "losses.mining_iou_threshold", "batch_norm.train"]
    data = config.load(SSD).model_dump(mode="json")
    restored = config.restore(without(data, *(f"training.{key}" for key in later), *others), where="model.json")
    neutral = {"average_decay": 0.0, "patience": 0, "frozen_blocks": 0}
    assert restored == config.load(SSD).with_training(**neutral)


def test_what_was_saved_stays():
    changed = config.load("ssd_mobilenet_v2_plain").with_training(average_decay=0.5, precision="mixed_bfloat16")
    assert config.restore(changed.model_dump(mode="json"), where="model.json") == changed


def test_saved_configuration_is_held_against_the_rules():
    data = config.load(SSD).model_dump(mode="json") | {"colour": "red"}
    with pytest.raises(ConfigurationError, match=r"^model\.json: colour: there is no such key"):
        config.restore(data, where="model.json")
