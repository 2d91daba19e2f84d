from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import odml
from odml import architectures, checkpoints, config
from odml.architectures import SSD
from odml.checkpoints import Checkpoints
from odml.errors import CheckpointError, ConfigurationError
from odml.structures import LabelMap
from odml.training import make_optimizer
from odml.weight_averages import WeightAverages
from tests import tiny

ENDS = ("data-00000-of-00001", "index")
JSON = ("model.json", "scores.json")


@pytest.fixture(scope="module")
def network() -> SSD:
    tf.random.set_seed(2)
    network = architectures.build(tiny.configuration(), 2)
    for variable in network.variables:
        variable.assign(tf.random.normal(variable.shape))
    return network


@pytest.fixture(scope="module")
def saved(network: SSD, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints of the steps 3, 20 and 100; the first weights of the last is 100."""
    folder = tmp_path_factory.mktemp("run") / "train"
    saver = Checkpoints(folder, network, tiny.LABEL_MAP, optimizer=optimizer_of(network), settings={"seed": 7})
    for step in (3, 20, 100):
        network.variables[0].assign(tf.fill(network.variables[0].shape, float(step)))
        saver.save(step)
    return folder


def optimizer_of(network: SSD):
    return make_optimizer(tiny.configuration().training, network, steps=None)


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(saved, tmp_path / "train"))


def message_of(folder: Path, step: int | str = "latest") -> str:
    with pytest.raises(CheckpointError) as raised:
        checkpoints.load(folder, step)
    return str(raised.value)


def test_folder_is_laid_out_as_tensorflow_1_did(saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "checkpoint",
        "model.ckpt-100.data-00000-of-00001",
        "model.ckpt-100.index",
        "model.ckpt-20.data-00000-of-00001",
        "model.ckpt-20.index",
        "model.ckpt-3.data-00000-of-00001",
        "model.ckpt-3.index",
        "model.json",
    ]
    assert (saved / "checkpoint").read_text().startswith('model_checkpoint_path: "model.ckpt-100"\n')


def test_description_tells_what_the_weights_are_of(saved):
    assert json.loads((saved / "model.json").read_text()) == {
        "odml_version": odml.__version__,
        "label_map": ["green", "red"],
        "configuration": tiny.configuration().model_dump(mode="json"),
        "training": {"seed": 7},
    }
    assert checkpoints.read_settings(saved) == {"seed": 7}


def test_steps_are_listed_by_number(saved, tmp_path):
    assert checkpoints.list_steps(saved) == [3, 20, 100]
    assert checkpoints.list_steps(tmp_path) == []
    assert checkpoints.list_steps(tmp_path / "none") == []


def test_latest_network_comes_back_exactly(saved, network):
    loaded, label_map, step = checkpoints.load(saved)
    assert (label_map, step) == (tiny.LABEL_MAP, 100)
    assert loaded.configuration == network.configuration
    assert [variable.path for variable in loaded.variables] == [variable.path for variable in network.variables]
    for mine, theirs in zip(loaded.variables, network.variables, strict=True):
        assert np.array_equal(mine.numpy(), theirs.numpy()), mine.path


def test_network_trained_with_mixed_precision_comes_back_in_float32(tmp_path):
    network = tiny.lively_network()
    mixed = architectures.build(tiny.configuration(precision="mixed_bfloat16"), 2, precision="mixed_bfloat16")
    for variable, value in zip(mixed.variables, network.variables, strict=True):
        variable.assign(value)
    Checkpoints(tmp_path / "train", mixed, tiny.LABEL_MAP, optimizer=optimizer_of(mixed)).save(1)
    loaded, _, _ = checkpoints.load(tmp_path / "train")
    images = tf.random.stateless_uniform([1, 64, 64, 3], [1, 2], 0, 255)
    found, expected = loaded.detect(images), network.detect(images)
    for name in expected:
        assert np.array_equal(found[name], expected[name]), name


def test_network_of_an_earlier_step(saved):
    loaded, _, step = checkpoints.load(saved, 3)
    assert step == 3
    assert set(loaded.variables[0].numpy().ravel()) == {3.0}


def test_latest_few_are_kept(network, tmp_path):
    saver = Checkpoints(tmp_path / "train", network, tiny.LABEL_MAP, optimizer=optimizer_of(network), keep=2)
    for step in (1, 2, 3, 4):
        saver.save(step)
    assert checkpoints.list_steps(tmp_path / "train") == [3, 4]


def test_best_one_is_kept_beside_the_latest_few(network, tmp_path):
    saver = Checkpoints(tmp_path / "train", network, tiny.LABEL_MAP, optimizer=optimizer_of(network), keep=2)
    for step, score in ((1, 0.1), (2, 0.5), (3, 0.5), (4, 0.2), (5, 0.3)):
        saver.save(step)
        saver.add_score(step, score)
    assert checkpoints.list_steps(tmp_path / "train") == [2, 4, 5]
    assert saver.evaluations_without_gain == 3
    assert [checkpoints.find_step(tmp_path / "train", wanted) for wanted in ("best", "latest", 4)] == [2, 5, 4]
    names = sorted(path.name for path in (tmp_path / "train").iterdir())
    assert names == ["checkpoint", *(f"model.ckpt-{step}.{end}" for step in (2, 4, 5) for end in ENDS), *JSON]
    assert 'all_model_checkpoint_paths: "model.ckpt-2"' in (tmp_path / "train/checkpoint").read_text()


def test_best_without_any_evaluation_is_the_latest(saved):
    assert checkpoints.find_step(saved, "best") == 100


def test_best_that_is_not_there(folder):
    (folder / "scores.json").write_text('{"20": 0.5, "4": 0.7}')
    assert message_of(folder, "best") == f"{folder}: has no checkpoint of step 4; it has 3, 20, 100"


@pytest.mark.parametrize("text", ["{", "[]", '{"3": null}', '{"x": 1}'])
def test_damaged_scores(folder, text):
    (folder / "scores.json").write_text(text)
    message = message_of(folder, "best")
    assert message.startswith(f"{folder}/scores.json: cannot be read (")
    assert message.endswith("); remove it, or name a step")


def test_scores_are_remembered_by_who_goes_on(network, tmp_path):
    folder = tmp_path / "train"
    saver = Checkpoints(folder, network, tiny.LABEL_MAP, optimizer=optimizer_of(network))
    for step, score in ((10, 0.1), (20, 0.5)):
        saver.save(step)
        saver.add_score(step, score)
    saver.add_score(30, 0.7)  # its checkpoint could not be written
    again = Checkpoints(folder, network, tiny.LABEL_MAP, optimizer=optimizer_of(network))
    assert (again.restore(), again.scores) == (20, {10: 0.1, 20: 0.5})


def test_what_a_killed_process_was_writing_is_no_checkpoint_and_goes_with_the_next(network, folder):
    (folder / ".partial").mkdir()
    (folder / ".partial" / "model.ckpt-200.index").write_bytes(b"torn")
    (folder / "model.ckpt-200.data-00000-of-00001").write_bytes(b"torn")
    assert checkpoints.find_step(folder, "latest") == 100
    saver = Checkpoints(folder, network, tiny.LABEL_MAP, optimizer=optimizer_of(network))
    assert saver.restore() == 100
    saver.save(300)
    assert checkpoints.list_steps(folder) == [3, 20, 100, 300]
    assert not list(folder.glob(".partial*"))
    assert not list(folder.glob("*-200*"))


def test_checkpoint_that_cannot_be_written_leaves_those_before(network, folder, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    saver = Checkpoints(folder, network, tiny.LABEL_MAP, optimizer=optimizer_of(network))
    before = sorted(folder.iterdir())
    monkeypatch.setattr("odml.checkpoints.os.replace", full)
    with pytest.raises(CheckpointError) as raised:
        saver.save(300)
    assert str(raised.value) == (
        f"{folder}: the checkpoint of step 300 cannot be written (No space left on device); make room there"
    )
    assert checkpoints.list_steps(folder) == [100]
    assert sorted(folder.iterdir()) == [path for path in before if "-3." not in path.name and "-20." not in path.name]


def test_older_checkpoints_make_room_for_a_new_one(network, folder, monkeypatch):
    replace = os.replace

    def full(source, target):
        if "model.ckpt-300" in str(source) and (folder / "model.ckpt-3.index").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    saver = Checkpoints(folder, network, tiny.LABEL_MAP, optimizer=optimizer_of(network))
    for step, score in ((3, 0.1), (20, 0.7), (100, 0.4)):
        saver.add_score(step, score)
    monkeypatch.setattr("odml.checkpoints.os.replace", full)
    saver.save(300)
    assert checkpoints.list_steps(folder) == [20, 100, 300]
    assert checkpoints.find_step(folder, "best") == 20


def test_averages_are_what_others_read_and_the_weights_are_what_training_goes_on_from(tmp_path, network):
    averages = WeightAverages(network, decay=0.5)
    weights = network.variables[0].numpy()
    averages.variables[network.variables[0].path.split("/", 1)[1]].assign(weights + 1)
    folder = tmp_path / "train"
    Checkpoints(folder, network, tiny.LABEL_MAP, optimizer=optimizer_of(network), averages=averages).save(5)
    loaded, _, _ = checkpoints.load(folder)
    assert loaded.variables[0].numpy() == pytest.approx(weights + 1)
    again = WeightAverages(loaded, decay=0.5)
    saver = Checkpoints(folder, loaded, tiny.LABEL_MAP, optimizer=optimizer_of(loaded), averages=again)
    saver.restore()
    assert np.array_equal(loaded.variables[0].numpy(), weights)
    assert next(iter(again.variables.values())).numpy() == pytest.approx(weights + 1)


def test_others_hear_of_every_change(tmp_path, network):
    heard = []
    saver = Checkpoints(
        tmp_path / "train",
        network,
        tiny.LABEL_MAP,
        optimizer=optimizer_of(network),
        on_change=lambda: heard.append(len(list(tmp_path.glob("train/*.json")))),
    )
    saver.save(1)
    saver.add_score(1, 0.5)
    assert heard == [1, 2]


def test_optimizer_is_saved_too_and_weights_are_saved_once(saved, network):
    names = [name for name, _ in tf.train.list_variables(str(saved / "model.ckpt-100"))]
    assert sum(name.startswith("variables/") for name in names) == len(network.variables)
    # Momenta; beside them stand the optimizer's counter and rate and TensorFlow's own graph of objects.
    assert sum(name.startswith("optimizer/_variables/") for name in names) == len(network.trainable_variables)
    assert len(names) == len(network.variables) + len(network.trainable_variables) + 2


def test_folder_without_checkpoints(tmp_path):
    assert message_of(tmp_path) == (
        f"{tmp_path}: holds no checkpoint model.ckpt-STEP.index; pass a training run or its train/"
    )


def test_step_that_is_not_there(saved):
    assert message_of(saved, 4) == f"{saved}: has no checkpoint of step 4; it has 3, 20, 100"


def test_checkpoint_without_its_weights(folder):
    (folder / "model.ckpt-20.data-00000-of-00001").unlink()
    message = message_of(folder, 20)
    assert message.startswith(f"{folder}/model.ckpt-20: cannot be restored (")
    assert message.endswith("); use another checkpoint")
    assert "\n" not in message


def test_torn_checkpoint(folder):
    path = folder / "model.ckpt-20.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:10_000])
    assert message_of(folder, 20).startswith(f"{folder}/model.ckpt-20: cannot be restored (")
    index = folder / "model.ckpt-3.index"
    index.write_bytes(b"torn")
    assert message_of(folder, 3).startswith(f"{folder}/model.ckpt-3: cannot be restored (")


def test_weights_of_other_classes(folder):
    network = architectures.build(tiny.configuration(), 3)
    with pytest.raises(CheckpointError) as raised:
        checkpoints.restore(network, folder / "model.ckpt-20")
    assert str(raised.value) == (
        f"{folder}/model.ckpt-20: cannot be restored (BoxPredictor_0/ClassPredictor/weights is"
        " [3, 3, 144, 9] there and [3, 3, 144, 12] in the network); use another checkpoint"
    )


def test_folder_without_its_description(folder):
    (folder / "model.json").unlink()
    assert message_of(folder) == (
        f"{folder}/model.json: cannot be read (No such file or directory); it is written beside the checkpoints"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("{}", "KeyError: 'label_map'"),
        ("[]", "TypeError: list indices must be integers or slices, not str"),
        (
            '{"label_map": ["a", "a"]}',
            "ValueError: names of a label map must be distinct and not empty: ['a', 'a']",
        ),
    ],
)
def test_damaged_description(folder, text, reason):
    (folder / "model.json").write_text(text)
    assert message_of(folder) == f"{folder}/model.json: cannot be read ({reason}); it is written beside the checkpoints"


def test_checkpoint_of_before_a_key_of_the_configuration_can_be_read(folder):
    before, _, _ = checkpoints.load(folder)
    description = json.loads((folder / "model.json").read_text())
    del description["configuration"]["training"]["precision"]
    (folder / "model.json").write_text(json.dumps(description))
    after, _, _ = checkpoints.load(folder)
    assert after.configuration == before.configuration


def test_description_of_a_network_that_is_not_known(folder):
    description = json.loads((folder / "model.json").read_text())
    description["configuration"]["architecture"] = "yolo"
    (folder / "model.json").write_text(json.dumps(description))
    with pytest.raises(ConfigurationError) as raised:
        checkpoints.load(folder)
    assert (
        str(raised.value) == f"{folder}/model.json: architecture: Input should be 'ssd' or 'faster_rcnn' (found 'yolo')"
    )


def test_names_of_classes_in_any_alphabet(network, tmp_path):
    names = LabelMap(("c# = é", "犬"))
    Checkpoints(tmp_path / "train", network, names, optimizer=optimizer_of(network)).save(1)
    assert checkpoints.load(tmp_path / "train")[1] == names


def test_folder_is_empty_until_the_first_checkpoint(tmp_path, network):
    saver = Checkpoints(tmp_path / "train", network, tiny.LABEL_MAP, optimizer=optimizer_of(network))
    assert list((tmp_path / "train").iterdir()) == []
    saver.save(1)
    assert (tmp_path / "train" / "model.json").is_file()


@pytest.mark.slow
def test_two_stage_network_comes_back_exactly(tmp_path):
    data = config.load("faster_rcnn_resnet50").model_dump()
    data["rpn"] |= {"max_proposals": 4}
    network = architectures.build(config.validate(data, where="test"), 2)
    optimizer = make_optimizer(network.configuration.training, network, steps=None)
    Checkpoints(tmp_path / "train", network, tiny.LABEL_MAP, optimizer=optimizer).save(5)
    loaded, label_map, step = checkpoints.load(tmp_path / "train")
    assert (label_map, step) == (tiny.LABEL_MAP, 5)
    assert loaded.configuration == network.configuration
    for mine, theirs in zip(loaded.variables, network.variables, strict=True):
        assert mine.path == theirs.path
        assert np.array_equal(mine.numpy(), theirs.numpy()), mine.path
