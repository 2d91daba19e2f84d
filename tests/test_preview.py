from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from odml.config import Augmentation
from odml.inspection import inspect
from odml.preparation import by_source_id
from odml.preview import draw_training_pictures
from tests.voc_files import AnnotatedFolder, voc_object

UNCHANGED = Augmentation(horizontal_flip=False, random_crop=False, random_color=False, mosaic=0)


def test_pictures_are_drawn_as_the_network_sees_them(tmp_path: Path):
    folder = AnnotatedFolder(tmp_path)
    picture = folder.add_image("a.png", size=(40, 30))
    folder.add("a", voc_object("cat", box=(11, 11, 30, 20)))
    annotations = inspect(folder.images, folder.annotations).annotations
    sheet = np.asarray(
        draw_training_pictures(
            by_source_id(annotations, folder.images),
            pictures=2,
            resize=lambda image: tf.image.resize(image, (128, 128)),
            augment=UNCHANGED,
            seed=1,
        )
    )
    # Two pictures of 128 x 128 beside each other, 8 pixels around each.
    assert sheet.shape == (144, 280, 3)
    ground = np.asarray(Image.open(picture))[0, 0]
    np.testing.assert_array_equal(sheet[8 + 120, 8 + 120], ground)
    np.testing.assert_array_equal(sheet[8 + 120, 144 + 120], ground)
    # The first class' colour on the lower side of its box: y 20/30 of 128, x in its middle.
    assert (sheet[8 + 78 : 8 + 88, 8 + 64] == (230, 159, 0)).all(axis=1).any()
