from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from odml import architectures, config, records
from odml.batches import training_batches
from odml.boxes import iou, yxyx_to_xyxy
from odml.checkpoints import Checkpoints
from odml.config import Augmentation
from odml.errors import CheckpointError, ConfigurationError, TrainingError
from odml.training import Outcome, Plan, make_optimizer, train
from odml.weight_averages import WeightAverages
from tests import tiny

BATCH_SIZE = 2


class Slope(keras.Model):
    """The least network that can be trained: its loss is the mean of one weight times the images."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = self.add_weight(name="slope", shape=(), initializer="ones")

    def compute_losses(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"left": tf.reduce_mean(batch["images"]) * self.slope.value, "right": 2.0 * self.slope.value}


class Request:
    """A request to stop that has not come yet."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def __bool__(self) -> bool:
        return self.reason is not None


class Diary:
    """Writes down what a training does; asks it to stop when it saves a step."""

    def __init__(self, *, stop_at: int | None = None) -> None:
        self.saved: list[int] = []
        self.evaluated: list[int] = []
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.stop = Request()
        self._stop_at = stop_at
        self.scores: dict[int, float] = {}

    def batches(self, value: float = 3.0) -> tf.data.Dataset:
        """Give endless images of one value."""
        images = tf.fill([BATCH_SIZE, 4, 4, 3], value)
        return tf.data.Dataset.from_tensors({"images": images}).repeat()

    def save(self, step: int) -> None:
        self.saved.append(step)
        if step == self._stop_at:
            self.stop.reason = "SIGINT"

    def evaluate(self, step: int) -> dict[str, float]:
        self.evaluated.append(step)
        return {"eval/score": step / 100}

    @property
    def evaluations_without_gain(self) -> int:
        return len(self.scores) - 1 - list(self.scores.values()).index(max(self.scores.values())) if self.scores else 0

    def add_score(self, step: int, score: float) -> None:
        self.scores[step] = score

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        self.reports.append((step, dict(metrics)))

    def reports_of(self, name: str) -> dict[int, float]:
        return {step: metrics[name] for step, metrics in self.reports if name in metrics}

    def train(
        self,
        model,
        *,
        steps,
        every=100,
        eval_every=100,
        rate=0.1,
        optimizer=None,
        batches=None,
        patience=None,
        **options,
    ):
        if optimizer is None:
            optimizer = keras.optimizers.SGD(rate)
            optimizer.build(model.trainable_variables)
        return train(
            model,
            self.batches() if batches is None else batches,
            optimizer=optimizer,
            plan=Plan(steps=steps, checkpoint_every=every, eval_every=eval_every, patience=patience),
            saver=self,
            evaluate=self.evaluate,
            report=self.report,
            stop=self.stop,
            **options,
        )


def test_one_step_is_trained_saved_evaluated_and_reported():
    model, diary = Slope(), Diary()
    assert diary.train(model, steps=1) == Outcome(step=1, reason="finished")
    # The gradient is 3 + 2, the rate .1.
    assert float(model.slope) == pytest.approx(0.5)
    assert (diary.saved, diary.evaluated) == ([1], [1])
    (step, metrics), (evaluated, scores) = diary.reports
    assert (step, evaluated, scores) == (1, 1, {"eval/score": 0.01})
    speeds = {name: metrics.pop(name) for name in ("train/steps_per_second", "train/images_per_second")}
    assert metrics == pytest.approx(
        {
            "train/loss/left": 3,
            "train/loss/right": 2,
            "train/loss/total": 5,
            "train/gradient_norm": 5,
            "train/learning_rate": 0.1,
        }
    )
    assert speeds["train/images_per_second"] == pytest.approx(BATCH_SIZE * speeds["train/steps_per_second"])


def test_evaluations_and_reports_have_their_own_steps_and_what_is_evaluated_is_saved():
    diary = Diary()
    diary.train(Slope(), steps=23, every=5, eval_every=8)
    assert diary.saved == [5, 8, 10, 15, 16, 20, 23]
    assert diary.evaluated == [8, 16, 23]
    assert list(diary.reports_of("train/loss/total")) == [10, 20, 23]
    assert list(diary.reports_of("eval/score")) == [8, 16, 23]


def test_reports_are_means_since_the_last_one_whatever_happens_between():
    diary = Diary()
    diary.train(Slope(), steps=20, every=7, eval_every=7, rate=0.01)
    # The slope falls by .05 a step from 1; the loss is 5 of it.
    assert diary.reports_of("train/loss/total") == pytest.approx({10: 5 * (1 - 0.05 * 4.5), 20: 5 * (1 - 0.05 * 14.5)})


