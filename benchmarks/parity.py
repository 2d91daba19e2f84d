"""Are our networks the original's, number by number? Compares every golden of a folder (``benchmarks.goldens``).

The weights go into our networks through a TF1 checkpoint. Prints a line a tensor: model, picture, tensor, maximum
relative difference; the last line is ``parity: files=... tensors=... max=... unpaired=... failed=...``. Exits with 1 if
a difference is above the tolerance or too many rows have no partner.

The difference of a tensor is max |ours - golden| / max |golden|. Where golden has statistics of the whole tensor (mean,
deviation, least and greatest value, sum of magnitudes), theirs counts too: relative to the greatest magnitude, of the
sum to itself. Detections and proposals are compared as rows: two stacks order rows of all but the same score
differently, so each row is compared with its nearest, for detections one of the same class. Rows that have none within
``_NEAR`` of the greatest value are counted as unpaired. The tensors of the second stage follow their proposals' order.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import goldens
from benchmarks.blocks import Block, record_blocks
from benchmarks.goldens import Folder, GoldenError, GoldenModel
from odml.architectures import Architecture, FasterRCNN
from odml.errors import OdmlError

TOLERANCE = 1e-4
MAX_UNPAIRED = 2
_NEAR = 1e-2
_MEAN = (123.68, 116.779, 103.939)

Tensors = Mapping[str, np.ndarray]
# Of a golden's rows, which of ours is the partner; -1 for none.
Partners = np.ndarray

_DETECTIONS = ("detection_boxes", "detection_scores", "detection_classes")
_PROPOSALS = ("proposal_boxes", "proposal_boxes_normalized")
_SECOND_STAGE = ("refined_box_encodings", "class_predictions_with_background")
# Every 16th anchor's logits are all that goldens of released models hold of them.
_EVERY_16TH = "class_logits_every_16th_anchor"


@dataclass(frozen=True)
class Difference:
    """How far a tensor is from its golden, and how many of its rows have no partner."""

    tensor: str
    value: float
    unpaired: int = 0
    remark: str = ""

    def exceeds(self, tolerance: float, max_unpaired: int) -> bool:
        """Say whether it is too large, or no number."""
        return not self.value <= tolerance or self.unpaired > max_unpaired


def compare(network: Architecture, picture: np.ndarray, golden: Tensors) -> Iterator[Difference]:
    """Give the difference of each tensor that a golden holds, for its picture uint8 [H, W, 3]."""
    with record_blocks(network) as blocks:
        ours = _outputs(network, picture)
    ours |= {name: tensor.numpy() for name, tensor in network.detect(tf.constant(picture[None])).items()}
    detections = _pair_detections(golden, ours)
    proposals = _pair_proposals(golden, ours)
    for name in _tensor_names(golden):
        if name in _DETECTIONS:
            yield _compare_rows(name, golden, ours[name][0], detections, axis=1)
        elif name in _PROPOSALS:
            yield _compare_rows(name, golden, ours[name][0], proposals, axis=1)
        elif name in _SECOND_STAGE and isinstance(network, FasterRCNN):
            yield _compare_rows(name, golden, ours[name], proposals, axis=0)
        elif name.startswith("num_"):
            yield _compare_count(name, golden[name], ours[name])
        elif name in ours:
            yield _compare_whole(name, golden, ours[name])
        else:
            yield Difference(name, np.inf, remark="ours has no such tensor")
    if "block_names" in golden:
        yield _compare_blocks(golden, blocks, first_proposal=int(proposals[0]) if len(proposals) else 0)


def _outputs(network: Architecture, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Give our raw outputs under the names, and in the units, that goldens have."""
    resized = network.resize(tf.constant(picture[None])).numpy()
    raw = network(tf.constant(picture[None]))
    height, width = resized.shape[1:3]
    maps = raw.pop("feature_maps", [])
    ours = {name: tensor.numpy() for name, tensor in raw.items()}
    ours |= {f"feature_maps_{k}": tensor.numpy() for k, tensor in enumerate(maps)}
    ours |= {"true_image_shapes": np.array([[height, width, 3]]), "image_shape": np.array([1, height, width, 3])}
    if not isinstance(network, FasterRCNN):
        scaled = resized * (2.0 / 255.0) - 1.0
        rows = {
            "input_stats": _statistics(scaled)[:4],
            "input_rows_0_150": scaled[:, [0, 150]] if height > 150 else scaled,
        }
        logits = ours["class_predictions_with_background"]
        return ours | rows | {"preprocessed": scaled, "anchors": network.anchors, _EVERY_16TH: logits[:, ::16]}
    pixels = np.array([height, width, height, width], np.float32)
    return ours | {
        "preprocessed": resized - np.array(_MEAN, np.float32),
        "anchors": ours["anchors"][0] * pixels,
        "proposal_boxes": ours["proposal_boxes_normalized"] * pixels,
        **{name: ours[name][0] for name in _SECOND_STAGE},
    }


