"""The options that several entry points have.

An option is spelled with dashes (``--val-split``), its parameter in MLproject with underscores (``val_split``).
``mlflow run`` always passes every parameter, so "not given" is a value of its own: ``""`` for text, ``-1`` for a
number.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from odml.config import Configuration


AUTO = "auto"


class CheckpointStep(click.ParamType):
    """best, latest, or the number of a step."""

    name = "step"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """Give the word, or the number as int."""
        if value in ("best", "latest"):
            return str(value)
        if not str(value).isdecimal():
            self.fail(f"{value!r} is not best, latest or the number of a step", param, ctx)
        return int(value)


class BatchSize(click.ParamType):
    """auto, a number, or nothing."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """Give the word, the number as int, or the empty text."""
        if value in (AUTO, ""):
            return str(value)
        if not str(value).isdecimal():
            self.fail(f"{value!r} is not auto or the number of images in a step", param, ctx)
        return int(value)


class OptionalPath(click.Path):
    """A path, or None for the empty text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Give the path, if there is one."""
        return super().convert(value, param, ctx) if value != "" else None


KNOWN_DATASETS = ("voc2008", "oxford_pets", "shapes")
_SOURCE_OPTIONS = (
    click.option(
        "--images",
        type=OptionalPath(exists=True, file_okay=False, path_type=Path),
        default=None,
        help="Folder of images; folders in it count too.",
    ),
    click.option(
        "--annotations",
        type=OptionalPath(exists=True, path_type=Path),
        default=None,
        help="Folder of annotations, folders in it count too; or one COCO JSON file, or a YOLO data.yaml.",
    ),
    click.option(
        "--dataset",
        type=click.Choice(["", *KNOWN_DATASETS]),
        default="",
        metavar="NAME",
        help="In place of images and annotations, a data set that odml downloads or draws: voc2008, oxford_pets, "
        "shapes.",
    ),
)
format_option = click.option(
    "--format",
    type=click.Choice(["auto", "pascal_voc", "coco", "yolo"]),
    default="auto",
    show_default=True,
    help="What the annotations are; auto looks at the files, and says what it found.",
)
val_split_option = click.option(
    "--val-split",
    type=click.FloatRange(0, 100),
    default=30.0,
    show_default=True,
    help="Percent of the images kept for validation, where the data bring no split.",
)
test_split_option = click.option(
    "--test-split",
    type=click.FloatRange(0, 100),
    default=0.0,
    show_default=True,
    help="Percent of the images kept for a test, in records of their own.",
)
group_by_option = click.option(
    "--group-by",
    default="",
    help="Regular expression on the file names: images in which it, or its first group, finds the same text (a video's "
    "name, say) stay together in the split.",
)
keep_alike_option = click.option(
    "--keep-alike",
    type=click.BOOL,
    default=True,
    show_default=True,
    help="Keep images that look alike, as copies in another size do, on one side of the split; false parts all but "
    "those of the same pixels, for a camera that never moves, say (true, false).",
)
ready_split_option = click.option(
    "--ready-split",
    type=click.BOOL,
    default=True,
    show_default=True,
    help="Use the split that the data bring (ImageSets/Main, COCO files or YOLO folders named train, val, test) rather "
    "than val_split and test_split (true, false).",
)
train_list_option = click.option(
    "--train-list",
    default="",
    help="File that lists the training images, a path, name or stem a line; wins over every other split.",
)
val_list_option = click.option("--val-list", default="", help="File that lists the validation images.")
test_list_option = click.option("--test-list", default="", help="File that lists the test images.")
on_error_option = click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do about bad annotations: list them all and write nothing, or leave them out.",
)
fix_option = click.option(
    "--fix",
    type=click.Choice(["none", "clip", "drop"]),
    default="none",
    show_default=True,
    help="What to do about bad boxes in place of failing: clip those that stick out of their image, or drop their "
    "objects; both drop objects that cannot be used or are drawn twice, and read classes alike that differ only in "
    "case or spaces. The files stay as they are.",
)
seed_option = click.option(
    "--seed", type=int, default=-1, show_default=True, help="Seed of all that is random; -1 draws one and records it."
)
gpus_option = click.option(
    "--gpus", default="", help="GPUs to use, as nvidia-smi numbers them: 0,1, or all, or none; all by default."
)
DEFAULT_MODEL = "ssd_mobilenet_v2"
DEFAULT_WEIGHTS = "coco"

model_option = click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="A model that comes with odml (ssd_mobilenet_v2, ssd_mobilenet_v2_2018, ssd_mobilenet_v2_plain, "
    "ssd_mobilenet_v2_shapes, faster_rcnn_resnet50, faster_rcnn_resnet101), or a YAML file that extends one.",
)
dataset_option = click.option(
    "--dataset", default="", help="A run of prepare (its id), or a folder of records; the latest run by default."
)
train_steps_option = click.option(
    "--train-steps", type=int, default=-1, show_default=True, help="Steps to train; -1 trains until it is stopped."
)
batch_size_option = click.option(
    "--batch-size",
    type=BatchSize(),
    default="",
    help="Images in a step, over all GPUs together; auto: the model's own, halved until a step fits in memory; the "
    "model's own by default.",
)
learning_rate_option = click.option(
    "--learning-rate", type=float, default=-1.0, show_default=True, help="Highest learning rate; -1: the model's own."
)
eval_every_option = click.option(
    "--eval-every", type=int, default=-1, show_default=True, help="Steps between evaluations; -1: at each checkpoint."
)
checkpoint_every_option = click.option(
    "--checkpoint-every",
    type=int,
    default=-1,
    show_default=True,
    help="Steps between checkpoints; -1: as the model says.",
)
eval_examples_option = click.option(
    "--eval-examples", type=int, default=-1, show_default=True, help="Images to evaluate; -1: all."
)
weights_option = click.option(
    "--weights",
    default=DEFAULT_WEIGHTS,
    show_default=True,
    help="Weights to start from: coco, imagenet, none, a path (folder, tarball, checkpoint, .pb, .h5), a run's id, or "
    "a models:/ URI.",
)
print_config_option = click.option(
    "--print-config",
    type=click.BOOL,
    default=False,
    show_default=True,
    help="Print the model's configuration, as the other parameters change it, and stop (true, false).",
)
trained_model_option = click.option(
    "--trained-model",
    default="",
    help="A run of train or transfer_learn (its id), or its folder of checkpoints; the latest run by default.",
)
step_option = click.option(
    "--step",
    type=CheckpointStep(),
    default="best",
    show_default=True,
    help="Checkpoint to use: best (by mAP in training's evaluations; without one the latest), latest, or a step.",
)
patience_option = click.option(
    "--patience",
    type=int,
    default=-1,
    show_default=True,
    help="Evaluations without a better mAP that end the training; 0: never; -1: as the model says.",
)
resume_option = click.option(
    "--resume",
    default="",
    help="Id of a training run to go on in; of the other parameters only train_steps, eval_every, eval_examples, "
    "patience and gpus may be given then.",
)
input_type_option = click.option(
    "--input-type",
    type=click.Choice(["image_tensor", "encoded_image_string_tensor", "tf_example"]),
    default="image_tensor",
    show_default=True,
    help="What the frozen graph and the SavedModel's serving_default take: pictures, files (JPEG, PNG), or records.",
)
tflite_option = click.option(
    "--tflite",
    default="",
    help="TensorFlow Lite files to write too, for an SSD: float32, float16, int8, or several with commas between.",
)
onnx_option = click.option(
    "--onnx",
    type=click.BOOL,
    default=False,
    show_default=True,
    help="Write model.onnx too (needs the extra `odml[onnx]`; true, false).",
)
compared_dataset_option = click.option(
    "--dataset",
    default="",
    help="A run of prepare (its id), or a folder of records: on its validation images all that is written is compared "
    "with the checkpoint, its training images calibrate int8; the one that the training used by default.",
)
compared_examples_option = click.option(
    "--eval-examples",
    type=int,
    default=100,
    show_default=True,
    help="Validation images on which the mAP of all that is written is measured, the first ones; -1: all.",
)
max_map_drop_option = click.option(
    "--max-map-drop",
    type=float,
    default=-1.0,
    show_default=True,
    help="Largest drop of the mAP, 0 to 1, from the checkpoint to any of what is written; a larger one is an error. "
    "-1: 0.005, for TensorFlow Lite 0.02, for int8 0.05.",
)
quantize_option = click.option(
    "--quantize",
    type=click.BOOL,
    default=False,
    show_default=True,
    help="Let export_and_freeze write an int8 TensorFlow Lite file too, quantized after the training, which itself is "
    "unchanged: no maintained library trains with fake quantization on Keras 3. For an SSD (true, false).",
)
measured_model_option = click.option(
    "--model",
    default="",
    help="In place of a checkpoint, an export: a run of export_and_freeze (its id), a graph folder, or a models:/ URI, "
    "which mean the frozen graph; of any of them /saved_model, /model.tflite, /model_int8.tflite, /model.onnx or "
    "another file by its name; or such a file's path. A name alone: of the latest export.",
)
export_option = click.option(
    "--export",
    default="",
    help="A run of export_and_freeze (its id), its graph folder, or a models:/ URI; the latest run by default.",
)
name_option = click.option("--name", default="detector", show_default=True, help="Name in the model registry.")
alias_option = click.option(
    "--alias", default="champion", show_default=True, help="Alias that the new version gets; empty: none."
)
score_threshold_option = click.option(
    "--score-threshold", type=float, default=0.5, show_default=True, help="Lowest score of a detection, 0 to 1."
)
max_detections_option = click.option(
    "--max-detections", type=int, default=100, show_default=True, help="Most detections in an image."
)

_SPLIT_OPTIONS = (
    val_split_option,
    test_split_option,
    group_by_option,
    keep_alike_option,
    ready_split_option,
    train_list_option,
    val_list_option,
    test_list_option,
)


def list_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which images are on which side of a split, and nothing about drawing one."""
    for option in (test_list_option, val_list_option, train_list_option):
        command = option(command)
    return command


