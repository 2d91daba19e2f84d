import numpy as np
import pytest
from lxml import etree
from PIL import Image

from odml.errors import ConfigurationError
from odml.known_datasets.shapes import OUTLINES, Shape, draw_picture, draw_shapes

SINGLE_OBJECT_SEED = 7  # its first picture is one square on a quiet ground


def objects(file):
    """Read name, truncated and the box of each object of a Pascal VOC file, as they are written."""
    return [
        (
            entry.findtext("name"),
            entry.findtext("truncated"),
            tuple(int(entry.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")),
        )
        for entry in etree.parse(file).iter("object")
    ]


def pixels_of(file):
    with Image.open(file) as picture:
        return np.asarray(picture)


def extent(mask):
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.fixture(scope="module")
def drawn():
    """60 pictures with their shapes."""
    return [draw_picture(np.random.default_rng([7, number]), 320, 240) for number in range(60)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """40 pictures as a data set."""
    return draw_shapes(tmp_path_factory.mktemp("shapes"), images=40, seed=3)


def test_every_picture_has_its_annotation(folders):
    pictures, annotations = folders
    assert (pictures.name, annotations.name) == ("images", "annotations")
    names = [f"shapes_{number:05}" for number in range(1, 41)]
    assert sorted(each.name for each in pictures.iterdir()) == [f"{name}.jpg" for name in names]
    assert sorted(each.name for each in annotations.iterdir()) == [f"{name}.xml" for name in names]


def test_annotation_names_the_picture_and_its_size(folders):
    pictures, annotations = folders
    for file in annotations.iterdir():
        root = etree.parse(file).getroot()
        with Image.open(pictures / root.findtext("filename")) as picture:
            assert (picture.format, picture.mode) == ("JPEG", "RGB")
            assert picture.size == (int(root.findtext("size/width")), int(root.findtext("size/height")))
        assert root.findtext("filename") == f"{file.stem}.jpg"


def test_pictures_have_a_few_sizes_around_the_one_asked_for(folders):
    assert {pixels_of(each).shape[1::-1] for each in folders[0].iterdir()} == {
        (320, 240),
        (240, 320),
        (400, 300),
        (240, 240),
    }


def test_boxes_count_pixels_from_one_and_include_the_last(tmp_path):
    pictures, annotations = draw_shapes(tmp_path, images=1, seed=SINGLE_OBJECT_SEED)
    ((_, truncated, box),) = objects(annotations / "shapes_00001.xml")
    pixels = pixels_of(pictures / "shapes_00001.jpg").astype(int)
    x1, y1, x2, y2 = extent(np.abs(pixels - np.median(pixels, axis=(0, 1))).sum(axis=-1) > 160)
    assert truncated == "0"
    assert np.abs(np.subtract(box, (x1 + 1, y1 + 1, x2, y2))).max() <= 1  # JPEG blurs the edge by a pixel


def test_boxes_are_tight_around_what_is_visible(drawn):
    for _, shapes in drawn:
        for shape in shapes:
            assert shape.box == extent(shape.visible)


def test_hidden_part_of_an_object_is_not_in_its_box():
    whole = np.zeros((9, 9), bool)
    whole[2:5, 1:8] = True
    visible = whole.copy()
    visible[:, 5:] = False
    assert Shape("square", whole, visible).box == (1, 2, 5, 5)


def test_objects_that_are_partly_hidden_are_truncated(folders):
    _, annotations = folders
    truncated = [flag for file in annotations.iterdir() for _, flag, _ in objects(file)]
    assert 0.02 < truncated.count("1") / len(truncated) < 0.4


def test_most_of_every_object_is_visible(drawn):
    shares = [shape.visible.sum() / shape.whole.sum() for _, shapes in drawn for shape in shapes]
    assert min(shares) >= 0.7
    assert min(shares) < 0.9  # some are hidden in part


def test_visible_pixels_belong_to_one_object(drawn):
    for _, shapes in drawn:
        assert sum((shape.visible.astype(int) for shape in shapes), np.zeros((240, 320), int)).max() <= 1


def test_objects_are_20_to_60_percent_of_the_shorter_side(drawn):
    sides = [max(box[2] - box[0], box[3] - box[1]) for _, shapes in drawn for box in [extent(s.whole) for s in shapes]]
    assert 48 <= min(sides) < 60
    assert 120 < max(sides) <= 144


def test_pictures_have_up_to_four_objects_and_some_none(drawn):
    counts = [len(shapes) for _, shapes in drawn]
    assert set(counts) == {0, 1, 2, 3, 4}
    assert counts.count(0) < 0.15 * len(counts)


def test_every_class_is_drawn(drawn):
    names = {shape.name for _, shapes in drawn for shape in shapes}
    assert names == set(OUTLINES) == {"circle", "cross", "square", "star", "triangle"}


def test_areas_are_those_of_the_shapes(drawn):
    # Shares of the square on the longer side of the box: a circle has pi / 4; a square that is turned by an angle has
    # 1 / (cos + sin) ** 2, which at the most, 25 degrees, is .566.
    least_and_most = {}
    for _, shapes in drawn:
        for shape in shapes:
            x1, y1, x2, y2 = extent(shape.whole)
            share = shape.whole.sum() / max(x2 - x1, y2 - y1) ** 2
            low, high = least_and_most.get(shape.name, (1, 0))
            least_and_most[shape.name] = (min(low, share), max(high, share))
    assert least_and_most["circle"] == pytest.approx((np.pi / 4, np.pi / 4), abs=0.05)
    assert least_and_most["square"] == pytest.approx((0.566, 1), abs=0.06)
    assert 0.25 < least_and_most["star"][0] < least_and_most["star"][1] < 0.45
    assert 0.35 < least_and_most["triangle"][0] < least_and_most["triangle"][1] < 0.52


def test_colour_and_ground_differ_between_pictures(drawn):
    means = np.array([pixels.mean(axis=(0, 1)) for pixels, _ in drawn])
    assert means.std(axis=0).min() > 20


def test_same_seed_draws_the_same_data_set(folders, tmp_path):
    for folder, again in zip(folders, draw_shapes(tmp_path, images=40, seed=3), strict=True):
        for file in folder.glob("*.xml"):
            assert file.read_bytes() == (again / file.name).read_bytes()
        for file in folder.glob("*.jpg"):
            np.testing.assert_array_equal(pixels_of(file), pixels_of(again / file.name))


def test_smaller_data_set_is_the_beginning_of_a_larger_one(folders, tmp_path):
    pictures, _ = draw_shapes(tmp_path, images=2, seed=3)
    for file in pictures.iterdir():
        assert file.read_bytes() == (folders[0] / file.name).read_bytes()


def test_other_seed_draws_other_pictures(folders, tmp_path):
    pictures, _ = draw_shapes(tmp_path, images=1, seed=4)
    assert (pictures / "shapes_00001.jpg").read_bytes() != (folders[0] / "shapes_00001.jpg").read_bytes()


def test_annotation_is_plain_pascal_voc(tmp_path):
    _, annotations = draw_shapes(tmp_path, images=1, seed=SINGLE_OBJECT_SEED)
    (name, _, (xmin, ymin, xmax, ymax)) = objects(annotations / "shapes_00001.xml")[0]
    root = etree.parse(annotations / "shapes_00001.xml").getroot()
    width, height = root.findtext("size/width"), root.findtext("size/height")
    assert (annotations / "shapes_00001.xml").read_text() == (
        "<annotation>\n"
        "  <folder>images</folder>\n"
        "  <filename>shapes_00001.jpg</filename>\n"
        "  <size>\n"
        f"    <width>{width}</width>\n"
        f"    <height>{height}</height>\n"
        "    <depth>3</depth>\n"
        "  </size>\n"
        "  <object>\n"
        f"    <name>{name}</name>\n"
        "    <pose>Unspecified</pose>\n"
        "    <truncated>0</truncated>\n"
        "    <difficult>0</difficult>\n"
        "    <bndbox>\n"
        f"      <xmin>{xmin}</xmin>\n"
        f"      <ymin>{ymin}</ymin>\n"
        f"      <xmax>{xmax}</xmax>\n"
        f"      <ymax>{ymax}</ymax>\n"
        "    </bndbox>\n"
        "  </object>\n"
        "</annotation>\n"
    )


def test_folder_with_pictures_is_left_alone(tmp_path):
    mine = tmp_path / "images" / "mine.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(ConfigurationError) as caught:
        draw_shapes(tmp_path, images=1, seed=0)
    assert str(caught.value) == (
        f"{tmp_path / 'images'}: the folder is not empty; give a new one, or remove what is in it"
    )
    assert [each.name for each in mine.parent.iterdir()] == ["mine.jpg"]


@pytest.mark.parametrize(
    ("images", "seed", "size", "message"),
    [
        (0, 0, (320, 240), "images, seed and size must be at least 1, 0 and 64, not 0, 0 and (320, 240)"),
        (1, -1, (320, 240), "images, seed and size must be at least 1, 0 and 64, not 1, -1 and (320, 240)"),
        (1, 0, (320, 63), "images, seed and size must be at least 1, 0 and 64, not 1, 0 and (320, 63)"),
    ],
)
def test_numbers_that_are_too_small_are_refused(tmp_path, images, seed, size, message):
    with pytest.raises(ValueError, match=r".") as caught:
        draw_shapes(tmp_path, images=images, seed=seed, size=size)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []
