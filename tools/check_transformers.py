"""Does transformers read a model folder of ours without a word, and compute the same?

Runs in an environment with torch and transformers (nothing of ms_plm is needed there):

    python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==4.46.3 safetensors "numpy<2.3"
    python tools/make_reference.py FOLDER reference.npz            # in our environment
    peers/bin/python tools/check_transformers.py FOLDER --reference reference.npz

A sub-network of an elastic model, written as a model with pruned heads:

    ms-plm extract ELASTIC --width 0.5 --depth 0.5 --output half && ms-plm convert half half_hf --to huggingface
    python tools/make_reference.py half half.npz
    peers/bin/python tools/check_transformers.py half_hf --reference half.npz

Exit code 1: a warning, a missing or unexpected tensor, or a larger difference than --tolerance.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers

INPUTS = ("input_ids", "token_type_ids", "attention_mask")


class Listener(logging.Handler):
    """Keeps what a library logs at warning level or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def load(folder: Path) -> tuple[torch.nn.Module, list[str]]:
    """The model in evaluation mode, and every complaint that loading it and its tokenizer brought."""
    (architecture,) = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    transformers.logging.set_verbosity_warning()
    listener = Listener()
    logger = logging.getLogger("transformers")
    logger.addHandler(listener)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model, info = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    finally:
        logger.removeHandler(listener)
    complaints = [f"{kind}: {names}" for kind, names in info.items() if names]
    complaints += [f"logged: {message}" for message in listener.messages]
    complaints += [f"warned: {item.message}" for item in caught]
    if len(tokenizer) != model.config.vocab_size:
        complaints.append(f"tokenizer of {len(tokenizer)} entries for vocab_size {model.config.vocab_size}")
    return model.eval(), complaints


def differences(model: torch.nn.Module, reference: Path) -> dict[str, float]:
    """The largest absolute difference of each output."""
    with np.load(reference, allow_pickle=False) as arrays:
        inputs = {name: torch.from_numpy(arrays[name]).long() for name in INPUTS}
        expected = {name: arrays[name] for name in arrays.files if name not in INPUTS}
    with torch.no_grad():
        out = model(**inputs)
    result = {}
    for name, value in expected.items():
        found = out[name].numpy()
        if found.shape != value.shape:
            raise SystemExit(f"{name}: shape {value.shape} in {reference}, {found.shape} from transformers")
        # written so that a NaN on either side is not lost
        result[name] = float(np.abs(found - value).max()) if np.isfinite(value).all() else float("inf")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reference", type=Path, help=".npz of tools/make_reference.py")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest absolute difference (%(default)s)")
    args = parser.parse_args()
    model, complaints = load(args.folder)
    print(
        f"{type(model).__name__} of transformers {transformers.__version__}, torch {torch.__version__}: {args.folder}"
    )
    for complaint in complaints:
        print(f"FAILED  {complaint}")
    failed = bool(complaints)
    if args.reference:
        for name, difference in differences(model, args.reference).items():
            good = difference <= args.tolerance
            failed |= not good
            print(f"{'ok' if good else 'FAILED'}  {name}: largest difference {difference:.2e}")
    print(
        "failed" if failed else "ok: loads without warnings" + (" and gives the same logits" if args.reference else "")
    )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