class SlowDiary(Diary):
    def save(self, step: int) -> None:
        super().save(step)
        time.sleep(0.2)

    def evaluate(self, step: int) -> dict[str, float]:
        time.sleep(0.2)
        return super().evaluate(step)


def test_speed_is_that_of_steps_without_saving_and_evaluating():
    diary = SlowDiary()
    diary.train(Slope(), steps=20, every=5, eval_every=10)
    # Of steps 11 to 20: milliseconds, while saving and evaluating take .6 s.
    assert diary.reports_of("train/steps_per_second")[20] > 10 / 0.4


def test_request_to_stop_ends_after_the_step_with_a_checkpoint_and_an_evaluation():
    diary = Diary(stop_at=4)
    assert diary.train(Slope(), steps=100, every=4) == Outcome(step=5, reason="SIGINT")
    assert (diary.saved, diary.evaluated) == ([4, 5], [5])
    assert list(diary.reports_of("train/loss/total")) == [5]


def test_request_that_comes_while_a_step_is_saved_and_evaluated_ends_with_that_step():
    diary = Diary(stop_at=4)
    assert diary.train(Slope(), steps=100, every=4, eval_every=4) == Outcome(step=4, reason="SIGINT")
    assert (diary.saved, diary.evaluated) == ([4], [4])


def test_request_that_comes_with_the_last_step_finds_the_training_finished():
    diary = Diary(stop_at=4)
    assert diary.train(Slope(), steps=4, every=4) == Outcome(step=4, reason="finished")


class Fading(Diary):
    """Scores rise to the third evaluation and fall from there."""

    def evaluate(self, step: int) -> dict[str, float]:
        self.evaluated.append(step)
        return {"eval/coco/mAP": 1.0 - abs(step - 6) / 100}


def test_training_ends_when_scores_have_not_risen_for_so_many_evaluations():
    diary = Fading()
    assert diary.train(Slope(), steps=100, every=50, eval_every=2, patience=3) == Outcome(step=12, reason="patience")
    assert diary.evaluated == diary.saved == [2, 4, 6, 8, 10, 12]


def test_training_goes_on_from_a_step():
    diary = Diary()
    outcome = diary.train(Slope(), steps=25, every=5, eval_every=10, start=12)
    assert outcome == Outcome(step=25, reason="finished")
    assert diary.saved == [15, 20, 25]
    assert diary.evaluated == [20, 25]
    assert list(diary.reports_of("train/loss/total")) == [20, 25]


def test_evaluation_that_a_killed_process_did_not_come_to_is_made_up_for():
    diary = Diary()
    diary.train(Slope(), steps=25, every=5, eval_every=10, start=20)
    assert diary.evaluated == [20, 25]
    diary = Diary()
    diary.scores[20] = 0.5
    diary.train(Slope(), steps=25, every=5, eval_every=10, start=20)
    assert diary.evaluated == [25]


def test_nothing_is_left_to_train():
    with pytest.raises(ConfigurationError) as raised:
        Diary().train(Slope(), steps=20, start=20)
    assert str(raised.value) == "train_steps: 20 steps are trained already, of 20; give more"


class FullDisk(Diary):
    """Has no room for the checkpoints before step 10, and for no score."""

    def save(self, step: int) -> None:
        if step < 10:
            raise CheckpointError(f"no room for {step}")
        super().save(step)

    def evaluate(self, step: int) -> dict[str, float]:
        return super().evaluate(step) | {"eval/coco/mAP": 0.5}

    def add_score(self, step: int, score: float) -> None:
        raise CheckpointError("no room for scores")


def test_disk_that_is_full_for_a_while_does_not_end_the_training(caplog):
    diary = FullDisk()
    assert diary.train(Slope(), steps=12, every=4, eval_every=6) == Outcome(step=12, reason="finished")
    assert diary.saved == [12]
    assert [each for each in caplog.messages if "no room" in each] == [
        "no room for 4; training goes on and tries again with the next one",
        "no room for scores; training goes on and tries again with the next one",
    ]


def test_last_checkpoint_must_be_written():
    with pytest.raises(CheckpointError, match=r"^no room for 5$"):
        FullDisk().train(Slope(), steps=5)


class Greedy(Slope):
    error: Exception = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nand so on")

    def compute_losses(self, batch):
        raise self.error


