"""What a run tells: lines that read well, metrics with every digit, cut back to where a resumed run begins."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ms_plm.training.log import METRICS, RunLog, cut_back, duration, read_metrics, run_logging, train_line

VALUES = {
    "loss": 5.08592677116394,
    "losses": {"masked_lm": 4.39297342300415, "next_sentence": 0.69295334815979},
    "learning_rate": 0.0005,
    "gradient_norm": 2.65829,
    "loss_scale": 1.0,
    "skipped": 0,
    "tokens_per_second": 15385.4,
}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (-3, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (250, "4m10s"),
        (3599.9, "1h00m"),
        (11100, "3h05m"),
        (360000, "100h00m"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_holds_loss_parts_rate_norm_speed_and_time_left() -> None:
    assert train_line(10, 1000, VALUES, 250.0) == (
        "step 10/1000  loss 5.0859 (masked_lm 4.3930 + next_sentence 0.6930)  lr 5.00e-04  grad 2.658  15385 tok/s  "
        "ETA 4m10s"
    )


def test_a_line_tells_the_loss_scale_and_skipped_updates_where_there_are_any() -> None:
    assert "  scale 32768  skipped 0  " in train_line(1, 2, {**VALUES, "loss_scale": 32768.0}, 0)
    assert "  scale 1  skipped 3  " in train_line(1, 2, {**VALUES, "skipped": 3}, 0)


def test_a_line_tells_the_share_of_the_peak_where_it_is_known() -> None:
    assert "15385 tok/s  MFU 41.2%  ETA" in train_line(1, 2, {**VALUES, "utilisation": 0.4123}, 0)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_all_their_digits(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = RunLog(folder, 10, False, True, 0)
    log.write(1, "train", {"loss": value})
    log.close()
    (record,) = read_metrics(folder)
    assert record["loss"] == value


def _written(folder: Path, *steps: int) -> Path:
    log = RunLog(folder, 10, False, True, 0)
    for step in steps:
        log.write(step, "train", {"loss": float(step)})
    log.close()
    return folder / METRICS


def test_a_record_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 10, False, True, 0)
    log.write(3, "evaluate", {"loss": 1.5, "perplexity": 4.25})
    assert read_metrics(tmp_path) == [{"step": 3, "kind": "evaluate", "loss": 1.5, "perplexity": 4.25}]
    log.close()


def test_a_resumed_run_cuts_off_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    _written(tmp_path, 1, 2, 3, 4)
    log = RunLog(tmp_path, 10, False, True, start=2)
    log.write(3, "train", {"loss": 30.0})
    log.close()
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_a_run_that_begins_again_has_no_old_records(tmp_path: Path) -> None:
    _written(tmp_path, 0, 1)
    RunLog(tmp_path, 10, False, True, start=0).close()
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("tail", ['{"step": 2, "ki', "\0\0\0\0", "[1]\n", '"x"\n', '{"kind": "train"}\n'])
def test_a_line_that_a_kill_left_half_written_goes_too(tmp_path: Path, tail: str) -> None:
    path = _written(tmp_path, 1, 2)
    with open(path, "a", encoding="utf-8") as file:
        file.write(tail)
    cut_back(path, 2)
    assert [r["step"] for r in read_metrics(tmp_path)] == [1, 2]


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 10, True, False, 0)
    log.write(1, "train", VALUES)
    log.bar.update()
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_every_plain_number(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    log = RunLog(tmp_path, 10, True, True, 0)
    log.write(1, "train", VALUES)
    log.write(1, "evaluate", {"accuracy": 0.5})
    log.close()
    (events,) = tmp_path.glob("events.*")
    content = events.read_bytes()
    for tag in (b"train/loss", b"train/learning_rate", b"train/skipped", b"evaluate/accuracy"):
        assert tag in content
    assert b"train/losses/masked_lm" in content


def test_messages_go_to_train_log_and_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    logger = logging.getLogger("ms_plm")
    before = logger.handlers, logger.level, logger.propagate
    with run_logging(tmp_path, main=True):
        logging.getLogger("ms_plm.somewhere").info("first %d", 1)
        assert (tmp_path / "train.log").read_text(encoding="utf-8").endswith(" I first 1\n")
        assert " I first 1\n" in capfd.readouterr().err
    with run_logging(tmp_path, main=False):
        logging.getLogger("ms_plm.somewhere").info("second")
        logging.getLogger("ms_plm.somewhere").warning("third")
        assert capfd.readouterr().err.endswith(" W third\n")
        assert "third" not in (tmp_path / "train.log").read_text(encoding="utf-8")
    assert (logger.handlers, logger.level, logger.propagate) == before


def test_what_is_not_a_number_becomes_null_as_json_has_no_name_for_it(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 10, False, True, 0)
    log.write(1, "train", {"gradient_norm": float("nan"), "losses": {"a": float("inf"), "b": 1.5}})
    log.close()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    (line,) = (tmp_path / METRICS).read_text(encoding="utf-8").splitlines()
    record = json.loads(line, parse_constant=refuse)
    assert record == {"step": 1, "kind": "train", "gradient_norm": None, "losses": {"a": None, "b": 1.5}}


def test_metrics_are_one_json_object_a_line(tmp_path: Path) -> None:
    path = _written(tmp_path, 1, 2)
    assert [json.loads(line)["kind"] for line in path.read_text(encoding="utf-8").splitlines()] == ["train", "train"]


def test_the_log_file_says_why_a_run_ended(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such thing"), run_logging(tmp_path, main=True):
        raise ValueError("no such thing")
    assert " E no such thing" in (tmp_path / "train.log").read_text(encoding="utf-8")
