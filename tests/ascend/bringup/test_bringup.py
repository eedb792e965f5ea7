"""The program: a plan without a device, answers of children that may die, a report and a list for `auto`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from ms_plm.kernels.verified import Record, read_records, write_records
from ms_plm_ascend.bringup import __main__ as bringup
from ms_plm_ascend.bringup.__main__ import ANSWER, OPENING, ask, main
from ms_plm_ascend.bringup.check import Check, Verdict
from ms_plm_ascend.bringup.report import closing_words, write_verified

RECORD = {
    "operation": "attention",
    "form": "flash",
    "chip": "910B3",
    "dtype": "fp16",
    "mindspore": "2.10.0",
    "cann": "8.3.RC1",
    "code": "c",
    "date": "2026-01-31",
    "errors": {"context": 1e-4},
    "tolerance": 4e-3,
    "instead": "reference",
    "timings": [{"length": 128, "milliseconds": 1.0, "instead_milliseconds": 2.0, "bound_milliseconds": 0.5}],
}
FLASH = Check("attention-flash-fp16", "Is it right?", "float64", "leave it", lambda operators: None)
PADDED = Check("padded-rows", "What do they give?", "a batch", "leave it", lambda operators: None, ("attention-flash",))


def test_a_dry_run_prints_every_check_and_needs_no_device(capsys) -> None:
    assert main(["--dry-run"]) == 0
    text = capsys.readouterr().out
    names = ["device", "pse-order", "padded-rows", "negative-tokens", "dropout-bits", "dropout-draws", "widths", "a3"]
    names += ["callback-order"]
    names += ["attention-flash-fp16", "relative_attention-flash3-bf16"]
    places = [text.index(f". {name} (") for name in names]
    assert places == sorted(places)
    assert "and   not verified: relative_attention-triton, dropout_add_layer_norm-triton" in text


def test_without_a_device_it_says_what_is_missing(capsys) -> None:
    assert main([]) == 1
    assert "no Ascend device" in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_device_a_child_answers_that_it_failed() -> None:
    verdict = ask("fp16", OPENING, "unknown")
    assert verdict.passed is False
    assert "failed: UserError" in verdict.answer


@pytest.mark.parametrize(
    ("ran", "passed", "words"),
    [
        (
            SimpleNamespace(returncode=0, stderr="", stdout="noise\n" + ANSWER + '{"passed": true, "answer": "a"}'),
            True,
            "a",
        ),
        (SimpleNamespace(returncode=-9, stderr="aicore exception\n", stdout=""), False, "code -9: aicore exception"),
        (SimpleNamespace(returncode=1, stderr="", stdout=""), False, "code 1: silently"),
    ],
)
def test_a_process_that_dies_is_an_answer_too(monkeypatch, ran, passed: bool, words: str) -> None:
    monkeypatch.setattr(bringup.subprocess, "run", lambda *_, **__: ran)
    verdict = ask("fp16", FLASH, "910B3")
    assert verdict.passed is passed
    assert words in verdict.answer


def test_a_process_that_hangs_is_one(monkeypatch) -> None:
    def hang(words, timeout, **more):
        raise subprocess.TimeoutExpired(words, timeout)

    monkeypatch.setattr(bringup.subprocess, "run", hang)
    assert ask("fp16", FLASH, "910B3").answer == "no answer within 900 s"


def answering(monkeypatch, **verdicts: Verdict) -> list[str]:
    """A machine with a device on which checks give these verdicts, others pass."""
    asked: list[str] = []

    def answer(dtype: str, check: Check, chip: str) -> Verdict:
        asked.append(check.name)
        return verdicts.get(check.name.replace("-", "_"), Verdict(True, "910B3" if check is OPENING else "yes"))

    monkeypatch.setattr(bringup, "missing_for_ascend", list)
    monkeypatch.setattr(bringup, "ask", answer)
    return asked


def test_everything_is_asked_and_written_down(monkeypatch, tmp_path: Path, capsys) -> None:
    asked = answering(monkeypatch, attention_flash_fp16=Verdict(True, "right", {"context": 1e-4}, RECORD))
    assert main(["--out", str(tmp_path)]) == 0
    assert len(asked) == 9 + 2 * 8  # the open questions, and eight forms in fp16 and bf16
    (record,) = read_records(tmp_path / "verified.json")
    assert record == Record(**RECORD)
    report = (tmp_path / "bringup.md").read_text()
    assert "| chip | 910B3 |" in report
    assert "| attention-flash-fp16 | yes | right |" in report
    assert f"export MS_PLM_VERIFIED={tmp_path}/verified.json" in capsys.readouterr().out


def test_a_failure_makes_the_exit_code_and_says_what_to_do(monkeypatch, tmp_path: Path) -> None:
    answering(monkeypatch, negative_tokens=Verdict(False, "they do NOT | at all"))
    assert main(["--out", str(tmp_path)]) == 1
    report = (tmp_path / "bringup.md").read_text()
    assert "| negative-tokens | NO | they do NOT \\| at all |" in report
    assert "**What to do:** give EVERYWHERE" in report


def test_a_device_that_does_not_open_is_the_only_answer(monkeypatch, tmp_path: Path) -> None:
    asked = answering(monkeypatch, device=Verdict(False, "no chip"))
    assert main(["--out", str(tmp_path)]) == 1
    assert asked == ["device"]
    assert not (tmp_path / "verified.json").exists()


def test_one_check_can_be_asked_alone(monkeypatch, tmp_path: Path) -> None:
    asked = answering(monkeypatch)
    assert main(["--out", str(tmp_path), "--only", "widths"]) == 0
    assert asked == ["device", "widths"]


def test_a_form_is_asked_together_with_what_it_rests_on(monkeypatch, tmp_path: Path) -> None:
    asked = answering(monkeypatch)
    assert main(["--out", str(tmp_path), "--only", "attention-flash-bf16"]) == 0
    assert asked == ["device", "padded-rows", "dropout-bits", "dropout-draws", "a3", "attention-flash-bf16"]


def test_a_check_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path, capsys) -> None:
    assert main(["--out", str(tmp_path), "--only", "widths", "paded-rows"]) == 1
    said = capsys.readouterr().err
    assert "--only paded-rows: there is no such check. Did you mean padded-rows?" in said
    assert "Expected: device, pse-order, padded-rows" in said


def test_a_check_of_another_chip_is_no_success(monkeypatch, tmp_path: Path, capsys) -> None:
    answering(monkeypatch, device=Verdict(True, "910A"))
    assert main(["--out", str(tmp_path), "--only", "attention-flash-bf16"]) == 1
    assert "--only attention-flash-bf16: there is no such check. Did you mean attention-flash-fp16?" in (
        capsys.readouterr().err
    )


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_asked(monkeypatch, tmp_path: Path, capsys) -> None:
    asked = answering(monkeypatch)
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file")]) == 1
    assert "--out" in capsys.readouterr().err
    assert not asked


def test_what_was_answered_is_kept_when_the_rest_is_cut_short(monkeypatch, tmp_path: Path) -> None:
    answering(monkeypatch, attention_flash_fp16=Verdict(True, "right", {}, RECORD))
    answer = bringup.ask

    def cut(dtype: str, check: Check, chip: str) -> Verdict:
        if check.name == "attention-flash-bf16":
            raise KeyboardInterrupt
        return answer(dtype, check, chip)

    monkeypatch.setattr(bringup, "ask", cut)
    with pytest.raises(KeyboardInterrupt):
        main(["--out", str(tmp_path)])
    assert read_records(tmp_path / "verified.json") == (Record(**RECORD),)
    assert "| attention-flash-fp16 | yes | right |" in (tmp_path / "bringup.md").read_text()


def test_a_form_whose_open_question_failed_is_not_verified_and_the_report_says_why(monkeypatch, tmp_path: Path) -> None:
    path = tmp_path / "verified.json"
    write_records(path, [Record(**{**RECORD, "dtype": "bf16"}), Record(**{**RECORD, "chip": "910A"})])
    failed = {"padded_rows": Verdict(False, "it leaks"), "dropout_draws": Verdict(False, "the SAME bits")}
    answering(monkeypatch, attention_flash_fp16=Verdict(True, "right", {}, RECORD), **failed)
    assert main(["--out", str(tmp_path)]) == 1
    assert [record.chip for record in read_records(path)] == ["910A"]
    reason = "right; NOT in verified.json, since it rests on padded-rows, dropout-draws"
    assert f"| attention-flash-fp16 | yes | {reason} |" in (tmp_path / "bringup.md").read_text()


def test_a_failed_question_takes_earlier_records_back_and_an_unasked_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "verified.json"
    write_records(path, [Record(**RECORD)])
    write_verified(path, [(PADDED, Verdict(None, "not asked"))], "910B3")
    assert read_records(path) == (Record(**RECORD),)
    write_verified(path, [(PADDED, Verdict(False, "it leaks"))], "910B3")
    assert read_records(path) == ()


def test_the_chip_has_the_types_that_are_asked(monkeypatch, tmp_path: Path) -> None:
    asked = answering(monkeypatch, device=Verdict(True, "910A"))
    main(["--out", str(tmp_path)])
    assert not any(name.endswith("bf16") for name in asked)


def test_what_is_known_of_other_chips_stays_and_what_fails_now_goes(tmp_path: Path) -> None:
    path = tmp_path / "verified.json"
    others = [Record(**{**RECORD, "chip": "910A"}), Record(**{**RECORD, "dtype": "bf16"})]
    write_records(path, [*others, Record(**RECORD)])
    assert write_verified(path, [(FLASH, Verdict(False, "WRONG"))], "910B3") == []
    assert list(read_records(path)) == others


def test_a_damaged_list_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "verified.json"
    path.write_text(json.dumps({"format": "else"}))
    write_verified(path, [(FLASH, Verdict(True, "right", {}, RECORD))], "910B3")
    assert [record.form for record in read_records(path)] == ["flash"]


def test_the_last_words_say_what_auto_takes(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "verified.json"
    monkeypatch.setenv("MS_PLM_VERIFIED", str(path))
    assert closing_words(path, [Record(**RECORD)]) == [
        "verified on this machine: attention flash (fp16); `auto` takes them where they were faster"
    ]
    assert "no implementation was verified" in closing_words(path, [])[0]
