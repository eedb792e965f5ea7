"""The life of a worker: `python -m ms_plm.distill.search.worker MODULE:FUNCTION ARGUMENTS`; see `workers.py`."""

from __future__ import annotations

import json
import os
import sys
import traceback
from importlib import import_module
from typing import TextIO

from ms_plm.common.errors import UserError


def main(function: str, arguments: str) -> None:
    """Answer jobs, a JSON line each on standard input, by JSON lines on standard output, until there are no more.

    Args:
        function: `MODULE:NAME` of what makes the function that answers a job.
        arguments: of it, a JSON list.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    try:
        module, _, name = function.partition(":")
        answer = getattr(import_module(module), name)(*json.loads(arguments))
        for line in sys.stdin:
            _say(answers, "done", answer(json.loads(line)))
    except UserError as error:
        _say(answers, "refused", str(error))
    except Exception:
        _say(answers, "failed", traceback.format_exc())


def _say(answers: TextIO, state: str, answer: object) -> None:
    answers.write(json.dumps({"state": state, "answer": answer}) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
