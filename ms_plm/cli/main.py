"""`ms-plm VERB ...`: the table of verbs, exit codes, and errors as one readable paragraph.

A verb's module is imported when the verb is chosen, and MindSpore when it runs, so `ms-plm --help` answers at once.
Exit codes: 0 done, 1 failed, 2 used wrongly.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Sequence
from importlib import import_module

from ms_plm import __version__
from ms_plm.common.errors import UsageError, UserError

VERBS = {
    "list": "show the recipes that come with the package",
    "show": "print a recipe with every value and where it was set",
    "validate": "check recipes without running them",
    "run": "carry out a recipe",
    "search-layer-map": "find of which teacher layers a student learns best",
    "prepare": "turn text files into a prepared corpus",
    "train-tokenizer": "build a vocabulary from text",
    "augment": "make variants of a task's training texts",
    "evaluate": "measure a model on held-out data",
    "predict": "fill in [MASK], classify, tag, answer, choose",
    "attention": "draw what the heads of a model look at",
    "search-subnet": "find the best part of an elastic model",
    "extract": "take a sub-network out of an elastic model",
    "convert": "turn a published checkpoint into a model folder, and back",
    "export": "write a model as a file for deployment",
    "compare": "tell models apart by size, FLOPs and speed",
    "inspect": "look into a folder or file and verify it",
    "doctor": "check this machine and installation",
    "env": "print the environment that a device needs before the start",
}
"""Verb -> its line in `ms-plm --help`."""

MODULES = {"list": "list_recipes"}
"""Where a verb's module is not called like the verb."""

EPILOG = """\
examples:
  ms-plm run quickstart                       pretrain a tiny NEZHA on bundled text, in minutes
  ms-plm run quickstart train.steps=50        the same with one value changed
  ms-plm VERB --help                          what a verb takes, with an example
"""


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The parser; only the arguments of `verb` are filled in."""
    parser = argparse.ArgumentParser(
        prog="ms-plm",
        description="Pretrained language models of Noah's Ark Lab on MindSpore.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ms-plm {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for name, line in VERBS.items():
        sub = verbs.add_parser(name, help=line, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == verb:
            module = _module(name)
            sub.description = textwrap.fill(module.HELP[:1].upper() + module.HELP[1:], 100)
            sub.epilog = module.EPILOG
            module.add_arguments(sub)
            sub.set_defaults(run_verb=module.run)
            if not any("--debug" in action.option_strings for action in sub._actions):
                sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _module(verb: str):
    return import_module(f"ms_plm.cli.{MODULES.get(verb, verb.replace('-', '_'))}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code. (argparse itself leaves with 2 by SystemExit.)"""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv:
        build_parser().print_help()
        return 2
    verb = next((item for item in argv if not item.startswith("-")), None)
    args = _parse(build_parser(verb if verb in VERBS else None), argv)
    _log_to_stderr()
    _settle_mindspore(args.debug)
    try:
        return args.run_verb(args)
    except UserError as error:
        if args.debug:
            raise
        print(f"ms-plm {verb}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print(f"\nms-plm {verb}: stopped.", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again while it ends
        return 0
    except Exception as error:
        if args.debug:
            raise
        print(f"ms-plm {verb}: {_unexpected(error)}", file=sys.stderr)
        return 1


def _parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse; `key=value` may also stand behind options, where argparse would not look for it."""
    args, rest = parser.parse_known_args(argv)
    strays = [item for item in rest if item.startswith("-") or "=" not in item]
    if strays or (rest and not hasattr(args, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


def _unexpected(error: Exception) -> str:
    """A paragraph about an error that is not the user's; the traceback goes to a file, a long run may not repeat."""
    text = str(error).split("\n\n---")[0].strip()  # MindSpore appends where in C++ it was raised
    handle, name = tempfile.mkstemp(prefix="ms-plm-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return f"unexpected {type(error).__name__}: {text}\nThe traceback is in {name} (--debug shows it here)."


def _log_to_stderr() -> None:
    """The package's log lines on stderr, plain, unless the caller has set up logging."""
    logger = logging.getLogger("ms_plm")
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def _settle_mindspore(debug: bool) -> None:
    """What MindSpore and OpenMP read when they are loaded, which is later; a value of the user's own stays."""
    if not debug:
        os.environ.setdefault("GLOG_v", "3")  # errors only: its compiler warns by the page about what is in order
    # threads that sleep while they wait: about 5 % faster steps where cores are shared
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


if __name__ == "__main__":
    sys.exit(main())