def split_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which images are for training, validation and test."""
    for option in reversed(_SPLIT_OPTIONS):
        command = option(command)
    return command


_TRAINING_OPTIONS = (
    model_option,
    dataset_option,
    train_steps_option,
    batch_size_option,
    learning_rate_option,
    eval_every_option,
    checkpoint_every_option,
    eval_examples_option,
    patience_option,
    quantize_option,
    resume_option,
    gpus_option,
    seed_option,
    print_config_option,
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that train and transfer_learn share."""
    for option in reversed(_TRAINING_OPTIONS):
        command = option(command)
    return command


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which annotated images it works on; see ``require_source``."""
    for option in reversed(_SOURCE_OPTIONS):
        command = option(command)
    return command


def require_source(images: Path | None, annotations: Path | None, dataset: str) -> None:
    """Raise click.UsageError unless either images and annotations or a known data set are given."""
    if dataset and (images or annotations):
        raise click.UsageError(f"dataset={dataset} has its own images and annotations; give these, or dataset")
    if not dataset and not (images and annotations):
        missing = " and ".join(name for name, value in (("images", images), ("annotations", annotations)) if not value)
        raise click.UsageError(
            f"{missing} not given; give images and annotations, or dataset ({', '.join(KNOWN_DATASETS)})"
        )


def seed_of(seed: int) -> int:
    """Give an option's seed, or draw one where it is the -1 that means "not given"."""
    return seed if seed >= 0 else random.SystemRandom().randrange(2**31)


def given(number: Any) -> Any:
    """Give an option's number, or None where it is the -1 that means "not given"."""
    return None if number < 0 else number


def configuration_of(
    *, model: str, batch_size: str | int = "", learning_rate: float = -1, checkpoint_every: int = -1, **others: Any
) -> Configuration:
    """Load a model's configuration, changed by those of a command's options that change its training.

    A ``batch_size`` "auto" is not found here: it is the model's own still.

    Raises:
        ConfigurationError: no such model, or a value that is not allowed.
    """
    from odml import config

    return config.load(model).with_training(
        batch_size=None if batch_size in (AUTO, "") else batch_size,
        learning_rate=given(learning_rate),
        checkpoint_every=given(checkpoint_every),
    )
