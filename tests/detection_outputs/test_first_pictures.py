import numpy as np

from odml.detection_outputs.first_pictures import SHOWN, FirstPictures
from tests.found import result, setup

CAT = ([2, 3, 12.5, 17], 0.9, 1)


def test_first_pictures_are_shown_drawn_and_not_too_large(tmp_path):
    shown = []
    first = FirstPictures(setup(tmp_path), lambda picture, number: shown.append((number, picture.size)))
    for index in range(2):  # of an earlier run
        first.add(result("before.png", CAT, index=index, image=None), None)
    for index in range(2, 2 * SHOWN):
        each = result("a.png", CAT, index=index, image=np.zeros((200, 2560 if index == 2 else 300, 3), np.uint8))
        first.add(each, first.write(each))
    assert shown == [(0, (1280, 100)), *((number, (300, 200)) for number in range(1, SHOWN))]
