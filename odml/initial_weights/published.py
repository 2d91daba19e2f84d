"""Which published files fit which network, and where they are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from odml.config import Configuration
from odml.downloads import Published, cache_folder, download
from odml.errors import DownloadError, WeightsError

_ZOO = "http://download.tensorflow.org/models/object_detection"
# The detectors that were released in 2018, by architecture and backbone.
_COCO = {
    ("ssd", "mobilenet_v2"): Published(
        f"{_ZOO}/ssd_mobilenet_v2_coco_2018_03_29.tar.gz",
        "b9380178b2e35333f1a735e39745928488bdabeb9ed20bc6fa07af8172cb5adc",
    ),
    ("faster_rcnn", "resnet50"): Published(
        f"{_ZOO}/faster_rcnn_resnet50_coco_2018_01_28.tar.gz",
        "0f898f96d6c416de192c516fb6fa773ae9f5ee253eb2ab4015445fbd6eb0ab76",
    ),
    ("faster_rcnn", "resnet101"): Published(
        f"{_ZOO}/faster_rcnn_resnet101_coco_2018_01_28.tar.gz",
        "ef3b36b3bc3c4057362a62e40b89dbdbef3dbb0c91f2f7df43967920d24821e5",
    ),
}
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
# Keras' own files of the backbones, without the layers for ImageNet's classes.
_IMAGENET = {
    "mobilenet_v2": Published(
        f"{_KERAS}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5", None
    ),
    "resnet50": Published(f"{_KERAS}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", None),
    "resnet101": Published(f"{_KERAS}/resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5", None),
}
NAMES = ("coco", "imagenet")


def fetch(weights: str, configuration: Configuration) -> Path:
    """Give the file of ``coco`` or ``imagenet`` for a network, downloaded if the cache does not have it.

    Raises:
        WeightsError: none is published for this network, or it cannot be downloaded.
    """
    file = _file(weights, configuration)
    if file is None:
        other = "imagenet" if weights == "coco" else "the path of a file"
        raise WeightsError(
            f"weights={weights}: none are published for {configuration.architecture} on {configuration.backbone}; "
            f"pass weights={other} or weights=none"
        )
    path = _folder(weights) / file.name
    try:
        return download(file.address, path, sha256=file.sha256)
    except DownloadError as error:
        other = "weights=imagenet" if weights == "coco" else "weights=coco"
        raise WeightsError(
            f"weights={weights}: {error}; put {file.address} there as {path}, or pass {other} or the path of a file"
        ) from None


def cached() -> dict[str, list[Path]]:
    """List where the files of ``coco`` and of ``imagenet`` are kept, whether they are there or not."""
    files = {"coco": _COCO.values(), "imagenet": _IMAGENET.values()}
    return {weights: [_folder(weights) / file.name for file in files[weights]] for weights in NAMES}


def _file(weights: str, configuration: Configuration) -> Published | None:
    if weights == "coco":
        return _COCO.get((configuration.architecture, configuration.backbone))
    return _IMAGENET.get(configuration.backbone)


def _folder(weights: str) -> Path:
    """Give the cache: for ``imagenet`` Keras' own, as other programs may have filled it already."""
    if weights == "imagenet":
        return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
    return cache_folder()
