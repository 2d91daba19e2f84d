"""The one table between slim's names and ours: a variable's name is the same, and some scopes stand in another.

slim's ImageNet networks begin with their own scope; in a detector that scope stands in one of the feature extractors,
and the fourth stage of a ResNet in the second one.
"""

from __future__ import annotations

import re

# Of a variable's name the beginning -> what stands there in a detector; the first that fits counts.
_SCOPES = {
    r"MobilenetV2/": "FeatureExtractor/MobilenetV2/",
    r"(resnet_v1_\d+)/block4/": r"SecondStageFeatureExtractor/\1/block4/",
    r"(resnet_v1_\d+)/": r"FirstStageFeatureExtractor/\1/",
}
# All that slim calls its variables; optimizers, moving averages and steps add names of their own below or beside them.
_KINDS = {
    *("weights", "depthwise_weights", "biases"),
    *("gamma", "beta", "moving_mean", "moving_variance"),
}
# Of a checkpoint of a training by odml, where TensorFlow writes a slash as ".S".
_OWN_KEY = re.compile(r"variables/(.*)/\.ATTRIBUTES/VARIABLE_VALUE")


def name_in_detector(name: str) -> str | None:
    """Give a detector's name for a variable of a file; None if it is none of a network's, but of its training.

    >>> name_in_detector("resnet_v1_50/block4/unit_1/bottleneck_v1/conv1/weights")
    'SecondStageFeatureExtractor/resnet_v1_50/block4/unit_1/bottleneck_v1/conv1/weights'
    """
    own = _OWN_KEY.fullmatch(name)
    name = own[1].replace(".S", "/") if own else name
    if name.rsplit("/", 1)[-1] not in _KINDS:
        return None
    for scope, ours in _SCOPES.items():
        if match := re.match(scope, name):
            return match.expand(ours) + name[match.end() :]
    return name
