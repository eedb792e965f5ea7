"""`ms-plm convert`: a published checkpoint as a model folder, or a folder for Hugging Face."""

from __future__ import annotations

import argparse
from pathlib import Path

from ms_plm.common.errors import UsageError

NAME = "convert"
HELP = "turn a published checkpoint into a model folder, or a model folder into one for Hugging Face"
EPILOG = """\
examples:
  ms-plm convert downloads/nezha-cn-base models/nezha-cn-base           a folder: what is in it is found out
  ms-plm convert nezha/model.ckpt models/nezha --vocab nezha/vocab.txt  a TensorFlow checkpoint by its prefix
  ms-plm convert bert.ckpt models/bert --vocab vocab.txt --config bert_config.json
  ms-plm convert runs/mine/model for_transformers --to huggingface
  ms-plm convert ner/model.ckpt models/ner --vocab ner/vocab.txt --head token_classification
  ms-plm convert downloads/tinybert models/tinybert --dry-run           only show what would become of each tensor

Sources: Hugging Face folders (safetensors, also in shards), PyTorch files (`pip install 'ms-plm[torch]'`; what would
run code is refused), TensorFlow checkpoints (`ms-plm[tf]`), .ckpt files of MindSpore's model zoo; told by content.
Tensors of the encoder must match exactly; the result is read back and compared before it takes its place.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="folder, weights file, or prefix of a TensorFlow checkpoint")
    parser.add_argument("target", metavar="DST", nargs="?", help="folder to write; not needed with --dry-run")
    parser.add_argument("--to", choices=("ms_plm", "huggingface"), default="ms_plm", help="default ms_plm")
    parser.add_argument("--config", metavar="FILE", help="JSON with what the source does not say, instead of its own")
    parser.add_argument("--vocab", metavar="FILE", help="vocabulary file or tokenizer folder, not the source's own")
    parser.add_argument("--family", choices=("bert", "nezha", "roberta"), help="default: by names and position table")
    parser.add_argument(
        "--hidden-act",
        choices=("gelu", "gelu_new", "relu"),
        help="gelu: erf; gelu_new: tanh, the default for TensorFlow and MindSpore checkpoints that say gelu",
    )
    parser.add_argument(
        "--head",
        choices=("sequence_classification", "token_classification", "multiple_choice"),
        help="what the classifier is for; default: as config.json's architectures say, else sequence_classification "
        "where it has a pooler",
    )
    parser.add_argument(
        "--lower-case",
        action=argparse.BooleanOptionalAction,
        help="whether text is lower-cased; default: as tokenizer_config.json says, else yes",
    )
    parser.add_argument("--report", metavar="FILE", help="write every tensor's way as JSON, also on failure")
    parser.add_argument("--dry-run", action="store_true", help="check and show, write no folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the model folder DST")


def run(args: argparse.Namespace) -> int:
    if args.target is None and not args.dry_run:
        raise UsageError("DST: the folder to write is missing (or add --dry-run to see what would be written).")
    if args.report and args.target and Path(args.report).resolve().is_relative_to(Path(args.target).resolve()):
        raise UsageError("--report: lies in DST, which is written as a whole; choose another place.")
    from ms_plm.cli.model_folder import quiet
    from ms_plm.common.files import write_json
    from ms_plm.convert import Choices, Report, convert

    report = Report(args.source)
    try:
        with quiet():
            convert(
                args.source,
                None if args.dry_run else args.target,
                huggingface=args.to == "huggingface",
                config=args.config,
                vocabulary=args.vocab,
                choices=Choices(args.family, args.hidden_act, args.head),
                lower_case=args.lower_case,
                overwrite=args.overwrite,
                report=report,
            )
    except Exception as error:
        report.error = str(error)
        raise
    finally:
        if args.report:
            write_json(args.report, report.to_json())
    print(report.describe())
    if not args.dry_run:
        following = "transformers reads it" if args.to == "huggingface" else f"next: ms-plm inspect {args.target}"
        print(f"wrote {args.target}; {following}")
    return 0
