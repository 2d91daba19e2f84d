"""Which of the objects that a network finds are kept."""

from __future__ import annotations

from dataclasses import dataclass

from odml.errors import ConfigurationError
from odml.structures import Detections, LabelMap
from odml.tiling import suppress


@dataclass(frozen=True)
class Selection:
    """What is asked of a detection; ``classes`` are ids, none for all; ``nms_iou`` None takes the network's own NMS.

    Raises ConfigurationError for a value out of its range.
    """

    score_threshold: float = 0.5
    max_detections: int = 100
    classes: tuple[int, ...] = ()
    nms_iou: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ConfigurationError(
                f"score_threshold: {self.score_threshold} is not in 0 to 1; give a number in that range"
            )
        if self.max_detections < 1:
            raise ConfigurationError(f"max_detections: {self.max_detections} is below 1; give at least 1")
        if self.nms_iou is not None and not 0 <= self.nms_iou <= 1:
            raise ConfigurationError(f"nms_iou: {self.nms_iou} is not in 0 to 1; give a number in that range")

    def of(self, detections: Detections) -> Detections:
        """Keep the detections that are wanted, best first.

        Of those of one class that overlap by more than ``nms_iou`` the best one is kept.
        """
        kept = detections.of_classes(self.classes).best(score_threshold=self.score_threshold)
        if self.nms_iou is not None:
            kept = suppress(kept, max_iou=self.nms_iou)
        return kept.best(max_detections=self.max_detections)


def parse_classes(text: str, label_map: LabelMap) -> tuple[int, ...]:
    """Read names of classes with commas between; nothing means all, and gives no id.

    Raises:
        ConfigurationError: a name that the detector does not know.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in label_map.names]:
        known = ", ".join(label_map.names)
        raise ConfigurationError(f"classes: the detector does not know {unknown[0]!r}; it knows {known}")
    return tuple(sorted({label_map.id_of(name) for name in names}))