def _tensor_names(golden: Tensors) -> list[str]:
    """List the tensors that a golden tells anything of but for blocks."""
    names = dict.fromkeys(
        name.removesuffix("__shape").removesuffix("__stats").removesuffix("__stride") for name in golden
    )
    return [name for name in names if not name.startswith(("image_sha256", "image_shape_hwc", "block_"))]


def _pair_detections(golden: Tensors, ours: Tensors) -> Partners:
    def rows(tensors: Tensors) -> np.ndarray:
        count = int(tensors["num_detections"][0])
        boxes, scores, classes = (tensors[name][0][:count] for name in _DETECTIONS)
        return np.column_stack([boxes, scores, classes])

    return pair(rows(golden), rows(ours))


def _pair_proposals(golden: Tensors, ours: Tensors) -> Partners:
    """Pair the proposals; of those that a golden leaves out the partner is taken to be the row of the same number."""
    if "proposal_boxes" not in golden:
        return np.zeros(0, int)
    stride = golden.get("proposal_boxes__stride", (1, 1))[1]
    pixels = np.tile(golden["true_image_shapes"][0, :2], 2)
    count, our_count = int(golden["num_proposals"][0]), int(ours["num_proposals"][0])
    partners = np.arange(count)
    boxes = golden["proposal_boxes"][0][: -(-count // stride)] / pixels
    partners[::stride] = pair(boxes, ours["proposal_boxes_normalized"][0][:our_count])
    return partners


def pair(golden: np.ndarray, ours: np.ndarray) -> Partners:
    """Pair rows [N, K] with rows [M, K], the nearest first: for each of the N its partner in 0..M-1, or -1.

    The distance of two rows is their greatest difference in a column; a row has one partner at most.
    """
    distances = np.abs(golden[:, None] - ours[None]).max(axis=-1, initial=0)  # [N, M]
    partners = np.full(len(golden), -1)
    rows, columns = np.nonzero(distances <= _NEAR)
    taken = set()
    for index in np.argsort(distances[rows, columns], kind="stable"):
        row, column = rows[index], columns[index]
        if partners[row] < 0 and column not in taken:
            partners[row] = column
            taken.add(column)
    return partners


def _compare_rows(name: str, golden: Tensors, ours: np.ndarray, partners: Partners, *, axis: int) -> Difference:
    """Compare rows with their partners; ``ours`` [N, ...], golden with an axis of 1 before if ``axis`` is 1."""
    strides = golden.get(f"{name}__stride", np.ones(ours.ndim + axis, int))[axis:]
    theirs = golden[name][0] if axis else golden[name]
    chosen = partners[:: strides[0]]
    paired = chosen >= 0
    theirs = theirs[: len(chosen)]
    mine = ours[chosen[paired]][(slice(None), *(slice(None, None, stride) for stride in strides[1:]))]
    if mine.shape[1:] != theirs.shape[1:]:
        return Difference(name, np.inf, remark=f"ours is {list(mine.shape)}, golden {list(theirs.shape)}")
    statistics = golden.get(f"{name}__stats") if (partners >= 0).all() else None
    value = max(_relative(mine, theirs[paired]), _statistics_difference(ours, statistics))
    return Difference(name, value, unpaired=int((~paired).sum()), remark=_shape_remark(name, golden, ours, axis))


def _compare_count(name: str, golden: np.ndarray, ours: np.ndarray) -> Difference:
    """Take a difference of numbers of rows as rows without partner."""
    unpaired = int(np.abs(golden.astype(int) - ours.astype(int)).sum())
    return Difference(name, 0.0, unpaired, remark=f"{int(ours[0])}, golden {int(golden[0])}" if unpaired else "")


def _compare_whole(name: str, golden: Tensors, ours: np.ndarray) -> Difference:
    statistics = golden.get(f"{name}__stats")
    shape = tuple(golden.get(f"{name}__shape", ours.shape))
    if shape != ours.shape:
        return Difference(name, np.inf, remark=f"ours is {list(ours.shape)}, golden {[int(side) for side in shape]}")
    value = _statistics_difference(ours, statistics)
    if name not in golden:
        return Difference(name, value, remark="its statistics alone")
    strides = golden.get(f"{name}__stride", np.ones(ours.ndim, int))
    theirs = golden[name]
    mine = ours[tuple(slice(None, None, stride) for stride in strides)]
    if mine.size != theirs.size:
        return Difference(name, np.inf, remark=f"ours is {list(mine.shape)}, golden {list(theirs.shape)}")
    return Difference(name, max(value, _relative(mine.reshape(theirs.shape), theirs)))


def _shape_remark(name: str, golden: Tensors, ours: np.ndarray, axis: int) -> str:
    shape = list(golden.get(f"{name}__shape", []))[axis:]
    return f"ours is {list(ours.shape)}, golden {shape}" if shape and shape != list(ours.shape) else ""


def _relative(ours: np.ndarray, golden: np.ndarray) -> float:
    if not golden.size:
        return 0.0
    greatest = float(np.abs(golden).max())
    return float(np.abs(ours.astype(np.float64) - golden).max()) / (greatest or 1.0)


def _statistics(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return np.array([x.mean(), x.std(), x.min(), x.max(), np.abs(x).sum()])


def _statistics_difference(ours: np.ndarray, golden: np.ndarray | None) -> float:
    """Compare mean, deviation, least, greatest and the sum of magnitudes."""
    if golden is None:
        return 0.0
    greatest = float(np.abs(golden[2:4]).max()) or 1.0
    difference = np.abs(_statistics(ours) - golden)
    return max(float(difference[:4].max()) / greatest, float(difference[4]) / (float(golden[4]) or 1.0))


def _compare_blocks(golden: Tensors, blocks: Mapping[str, Block], *, first_proposal: int) -> Difference:
    """Compare the backbone's blocks by what goldens hold of them: statistics and eight channels of two positions."""
    differences = {}
    for index, name in enumerate(golden["block_names"]):
        if str(name) in blocks:
            block = blocks[str(name)]
            row = first_proposal if golden["block_shapes"][index][0] > 1 else 0
            differences[str(name)] = max(
                _block_statistics_difference(block, golden["block_stats"][index]),
                np.abs(block.center[row] - golden["block_center8"][index]).max() / block.greatest,
                np.abs(block.corner[row] - golden["block_corner8"][index]).max() / block.greatest,
                0.0 if block.shape == tuple(golden["block_shapes"][index]) else np.inf,
            )
    names = sorted(differences, key=lambda name: -differences[name])
    count = f"{len(differences)} of {len(golden['block_names'])}"
    worst = f", most in {names[0]}" if names else ""
    return Difference("blocks", max(differences.values(), default=0.0), remark=f"{count}{worst}")


def _block_statistics_difference(block: Block, golden: np.ndarray) -> float:
    mean, deviation, greatest, total = np.abs(np.array(block.statistics) - golden)
    return float(max(mean, deviation, greatest) / block.greatest + total / golden[3])


def run(folder: Folder, *, tolerance: float, max_unpaired: int, only: str = "") -> int:
    """Compare all goldens, or those whose model and picture contain ``only``, and print; give the exit code."""
    files = 0
    differences: list[Difference] = []
    for model in folder.models():
        pictures = {picture: path for picture, path in model.pictures.items() if only in f"{model.name} {picture}"}
        for picture, found in _compare_model(folder, model, pictures):
            files += 1
            differences += found
            _print_lines(f"{model.name} {picture}", found, tolerance=tolerance, max_unpaired=max_unpaired)
    for name in folder.skipped():
        print(f"{name}: skipped (of training, which the tests compare, or of a network that is not known here)")
    if not files:
        raise GoldenError(f"{folder.path}: holds no goldens; name another folder")
    failed = sum(each.exceeds(tolerance, max_unpaired) for each in differences)
    print(
        f"parity: files={files} tensors={len(differences)} max={max(each.value for each in differences):.1e}"
        f" unpaired={sum(each.unpaired for each in differences)} skipped={len(folder.skipped())} failed={failed}"
        f" tolerance={tolerance:g}"
    )
    return 1 if failed else 0


def _compare_model(
    folder: Folder, model: GoldenModel, pictures: Mapping[str, Path]
) -> Iterator[tuple[str, list[Difference]]]:
    if not pictures:
        return
    with tempfile.TemporaryDirectory() as temporary:
        network = folder.build(model, Path(temporary))
    for name, path in pictures.items():
        with np.load(path) as file:
            golden = dict(file)
        picture = folder.picture(name)
        digest = hashlib.sha256(picture.tobytes()).hexdigest()
        if str(golden.get("image_sha256", digest)) != digest:
            raise GoldenError(f"{path.name}: {name} decodes to other pixels here; pass the photo itself by --photos")
        yield name, list(compare(network, picture, golden))


def _print_lines(title: str, differences: list[Difference], *, tolerance: float, max_unpaired: int) -> None:
    for each in differences:
        remarks = [f"{each.unpaired} rows unpaired"] if each.unpaired else []
        remarks += [each.remark] if each.remark else []
        remarks += ["TOO LARGE"] if each.exceeds(tolerance, max_unpaired) else []
        print(f"{title} {each.tensor} {each.value:.1e}" + (f" ({'; '.join(remarks)})" if remarks else ""))
    print(f"{title}: max={max(each.value for each in differences):.1e}", flush=True)


def main() -> int:
    """Read the command line, compare and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.parity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=goldens.DEFAULT, help="of goldens")
    parser.add_argument("--photos", type=Path, help="where photos are (default: data beside the folder)")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="of a tensor (default: %(default)g)")
    parser.add_argument("--unpaired", type=int, default=MAX_UNPAIRED, help="rows of a tensor (default: %(default)s)")
    parser.add_argument("--only", default="", help="compare goldens whose model and picture contain this")
    options = parser.parse_args()
    if options.folder == goldens.DEFAULT and not options.folder.is_dir():
        print(f"parity: skipped, there are no goldens in {options.folder}")
        return 0
    try:
        folder = Folder(options.folder, options.photos)
        return run(folder, tolerance=options.tolerance, max_unpaired=options.unpaired, only=options.only)
    except OdmlError as error:
        print(f"parity: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
