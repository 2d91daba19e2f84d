"""Faster R-CNN (Ren et al. 2015) on the C4 features of a ResNet, with the names of the TF Object Detection API's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from odml import anchors, losses, postprocessing, targets
from odml.architectures.resizing import resize_bilinear
from odml.backbones.convolutions import BatchNorm, Conv, slim_scope
from odml.backbones.resnet_v1 import SCOPES, UNITS, ResNetV1, last_stage
from odml.config import FasterRCNNConfiguration

STRIDE = 16
# Of ImageNet's pixels, RGB: what slim's ResNets subtract.
_MEAN = (123.68, 116.779, 103.939)
_RPN_FILTERS = 512
_RPN_STDDEV = 0.01
# Scopes of operations in the frozen graph.
_FIRST_POSTPROCESSOR = "FirstStagePostprocessor/"
_SECOND_POSTPROCESSOR = "SecondStagePostprocessor/"

Tensors = dict[str, tf.Tensor]


class FasterRCNN(keras.Model):
    """A two-stage detector: images in; raw outputs, losses or detections out.

    Images are [B, H, W, 3], RGB, 0..255, uint8 or float. Those of one size are resized, keeping their aspect, until
    the shorter side has the configuration's ``min_side`` or the longer one its ``max_side``. Images of several sizes
    come resized (``resize``) and padded at the bottom and on the right, with their own ``sizes`` [B, 2] in pixels.
    Boxes are yxyx, 0..1 of each image without its padding; class ids count from 1.
    """

    fixed_size = False

    def __init__(self, configuration: FasterRCNNConfiguration, num_classes: int):
        super().__init__(name=configuration.architecture, dtype="float32")
        self.configuration = configuration
        self.num_classes = num_classes
        *units, last = UNITS[configuration.backbone]
        settings = configuration.batch_norm.model_dump()

        def make_batch_norm(gamma: float = 1.0) -> BatchNorm:
            return BatchNorm(name="BatchNorm", gamma=gamma, **settings)

        self.backbone = ResNetV1(units, make_batch_norm=make_batch_norm, name=SCOPES[configuration.backbone])
        self.rpn_conv = Conv(_RPN_FILTERS, 3, activation=tf.nn.relu6, stddev=_RPN_STDDEV, name="Conv")
        shapes = len(configuration.anchors.scales) * len(configuration.anchors.aspect_ratios)
        self.rpn_boxes = Conv(shapes * 4, 1, stddev=_RPN_STDDEV, name="BoxEncodingPredictor", dtype="float32")
        self.rpn_classes = Conv(shapes * 2, 1, stddev=_RPN_STDDEV, name="ClassPredictor", dtype="float32")
        self.last_stage = last_stage(last, make_batch_norm=make_batch_norm)
        self.boxes = Dense(num_classes * 4, name="BoxEncodingPredictor", dtype="float32")
        self.classes = Dense(num_classes + 1, name="ClassPredictor", dtype="float32")
        self._make_variables()

    def _make_variables(self) -> None:
        """Run both stages on next to nothing: the second one on all proposals would take seconds and gigabytes."""
        with keras.name_scope(self.name):
            first, _ = self._first_stage(tf.zeros([1, STRIDE, STRIDE, 3]), training=False)
            self._second_stage(first["rpn_features_to_crop"], tf.zeros([1, 1, 4]), training=False)
        self.built = True

    def freeze(self, blocks: int) -> None:
        """Keep the backbone's first convolution and so many stages from being trained; 0 freezes nothing."""
        self.backbone.freeze(blocks)

    def resize(self, images: tf.Tensor) -> tf.Tensor:
        """Resize images [B, H, W, 3] (or one, [H, W, 3]) to the network's input size, float32 0..255."""
        with tf.name_scope("Preprocessor/map/"):
            size = _input_size(tf.shape(images)[-3:-1], self.configuration)
        return resize_bilinear(images, size)

    def call(self, images: tf.Tensor, sizes: tf.Tensor | None = None, training: bool = False) -> Tensors:
        """Give the raw outputs.

        Args:
            sizes: int [B, 2], height and width of each image without its padding; the images are then taken as
                they are. None: the images are resized.
        Returns:
            Of the first stage ``rpn_features_to_crop`` [B, h, w, 1024], ``rpn_box_predictor_features``
            [B, h, w, 512], ``anchors`` [B, A, 4] cut to the image, ``rpn_box_encodings`` [B, A, 4] relative to them,
            ``rpn_objectness_predictions_with_background`` [B, A, 2] logits, background first. Of the second
            ``proposal_boxes_normalized`` [B, N, 4], of which ``num_proposals`` [B] are none of padding,
            ``refined_box_encodings`` [B, N, C, 4] relative to them, ``class_predictions_with_background``
            [B, N, C + 1] logits, background first. And ``image_sizes`` int32 [B, 2] after resizing.
        """
        images, sizes = self._prepare(images, sizes)
        outputs, grid = self._first_stage(images, training=training)
        with tf.name_scope(_FIRST_POSTPROCESSOR):
            outputs["anchors"] = tf.clip_by_value(grid / _pixels(sizes), 0.0, 1.0)
            proposals, count = self._propose(outputs)
            boxes = self._padded(proposals, images, sizes)
        second = self._second_stage(outputs["rpn_features_to_crop"], boxes, training)
        return outputs | second | {"proposal_boxes_normalized": proposals, "num_proposals": count, "image_sizes": sizes}

    def _prepare(self, images: tf.Tensor, sizes: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Give images less the mean, 0 where they are padding, and their sizes."""
        if sizes is None:
            images = self.resize(images)
            with tf.name_scope("Preprocessor/"):
                shape = tf.shape(images)
                return images - _MEAN, tf.tile(shape[None, 1:3], [shape[0], 1])
        shape = tf.shape(images)
        rows = tf.sequence_mask(sizes[:, 0], shape[1])[:, :, None, None]
        columns = tf.sequence_mask(sizes[:, 1], shape[2])[:, None, :, None]
        return tf.where(rows & columns, tf.cast(images, tf.float32) - _MEAN, 0.0), sizes

    def _first_stage(self, x: tf.Tensor, *, training: bool) -> tuple[Tensors, tf.Tensor]:
        """Give the first stage's raw outputs, without the anchors, and these [A, 4] in pixels."""
        with keras.name_scope("FirstStageFeatureExtractor"):
            # In 32 bits whatever the backbone computes in: not all devices crop features of 16.
            features = tf.cast(self.backbone(x, training=training), tf.float32)
        hidden = self.rpn_conv(features)
        with keras.name_scope("FirstStageBoxPredictor"):
            codes, logits = self.rpn_boxes(hidden), self.rpn_classes(hidden)
        with tf.name_scope("GridAnchorGenerator/"):
            batch, rows, columns = tf.unstack(tf.shape(features)[:3])
            grid = anchors.grid_anchors(rows, columns, stride=STRIDE, **self.configuration.anchors.model_dump())
        with tf.name_scope("FirstStageBoxPredictor/"):
            outputs = {
                "rpn_features_to_crop": features,
                "rpn_box_predictor_features": hidden,
                "rpn_box_encodings": tf.reshape(codes, [batch, -1, 4]),
                "rpn_objectness_predictions_with_background": tf.reshape(logits, [batch, -1, 2]),
            }
        return outputs, grid

    def _propose(self, outputs: Mapping[str, tf.Tensor], usable: tf.Tensor | None = None) -> tuple[tf.Tensor, ...]:
        """Give the most object-like boxes [B, N, 4] that do not overlap too much, padded with 0, and how many [B]."""
        settings = self.configuration.rpn
        boxes = postprocessing.decode(outputs["rpn_box_encodings"], outputs["anchors"])
        scores = tf.nn.softmax(outputs["rpn_objectness_predictions_with_background"])[..., 1:]
        found = postprocessing.suppress(
            boxes[:, :, None],
            scores if usable is None else tf.where(usable[..., None], scores, 0.0),
            score_threshold=settings.score_threshold,
            iou_threshold=settings.iou_threshold,
            max_detections_per_class=settings.max_proposals,
            max_detections=settings.max_proposals,
        )
        return found["detection_boxes"], tf.cast(found["num_detections"], tf.int32)

    @staticmethod
    def _padded(boxes: tf.Tensor, images: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
        """Give boxes [B, N, 4] as parts of the images with their padding."""
        return boxes * _pixels(sizes) / _pixels(tf.shape(images)[None, 1:3])

    def _second_stage(self, features: tf.Tensor, boxes: tf.Tensor, training: bool) -> Tensors:
        """Classify and refine boxes [B, N, 4], 0..1 of the features [B, h, w, c] as a whole."""
        settings = self.configuration.roi
        with tf.name_scope("CropAndResize/"):
            batch, count = tf.unstack(tf.shape(boxes)[:2])
            rows = tf.tile(tf.range(batch)[:, None], [1, count])
            crops = tf.image.crop_and_resize(
                features, tf.reshape(boxes, [-1, 4]), tf.reshape(rows, [-1]), [settings.crop_size] * 2
            )
        with tf.name_scope("MaxPool2D/"):
            x = tf.nn.max_pool2d(crops, settings.pool_size, settings.pool_size, "VALID", name="MaxPool")
        with keras.name_scope("SecondStageFeatureExtractor"), keras.name_scope(self.backbone.name):
            x = tf.cast(self.last_stage(x, training=training), tf.float32)
        with tf.name_scope("SecondStageBoxPredictor/"):
            x = tf.reduce_mean(x, axis=[1, 2], keepdims=True, name="AvgPool")
            x = tf.reshape(x, [-1, x.shape[-1]], name="Flatten/flatten/Reshape")  # [B * N, 2048]
        with keras.name_scope("SecondStageBoxPredictor"):
            codes, logits = self.boxes(x), self.classes(x)
        with tf.name_scope("SecondStageBoxPredictor/"):
            codes = tf.reshape(codes, [-1, self.num_classes, 4])
            logits = tf.reshape(logits, [-1, 1, self.num_classes + 1])
        with tf.name_scope(_SECOND_POSTPROCESSOR):
            return {
                "refined_box_encodings": tf.reshape(codes, [batch, count, self.num_classes, 4]),
                "class_predictions_with_background": tf.reshape(logits, [batch, count, self.num_classes + 1]),
            }

    def compute_losses(self, batch: Mapping[str, tf.Tensor], *, training: bool = True) -> Tensors:
        """Give the losses of a batch as named scalars; their sum is what is minimised.

        Args:
            batch: ``images``; ``boxes`` [B, M, 4] yxyx, 0..1; ``classes`` int [B, M] from 1, 0 for padding;
                ``numbers`` int64 [B], which seed what is drawn for each image; ``sizes`` as ``call`` takes them, which
                may be missing if all images have one size.
        Returns:
            ``rpn_objectness`` and ``rpn_localization`` of the first stage, means over the anchors drawn in each
            image; ``classification`` and ``localization`` of the second, means over the proposals drawn;
            ``regularization`` if the configuration has a weight decay. All are means over images: the mean of replicas
            with equally many is the loss of the whole batch.
        """
        images, sizes = self._prepare(batch["images"], batch.get("sizes"))
        first, grid = self._first_stage(images, training=training)
        first["anchors"] = grid / _pixels(sizes)
        # As in the original, anchors that cross the border take no part in training.
        usable = tf.reduce_all((first["anchors"] >= 0) & (first["anchors"] <= 1), axis=-1)
        proposals, count = self._propose(first, usable)
        drawn = self._draw_proposals(tf.stop_gradient(proposals), count, batch)
        boxes = self._padded(drawn["boxes"], images, sizes)
        second = self._second_stage(first["rpn_features_to_crop"], boxes, training)
        # Matched in pixels, where many an IoU is a round number: exactly a threshold, as the original sees it.
        matches = self._match_anchors(grid, batch["boxes"] * _pixels(sizes), batch["classes"] > 0, usable)
        return self._first_losses(first, matches, batch) | self._second_losses(second, drawn) | self._regularization()

    def _match_anchors(self, grid: tf.Tensor, boxes: tf.Tensor, is_object: tf.Tensor, usable: tf.Tensor) -> tf.Tensor:
        settings = self.configuration.rpn
        return targets.match(
            grid,
            boxes,
            is_object,
            threshold=settings.matched_threshold,
            unmatched_threshold=settings.unmatched_threshold,
            usable=usable,
        )

    def _first_losses(self, first: Tensors, matches: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> Tensors:
        settings, weights = self.configuration.rpn, self.configuration.losses
        target = targets.assign(first["anchors"], batch["boxes"], batch["classes"], matches)
        is_object = target["is_object"]
        drawn = targets.sample(
            is_object,
            matches != targets.IGNORED,
            batch_size=settings.batch_size,
            positive_fraction=settings.positive_fraction,
            seeds=_seeds(batch["numbers"], stage=1),
        )
        objectness = losses.softmax_cross_entropy(
            first["rpn_objectness_predictions_with_background"], tf.one_hot(tf.cast(is_object, tf.int32), 2)
        )
        localization = losses.smooth_l1(first["rpn_box_encodings"], target["codes"])
        return {
            "rpn_objectness": weights.rpn_objectness_weight * _mean(objectness, drawn, over=drawn),
            "rpn_localization": weights.rpn_localization_weight * _mean(localization, drawn & is_object, over=drawn),
        }

    def _draw_proposals(self, proposals: tf.Tensor, count: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> Tensors:
        """Draw the proposals [B, N, 4] to learn from, with their targets.

        Returns:
            ``boxes`` [B, n, 4], ``classes`` int32 [B, n], ``codes`` [B, n, 4], ``is_object`` bool [B, n], and ``drawn``
            bool [B, n], False where there were fewer than n to draw; n is the configuration's ``batch_size``, or the
            number of proposals if that is smaller.
        """
        settings = self.configuration.roi
        present = tf.sequence_mask(count, tf.shape(proposals)[1])
        matches = targets.match(
            proposals,
            batch["boxes"],
            batch["classes"] > 0,
            threshold=settings.matched_threshold,
            force=False,
            usable=present,
        )
        target = targets.assign(proposals, batch["boxes"], batch["classes"], matches)
        drawn = targets.sample(
            target["is_object"],
            present,
            batch_size=settings.batch_size,
            positive_fraction=settings.positive_fraction,
            seeds=_seeds(batch["numbers"], stage=2),
        )
        first = tf.argsort(tf.cast(drawn, tf.int32), axis=1, direction="DESCENDING", stable=True)
        first = first[:, : settings.batch_size]
        tensors = target | {"boxes": proposals, "drawn": drawn}
        return {name: tf.gather(tensor, first, batch_dims=1) for name, tensor in tensors.items()}

    def _second_losses(self, second: Tensors, drawn: Tensors) -> Tensors:
        weights = self.configuration.losses
        classes = drawn["classes"]
        classification = losses.softmax_cross_entropy(
            second["class_predictions_with_background"], tf.one_hot(classes, self.num_classes + 1)
        )
        own = tf.gather(second["refined_box_encodings"], tf.maximum(classes - 1, 0), batch_dims=2)  # [B, n, 4]
        localization = losses.smooth_l1(own, drawn["codes"])
        chosen = drawn["drawn"]
        return {
            "classification": weights.classification_weight * _mean(classification, chosen, over=chosen),
            "localization": weights.localization_weight * _mean(localization, chosen & drawn["is_object"], over=chosen),
        }

    def _regularization(self) -> Tensors:
        decay = self.configuration.training.weight_decay
        return {"regularization": losses.weight_decay(self.trainable_variables, decay)} if decay else {}

    @property
    def matched_threshold(self) -> float:
        """The IoU from which an anchor stands for an object."""
        return self.configuration.rpn.matched_threshold

    def best_overlaps(self, boxes: tf.Tensor, height: int, width: int) -> tf.Tensor:
        """Give the IoU [N] of each of boxes [N, 4] (yxyx, 0..1) of a picture of so many pixels with its best anchor.

        Anchors that cross the border of the picture do not count: they take no part in training.
        """
        size = _input_size(tf.constant([height, width]), self.configuration)
        rows, columns = tf.unstack(-(-size // STRIDE))
        grid = anchors.grid_anchors(rows, columns, stride=STRIDE, **self.configuration.anchors.model_dump())
        inside = tf.reduce_all((grid >= 0) & (grid <= tf.cast(tf.tile(size, [2]), tf.float32)), axis=1)
        overlaps = targets.iou(boxes * _pixels(size[None])[0], tf.boolean_mask(grid, inside))
        return tf.reduce_max(tf.pad(overlaps, [[0, 0], [0, 1]]), axis=1)

    def detect(self, images: tf.Tensor) -> Tensors:
        """Give detections under the exported graph's names.

        Returns:
            What ``postprocessing.detections`` gives, and before suppression ``raw_detection_boxes`` [B, N, 4] (a
            proposal's box for its likeliest class; yxyx, 0..1 of the image, not clipped) and ``raw_detection_scores``
            [B, N, C + 1] (0..1, background first).
        """
        outputs = self(images, training=False)
        with tf.name_scope(_SECOND_POSTPROCESSOR):
            return self._detections(outputs)

    def _detections(self, outputs: Tensors) -> Tensors:
        proposals = outputs["proposal_boxes_normalized"]
        codes = outputs["refined_box_encodings"]
        boxes = postprocessing.decode(
            tf.reshape(codes, [tf.shape(codes)[0], -1, 4]), tf.repeat(proposals, self.num_classes, axis=1)
        )
        boxes = tf.reshape(boxes, tf.shape(codes))  # [B, N, C, 4]
        scores = tf.nn.softmax(outputs["class_predictions_with_background"])
        present = tf.sequence_mask(outputs["num_proposals"], tf.shape(proposals)[1], dtype=tf.float32)
        found = postprocessing.detections(
            boxes, scores * present[..., None], **self.configuration.detection.model_dump()
        )
        # One index a row, not none: TensorFlow 1 gathers along an axis that the indices have.
        likeliest = tf.argmax(scores[..., 1:], axis=-1)[..., None]
        raw = {
            "raw_detection_boxes": tf.gather(boxes, likeliest, batch_dims=2)[:, :, 0],
            "raw_detection_scores": scores,
        }
        return found | raw


class Dense(keras.layers.Layer):
    """A linear layer with slim's names for its variables."""

    def __init__(self, units: int, **options: Any):
        super().__init__(**options)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel [C, units] and the bias."""
        initializer = keras.initializers.GlorotUniform()
        self.kernel = self.add_weight(name="weights", shape=(input_shape[-1], self.units), initializer=initializer)
        self.bias = self.add_weight(name="biases", shape=(self.units,), initializer="zeros")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Give [B, units] for x [B, C]."""
        with slim_scope(self):
            return tf.nn.bias_add(tf.matmul(x, self.kernel), self.bias)


def _input_size(size: tf.Tensor, configuration: FasterRCNNConfiguration) -> tf.Tensor:
    """Give the height and width, int32 [2], that a picture of a size is resized to."""
    sides = tf.cast(size, tf.float32)
    scale = tf.minimum(configuration.min_side / tf.reduce_min(sides), configuration.max_side / tf.reduce_max(sides))
    return tf.cast(tf.round(sides * scale), tf.int32)


def _pixels(sizes: tf.Tensor) -> tf.Tensor:
    """Turn sizes [B, 2] (height, width) into what takes boxes [B, N, 4] from 0..1 to pixels: [B, 1, 4]."""
    return tf.tile(tf.cast(sizes, tf.float32), [1, 2])[:, None]


def _mean(values: tf.Tensor, where: tf.Tensor, *, over: tf.Tensor) -> tf.Tensor:
    """Sum values [B, A] where told, over the number that ``over`` [B, A] has in each image; mean of the images."""
    count = tf.maximum(tf.reduce_sum(tf.cast(over, tf.float32), axis=1), 1.0)
    return tf.reduce_mean(tf.reduce_sum(tf.where(where, values, 0.0), axis=1) / count)


def _seeds(numbers: tf.Tensor, *, stage: int) -> tf.Tensor:
    """Give seeds [B, 2] of what a stage draws for images [B]."""
    return tf.stack([numbers, tf.fill(tf.shape(numbers), tf.constant(stage, numbers.dtype))], axis=1)
