import pytest

from odml.initial_weights.scopes import name_in_detector

UNIT = "unit_1/bottleneck_v1/conv1/weights"


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("BoxPredictor_0/ClassPredictor/weights", "BoxPredictor_0/ClassPredictor/weights"),
        ("FeatureExtractor/MobilenetV2/Conv/BatchNorm/beta", "FeatureExtractor/MobilenetV2/Conv/BatchNorm/beta"),
        ("MobilenetV2/Conv/weights", "FeatureExtractor/MobilenetV2/Conv/weights"),
        ("resnet_v1_101/conv1/weights", "FirstStageFeatureExtractor/resnet_v1_101/conv1/weights"),
        (f"resnet_v1_50/block3/{UNIT}", f"FirstStageFeatureExtractor/resnet_v1_50/block3/{UNIT}"),
        (f"resnet_v1_50/block4/{UNIT}", f"SecondStageFeatureExtractor/resnet_v1_50/block4/{UNIT}"),
        ("variables/Conv.Sbiases/.ATTRIBUTES/VARIABLE_VALUE", "Conv/biases"),
    ],
)
def test_network_s_variables(name, ours):
    assert name_in_detector(name) == ours


@pytest.mark.parametrize(
    "name",
    [
        "global_step",
        "Conv/weights/RMSProp",
        "Conv/weights/RMSProp_1",
        "Conv/weights/Momentum",
        "Conv/weights/Adam_1",
        "Conv/weights/ExponentialMovingAverage",
        "optimizer/_variables/3/.ATTRIBUTES/VARIABLE_VALUE",
        "save_counter/.ATTRIBUTES/VARIABLE_VALUE",
        "_CHECKPOINTABLE_OBJECT_GRAPH",
    ],
)
def test_what_belongs_to_a_training(name):
    assert name_in_detector(name) is None
