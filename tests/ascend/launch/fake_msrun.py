"""A stand-in for msrun: a program that carries out, attempt by attempt, what a test wrote down for it.

The plan is a JSON list in MS_PLM_FAKE_PLAN, one entry an attempt: `anew` (the run folder makes way for a new one),
`step` (a checkpoint that is written), `damaged` (the same, cut), `code`, `worker` (what worker 0 says), `printed`,
`lives` (a worker that goes on for so many seconds, and on SIGTERM leaves a file `told`), `leaves` (the same, but msrun
does not wait for it).
"""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

PROGRAM = """#!{python}
import hashlib, json, os, pathlib, subprocess, sys, time

plan_file = pathlib.Path(os.environ["MS_PLM_FAKE_PLAN"])
calls = plan_file.with_name("calls.jsonl")
number = len(calls.read_text().splitlines()) if calls.exists() else 0
with calls.open("a") as file:
    file.write(json.dumps({{"argv": sys.argv[1:], "environment": dict(os.environ)}}) + "\\n")
logs = pathlib.Path(next(a for a in sys.argv if a.startswith("--log_dir=")).partition("=")[2])
run = pathlib.Path(next(a for a in sys.argv if a.startswith("output.folder=")).partition("=")[2])
entry = json.loads(plan_file.read_text())[number]


def checkpoint(step, cut):
    folder = run / "checkpoints" / f"step-{{step:06d}}"
    folder.mkdir(parents=True)
    record = {{"step": step, "files": {{}}}}
    text = json.dumps(record, sort_keys=True, ensure_ascii=False)
    record["digest"] = "0" * 64 if cut else hashlib.sha256(text.encode()).hexdigest()
    (folder / "trainer.json").write_text(json.dumps(record))


if entry.get("anew"):
    run.rename(run.with_name("aside"))
if "step" in entry:
    checkpoint(entry["step"], False)
if "damaged" in entry:
    checkpoint(entry["damaged"], True)
(logs / "worker_0.log").write_text(entry.get("worker", ""))
print(entry.get("printed", "fake msrun"), flush=True)
seconds = entry.get("lives") or entry.get("leaves")
if seconds:
    code = (
        "import pathlib, signal, sys, time\\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).touch(), sys.exit(1)))\\n"
        "pathlib.Path(sys.argv[2]).touch()\\n"
        "time.sleep(float(sys.argv[3]))\\n"
    )
    words = [sys.executable, "-c", code, str(run.parent / "told"), str(run.parent / "alive"), str(seconds)]
    worker = subprocess.Popen(words, env={{**os.environ, "MS_ROLE": "MS_WORKER"}}, start_new_session=True)
    (run.parent / "worker.pid").write_text(str(worker.pid))
    while not (run.parent / "alive").exists():
        time.sleep(0.01)
    if "lives" in entry:
        sys.exit(worker.wait())
sys.exit(entry.get("code", 0))
"""


def install(folder: Path, plan: list[dict]) -> dict[str, str]:
    """Put the program and its plan into a folder; the variables that make it found."""
    program = folder / "bin" / "msrun"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (folder / "plan.json").write_text(json.dumps(plan))
    path = f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {"PATH": path, "MS_PLM_FAKE_PLAN": str(folder / "plan.json")}


def calls(folder: Path) -> list[dict]:
    """Arguments and environment of each start so far."""
    file = folder / "calls.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
