"""Workers: jobs are shared out, and how a worker ends is told."""

import os
import time
from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm.distill.search.workers import Stopped, Workers


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_job_is_answered_once_by_processes_that_are_gone_afterwards(capfd):
    with Workers(2, "answerers:adding", [100], 1) as workers:
        first = dict(workers.answers(range(7)))
        second = dict(workers.answers([7]))
    assert {number: answer["sum"] for number, answer in first.items()} == {n: 100 + n for n in range(7)}
    assert second[0]["sum"] == 107
    processes = {answer["process"] for answer in first.values()}
    assert len(processes) <= 2
    assert second[0]["process"] in processes  # what was made for the first jobs serves later ones
    assert not any(map(alive, processes))
    out, errors = capfd.readouterr()
    assert (out, "made" in errors) == ("", True)


@pytest.mark.parametrize(
    ("job", "error", "match"),
    [
        ("refuse", UserError, r"^file x: key y is wrong\.$"),
        ("fail", RuntimeError, r"worker 1 of 1 \(process \d+\) failed while it had fail:(.|\n)*KeyError: 'never seen'"),
        ("leave", UserError, r"worker 1 of 1 \(process \d+\) ended with code 3 while it had leave"),
        ("die", UserError, r"was ended by signal 9 \(what ends processes when memory runs out sends this one\)"),
    ],
)
def test_how_a_worker_ended_is_told_with_its_job(tmp_path, job, error, match):
    with Workers(1, "answerers:misbehaving", [str(tmp_path)], 1) as workers:
        answers = workers.answers(["good", job, "later"])
        assert next(answers) == (0, "good")  # what was answered before is kept
        with pytest.raises(error, match=match):
            list(answers)


def test_what_keeps_workers_from_beginning_is_told():
    with Workers(2, "answerers:broken", [], 1) as workers, pytest.raises(UserError, match="^there is no teacher.$"):
        list(workers.answers([1, 2]))


def test_a_reason_to_stop_ends_the_waiting_and_the_workers(tmp_path):
    begun = time.monotonic()
    with Workers(1, "answerers:misbehaving", [str(tmp_path)], 1) as workers, pytest.raises(Stopped, match="SIGTERM"):
        list(workers.answers(["sleep"], lambda: "SIGTERM received" if os.listdir(tmp_path) else "", look=0.02))
    assert time.monotonic() - begun < 30
    (process,) = map(int, os.listdir(tmp_path))
    assert not alive(process)
