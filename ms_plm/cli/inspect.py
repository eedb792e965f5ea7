"""`ms-plm inspect`: look into a folder or file and verify it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ms_plm.common.errors import UserError

NAME = "inspect"
HELP = "look into a model folder, run, checkpoint, prepared corpus, MindRecord or MindIR file, and verify it"
EPILOG = """\
examples:
  ms-plm inspect prepared/zh                              verify every hash, counts, masked samples as text
  ms-plm inspect runs/quickstart                          its checkpoints and its model
  ms-plm inspect runs/quickstart/checkpoints/step-000200  step, data position, optimizer state; every hash
  ms-plm inspect data/part-00000.mr --vocab vocab.txt     columns, rows, samples as text
  ms-plm inspect quickstart.mindir                        inputs, outputs, size

In samples {true|shown} is a predicted position. Exit code 1: something is damaged or missing; it is named.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="folder or file")
    parser.add_argument("--samples", type=int, default=3, metavar="N", help="samples that are shown (default 3)")
    parser.add_argument("--length", type=int, default=128, metavar="N", help="of a corpus's samples (default 128)")
    parser.add_argument("--packed", action="store_true", help="a corpus's samples without sentence pairs")
    parser.add_argument("--masking", choices=("whole_word", "token"), default="whole_word")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocab", metavar="PATH", help="decodes MindRecord: model folder or vocab.txt")
    parser.add_argument("--cache", metavar="FOLDER", help="for tables of samples (default ~/.cache/ms_plm)")
    parser.add_argument("--no-verify", action="store_true", help="do not compute hashes")


def run(args: argparse.Namespace) -> int:
    from ms_plm.config.recipe import DataSection
    from ms_plm.data.sources import cache_folder

    path = Path(args.path).expanduser()
    args.cache = cache_folder(DataSection(cache=args.cache))
    return _inspector(path)(path, args)


def _inspector(path: Path) -> Callable[[Path, argparse.Namespace], int]:
    """What looks into this kind of thing, told from names and files.

    Raises:
        UserError: nothing is there, or it is none of the kinds.
    """
    from ms_plm.cli import inspect_data, inspect_model
    from ms_plm.common.files import read_json

    if not path.exists():
        raise UserError(f"{path}: no such file or folder.")
    if path.is_file():
        if path.suffix == ".mindir":
            return inspect_model.mindir
        if path.suffix in (".mr", ".mindrecord") or path.with_name(f"{path.name}.db").is_file():
            return inspect_data.mindrecord
    elif (path / "trainer.json").is_file():
        return inspect_model.checkpoint
    elif (path / "config.json").is_file() or (path / "model.safetensors").is_file():
        return inspect_model.model_folder
    elif (path / "recipe.yaml").is_file() or (path / "checkpoints").is_dir():
        return inspect_model.run_folder
    elif (path / "manifest.json").is_file():
        manifest = read_json(path / "manifest.json")
        records = isinstance(manifest, dict) and "MindRecord" in str(manifest.get("format"))
        return inspect_data.mindrecord if records else inspect_data.corpus
    elif (path / "unfinished").is_dir() or (path / "part.json").is_file():
        return inspect_data.corpus
    elif any(path.glob("*.db")):
        return inspect_data.mindrecord
    raise UserError(
        f"{path}: none of what inspect knows: a model folder (config.json), a run or checkpoint folder (recipe.yaml, "
        "trainer.json), a prepared corpus (manifest.json), a MindRecord (.mr or .mindrecord, with .db) or .mindir file."
    )