@pytest.mark.parametrize(("batch_size", "first"), [(24, "batch_size=12 or batch_size=auto, or "), (1, "")])
def test_memory_that_does_not_suffice(batch_size, first):
    with pytest.raises(TrainingError) as raised:
        Diary().train(Greedy(), steps=5, batch_size=batch_size)
    assert str(raised.value) == (
        f"step 1: memory does not suffice (OOM when allocating tensor); give {first}smaller images by a YAML file that "
        "extends the model"
    )


# Python's own says nothing.
@pytest.mark.parametrize(
    ("error", "told"), [(MemoryError("std::bad_alloc"), "std::bad_alloc"), (MemoryError(), "MemoryError")]
)
def test_memory_that_a_limit_of_the_process_takes_is_told_too(error, told):
    model = Greedy()
    model.error = error
    with pytest.raises(TrainingError, match=rf"^step 1: memory does not suffice \({told}\); give batch_size=1 "):
        Diary().train(model, steps=5, batch_size=2)


def test_averages_follow_the_weights_and_are_what_is_evaluated():
    model = Slope()
    averages = WeightAverages(model, decay=0.4)
    seen = []

    class Watching(Diary):
        def evaluate(self, step: int) -> dict[str, float]:
            seen.append(float(model.slope))
            return super().evaluate(step)

    Watching().train(model, steps=4, averages=averages, rate=0.02)
    # The slope falls by .1 a step; of the average the first steps keep 1/10, 2/11, 3/12 and 4/13.
    average = 1.0
    for step in range(4):
        keep = min(0.4, (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * (1 - 0.1 * (step + 1))
    assert seen == pytest.approx([average])
    assert float(model.slope) == pytest.approx(0.6)


def test_training_without_a_last_step_goes_on_until_it_is_stopped():
    diary = Diary(stop_at=12)
    assert diary.train(Slope(), steps=None, every=6) == Outcome(step=13, reason="SIGINT")


def test_loss_that_is_no_number_ends_the_training_and_is_not_saved():
    diary = Diary()
    names = {"name_sources": lambda step: [f"{step}/a.png", f"{step}/b.png"]}
    with pytest.raises(TrainingError) as raised:
        diary.train(Slope(), steps=5, every=1, batches=diary.batches(math.nan), **names)
    assert str(raised.value) == (
        "step 1: the loss or its gradient is not a finite number (gradient_norm nan, loss/left nan, loss/right 2, "
        "loss/total nan); lower learning_rate, or look for odd boxes in 1/a.png, 1/b.png"
    )
    assert diary.saved == []


class Edge(Slope):
    """Its loss is finite where the gradient is not: the root of a weight that is 0."""

    def compute_losses(self, batch):
        return {"root": tf.sqrt(tf.abs(self.slope.value - 1.0)) + 0.0 * tf.reduce_sum(batch["images"])}


def test_gradient_that_is_no_number_ends_the_training_before_it_is_saved():
    diary = Diary()
    with pytest.raises(
        TrainingError, match=r"^step 1: the loss or its gradient is not a finite number \(gradient_norm"
    ):
        diary.train(Edge(), steps=5, every=1)
    assert diary.saved == []


@pytest.mark.parametrize(
    ("numbers", "name", "what"),
    [
        ((0, 1, 1, 1), "steps", "steps"),
        ((None, 0, 1, None), "checkpoint_every", "steps"),
        ((9, 1, -2, None), "eval_every", "steps"),
        ((9, 1, 1, 0), "patience", "evaluations"),
    ],
)
def test_plan_of_less_than_a_step(numbers, name, what):
    steps, checkpoint_every, eval_every, patience = numbers
    with pytest.raises(ConfigurationError) as raised:
        Plan(steps=steps, checkpoint_every=checkpoint_every, eval_every=eval_every, patience=patience)
    value = next(number for number in numbers if number is not None and number < 1)
    assert str(raised.value) == f"{name}: {value} is not a number of {what}; give 1 or more"


def rates(at, *, steps, **changes):
    """Give the optimizer's rate at some steps, with a rate of .2 and a warm-up of 4 steps unless changed."""
    recipe = tiny.configuration(**({"learning_rate": 0.2, "warmup_steps": 4} | changes)).training
    optimizer = make_optimizer(recipe, Slope(), steps=steps)
    values = []
    for step in at:
        optimizer.iterations.assign(step)
        values.append(float(optimizer.learning_rate))
    return values


def test_rate_warms_up_and_falls_to_zero_along_a_cosine():
    expected = [0.04, 0.08, 0.12, 0.16, 0.2, 0.1 + 0.1 * math.sqrt(0.5), 0.1, 0, 0]
    assert rates([0, 1, 2, 3, 4, 14, 24, 44, 90], steps=44) == pytest.approx(expected, abs=1e-7)


def test_warm_up_takes_at_most_a_tenth_of_the_steps():
    assert rates([0, 1, 2], steps=20, warmup_steps=50, schedule="constant") == pytest.approx([0.2 / 3, 0.4 / 3, 0.2])
    assert rates([0], steps=1, warmup_steps=50) == pytest.approx([0.2])


@pytest.mark.parametrize("schedule", ["cosine", "constant", "steps"])
def test_rate_stays_after_the_warm_up_if_nothing_is_known_to_lower_it(schedule):
    assert rates([0, 2, 4, 1000], steps=None, schedule=schedule) == pytest.approx([0.04, 0.12, 0.2, 0.2])


def test_constant_rate_stays_though_the_end_is_known():
    assert rates([4, 50, 99], steps=100, schedule="constant") == pytest.approx([0.2, 0.2, 0.2])


@pytest.mark.parametrize("steps", [None, 100])
def test_rate_is_lowered_at_the_steps_of_the_recipe(steps):
    recipe = {"schedule": "steps", "decay_steps": [20, 30], "decay_factor": 0.5}
    assert rates([3, 19, 20, 29, 30, 99], steps=steps, **recipe) == pytest.approx([0.16, 0.2, 0.1, 0.1, 0.05, 0.05])


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert rates([0, 5, 10], steps=10, warmup_steps=0) == pytest.approx([0.2, 0.1, 0], abs=1e-7)
    assert rates([0, 5], steps=None, warmup_steps=0) == pytest.approx([0.2, 0.2])


# The Object Detection API's own cases (utils/learning_schedules_test.py). A warm-up there begins at a rate of its own:
# in these two at the rate over the number of warm-up steps and one, which is where ours begins.
def test_manual_stepping_of_the_object_detection_api():
    # Of its boundaries; its rates, 1, 2, 3 and 4, have no factor in common.
    powers = rates(range(10), steps=None, schedule="steps", decay_steps=[2, 3, 7], learning_rate=1, warmup_steps=0)
    assert powers == pytest.approx([1, 1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001])


def test_manual_stepping_with_warm_up_of_the_object_detection_api():
    found = rates(range(9), steps=None, schedule="steps", decay_steps=[6, 8], learning_rate=0.1, warmup_steps=4)
    assert found == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_manual_stepping_without_boundaries_of_the_object_detection_api():
    found = rates(range(4), steps=None, schedule="steps", learning_rate=0.01, warmup_steps=0)
    assert found == pytest.approx([0.01] * 4)


def test_cosine_of_the_object_detection_api():
    found = rates([0, 4, 8, 9, 100, 101], steps=100, schedule="cosine", learning_rate=1, warmup_steps=9)
    assert found == pytest.approx([0.1, 0.5, 0.9, 1, 0, 0], abs=1e-7)


def test_optimizer_is_that_of_the_recipe():
    adam = make_optimizer(tiny.configuration(optimizer="adam", momentum=0.8).training, Slope(), steps=5)
    assert isinstance(adam, keras.optimizers.Adam)
    assert (adam.beta_1, adam.global_clipnorm) == (0.8, 10)
    recipe = tiny.configuration(optimizer="rmsprop", rms_decay=0.7, rms_epsilon=0.5, learning_rate=0.1, warmup_steps=0)
    slope = Slope()
    rmsprop = make_optimizer(recipe.training, slope, steps=None)
    for _ in range(2):
        rmsprop.apply([tf.constant(2.0)], slope.trainable_variables)
    # As TensorFlow 1 has it, but that its mean of squares began at 1.
    first, second = 0.1 * 2 / math.sqrt(0.3 * 4 + 0.5), 0.1 * 2 / math.sqrt(0.7 * 1.2 + 0.3 * 4 + 0.5)
    assert float(slope.slope) == pytest.approx(1 - first - (0.9 * first + second), rel=1e-6)
    sgd = make_optimizer(tiny.configuration().training, Slope(), steps=5)
    assert isinstance(sgd, keras.optimizers.SGD)
    assert (sgd.momentum, sgd.nesterov, sgd.global_clipnorm) == (0.9, False, 10)


def test_large_gradients_are_clipped_to_the_norm_of_the_recipe():
    model = Slope()
    recipe = tiny.configuration(clip_gradient_norm=0.5, learning_rate=1.0, warmup_steps=0).training
    optimizer = make_optimizer(recipe, model, steps=None)
    optimizer.apply([tf.constant(8.0)], model.trainable_variables)
    assert float(model.slope) == pytest.approx(1 - 0.5)


def scaling(model: Slope, **changes) -> keras.optimizers.Optimizer:
    """Make the optimizer of a recipe, unless changed that for float16, whose loss scale begins at 2**15."""
    recipe = tiny.configuration(
        **({"precision": "mixed_float16", "learning_rate": 0.1, "warmup_steps": 0, "momentum": 0.0} | changes)
    )
    return make_optimizer(recipe.training, model, steps=None)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_scaled_loss_changes_neither_reports_nor_weights(optimizer):
    found = {}
    for precision in ("float32", "mixed_float16"):
        model, diary = Slope(), Diary()
        # The gradient, 5, is clipped.
        recipe = {"optimizer": optimizer, "clip_gradient_norm": 0.5, "precision": precision}
        diary.train(model, steps=3, optimizer=scaling(model, **recipe))
        reports = [diary.reports_of(f"train/{name}")[3] for name in ("loss/total", "gradient_norm", "learning_rate")]
        found[precision] = [float(model.slope), *reports]
    assert found["mixed_float16"] == pytest.approx(found["float32"], rel=1e-6)
    assert diary.reports_of("train/loss_scale") == {3: 2.0**15}


class Half(Slope):
    """Its gradient, 3 times the loss scale, has 16 bits: at most 65,504."""

    def compute_losses(self, batch):
        images = tf.cast(tf.reduce_mean(batch["images"]), tf.float16)
        return {"half": tf.cast(images * tf.cast(self.slope.value, tf.float16), tf.float32)}


def test_step_whose_scaled_gradient_overflows_is_skipped_with_a_lower_scale():
    model, diary = Half(), Diary()
    optimizer = scaling(model)
    assert diary.train(model, steps=2, optimizer=optimizer) == Outcome(step=2, reason="finished")
    assert float(model.slope) == pytest.approx(1 - 0.1 * 3)
    assert int(optimizer.iterations) == 1
    (_, metrics), _ = diary.reports
    assert (metrics["train/gradient_norm"], metrics["train/loss_scale"]) == (3, (2**15 + 2**14) / 2)


def test_gradient_that_no_scale_makes_finite_ends_the_training():
    model = Edge()
    with pytest.raises(TrainingError, match=r"^step 16: the loss or its gradient .*, loss_scale 1\); "):
        Diary().train(model, steps=20, optimizer=scaling(model))


def test_loss_scale_is_kept_with_the_optimizer(tmp_path):
    model = Half()
    optimizer = scaling(model)
    Diary().train(model, steps=2, optimizer=optimizer)
    tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / "state"))
    other = scaling(Half())
    tf.train.Checkpoint(optimizer=other).read(str(tmp_path / "state")).assert_existing_objects_matched()
    assert [float(other.dynamic_scale), int(other.step_counter), int(other.iterations)] == [2.0**14, 1, 1]


