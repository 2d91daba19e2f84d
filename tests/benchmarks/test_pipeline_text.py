from __future__ import annotations

import pytest

from benchmarks import pipeline_text
from odml import config
from odml.errors import ConfigurationError
from odml.export.pipeline_config import pipeline_config

SSD = """
model {
  ssd {
    num_classes: 7  # of fruit
    image_resizer { fixed_shape_resizer { height: 320 width: 256 } }
    feature_extractor { type: 'ssd_mobilenet_v2' conv_hyperparams { activation: RELU_6 batch_norm { scale: true } } }
    box_coder { faster_rcnn_box_coder { } }
    box_predictor < convolutional_box_predictor < kernel_size: 3 > >
    anchor_generator: { ssd_anchor_generator { aspect_ratios: [1.0, 2.0] min_scale: .1 } }
    post_processing { batch_non_max_suppression { max_total_detections: 20 } score_converter: SIGMOID }
  }
}
"""


def read(text: str) -> tuple[config.Configuration, int]:
    return pipeline_text.configuration(text, where="it.config")


def message_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(text)
    return str(raised.value)


@pytest.mark.parametrize("model", config.shipped_models())
def test_reads_what_is_exported(model):
    configuration = config.load(model)
    read_again, num_classes = read(pipeline_config(configuration, 7))
    assert num_classes == 7
    assert read_again.model_copy(update={"training": configuration.training}) == configuration


def test_values_and_the_defaults_of_the_api():
    configuration, num_classes = read(SSD)
    assert isinstance(configuration, config.SSDConfiguration)
    assert num_classes == 7
    assert configuration.image_size == (320, 256)
    assert not configuration.depthwise_extra_layers
    assert configuration.head_kernel_size == 3
    assert configuration.anchors == config.SSDAnchors(
        min_scale=0.1, max_scale=0.95, aspect_ratios=(1.0, 2.0), reduce_boxes_in_lowest_layer=True
    )
    assert configuration.detection == config.Detection(
        score_threshold=0, iou_threshold=0.6, max_detections_per_class=100, max_detections=20
    )


def test_scalars():
    assert pipeline_text.read("a: 1, b: -2.5e-3; c: true d: NAME e: 'text' a: [2, 3]", where="it") == {
        "a": [1, 2, 3],
        "b": [-0.0025],
        "c": [True],
        "d": ["NAME"],
        "e": ["text"],
    }


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("min_scale", "scales", "it.config: model.ssd.anchor_generator.ssd_anchor_generator.scales: is not known;"),
        (
            "SIGMOID",
            "SOFTMAX",
            "it.config: model.ssd.post_processing.score_converter: is SOFTMAX; only SIGMOID is known",
        ),
        (
            "fixed_shape",
            "identity",
            "it.config: model.ssd.image_resizer: has identity_resizer; only fixed_shape_resizer",
        ),
        ("ssd {", "yolo {", "it.config: model: has yolo; only ssd or faster_rcnn is known"),
        (
            "v2'",
            "v9'",
            "it.config: model.ssd.feature_extractor.type: is 'ssd_mobilenet_v9'; known are ssd_mobilenet_v2",
        ),
        ("height: 320", "height: 8", "it.config: image_size.0: Input should be greater than or equal to 32 (found 8)"),
        ("height: 320", "height: @", "it.config: line 5: cannot read '@'; is it a pipeline.config?"),
        ("kernel_size: 3", "kernel_size: }", "it.config: model: ssd: box_predictor: convolutional_box_predictor:"),
    ],
)
def test_what_ours_cannot_be_is_an_error(before, after, message):
    assert message_of(SSD.replace(before, after)).startswith(message)


def test_message_that_is_not_closed():
    assert message_of("model { ssd {") == "it.config: model: ssd: is not closed; is it a pipeline.config?"
