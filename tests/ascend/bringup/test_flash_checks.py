"""Each question gets the right answer from operators as documented, and another from operators with that defect."""

from __future__ import annotations

import numpy as np
import pytest
from numpy_operators import NumpyOperators

from ms_plm_ascend.bringup import flash_checks
from ms_plm_ascend.bringup.check import Verdict
from ms_plm_ascend.bringup.flash_checks import CHECKS
from ms_plm_ascend.bringup.forms_check import form_checks


def answer(name: str, *defects: str, chip: str = "910B3") -> Verdict:
    (check,) = [check for check in CHECKS if check.name == name]
    return check.run(NumpyOperators(chip, *defects))


def test_questions_come_in_the_order_in_which_they_are_open() -> None:
    names = ["pse-order", "padded-rows", "negative-tokens", "dropout-bits", "dropout-draws", "widths", "a3"]
    assert [check.name for check in CHECKS] == [*names, "callback-order"]
    assert all(check.question.endswith("?") and check.how and check.otherwise for check in CHECKS)


def test_what_rests_on_an_answer_is_a_form_that_bring_up_verifies() -> None:
    verified = {check.name.rpartition("-")[0] for _, check in form_checks(["fp16"])}
    gates = {check.name: set(check.gates) for check in CHECKS}
    assert set().union(*gates.values()) <= verified
    assert [name for name, forms in gates.items() if "attention-flash" in forms] == [
        *("padded-rows", "dropout-bits", "dropout-draws", "a3")
    ]
    assert gates["callback-order"] == {name for name in verified if name.endswith("-triton")}


def test_both_orders_of_the_shift_are_told_apart() -> None:
    documented, other = answer("pse-order"), answer("pse-order", "shift after scaling")
    assert (documented.passed, documented.answer) == (True, "scale * (q k + shift)")
    assert (other.passed, other.answer) == (True, "scale * q k + shift")
    assert max(documented.figures.values()) > 0.1  # the wrong formula is far off


def test_rows_without_keys_may_give_anything_that_disturbs_no_other() -> None:
    fine, nan, leaks = (
        answer("padded-rows", *defect) for defect in ((), ("all masked is nan",), ("all masked leaks",))
    )
    assert (fine.passed, fine.answer) == (True, "such a row gives the mean of all values; others are right")
    assert (nan.passed, nan.answer) == (True, "such a row gives not finite; others are right")
    assert leaks.passed is False


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that NumPy can work through."""
    monkeypatch.setattr(flash_checks, "REACH", 8)
    monkeypatch.setattr(flash_checks, "LENGTH", 40)


def test_negative_tokens_that_work(short: None) -> None:
    verdict = answer("negative-tokens")
    assert (verdict.passed, verdict.answer) == (True, "they work")
    assert set(verdict.figures) > {"low logsumexp", "high output", "band d key", "mask alone, worst"}


def test_negative_tokens_that_do_not_are_told_from_a_mask_that_does_not(short: None) -> None:
    verdict = answer("negative-tokens", "negative tokens swapped")
    assert (verdict.passed, verdict.answer) == (False, "they do NOT; the mask alone works")
    verdict = answer("negative-tokens", "negative tokens swapped", "mask ignored")
    assert (verdict.passed, verdict.answer) == (False, "they do NOT; the mask alone does not either")


@pytest.mark.parametrize(
    ("defects", "passed", "words"),
    [
        ((), True, "little-endian order; the gradient drops the same"),
        (("big endian",), True, "big-endian order; the gradient drops the same"),
        (("gradient redraws",), False, "the gradient drops OTHER entries"),
        (("no dropout scale",), False, "little-endian"),
    ],
)
def test_the_bits_of_dropout_are_found_in_the_output(defects: tuple[str, ...], passed: bool, words: str) -> None:
    verdict = answer("dropout-bits", *defects)
    assert verdict.passed is passed
    assert words in verdict.answer


def test_a_device_that_drops_everything_says_nothing_of_the_order(monkeypatch) -> None:
    monkeypatch.setattr(
        NumpyOperators, "draw", lambda self, keep, shape: np.zeros((*shape[:3], shape[3] // 8), np.uint8)
    )
    verdict = answer("dropout-bits")
    assert (verdict.passed, verdict.answer) == (False, "0% of 75% kept: nothing can be said of the order")


def test_every_call_of_a_graph_draws_other_bits() -> None:
    verdict = answer("dropout-draws")
    assert verdict.passed is True
    assert verdict.figures["differing"] == pytest.approx(2 * 0.75 * 0.25, abs=0.02)
    assert verdict.figures["kept"] == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(("defect", "words"), [("draws frozen", "the SAME bits"), ("draws alike", "4% of the bits")])
def test_bits_that_stay_from_call_to_call_are_found(defect: str, words: str) -> None:
    verdict = answer("dropout-draws", defect)
    assert verdict.passed is False
    assert words in verdict.answer


def test_a_width_that_is_not_served_is_named() -> None:
    assert answer("widths").answer == "right for 64, 80, 128, 144"
    verdict = answer("widths", "width 80")
    assert (verdict.passed, verdict.answer) == (False, "right for 64, 128, 144")


def test_the_third_series_is_asked_on_its_own_chip_only() -> None:
    assert answer("a3") == Verdict(None, "not asked: this is a 910B3")
    assert answer("a3", chip="910C").answer == "they do"
    assert answer("a3", "width 80", chip="910C").passed is False


def test_callbacks_out_of_order_are_counted() -> None:
    assert answer("callback-order").passed is True
    verdict = answer("callback-order", "callbacks late")
    assert (verdict.passed, verdict.answer) == (False, "OTHER NUMBERS in 3 of 10 runs")


def test_a_mask_that_is_ignored_shows_in_padded_rows() -> None:
    assert answer("padded-rows", "mask ignored").passed is False
