from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from odml.augmentation import crop_boxes, mosaic, random_color, random_crop, random_horizontal_flip
from tests.tiny import draw

OPERATIONS = [random_horizontal_flip, random_crop, random_color]
HEIGHT, WIDTH = 60, 80
RED, GREEN = (8, 12, 40, 36), (48, 20, 76, 56)  # x1, y1, x2, y2
IMAGE = tf.constant(draw([("red", RED), ("green", GREEN)], width=WIDTH, height=HEIGHT))
BOXES = tf.constant([[y1 / HEIGHT, x1 / WIDTH, y2 / HEIGHT, x2 / WIDTH] for x1, y1, x2, y2 in (RED, GREEN)])
CLASSES = tf.constant([2, 1])  # red is channel 0, green channel 1


def seeds(count):
    return [tf.constant([3, number]) for number in range(count)]


def extent(image, class_id):
    """Give the pixels y1, x1, y2, x2 that have the colour of a class."""
    channel = {2: 0, 1: 1}[class_id]
    rows, columns = np.nonzero((image[..., channel] > 150) & (image[..., 1 - channel] < 100))
    return [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


def assert_boxes_are_tight(image, boxes, classes):
    height, width = image.shape[:2]
    for box, class_id in zip(boxes.numpy(), classes.numpy(), strict=True):
        assert box * [height, width, height, width] == pytest.approx(extent(image.numpy(), class_id), abs=1e-3)


@pytest.mark.parametrize("operation", [random_horizontal_flip, random_crop])
def test_boxes_stay_tight_around_their_pixels(operation):
    changed = 0
    for seed in seeds(25):
        image, boxes, classes = operation(IMAGE, BOXES, CLASSES, seed=seed)
        assert_boxes_are_tight(image, boxes, classes)
        changed += image.shape != IMAGE.shape or not np.array_equal(image, IMAGE)
    assert changed > 5


@pytest.mark.parametrize("operation", OPERATIONS)
def test_same_seed_makes_the_same_change_inside_dataset_map(operation):
    def change(seed):
        return operation(IMAGE, BOXES, CLASSES, seed=seed)

    for seed, mapped in zip(seeds(6), tf.data.Dataset.from_tensor_slices(seeds(6)).map(change), strict=True):
        for eager, other in zip(change(seed), mapped, strict=True):
            # Compiled colour arithmetic may round differently.
            assert other.numpy() == pytest.approx(eager.numpy(), abs=1e-3)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_other_seeds_make_other_changes(operation):
    assert len({operation(IMAGE, BOXES, CLASSES, seed=seed)[0].numpy().tobytes() for seed in seeds(12)}) > 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_picture_without_objects(operation):
    def change(seed):
        return operation(IMAGE, tf.zeros([0, 4]), tf.zeros([0], tf.int32), seed=seed)

    for image, boxes, classes in tf.data.Dataset.from_tensor_slices(seeds(4)).map(change):
        assert image.shape == IMAGE.shape
        assert boxes.shape == (0, 4)
        assert classes.shape == (0,)


def flipped(seed, boxes=BOXES):
    return random_horizontal_flip(IMAGE, boxes, CLASSES, seed=seed)


@pytest.mark.parametrize(
    ("boxes", "mirrored"),
    [
        (BOXES, [[12 / 60, 40 / 80, 36 / 60, 72 / 80], [20 / 60, 4 / 80, 56 / 60, 32 / 80]]),
        # The original's (core/preprocessor_test).
        (tf.constant([[0, 0.25, 0.75, 1], [0.25, 0.5, 0.75, 1]]), [[0, 0, 0.75, 0.75], [0.25, 0, 0.75, 0.5]]),
    ],
    ids=["drawn", "original"],
)
def test_flip_mirrors_left_and_right(boxes, mirrored):
    results = (flipped(seed, boxes) for seed in seeds(20))
    image, boxes, classes = next(result for result in results if not np.array_equal(result[0], IMAGE))
    assert np.array_equal(image, IMAGE[:, ::-1])
    assert boxes.numpy() == pytest.approx(np.array(mirrored), abs=1e-6)
    assert classes.numpy().tolist() == [2, 1]


def test_flipping_twice_changes_nothing():
    for seed in seeds(6):
        image, boxes, _ = random_horizontal_flip(*flipped(seed), seed=seed)
        assert np.array_equal(image, IMAGE)
        assert boxes.numpy() == pytest.approx(BOXES.numpy(), abs=1e-6)


def test_half_of_the_pictures_are_flipped():
    results = tf.data.Dataset.range(1000).map(lambda n: flipped(tf.stack([7, n]))[1][0, 1])
    share = np.mean([xmin > 0.2 for xmin in results.as_numpy_iterator()])
    assert 0.45 < share < 0.55


def test_crop_keeps_pixels_as_they_are():
    image, _, _ = next(
        result
        for result in (random_crop(IMAGE, BOXES, CLASSES, seed=seed) for seed in seeds(20))
        if result[0].shape != IMAGE.shape
    )
    windows = np.lib.stride_tricks.sliding_window_view(IMAGE.numpy(), image.shape)
    assert (windows == image.numpy()).all(axis=(-1, -2, -3)).any()


def test_crops_keep_the_classes_of_the_objects_that_stay():
    kept = [random_crop(IMAGE, BOXES, CLASSES, seed=seed)[2].numpy().tolist() for seed in seeds(40)]
    assert {tuple(classes) for classes in kept} == {(2, 1), (2,), (1,)}


# The original's part of a picture of 200 x 400, from (6, 143), 190 x 237 (core/preprocessor_test).
WINDOW = tf.constant([0.03, 0.3575, 0.98, 0.95])


@pytest.mark.parametrize(
    ("boxes", "kept", "expected"),
    [
        (
            [[0.1, 0.1, 0.8, 0.3], [0.2, 0.4, 0.75, 0.75], [0.3, 0.1, 0.4, 0.7]],
            [2, 3],
            [[0.178947, 0.07173, 0.75789469, 0.66244733], [0.28421, 0, 0.38947365, 0.57805908]],
        ),
        (
            [[0, 0.25, 0.75, 1], [0.25, 0.5, 0.75, 1]],
            [1, 2],
            [[0, 0, 0.75789469, 1], [0.23157893, 0.24050637, 0.75789469, 1]],
        ),
        ([], [], []),
    ],
    ids=["random_crop_image", "strict_random_crop_image", "no objects"],
)
def test_objects_of_a_part_are_cut_to_it_and_in_its_frame(boxes, kept, expected):
    boxes = tf.reshape(tf.constant(boxes, tf.float32), [-1, 4])
    cropped, classes = crop_boxes(boxes, tf.range(1, len(boxes) + 1), WINDOW, min_shown=0.3)
    assert cropped.numpy() == pytest.approx(np.reshape(expected, [-1, 4]), abs=1e-5)
    assert classes.numpy().tolist() == kept


# core/box_list_ops_test: boxes, and the area that each shares with each over that of the other, "ioa".
FEW = [[4, 3, 7, 5], [5, 6, 10, 7]]
MORE = [[3, 4, 6, 8], [14, 14, 15, 15], [0, 0, 20, 20]]
SHARES_OF_MORE = [[2 / 12, 0, 6 / 400], [1 / 12, 0, 5 / 400]]
SHARES_OF_FEW = [[2 / 6, 1 / 5], [0, 0], [1, 1]]


def in_part(boxes, window, *, min_shown):
    """Give which boxes stay, counted from 0, and what they are then."""
    boxes = tf.constant(boxes, tf.float32)
    cropped, numbers = crop_boxes(boxes, tf.range(len(boxes)), tf.constant(window, tf.float32), min_shown=min_shown)
    return numbers.numpy().tolist(), cropped.numpy()


@pytest.mark.parametrize(
    ("box", "window", "share"),
    [
        (box, window, share)
        for boxes, windows, shares in ((MORE, FEW, SHARES_OF_MORE), (FEW, MORE, SHARES_OF_FEW))
        for window, row in zip(windows, shares, strict=True)
        for box, share in zip(boxes, row, strict=True)
    ],
)
def test_share_that_a_part_shows_is_of_the_object_s_area(box, window, share):
    assert in_part([box], window, min_shown=max(share - 1e-3, 0))[0] == ([0] if share else [])
    assert in_part([box], window, min_shown=share + 1e-3)[0] == []


@pytest.mark.parametrize(("min_shown", "kept"), [(1.0, [0, 2, 3]), (0.0, [0, 1, 2, 3, 5])], ids=["whole", "any"])
def test_objects_outside_of_a_part_go(min_shown, kept):
    # prune_outside_window and prune_completely_outside_window.
    boxes = [[5, 5, 6, 6], [-1, -2, 4, 5], [2, 3, 5, 9], [0, 0, 9, 14], [-10, -10, -9, -9], [-100, -100, 300, 600]]
    assert in_part(boxes, [0, 0, 9, 14], min_shown=min_shown)[0] == kept


def test_boxes_change_to_the_frame_of_a_part():
    # change_coordinate_frame, where the second box stays uncut: [.5, -.5, 1.5, 1.5].
    kept, boxes = in_part([[0.25, 0.5, 0.75, 0.75], [0.5, 0, 1, 1]], [0.25, 0.25, 0.75, 0.75], min_shown=0.0)
    assert kept == [0, 1]
    assert boxes == pytest.approx(np.array([[0, 0.5, 1, 1], [0.5, 0, 1, 1]]))


@pytest.mark.parametrize(("min_shown", "kept"), [(0.0, [1, 2]), (0.25, [1, 2]), (0.26, [1]), (1.0, [1])])
def test_objects_stay_by_the_share_that_is_shown(min_shown, kept):
    # All, a quarter, and nothing but an edge of the object is in the left half.
    boxes = tf.constant([[0, 0, 1, 0.5], [0, 0.4, 1, 0.8], [0, 0.5, 1, 1]])
    _, classes = crop_boxes(boxes, tf.constant([1, 2, 3]), tf.constant([0, 0, 1, 0.5]), min_shown=min_shown)
    assert classes.numpy().tolist() == kept


def test_crops_are_distributed_as_the_original_s(shared: Path):
    golden = np.load(shared / "golden" / "ssd_random_crop.npz")
    height, width = golden["image_hw"]
    # Rows of y, x, height, width and a bit for each box that is kept.
    _, _, heights, widths, bits = golden["crop"].astype(np.int64).T
    expected = summary(heights, widths, sum((bits >> box) & 1 for box in range(3)), height, width)

    image, boxes = tf.zeros([height, width, 3], tf.uint8), tf.constant(golden["boxes"])

    def crop(number):
        cropped, _, kept = random_crop(image, boxes, tf.constant([1, 2, 3]), seed=tf.stack([5, number]))
        return tf.stack([*tf.unstack(tf.shape(cropped)[:2]), tf.size(kept)])

    drawn = np.array(list(tf.data.Dataset.range(1500).map(crop).as_numpy_iterator()))
    # Standard errors of the differences are .01 to .03.
    assert summary(*drawn.T, height, width) == pytest.approx(expected, abs=0.06)


def summary(heights, widths, kept, height, width):
    """Give the means of area, aspect ratio, objects kept, and the share of whole pictures."""
    whole = (heights == height) & (widths == width)
    area = heights * widths / (height * width)
    return [area.mean(), (widths / heights).mean(), kept.mean(), whole.mean()]


def test_color_changes_pixels_within_their_range_and_nothing_else():
    for seed in seeds(8):
        image, boxes, classes = random_color(IMAGE, BOXES, CLASSES, seed=seed)
        assert image.dtype == tf.float32
        assert image.shape == IMAGE.shape
        assert 0 <= image.numpy().min() <= image.numpy().max() <= 255
        assert boxes is BOXES
        assert classes is CLASSES


def test_color_leaves_a_picture_near_what_it_was():
    grey = tf.fill([8, 8, 3], 128)
    means = [random_color(grey, BOXES, CLASSES, seed=seed)[0].numpy().mean() for seed in seeds(60)]
    # Brightness moves a grey by 32 at most, contrast, saturation and hue do not move it.
    assert 96 - 1 <= min(means) < 112
    assert 144 < max(means) <= 160 + 1


NOTHING = tf.zeros_like(IMAGE), tf.zeros([0, 4]), tf.zeros([0], tf.int32)


@pytest.mark.parametrize("corner", range(4))
def test_boxes_of_a_mosaic_are_tight_around_their_pixels(corner):
    kept = 0
    for seed in seeds(12):
        examples = [NOTHING] * 4
        examples[corner] = (IMAGE, BOXES, CLASSES)
        image, boxes, classes = mosaic(examples, seed=seed)
        assert (image.shape, image.dtype) == (IMAGE.shape, tf.float32)
        for box, class_id in zip(boxes.numpy(), classes.numpy(), strict=True):
            found = extent(image.numpy(), class_id)
            assert box * [HEIGHT, WIDTH, HEIGHT, WIDTH] == pytest.approx(found, abs=1.5)  # the border is blended
        kept += len(classes)
    assert kept > 3


def test_mosaic_scales_objects_by_half_to_one_and_drops_those_that_hardly_show():
    example = tf.zeros([40, 40, 3]), tf.constant([[0.0, 0.0, 1.0, 1.0]]), tf.constant([1])
    sides, counts = [], []
    for seed in seeds(60):
        _, boxes, _ = mosaic([example] * 4, seed=seed)
        lengths = (boxes[:, 2:] - boxes[:, :2]).numpy()
        assert (lengths.prod(axis=1) >= 0.25 * 0.3 - 1e-5).all()
        sides.append(lengths.max())
        counts.append(len(boxes))
    assert 0.5 <= min(sides) < 0.6
    assert 0.9 < max(sides) <= 1.0
    assert set(counts) >= {1, 2, 4}


def test_pictures_of_a_mosaic_get_the_size_of_the_first():
    small = tf.zeros([30, 20, 3], tf.uint8), tf.zeros([0, 4]), tf.zeros([0], tf.int32)
    image, _, _ = mosaic([small, NOTHING, (IMAGE, BOXES, CLASSES), NOTHING], seed=seeds(1)[0])
    assert image.shape == (30, 20, 3)


def test_same_seed_makes_the_same_mosaic():
    first, second = (mosaic([(IMAGE, BOXES, CLASSES)] * 4, seed=seeds(1)[0]) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)
