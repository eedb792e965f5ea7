"""Our training step beside Hugging Face NEZHA on PyTorch: time and peak memory, alternating in one run.

Both train NezhaForPreTraining (masked LM and next sentence) of NEZHA-base's width with 4 layers on the same batches:
fp32, dropout 0.1 on, AdamW with decay groups, global-norm clip 1.0, the same number of threads. Ours also draws dropout
from the seed, so that a run can be resumed exactly, and checks gradients for infinities. transformers decodes every
position and ignores those without a label; ours decodes the masked ones: the result is the same.

    python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==4.46.3 "numpy<2.3"
    python tools/bench/train_step.py --torch-python peers/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
INSTALL = 'python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==4.46.3 "numpy<2.3"'


class Worker:
    """A process that holds a model and runs training steps on demand; it is stopped while the other one runs."""

    def __init__(self, name: str, python: str, script: str, options: dict[str, int]) -> None:
        self.name, self.seconds, self.losses, self.peak_mb = name, [], [], 0.0
        threads = str(options["threads"])
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "GLOG_v": "3"}
        command = [python, str(HERE / script), *(f"--{key}={value}" for key, value in options.items())]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )
        self.ready = self._listen()
        self._pause()

    def run(self, steps: int) -> None:
        """Run training steps and keep their times, losses and the process's peak memory."""
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(f"{steps}\n")
        answer = self._listen()
        self._pause()
        self.seconds += answer["seconds"]
        self.losses += answer["losses"]
        self.peak_mb = answer["peak_mb"]

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    def _pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def _listen(self) -> dict[str, Any]:
        for line in self.process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise SystemExit(f"the {self.name} worker ended with exit code {self.process.wait()}; its message is above.")


def compare(args: argparse.Namespace, length: int) -> dict[str, Any]:
    """Alternate the two workers at one length and summarise."""
    options = {
        "batch": max(1, args.tokens // length),
        "length": length,
        "layers": args.layers,
        "hidden": args.hidden,
        "vocabulary": args.vocabulary,
        "threads": args.threads,
    }
    print(
        f"\nB={options['batch']} S={length}, {args.layers} layers x {args.hidden}, {args.threads} threads", flush=True
    )
    workers: list[Worker] = []
    try:
        for name, python, script in (
            ("huggingface", args.torch_python, "_torch_worker.py"),
            ("ms_plm", sys.executable, "_mindspore_worker.py"),
        ):
            workers.append(Worker(name, python, script, options))
            ready = workers[-1].ready
            print(f"  {name}: {ready['ready']}; first steps {ready['first_steps_seconds']:.1f} s", flush=True)
        for number in range(args.rounds):
            for worker in workers if number % 2 == 0 else workers[::-1]:
                worker.run(args.steps)
    finally:
        for worker in workers:
            worker.close()
    return summarise(workers, options)


def summarise(workers: list[Worker], options: dict[str, int]) -> dict[str, Any]:
    """Print the table of one length and return its figures."""
    figures: dict[str, Any] = dict(options)
    for worker in workers:
        figures[worker.name] = {
            "min_ms": 1e3 * min(worker.seconds),
            "median_ms": 1e3 * statistics.median(worker.seconds),
            "peak_mb": worker.peak_mb,
            "last_loss": worker.losses[-1],
            "steps": len(worker.seconds),
        }
        row = figures[worker.name]
        print(
            f"  {worker.name:12} min {row['min_ms']:8.1f} ms   median {row['median_ms']:8.1f} ms   "
            f"peak memory {row['peak_mb']:6.0f} MB   loss {worker.losses[0]:.3f} -> {row['last_loss']:.3f}"
        )
        if not all(0.0 < loss < 100.0 for loss in worker.losses):
            raise SystemExit(f"{worker.name}: a loss is not a sensible number: {worker.losses}")
    theirs, ours = (figures[worker.name] for worker in workers)
    figures["faster_by_min"] = theirs["min_ms"] / ours["min_ms"]
    figures["faster_by_median"] = theirs["median_ms"] / ours["median_ms"]
    figures["memory_ratio"] = ours["peak_mb"] / theirs["peak_mb"]
    print(
        f"  ms_plm is {figures['faster_by_min']:.2f} times as fast (min), {figures['faster_by_median']:.2f} (median), "
        f"with {figures['memory_ratio']:.2f} times the memory",
        flush=True,
    )
    return figures


def has_peer(python: str | None) -> bool:
    """Can this interpreter run the Hugging Face worker?"""
    if python is None:
        return False
    try:
        return (
            subprocess.run([python, "-c", "from transformers import NezhaModel"], capture_output=True).returncode == 0
        )
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", help="interpreter of an environment with torch and transformers 4.46.3")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--rounds", type=int, default=6, help="turns of each worker (%(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn (%(default)s)")
    parser.add_argument("--tokens", type=int, default=1024, help="tokens in a batch: B = tokens / S (%(default)s)")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=768, help="multiple of 64 (%(default)s)")
    parser.add_argument("--vocabulary", type=int, default=21128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    if args.hidden % 64:
        parser.error(f"--hidden: expected a multiple of 64 (the size of a head), found {args.hidden}")
    if not has_peer(args.torch_python):
        print(f"--torch-python: expected an interpreter with torch and transformers 4.46.3, found {args.torch_python}. "
              f"Make one:\n  {INSTALL}\nthen give --torch-python peers/bin/python", file=sys.stderr)  # fmt: skip
        return 2
    figures = [compare(args, length) for length in args.lengths]
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
