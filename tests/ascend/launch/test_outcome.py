"""A loss is told from a mistake by what the processes really say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ms_plm.cli.main import _unexpected
from ms_plm.common.errors import UserError
from ms_plm.training import parallel
from ms_plm_ascend.launch.outcome import judge


def said(folder: Path, *messages: str) -> Path:
    for number, message in enumerate(messages):
        (folder / f"worker_{number}.log").write_text(f"step 3\nms-plm run: {message}\n", encoding="utf-8")
    return folder


def blamed(monkeypatch: pytest.MonkeyPatch) -> str:
    """The message of a process whose exchange failed because another one is gone."""
    monkeypatch.setattr(parallel.time, "sleep", lambda seconds: None)
    group = parallel.Parallel.__new__(parallel.Parallel)
    group.rank, group.ranks = 0, 2
    with pytest.raises(UserError) as caught, group.blaming_peers():
        raise RuntimeError("AllReduce failed")
    return str(caught.value)


def test_a_good_end_is_one(tmp_path: Path) -> None:
    assert judge(0, "", tmp_path).verdict == "done"


def test_a_process_that_blames_another_is_a_loss(tmp_path: Path, monkeypatch) -> None:
    ending = judge(1, "", said(tmp_path, blamed(monkeypatch)))
    assert ending.verdict == "lost"
    assert ending.reason.startswith("process 0 of 2: another process ended or hangs")


def test_an_error_that_nobody_expected_is_a_loss(tmp_path: Path) -> None:
    message = _unexpected(RuntimeError("Malloc for kernel output failed, Memory isn't enough"))
    assert judge(1, "", said(tmp_path, message)).verdict == "lost"


@pytest.mark.parametrize(
    "message",
    [
        "the 16 processes of this job could not find each other (timed out). Check --master_addr",
        "process 3 of 16 cannot watch the others: no connection to the first process (timed out).",
        "stopped.",
    ],
)
def test_what_tells_of_the_job_is_a_loss(tmp_path: Path, message: str) -> None:
    assert judge(1, "", said(tmp_path, message)).verdict == "lost"


def test_one_mistake_outweighs_the_losses_that_follow_from_it(tmp_path: Path, monkeypatch) -> None:
    ending = judge(1, "", said(tmp_path, blamed(monkeypatch), "data.corpus: nothing there."))
    assert (ending.verdict, ending.reason) == ("mistake", "data.corpus: nothing there.")


def test_a_worker_that_did_not_understand_its_command_line_is_a_mistake(tmp_path: Path) -> None:
    printed = "[ERROR] Worker process 77 exit with exception. Error code: 2.\n"
    assert judge(1, printed, tmp_path).verdict == "mistake"
    assert judge(1, printed.replace("code: 2.", "code: -9."), tmp_path).verdict == "lost"


def test_a_silent_end_names_the_code_and_the_logs(tmp_path: Path) -> None:
    ending = judge(137, "", tmp_path)
    assert ending.verdict == "lost"
    assert "137" in ending.reason
    assert str(tmp_path) in ending.reason