NOTHING = Augmentation(horizontal_flip=False, random_crop=False, random_color=False, mosaic=0.0)


class Whole:
    """A training of the tiny network in a folder, up to a step; it goes on where the folder's ended."""

    def __init__(self, folder: Path, *, steps: int):
        keras.utils.set_random_seed(1)
        dataset = records.open_dataset(folder / "dataset")
        # Augmented, with momentum and averages: all that could be forgotten.
        recipe = tiny.configuration(batch_size=2, warmup_steps=3, checkpoint_every=2)
        self.network = architectures.build(recipe, len(tiny.LABEL_MAP))
        optimizer = make_optimizer(recipe.training, self.network, steps=8)
        self.averages = WeightAverages(self.network, decay=0.9)
        saver = Checkpoints(
            folder / f"train{steps}", self.network, tiny.LABEL_MAP, optimizer=optimizer, averages=self.averages
        )
        previous = folder / f"train{steps // 2}"
        if previous.is_dir():
            shutil.copytree(previous, folder / f"train{steps}", dirs_exist_ok=True)
        start = saver.restore() if previous.is_dir() else 0
        diary = Diary()
        train(
            self.network,
            training_batches(
                dataset,
                batch_size=2,
                resize=self.network.resize,
                augment=recipe.training.augmentation,
                seed=3,
                start=start,
            ),
            optimizer=optimizer,
            averages=self.averages,
            plan=Plan(steps=steps, checkpoint_every=2, eval_every=4),
            start=start,
            saver=saver,
            evaluate=diary.evaluate,
            report=diary.report,
            stop=diary.stop,
        )


