"""What the workers of tests do, in interpreters of their own."""

import os
import signal
import time
from pathlib import Path

from ms_plm.common.errors import UserError


def adding(start: int):
    """Answers with sums, and its process; prints as libraries do."""
    print("made")

    def answer(job):
        print("asked")
        return {"sum": start + job, "process": os.getpid()}

    return answer


def misbehaving(folder: str):
    """Fails as it is told; leaves its process id, then sleeps for `sleep`."""

    def answer(job):
        if job == "refuse":
            raise UserError("file x: key y is wrong.")
        if job == "fail":
            raise KeyError("never seen")
        if job == "leave":
            os._exit(3)
        if job == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if job == "sleep":
            (Path(folder) / str(os.getpid())).touch()
            time.sleep(60)
        return job

    return answer


def broken():
    """Cannot even begin."""
    raise UserError("there is no teacher.")
