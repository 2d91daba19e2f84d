"""A serialized `tf.train.Example` with the TF Object Detection API's keys -> tensors."""

from __future__ import annotations

import tensorflow as tf

from odml.structures import LabelMap

BOX_KEYS = ("ymin", "xmin", "ymax", "xmax")
_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/height": tf.io.FixedLenFeature((), tf.int64, 0),
    "image/width": tf.io.FixedLenFeature((), tf.int64, 0),
    "image/filename": tf.io.FixedLenFeature((), tf.string, ""),
    "image/source_id": tf.io.FixedLenFeature((), tf.string, ""),
    **{f"image/object/bbox/{side}": tf.io.RaggedFeature(tf.float32) for side in BOX_KEYS},
    "image/object/class/text": tf.io.RaggedFeature(tf.string),
    "image/object/class/label": tf.io.RaggedFeature(tf.int64),
    "image/object/difficult": tf.io.RaggedFeature(tf.int64),
    "image/object/is_crowd": tf.io.RaggedFeature(tf.int64),
    "image/object/group_of": tf.io.RaggedFeature(tf.int64),
    "image/object/weight": tf.io.RaggedFeature(tf.float32),
}


def parse_example(serialized: tf.Tensor, label_map: LabelMap | None = None) -> dict[str, tf.Tensor]:
    """Parse one serialized example; usable in `tf.data.Dataset.map`.

    Of the keys only the picture is needed. As in the API's decoder, a class that the label map knows by its text counts
    more than its number; one of neither is 0. An object of weight 0, and a group of objects in one box (``is_crowd``,
    ``group_of``), is a crowd; other weights count as 1. Boxes are clipped to the picture, and left out if that leaves
    them no area.

    Args:
        label_map: None: all classes are taken by their numbers.
    Returns:
        ``encoded`` (the JPEG or PNG bytes), ``filename`` and ``source_id`` strings; ``height`` and ``width`` int32,
        the picture's own if the example does not tell; ``boxes`` float32 [N, 4] yxyx 0..1; ``classes`` int32 [N], ids
        from 1; ``difficult`` and ``crowd`` bool [N], False where the example does not tell.
    """
    parsed = tf.io.parse_single_example(serialized, _FEATURES)
    sides = [parsed[f"image/object/bbox/{side}"] for side in BOX_KEYS]
    boxes = tf.clip_by_value(tf.stack(sides, axis=-1), 0.0, 1.0)  # [N, 4]
    count = tf.shape(boxes)[0]
    is_crowd, is_group, weight = (parsed[f"image/object/{key}"] for key in ("is_crowd", "group_of", "weight"))
    crowd = (_padded(is_crowd, count) > 0) | (_padded(is_group, count) > 0) | (_padded(weight, count, 1.0) <= 0)
    has_area = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1)
    objects = {
        "boxes": boxes,
        "classes": _classes(parsed, label_map, count),
        "difficult": _padded(parsed["image/object/difficult"], count) > 0,
        "crowd": crowd,
    }
    height, width = tf.unstack(_size(parsed))
    return {
        "encoded": parsed["image/encoded"],
        "filename": parsed["image/filename"],
        "source_id": parsed["image/source_id"],
        "height": height,
        "width": width,
        **{name: tf.boolean_mask(values, has_area) for name, values in objects.items()},
    }


def _padded(stated: tf.Tensor, count: tf.Tensor, value: float = 0) -> tf.Tensor:
    """Give as many values [N] as there are objects, the given one where none is stated."""
    stated = stated[:count]
    return tf.pad(stated, [[0, count - tf.size(stated)]], constant_values=tf.cast(value, stated.dtype))


def _classes(parsed: dict[str, tf.Tensor], label_map: LabelMap | None, count: tf.Tensor) -> tf.Tensor:
    labels = _padded(tf.cast(parsed["image/object/class/label"], tf.int32), count)  # [N]
    if label_map is None:
        return labels
    named = [*((name, number) for number, name in enumerate(label_map.names, start=1)), *label_map.aliases]
    names, ids = tf.constant([name for name, _ in named]), tf.constant([number for _, number in named])
    texts = parsed["image/object/class/text"][:count]
    found = tf.reduce_max(tf.where(texts[:, None] == names, ids, 0), axis=1)
    found = _padded(found, count)
    return tf.where(found > 0, found, labels)


def _size(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
    """Give height and width, int32 [2]."""
    stated = tf.cast([parsed["image/height"], parsed["image/width"]], tf.int32)

    def decoded() -> tf.Tensor:
        return tf.shape(tf.io.decode_image(parsed["image/encoded"], expand_animations=False))[:2]

    return tf.ensure_shape(tf.cond(tf.reduce_all(stated > 0), lambda: stated, decoded), [2])
