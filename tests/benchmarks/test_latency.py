"""The released model's own graph beside ours, on photos."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as v1
from PIL import Image

from benchmarks import goldens, latency, parity
from benchmarks.goldens import Folder
from odml.export.freezing import OUTPUTS

PHOTOS = [
    "raccoon/images/raccoon-1.jpg",
    "bccd/JPEGImages/BloodImage_00000.jpg",
    "voc_sample/images/2007_000039.jpg",
]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[v1.GraphDef, v1.GraphDef]:
    """The released graph and ours, frozen with the same weights."""
    if not goldens.DEFAULT.is_dir():
        pytest.skip("needs the reference data in ../shared")
    folder = Folder(goldens.DEFAULT)
    released = goldens.DEFAULT / goldens.RELEASED_SSD
    temporary = tmp_path_factory.mktemp("checkpoint")
    network = folder.build(goldens.released(released), temporary)
    return latency.original_graph(released, temporary / "model.ckpt"), latency.our_graph(network)


def detect(graph: v1.GraphDef, picture: np.ndarray) -> np.ndarray:
    """Give rows of boxes, score and class."""
    tensors = dict(zip(OUTPUTS, latency.runner(graph, picture)(), strict=True))
    count = int(tensors["num_detections"][0])
    return np.column_stack([tensors[name][0][:count] for name in OUTPUTS[1:]])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*(is deprecated|was deprecated).*")
@pytest.mark.parametrize("photo", PHOTOS)
def test_detections_are_those_of_the_released_graph(graphs, shared, photo):
    picture = np.asarray(Image.open(shared / "data" / photo).convert("RGB"))
    original, ours = (detect(graph, picture) for graph in graphs)
    partners = parity.pair(original, ours)
    assert len(original) == len(ours) == 100
    assert (partners >= 0).sum() >= 98
    paired = partners >= 0
    assert np.abs(ours[partners[paired]] - original[paired]).max() < 1e-4