@pytest.mark.slow
def test_going_on_is_the_same_as_never_having_stopped(tmp_path):
    objects = [[("red", (20, 22, 38, 32))], [("green", (36, 20, 76, 56))], [("red", (30, 10, 70, 50))]]
    examples = [tiny.serialize(each, source_id=f"{number}.png") for number, each in enumerate(objects)]
    for name in ("whole", "halves"):
        tiny.write_dataset(tmp_path / name / "dataset", train=examples)
    whole = Whole(tmp_path / "whole", steps=8)
    Whole(tmp_path / "halves", steps=4)
    second = Whole(tmp_path / "halves", steps=8)
    for mine, theirs in zip(second.network.variables, whole.network.variables, strict=True):
        assert np.array_equal(mine, theirs), mine.path
    for name, average in second.averages.variables.items():
        assert np.array_equal(average, whole.averages.variables[name]), name


@pytest.mark.slow
def test_network_learns_a_few_pictures_by_heart(tmp_path):
    keras.utils.set_random_seed(1)
    # One for each feature map, so that every head has something to learn.
    objects = [
        ("red", (20, 22, 38, 32)),
        ("green", (36, 20, 76, 56)),
        ("red", (30, 10, 70, 50)),
        ("green", (2, 2, 78, 58)),
    ]
    dataset = tiny.write_dataset(tmp_path / "dataset", train=[tiny.serialize([each]) for each in objects])
    data = tiny.configuration(optimizer="adam", learning_rate=3e-3, warmup_steps=5).model_dump()
    data["batch_norm"]["momentum"] = 0.8  # its statistics must settle in these few steps
    network = architectures.build(config.validate(data, where="test"), len(tiny.LABEL_MAP))
    before = [weight.numpy() for weight in network.trainable_variables]
    diary = Diary()
    train(
        network,
        training_batches(dataset, batch_size=4, resize=network.resize, augment=NOTHING, seed=1),
        optimizer=make_optimizer(network.configuration.training, network, steps=None),
        plan=Plan(steps=120, checkpoint_every=120, eval_every=120),
        saver=diary,
        evaluate=diary.evaluate,
        report=diary.report,
        stop=diary.stop,
    )
    for old, weight in zip(before, network.trainable_variables, strict=True):
        assert not np.array_equal(old, weight.numpy()), weight.path
    losses = diary.reports_of("train/loss/total")
    assert losses[120] < 0.25 * losses[10]
    found = network.detect(tf.constant(np.stack([tiny.draw([each]) for each in objects])))
    best = [tiny.LABEL_MAP.name_of(int(number)) for number in found["detection_classes"][:, 0]]
    assert best == [name for name, _ in objects]
    for (_, box), detected in zip(objects, found["detection_boxes"][:, :1].numpy(), strict=True):
        assert iou(yxyx_to_xyxy(detected, width=80, height=60), np.array([box]))[0, 0] > 0.5
    assert set(diary.reports[0][1]) == {
        "train/gradient_norm",
        "train/images_per_second",
        "train/learning_rate",
        "train/loss/classification",
        "train/loss/localization",
        "train/loss/regularization",
        "train/loss/total",
        "train/steps_per_second",
    }


def test_what_was_learned_until_a_batch_cannot_be_read_is_saved():
    def readable(number):
        tf.debugging.assert_less(number, tf.constant(3, tf.int64))
        return {"images": tf.fill([BATCH_SIZE, 4, 4, 3], 3.0)}

    diary = Diary()
    with pytest.raises(tf.errors.InvalidArgumentError):
        diary.train(Slope(), steps=5, every=2, batches=tf.data.Dataset.range(5).map(readable))
    assert (diary.saved, diary.evaluated) == ([2, 3], [])


def test_nothing_is_saved_twice_when_a_batch_cannot_be_read():
    def readable(number):
        tf.debugging.assert_less(number, tf.constant(2, tf.int64))
        return {"images": tf.fill([BATCH_SIZE, 4, 4, 3], 3.0)}

    diary = Diary()
    with pytest.raises(tf.errors.InvalidArgumentError):
        diary.train(Slope(), steps=5, every=2, batches=tf.data.Dataset.range(5).map(readable))
    assert diary.saved == [2]
