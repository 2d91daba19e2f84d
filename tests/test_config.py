from pathlib import Path

import pydantic
import pytest

from odml import config
from odml.errors import ConfigurationError

SSD = "ssd_mobilenet_v2"


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


def test_ssd_has_the_released_topology():
    ssd = config.load(SSD)
    assert ssd.image_size == (300, 300)
    assert ssd.extra_layers == (512, 256, 256, 128)
    assert ssd.head_kernel_size == 3
    assert ssd.anchors.aspect_ratios == (1.0, 2.0, 0.5, 3.0, 0.3333)
    assert (ssd.matching.threshold, ssd.losses.negatives_per_positive, ssd.losses.min_negatives) == (0.5, 3, 3)
    assert (ssd.detection.iou_threshold, ssd.detection.max_detections) == (0.6, 100)


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
    assert changed.with_training(batch_size=24) == ssd


def test_training_change_that_is_not_allowed():
    with pytest.raises(ConfigurationError) as raised:
        config.load(SSD).with_training(batch_size=0)
    assert str(raised.value) == "parameters: training.batch_size: Input should be greater than 0 (found 0)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_sise: [64, 64]", "image_sise: Extra inputs are not permitted (found [64, 64])"),
        ("image_size: [64, 20]", "image_size.1: Input should be greater than or equal to 32 (found 20)"),
        ("image_size: [64]", "image_size.1: Field required"),
        ("architecture: yolo", "architecture: Input should be 'ssd' (found 'yolo')"),
        (
            "detection: {iou_threshold: 60}",
            "detection.iou_threshold: Input should be less than or equal to 1 (found 60)",
        ),
        (
            "training: {learning_rate: fast}",
            "training.learning_rate: Input should be a valid number, unable to parse string as a number (found 'fast')",
        ),
    ],
    ids=lambda value: value.split(":")[0],
)
def test_key_or_value_that_is_not_allowed(folder, text, message):
    write(folder, "mine.yml", f"extends: {SSD}\n{text}\n")
    assert message_of("mine.yml") == f"mine.yml: {message}"


def test_missing_key_is_named_without_all_the_others(folder):
    write(folder, "mine.yml", "architecture: ssd\n")
    assert message_of("mine.yml") == "mine.yml: backbone: Field required"


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
