"""SSD (Liu et al. 2016) with the feature maps, heads, anchors and names of the TF Object Detection API's SSD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from odml import anchors, losses, postprocessing, targets
from odml.architectures.resizing import resize_bilinear
from odml.backbones.convolutions import BatchNorm, Conv, ConvBN, DepthwiseConvBN
from odml.backbones.mobilenet_v2 import MobileNetV2
from odml.config import SSDConfiguration

_STDDEV = 0.03


class SSD(keras.Model):
    """A single-shot detector: images in; raw outputs, losses or detections out.

    Images are [B, H, W, 3], RGB, 0..255, uint8 or float, of any size: they are stretched to the configuration's
    ``image_size``. Class ids count from 1.
    """

    fixed_size = True  # ``resize`` gives one size for all

    def __init__(self, configuration: SSDConfiguration, num_classes: int):
        super().__init__(name=configuration.architecture, dtype="float32")
        self.configuration = configuration
        self.num_classes = num_classes
        self.feature_extractor = FeatureExtractor(configuration, name="FeatureExtractor")
        grids = feature_map_grids(configuration.image_size, 2 + len(configuration.extra_layers))
        self.anchors = anchors.ssd_anchors(
            grids, image_size=configuration.image_size, **configuration.anchors.model_dump()
        )
        counts = anchors.anchors_per_cell(
            len(grids),
            aspect_ratios=configuration.anchors.aspect_ratios,
            reduce_boxes_in_lowest_layer=configuration.anchors.reduce_boxes_in_lowest_layer,
        )
        self.box_predictors = [
            BoxPredictor(
                count, num_classes=num_classes, kernel_size=configuration.head_kernel_size, name=f"BoxPredictor_{k}"
            )
            for k, count in enumerate(counts)
        ]
        self(tf.zeros([1, *configuration.image_size, 3]))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make nothing, all parts do when they are called: without this, Keras traces them to see what there is."""

    def freeze(self, blocks: int) -> None:
        """Keep the backbone's first convolution and so many blocks from being trained; 0 freezes nothing."""
        self.feature_extractor.backbone.freeze(blocks)

    def resize(self, images: tf.Tensor) -> tf.Tensor:
        """Stretch images [B, H, W, 3] (or one, [H, W, 3]) to the network's input size, float32 0..255."""
        return resize_bilinear(images, self.configuration.image_size)

    def preprocess(self, images: tf.Tensor) -> tf.Tensor:
        """Stretch images [B, H, W, 3] to the network's input size and scale them to -1..1."""
        resized = self.resize(images)
        with tf.name_scope("Preprocessor/"):
            return resized * (2.0 / 255.0) - 1.0

    def call(self, images: tf.Tensor, sizes: tf.Tensor | None = None, training: bool = False) -> dict[str, Any]:
        """Give the raw outputs.

        Args:
            sizes: int32 [B, 2], height and width of each image; not needed where all have one size.
        Returns:
            ``box_encodings`` [B, A, 4] (ty, tx, th, tw relative to the anchors),
            ``class_predictions_with_background`` [B, A, C + 1] logits, background first, and ``feature_maps``, a
            list of [B, h, w, c], finest first.
        """
        return self.raw_outputs(self.preprocess(images), training=training)

    def raw_outputs(self, x: tf.Tensor, *, training: bool = False) -> dict[str, Any]:
        """Give what ``call`` gives, for what ``preprocess`` gives."""
        feature_maps = self.feature_extractor(x, training=training)
        predictions = [
            predictor(features) for predictor, features in zip(self.box_predictors, feature_maps, strict=True)
        ]
        with tf.name_scope(""):  # none, as in the original's graph
            return {
                "box_encodings": tf.concat([codes for codes, _ in predictions], axis=1),
                "class_predictions_with_background": tf.concat([logits for _, logits in predictions], axis=1),
                "feature_maps": feature_maps,
            }

    def compute_losses(self, batch: Mapping[str, tf.Tensor], *, training: bool = True) -> dict[str, tf.Tensor]:
        """Give the losses of a batch as named scalars; their sum is what is minimised.

        Args:
            batch: ``images``; ``boxes`` [B, M, 4] yxyx, 0..1; ``classes`` int [B, M] from 1, 0 for padding.
        Returns:
            ``classification`` and ``localization``, both over the number of matched anchors (at least 1), and
            ``regularization``, half the weight decay times the sum of squares of the convolutions' kernels. In a
            replica of several the number is its even share of all replicas' anchors: the mean of the replicas' losses
            is the loss of the whole batch.
        """
        outputs = self(batch["images"], training=training)
        boxes, classes = batch["boxes"], batch["classes"]
        matches = targets.match(self.anchors, boxes, classes > 0, threshold=self.configuration.matching.threshold)
        target = targets.assign(self.anchors, boxes, classes, matches)
        decay = losses.weight_decay(self.trainable_variables, self.configuration.training.weight_decay)
        return self._weigh(outputs, target) | {"regularization": decay}

    def _weigh(self, outputs: Mapping[str, tf.Tensor], target: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        settings = self.configuration.losses
        is_object = target["is_object"]
        classification = losses.sigmoid_cross_entropy(
            outputs["class_predictions_with_background"], tf.one_hot(target["classes"], self.num_classes + 1)
        )
        localization = losses.smooth_l1(outputs["box_encodings"], target["codes"])  # [B, A]
        chosen = losses.mine_hard_examples(
            tf.stop_gradient(classification),
            is_object,
            tf.stop_gradient(postprocessing.decode(outputs["box_encodings"], tf.constant(self.anchors))),
            negatives_per_positive=settings.negatives_per_positive,
            min_negatives=settings.min_negatives,
            iou_threshold=settings.mining_iou_threshold,
        )
        count = losses.share_of_count(tf.reduce_sum(tf.cast(is_object, tf.float32)))
        return {
            "classification": settings.classification_weight
            * tf.reduce_sum(tf.where(chosen, classification, 0.0))
            / count,
            "localization": settings.localization_weight
            * tf.reduce_sum(tf.where(chosen & is_object, localization, 0.0))
            / count,
        }

    @property
    def matched_threshold(self) -> float:
        """The IoU from which an anchor stands for an object."""
        return self.configuration.matching.threshold

    def best_overlaps(self, boxes: tf.Tensor, height: int, width: int) -> tf.Tensor:
        """Give the IoU [N] of each of boxes [N, 4] (yxyx, 0..1) of a picture of so many pixels with its best anchor."""
        return tf.reduce_max(targets.iou(boxes, tf.constant(self.anchors)), axis=1)

    def detect(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Give detections under the exported graph's names.

        Returns:
            What ``postprocessing.detections`` gives, and before suppression ``raw_detection_boxes`` [B, A, 4] (yxyx,
            0..1 of the image, not clipped) and ``raw_detection_scores`` [B, A, C + 1] (0..1, background first).
        """
        outputs = self(images, training=False)
        with tf.name_scope("Postprocessor/"):
            boxes = postprocessing.decode(outputs["box_encodings"], tf.constant(self.anchors))
            scores = tf.sigmoid(outputs["class_predictions_with_background"])
            found = postprocessing.detections(boxes[:, :, None], scores, **self.configuration.detection.model_dump())
            return found | {"raw_detection_boxes": boxes, "raw_detection_scores": scores}


class FeatureExtractor(keras.layers.Layer):
    """MobileNetV2 and the smaller and smaller maps after it, under slim's scopes."""

    def __init__(self, configuration: SSDConfiguration, **options: Any):
        super().__init__(**options)
        settings = configuration.batch_norm.model_dump()
        self.backbone = SSDMobileNetV2(
            configuration.extra_layers,
            depthwise=configuration.depthwise_extra_layers,
            depth_multiplier=configuration.depth_multiplier,
            make_batch_norm=lambda: BatchNorm(name="BatchNorm", **settings),
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make nothing, all parts do when they are called."""

    def call(self, x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Give the feature maps [B, h, w, c], finest first, for x [B, H, W, 3] in -1..1."""
        return self.backbone(x, training=training)


class SSDMobileNetV2(MobileNetV2):
    """The backbone together with SSD's extra layers, which share its scope in the released checkpoints."""

    def __init__(
        self,
        extra_layers: tuple[int, ...],
        *,
        depthwise: bool,
        depth_multiplier: float,
        make_batch_norm: Callable[[], BatchNorm],
    ):
        super().__init__(depth_multiplier=depth_multiplier, make_batch_norm=make_batch_norm)
        depths = [max(16, int(depth * depth_multiplier)) for depth in extra_layers]
        self.extra_layers = [
            _extra_layers(number, filters, depthwise=depthwise, make_batch_norm=make_batch_norm)
            for number, filters in enumerate(depths, start=2)
        ]

    def call(self, x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Give all feature maps, finest first."""
        maps = super().call(x, training=training)
        for layers in self.extra_layers:
            x = maps[-1]
            for layer in layers:
                x = layer(x, training=training)  # type: ignore[operator]
            maps.append(x)
        return maps


def _extra_layers(
    number: int, filters: int, *, depthwise: bool, make_batch_norm: Callable[[], BatchNorm]
) -> list[keras.layers.Layer]:
    """Make what gives one feature map of the one before: depths and names as ``multi_resolution_feature_maps``."""

    def conv(kernel_size: int, filters: int, name: str, *, stride: int = 1) -> ConvBN:
        batch_norm = make_batch_norm()
        return ConvBN(filters, kernel_size, stride=stride, stddev=_STDDEV, batch_norm=batch_norm, name=name)

    squeeze = conv(1, filters // 2, f"layer_19_1_Conv2d_{number}_1x1_{filters // 2}")
    name = f"layer_19_2_Conv2d_{number}_3x3_s2_{filters}"
    if not depthwise:
        return [squeeze, conv(3, filters, name, stride=2)]
    halve = DepthwiseConvBN(stride=2, stddev=_STDDEV, batch_norm=make_batch_norm(), name=f"{name}_depthwise")
    return [squeeze, halve, conv(1, filters, name)]


class BoxPredictor(keras.layers.Layer):
    """The heads on one feature map: a box and class logits for each anchor of each cell, always in float32."""

    def __init__(self, anchors_per_cell: int, *, num_classes: int, kernel_size: int, **options: Any):
        super().__init__(dtype="float32", **options)
        self.num_classes = num_classes
        make = partial(Conv, kernel_size=kernel_size, stddev=_STDDEV, dtype="float32")
        self.boxes = make(anchors_per_cell * 4, name="BoxEncodingPredictor")
        self.classes = make(anchors_per_cell * (num_classes + 1), name="ClassPredictor")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make nothing, all parts do when they are called."""

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Give codes [B, h * w * anchors, 4] and logits [B, h * w * anchors, C + 1] for features [B, h, w, c]."""
        with tf.name_scope(f"{self.name}/"):
            batch = tf.shape(features)[0]
            codes = tf.reshape(self.boxes(features), [batch, -1, 4])
            return codes, tf.reshape(self.classes(features), [batch, -1, self.num_classes + 1])


def feature_map_grids(image_size: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Give (rows, columns) of ``count`` feature maps: stride 16, then each half the one before, rounded up."""
    height, width = image_size
    return [(-(-height // stride), -(-width // stride)) for stride in (16 << k for k in range(count))]
