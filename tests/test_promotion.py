from __future__ import annotations

import pytest

from odml.promotion import Decision, Score, Verdict, Version, decide


def version(number: str, *scores: tuple[str, float], images: str = "60", parity: str = "") -> Version:
    return Version(number, [Score(digest, images, value) for digest, value in scores], parity)


@pytest.mark.parametrize(
    ("new", "tolerance", "verdict"),
    [
        (0.60, 0.01, Verdict.PASSED),
        (0.50, 0.01, Verdict.PASSED),  # a tie goes to the new one
        (0.49, 0.01, Verdict.PASSED),
        (0.4899, 0.01, Verdict.REFUSED),
        (0.4999, 0.0, Verdict.REFUSED),
        (0.0, 1.0, Verdict.PASSED),
    ],
)
def test_worse_by_more_than_the_tolerance_is_refused(new, tolerance, verdict):
    assert decide(version("2", ("d", new)), version("1", ("d", 0.5)), tolerance=tolerance).verdict is verdict


def test_reason_has_the_figures():
    assert decide(version("2", ("d", 0.4)), version("1", ("d", 0.5)), tolerance=0.01) == Decision(
        Verdict.REFUSED, "mAP 0.4000 against 0.5000 of version 1 on the same data d, worse by more than 0.01"
    )
    assert decide(version("2", ("d", 0.6)), version("1", ("d", 0.5)), tolerance=0.01).reason == (
        "mAP 0.6000 against 0.5000 of version 1 on the same data d"
    )


def test_first_version_needs_no_evaluation():
    assert decide(version("1"), None, tolerance=0.01) == Decision(Verdict.FIRST, "no version has the alias")


def test_version_that_has_the_alias_keeps_it():
    assert decide(version("1"), version("1", ("d", 0.5)), tolerance=0.01).verdict is Verdict.KEEPS


@pytest.mark.parametrize("holder", [None, version("1", ("d", 0.1))])
def test_export_that_is_not_like_its_checkpoint_is_refused(holder):
    assert decide(version("2", ("d", 0.5), parity="failed"), holder, tolerance=0.01) == Decision(
        Verdict.REFUSED, "its export does not give what its checkpoint gives"
    )


@pytest.mark.parametrize("parity", ["", "passed", "unmeasured"])
def test_any_other_word_on_parity_is_no_reason(parity):
    assert decide(version("2", ("d", 0.5), parity=parity), None, tolerance=0.01).verdict is Verdict.FIRST


@pytest.mark.parametrize(
    ("new", "holder", "reason"),
    [
        (version("2"), version("1", ("d", 0.5)), "version 2 has no evaluation"),
        (version("2", ("d", 0.5)), version("1"), "version 1 has no evaluation"),
        (version("2", ("", 0.5)), version("1", ("", 0.5)), "it is not known what data they were measured on"),
        (
            version("2", ("new", 0.5)),
            version("1", ("old", 0.6)),
            "version 2 was measured on data new, version 1 on old",
        ),
        (
            version("2", ("d", 0.5), images="10"),
            version("1", ("d", 0.6)),
            "version 2 was measured on 10 images, version 1 on 60",
        ),
    ],
)
def test_what_was_not_measured_alike_is_not_compared(new, holder, reason):
    assert decide(new, holder, tolerance=0.01) == Decision(Verdict.NOT_COMPARED, reason)


def test_newest_evaluation_that_both_have_on_the_same_data_counts():
    new = version("2", ("later", 0.1), ("d", 0.6), ("d", 0.1))
    holder = version("1", ("other", 0.9), ("d", 0.5), ("d", 0.9))
    assert decide(new, holder, tolerance=0.01).verdict is Verdict.PASSED


def test_number_of_images_that_is_not_known_is_no_difference():
    assert decide(version("2", ("d", 0.4), images=""), version("1", ("d", 0.5)), tolerance=0).verdict is Verdict.REFUSED
