"""Whether a new version of a model may take an alias from the one that has it; knows no registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

FAILED = "failed"
"""What an export says of itself that does not give what its checkpoint gives."""


@dataclass(frozen=True)
class Score:
    """The mAP (``value``) of a checkpoint on the images of a data set that are kept for validation.

    ``images`` is how many were measured, "" if it is not known; scores of fewer are another thing.
    """

    digest: str
    images: str
    value: float

    def is_like(self, other: Score) -> bool:
        """Say whether both were measured on the same images."""
        same_number = not self.images or not other.images or self.images == other.images
        return bool(self.digest) and self.digest == other.digest and same_number


@dataclass(frozen=True)
class Version:
    """A version of a registered model: its number, and its scores, the newest first."""

    number: str
    scores: Sequence[Score]
    parity: str = ""


class Verdict(Enum):
    """What is to become of the alias; the values are what the new version's tag ``odml.gate`` begins with."""

    FIRST = "first"
    KEEPS = "kept"
    PASSED = "passed"
    NOT_COMPARED = "not compared"
    REFUSED = "refused"

    @property
    def moves(self) -> bool:
        """Whether the new version gets the alias, or has it already."""
        return self is not Verdict.REFUSED


@dataclass(frozen=True)
class Decision:
    """The verdict, and why in words that follow "because"."""

    verdict: Verdict
    reason: str


def decide(new: Version, holder: Version | None, *, tolerance: float) -> Decision:
    """Decide whether a new version may take the alias from its holder.

    It may not if its export differs from its checkpoint, or if its mAP on the same images is lower by more than the
    tolerance. A tie goes to the new one. Where nothing was measured on the same images nothing speaks against it.

    Args:
        holder: None if no version has the alias; it may be ``new`` itself.
        tolerance: of mAP, 0 to 1.
    """
    if new.parity == FAILED:
        return Decision(Verdict.REFUSED, "its export does not give what its checkpoint gives")
    if holder is None:
        return Decision(Verdict.FIRST, "no version has the alias")
    if holder.number == new.number:
        return Decision(Verdict.KEEPS, "it has the alias already")
    pair = next(((one, other) for one in new.scores for other in holder.scores if one.is_like(other)), None)
    if pair is None:
        return Decision(Verdict.NOT_COMPARED, _why_not_compared(new, holder))
    one, other = pair
    figures = f"mAP {one.value:.4f} against {other.value:.4f} of version {holder.number} on the same data {one.digest}"
    # So that 0.41 is no more than 0.01 below 0.42.
    if round(other.value - one.value - tolerance, 9) > 0:
        return Decision(Verdict.REFUSED, f"{figures}, worse by more than {tolerance:g}")
    return Decision(Verdict.PASSED, figures)


def _why_not_compared(new: Version, holder: Version) -> str:
    for version in (new, holder):
        if not version.scores:
            return f"version {version.number} has no evaluation"
    one, other = new.scores[0], holder.scores[0]
    if not one.digest or not other.digest:
        return "it is not known what data they were measured on"
    if one.digest != other.digest:
        return f"version {new.number} was measured on data {one.digest}, version {holder.number} on {other.digest}"
    return f"version {new.number} was measured on {one.images} images, version {holder.number} on {other.images}"
