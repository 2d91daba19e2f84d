from pathlib import Path

import pytest

from odml.errors import AnnotationError
from odml.ground_truth import GroundTruth
from tests.voc_files import AnnotatedFolder, voc_object


@pytest.fixture
def folder(tmp_path: Path) -> AnnotatedFolder:
    folder = AnnotatedFolder(tmp_path)
    folder.add("a", voc_object("cat"))
    folder.add_image("b.png")
    return folder


def size_of(path: Path) -> dict[str, int]:
    from PIL import Image

    with Image.open(path) as picture:
        return {"width": picture.width, "height": picture.height}


def test_objects_of_an_annotated_picture_are_given(folder: AnnotatedFolder):
    (image,) = folder.images.glob("a.*")
    truth = GroundTruth(folder.annotations, folder.images).of(image, **size_of(image))
    assert truth is not None
    assert (truth.image, truth.names, truth.boxes.shape) == (image, ("cat",), (1, 4))


def test_other_pictures_have_none(folder: AnnotatedFolder, tmp_path: Path):
    known = GroundTruth(folder.annotations, folder.images)
    assert known.of(folder.images / "b.png", width=8, height=8) is None
    assert known.of(folder.images / "gone.png", width=8, height=8) is None
    assert known.of(Path("http://host/a.png"), width=8, height=8) is None


def test_annotations_of_other_pictures_are_refused(folder: AnnotatedFolder, tmp_path: Path):
    (tmp_path / "others").mkdir()
    others = AnnotatedFolder(tmp_path / "others")
    others.add("c", voc_object("cat"))
    with pytest.raises(AnnotationError) as raised:
        GroundTruth(others.annotations, folder.images)
    assert str(raised.value) == (
        f"{others.annotations}: annotates no picture of {folder.images}; give those of these pictures"
    )
