import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from odml import drawing
from odml.drawing import PALETTE, beside, draw_annotation, draw_detections, grid
from odml.structures import Annotation, Detections, LabelMap

GREY = (128, 128, 128)
BLACK = (0, 0, 0)
WHITE = (255, 255, 255)
PETS = LabelMap(("cat", "dog"))
MATPLOTLIB_FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")


def grey(width=200, height=200):
    return np.full((height, width, 3), 128, np.uint8)


def annotation(*objects, difficult=False):
    """Each object is (name, x1, y1, x2, y2)."""
    boxes = np.array([each[1:] for each in objects], np.float32).reshape(-1, 4)
    names = tuple(each[0] for each in objects)
    return Annotation(Path("photo.jpg"), 200, 200, boxes, names, np.full(len(names), difficult))


def detections(*found):
    """Each detection is (class id, score, x1, y1, x2, y2)."""
    rows = np.array(found, np.float32).reshape(-1, 6)
    return Detections(rows[:, 2:], rows[:, 1], rows[:, 0].astype(np.int32))


def changed(picture, image):
    """Give the box, half-open, around the pixels that differ from the image."""
    rows, columns = np.nonzero((np.asarray(picture) != image).any(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.fixture
def installed_fonts(monkeypatch):
    """Let a test say which fonts are installed beside matplotlib's."""
    fonts = []
    monkeypatch.setattr(drawing.font_manager, "findSystemFonts", lambda: fonts)
    drawing.font_path.cache_clear()
    yield fonts
    drawing.font_path.cache_clear()


def test_outline_lies_on_the_first_and_last_pixels_of_the_half_open_box():
    picture = draw_detections(grey(), detections((1, 0.9, 50, 60, 150, 160)), PETS)
    assert [picture.getpixel(at) for at in [(50, 110), (149, 110), (100, 159)]] == [PALETTE[0]] * 3
    assert [picture.getpixel(at) for at in [(49, 110), (150, 110), (100, 160)]] == [BLACK] * 3
    assert [picture.getpixel(at) for at in [(48, 110), (151, 110), (100, 161), (100, 110)]] == [GREY] * 4


def test_class_has_the_same_colour_in_ground_truth_and_detections():
    found = draw_detections(grey(), detections((2, 0.9, 50, 60, 150, 160)), PETS)
    truth = draw_annotation(grey(), annotation(("dog", 50, 60, 150, 160)), PETS)
    assert found.getpixel((50, 110)) == truth.getpixel((50, 110)) == PALETTE[1]


def test_colours_start_again_after_the_last():
    names = LabelMap(tuple("abcdefgh"))
    picture = draw_detections(grey(), detections((8, 0.9, 50, 60, 150, 160)), names)
    assert picture.getpixel((50, 110)) == PALETTE[0]


def test_tag_stands_on_the_box_where_there_is_room():
    assert changed(draw_detections(grey(), detections((1, 0.9, 50, 60, 150, 160)), PETS), grey()) == (49, 44, 151, 161)


@pytest.mark.parametrize("corner", [(0, 0), (195, 0), (0, 195), (195, 195)])
def test_tag_stays_whole_inside_the_picture(corner):
    image = grey()
    free = changed(draw_detections(image, detections((1, 0.9, 90, 90, 95, 95)), PETS), image)
    kept = changed(draw_detections(image, detections((1, 0.9, *corner, corner[0] + 5, corner[1] + 5)), PETS), image)
    assert kept[2] - kept[0] >= free[2] - free[0] - 1  # one pixel of the box's edge can be outside
    assert 0 <= kept[0] <= kept[2] <= 200


def test_tags_of_the_same_box_do_not_hide_each_other():
    image = grey()
    box = (50, 60, 150, 160)
    both = np.asarray(draw_detections(image, detections((1, 0.9, *box), (2, 0.9, *box)), PETS))
    tag_sizes = [
        (np.asarray(draw_detections(image, detections((number, 0.9, *box)), PETS))[44:60] == PALETTE[number - 1])
        .all(axis=-1)
        .sum()
        for number in (1, 2)
    ]
    shown = [(both == colour).all(axis=-1).sum() for colour in PALETTE[:2]]
    assert shown[0] >= tag_sizes[0]
    assert shown[1] >= tag_sizes[1]


def test_best_detection_is_drawn_over_the_others():
    box = (50, 60, 150, 160)
    picture = draw_detections(grey(), detections((2, 0.9, *box), (1, 0.8, *box)), PETS)
    assert picture.getpixel((50, 110)) == PALETTE[1]


def test_score_is_shown_though_the_name_has_no_room():
    long_name = LabelMap(("a name that is much wider than the picture",))
    low, high = (draw_detections(grey(), detections((1, score, 9, 90, 99, 150)), long_name) for score in (0.11, 0.99))
    assert np.any(np.asarray(low) != np.asarray(high))
    assert low.size == (200, 200)


def test_names_in_other_alphabets_are_shown():
    pictures = [
        draw_annotation(grey(), annotation((name, 9, 90, 99, 150)), LabelMap((name,))) for name in ("жук", "кот")
    ]
    assert np.any(np.asarray(pictures[0]) != np.asarray(pictures[1]))


def test_name_without_a_font_is_shown_as_its_class_id(installed_fonts):
    unreadable = draw_annotation(grey(), annotation(("猫", 9, 90, 99, 150)), LabelMap(("猫",)))
    by_id = draw_annotation(grey(), annotation(("class 1", 9, 90, 99, 150)), LabelMap(("class 1",)))
    np.testing.assert_array_equal(unreadable, by_id)


def test_name_is_shown_in_an_installed_font_that_has_its_letters(installed_fonts, tmp_path):
    damaged = tmp_path / "damaged.ttf"
    damaged.write_bytes(b"no font")
    shutil.copy(MATPLOTLIB_FONTS / "STIXGeneral.ttf", tmp_path)
    installed_fonts += [str(damaged), str(tmp_path / "STIXGeneral.ttf")]
    watch, arc, by_id = (
        np.asarray(draw_annotation(grey(), annotation((name, 9, 90, 99, 150)), LabelMap((name,))))
        for name in ("⌚", "⌒", "class 1")
    )
    assert np.any(watch != arc)
    assert np.any(watch != by_id)


def test_difficult_object_has_a_thin_dashed_outline():
    truth = annotation(("cat", 50, 60, 150, 160), difficult=True)
    picture = np.asarray(draw_annotation(grey(), truth, PETS))
    assert {tuple(pixel) for pixel in picture[70:150, 50].tolist()} == {PALETTE[0], BLACK}
    assert (picture[110, 51:149] == GREY).all()


def test_box_beyond_the_picture_is_cut_at_its_edge():
    picture = draw_annotation(grey(), annotation(("cat", -20, 60, 260, 160)), PETS)
    assert [picture.getpixel(at) for at in [(0, 110), (199, 110)]] == [PALETTE[0]] * 2


def test_picture_without_objects_is_left_as_it_is():
    np.testing.assert_array_equal(draw_annotation(grey(), annotation(), PETS), grey())
    np.testing.assert_array_equal(draw_detections(grey(), detections(), PETS), grey())


def test_tiny_picture_is_enlarged_by_a_whole_number_with_its_boxes():
    picture = draw_annotation(grey(30, 20), annotation(("cat", 10, 5, 20, 19)), PETS)
    assert picture.size == (150, 100)
    assert [picture.getpixel(at) for at in [(50, 60), (99, 60)]] == [PALETTE[0]] * 2


def test_lines_and_letters_grow_with_the_picture():
    picture = np.asarray(draw_annotation(grey(2000, 1333), annotation(("cat", 500, 500, 900, 900)), PETS))
    assert (picture[700, 500:508] == PALETTE[0]).all()  # 1333 * .006 = 8 pixels
    assert tuple(picture[460, 501].tolist()) == PALETTE[0]  # the tag is over 40 pixels high


def test_arguments_are_not_changed():
    image, truth, found = grey(), annotation(("cat", 50, 60, 150, 160)), detections((1, 0.9, 50, 60, 150, 160))
    draw_annotation(image, truth, PETS)
    draw_detections(image, found, PETS)
    np.testing.assert_array_equal(image, grey())
    np.testing.assert_array_equal(truth.boxes, [[50, 60, 150, 160]])
    np.testing.assert_array_equal(found.boxes, [[50, 60, 150, 160]])


def test_class_that_is_not_in_the_label_map_is_refused():
    with pytest.raises(KeyError, match="3"):
        draw_detections(grey(), detections((3, 0.9, 50, 60, 150, 160)), PETS)
    with pytest.raises(KeyError, match="emu"):
        draw_annotation(grey(), annotation(("emu", 50, 60, 150, 160)), PETS)


def test_pictures_stand_beside_each_other_under_their_captions():
    sheet = beside(Image.new("RGB", (200, 100), GREY), Image.new("RGB", (150, 100), BLACK))
    assert sheet.size == (11 + 200 + 11 + 150 + 11, 22 + 100 + 11)  # letters of 11 pixels
    assert sheet.crop((11, 22, 211, 122)).getcolors() == [(200 * 100, GREY)]
    assert sheet.crop((222, 22, 372, 122)).getcolors() == [(150 * 100, BLACK)]
    assert all(sheet.crop(box).getextrema()[0][0] < 50 for box in [(11, 0, 211, 22), (222, 0, 372, 22)])


def test_any_number_of_pictures_can_stand_beside_each_other():
    pictures = [Image.new("RGB", (200, height), GREY) for height in (100, 120, 80)]
    sheet = beside(*pictures, captions=("one", "two", "three"))
    assert sheet.size == (3 * 200 + 4 * 11, 22 + 120 + 11)
    assert sheet.crop((433, 22, 633, 102)).getcolors() == [(200 * 80, GREY)]
    with pytest.raises(ValueError, match="zip"):
        beside(*pictures)


def test_narrow_pictures_have_room_for_their_captions():
    left, right = Image.new("RGB", (20, 200), GREY), Image.new("RGB", (20, 200), GREY)
    assert beside(left, right).width > beside(left, right, captions=("a", "b")).width == 20 + 20 + 3 * 11


def test_grid_fills_rows_in_order_and_scales_large_pictures_down():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    sizes = [(100, 50), (800, 400), (60, 60)]
    sheet = grid(
        [Image.new("RGB", size, colour) for size, colour in zip(sizes, colours, strict=True)], columns=2, cell=100
    )
    assert sheet.size == (8 + 100 + 8 + 100 + 8, 8 + 50 + 8 + 60 + 8)
    assert [sheet.getpixel(at) for at in [(8, 8), (116, 8), (215, 57), (8, 66), (67, 125), (68, 66)]] == [
        colours[0],
        colours[1],
        colours[1],
        colours[2],
        colours[2],
        WHITE,
    ]


def test_grid_is_no_wider_than_its_pictures():
    assert grid([Image.new("RGB", (50, 50))], columns=4).size == (66, 66)


@pytest.mark.parametrize(
    ("count", "columns", "message"),
    [(0, 4, "grid needs pictures and columns, not 0 and 4"), (1, 0, "grid needs pictures and columns, not 1 and 0")],
)
def test_grid_without_pictures_or_columns_is_refused(count, columns, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        grid([Image.new("RGB", (9, 9))] * count, columns=columns)


def test_many_objects_do_not_hide_the_picture_under_their_tags():
    found = [(1, 0.5, 60 * x + 5, 60 * y + 25, 60 * x + 35, 60 * y + 55) for y in range(10) for x in range(20)]
    image = grey(1210, 640)
    drawn = np.asarray(draw_detections(image, detections(*found), PETS))
    assert (drawn == image).all(axis=2).mean() > 0.6
