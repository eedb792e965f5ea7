"""What a run tells: a line an interval, metrics.jsonl with all digits, train.log, TensorBoard if wanted."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ms_plm.common.errors import UserError
from ms_plm.common.files import replacing_file

METRICS = "metrics.jsonl"
log = logging.getLogger("ms_plm")


class _BarHandler(logging.StreamHandler):
    """Writes above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


@contextmanager
def run_logging(folder: Path | None, main: bool) -> Iterator[None]:
    """Send the package's messages to standard error and to train.log; ranks but the first only report warnings.

    Afterwards everything is as it was: a program that uses the package keeps its own handlers.
    """
    before = (log.level, log.propagate, list(log.handlers))
    handlers: list[logging.Handler] = [_BarHandler()]
    if folder is not None and main:
        handlers.append(logging.FileHandler(folder / "train.log", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
    log.setLevel(logging.INFO if main else logging.WARNING)
    log.propagate, log.handlers = False, handlers
    try:
        yield
    except Exception as error:  # standard error has it from whoever shows the error
        for handler in handlers[1:]:
            handler.handle(log.makeRecord(log.name, logging.ERROR, __file__, 0, "%s", (error,), None))
        raise
    finally:
        for handler in handlers:
            handler.close()
        log.level, log.propagate, log.handlers = before


class RunLog:
    """Metrics of a run.

    Args:
        folder: the run folder.
        total: steps of the whole run.
        tensorboard: also write event files (needs the extra `viz`).
        main: False on all ranks but the first: nothing is written.
        start: on resume, metrics of later steps are cut off: they will be written again.
    """

    def __init__(self, folder: Path, total: int, tensorboard: bool, main: bool, start: int) -> None:
        self.folder, self.total, self.main = folder, total, main
        self._file = self._events = None
        self.bar = tqdm(total=total, initial=start, unit="step", disable=not (main and sys.stderr.isatty()))
        if not main:
            return
        path = folder / METRICS
        if path.exists():
            cut_back(path, start or -1)  # a run that begins again also evaluates again before its first step
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (open for the whole run)
        if tensorboard:
            self._events = _event_writer(folder, start)

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Append a record `{"step", "kind", ...}`; numbers keep all their digits, infinity and NaN become null."""
        if self._file is None:
            return
        record = _json_numbers({"step": step, "kind": kind, **values})
        self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()
        if self._events is not None:
            parts = {f"losses/{name}": value for name, value in values.get("losses", {}).items()}
            for name, value in {**values, **parts}.items():
                if isinstance(value, (int, float)):
                    self._events.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flush and close everything."""
        self.bar.close()
        for item in (self._file, self._events):
            if item is not None:
                item.close()


def _json_numbers(value: Any) -> Any:
    """A record without numbers that JSON has no name for, such as the gradient norm of an overflow."""
    if isinstance(value, dict):
        return {key: _json_numbers(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cut_back(path: Path, step: int) -> None:
    """Keep the records of metrics.jsonl up to a step; a half-written last line goes too."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (json.JSONDecodeError, KeyError, TypeError):
            continue
    with replacing_file(path) as temporary:
        temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All records of a run."""
    with open(folder / METRICS, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _event_writer(folder: Path, start: int):
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UserError(
            "log.tensorboard: true needs the extra viz: pip install tensorboardX. Or set log.tensorboard=false."
        ) from error
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)


def train_line(step: int, total: int, values: dict[str, Any], remaining_seconds: float) -> str:
    """One readable line for an interval."""
    parts = " + ".join(f"{name} {value:.4f}" for name, value in values["losses"].items())
    line = (
        f"step {step}/{total}  loss {values['loss']:.4f} ({parts})  lr {values['learning_rate']:.2e}  "
        f"grad {values['gradient_norm']:.3f}"
    )
    if values["loss_scale"] != 1.0 or values["skipped"]:
        line += f"  scale {values['loss_scale']:.0f}  skipped {values['skipped']}"
    line += f"  {values['tokens_per_second']:.0f} tok/s"
    if "utilisation" in values:
        line += f"  MFU {100 * values['utilisation']:.1f}%"
    return f"{line}  ETA {duration(remaining_seconds)}"


def duration(seconds: float) -> str:
    """Such as 3h05m, 4m10s, 12s."""
    seconds = max(0, round(seconds))
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds % 60:02d}s" if minutes else f"{seconds}s"
