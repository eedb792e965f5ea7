"""`ms-plm search-subnet`: which sub-network of an elastic model to deploy."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ms_plm.cli.model_folder import add_device_argument, find_model_folder, head_of, open_model, quiet, trained_limits
from ms_plm.cli.picture_files import check_picture
from ms_plm.cli.task_files import labels_of, task_and_files
from ms_plm.common.errors import UsageError, UserError, about
from ms_plm.common.files import write_json

if TYPE_CHECKING:
    from ms_plm.elastic.search.searching import Candidate, Found, Search
    from ms_plm.elastic.subnetworks import SubNetwork
    from ms_plm.models.model import Model
    from ms_plm.tokenization import Tokenizer

NAME = "search-subnet"
HELP = "find the sub-network of an elastic model (DynaBERT) that is best within limits of size, FLOPs or latency"
EPILOG = """\
examples:
  ms-plm search-subnet runs/dynabert_base_sst2_final glue/SST-2                   the table of all widths and depths
  ms-plm search-subnet runs/dynabert_base_sst2_final glue/SST-2 --max-flops 2e9 --picture tradeoff.png
  ms-plm search-subnet runs/dynabert_base_sst2_final glue/SST-2 --max-latency-ms 15 --evaluations 60 --output small

Widths and depths are those that the model was trained for, unless given. With --evaluations, widths are then bred layer
by layer within the limits; without, the best of the grid is chosen. --output writes the choice as a model folder.
Latency is that of one sequence of --length tokens in an exported file on this machine. What is chosen by the split's
figures looks a little better on it than it is: measure it on another one.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="model or run folder of the elastic model")
    parser.add_argument("corpus", metavar="DATA", nargs="?", help="the task's official files")
    parser.add_argument("--task", help="such as glue/sst-2 (default: what the model was trained on)")
    parser.add_argument("--split", help="that decides (default: the first dev set)")
    parser.add_argument("--widths", type=_shares, metavar="1,0.5", help="default: what it was trained for")
    parser.add_argument("--depths", type=_shares, metavar="1,0.5", help="default: what it was trained for")
    parser.add_argument("--max-parameters", type=float, metavar="N", help="of encoder and pooler, such as 2e7")
    parser.add_argument("--max-flops", type=float, metavar="N", help="of one forward of one sequence, such as 1e9")
    parser.add_argument("--max-latency-ms", type=float, metavar="MS", help="of one sequence")
    parser.add_argument("--latency", action="store_true", help="measure latency without limiting it")
    parser.add_argument("--length", type=int, metavar="N", help="whose FLOPs and latency count (default: the longest)")
    parser.add_argument("--evaluations", type=int, default=0, metavar="N", help="sub-networks to try beyond the grid")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of measuring latency (default 5)")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="sequences at once; changes no figure")
    parser.add_argument("--seed", type=int, default=1, help="of the search")
    parser.add_argument("--output", metavar="FOLDER", help="write the chosen sub-network as a model folder")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there")
    parser.add_argument("--picture", metavar="FILE.png", help="draw figures over parameters, FLOPs and latency")
    parser.add_argument("--json", metavar="FILE", help="write everything that was evaluated")
    add_device_argument(parser)


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({float(part) for part in text.split(",")}, reverse=True))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected shares with commas between them, found {text!r}") from error


def run(args: argparse.Namespace) -> int:
    for name in ("max_parameters", "max_flops", "max_latency_ms", "length", "batch", "rounds"):
        if (value := getattr(args, name)) is not None and value <= 0:
            raise UsageError(f"--{name.replace('_', '-')}: expected a number above 0, found {value:g}.")
    if args.evaluations < 0 or 0 < args.evaluations < 4:
        raise UsageError(f"--evaluations: expected 0 or at least 4, found {args.evaluations}.")
    limited = any(value is not None for value in (args.max_parameters, args.max_flops, args.max_latency_ms))
    if args.output and not (limited or args.evaluations):
        raise UsageError("--output: nothing is chosen without a limit; give one, or take a width by `ms-plm extract`.")
    if args.picture:
        check_picture("--picture", args.picture)
    folder = find_model_folder(args.folder)
    if args.output:
        from ms_plm.elastic.extraction import check_target

        check_target(folder, Path(args.output), args.overwrite)
    head = head_of(folder)
    if head is None:
        raise UserError(f"{folder}: has no head for a task, so that sub-networks cannot be judged. Fine-tune it first.")
    model, tokenizer = open_model(folder, args.device, head=head, much=True)
    found, metrics = _search(args, folder, model, tokenizer)
    _show(args, folder, found, metrics)
    return 0


def _search(
    args: argparse.Namespace, folder: Path, model: Model, tokenizer: Tokenizer
) -> tuple[Found, tuple[str, ...]]:
    from tqdm import tqdm

    from ms_plm.data.benchmarks import read_split
    from ms_plm.data.buckets import padded_lengths
    from ms_plm.elastic.search.masked import MaskedEvaluator
    from ms_plm.elastic.search.searching import Limits, Search
    from ms_plm.elastic.subnetworks import grid
    from ms_plm.tasks.kinds import KINDS

    task, data = task_and_files(args, folder, model.head)
    labels = labels_of(model, task, folder)
    limits = trained_limits(model)
    if args.length and model.limit is not None and args.length > model.limit:
        raise UserError(f"--length: {args.length} tokens, but the model has {model.limit} positions.")
    kind = KINDS[task.kind](task, labels, limits)
    name = args.split or task.split_names("dev")[0]
    split = read_split(task, data, name, labels)
    samples = kind.samples(split.examples, tokenizer)
    lengths = padded_lengths(samples.rows.lengths, 2)
    evaluator = MaskedEvaluator(model, kind, {name: (split, samples)}, lengths, args.batch)
    known = (model.config.provenance or {}).get("elastic") or {}
    widths = args.widths or tuple(known.get("widths") or (1.0, 0.75, 0.5, 0.25))
    depths = args.depths or tuple(known.get("depths") or (1.0,))
    with about(folder):
        parts = grid(model.config, widths, depths)
    length = args.length or limits.max_length
    seconds = None
    if args.latency or args.max_latency_ms:
        seconds = _Seconds(args, model, tokenizer, parts, length)
    milliseconds = args.max_latency_ms
    most = Limits(args.max_parameters, args.max_flops, milliseconds / 1e3 if milliseconds else None)
    search = Search(model.config, model.head, length, evaluator.figures, seconds, most)
    shown = tqdm(parts, "widths and depths", leave=False, disable=not sys.stderr.isatty())
    members = [_timed(search.candidate(part), seconds) for part in shown]
    found = search.run(members, args.evaluations, args.seed)
    return (_confirmed(search, seconds, found) if seconds else found), task.metrics


class _Seconds:
    """Latency of any sub-network: as measured, else by the line through what was."""

    def __init__(self, args, model: Model, tokenizer: Tokenizer, parts: tuple[SubNetwork, ...], length: int) -> None:
        from ms_plm.elastic.search.latency import LatencyLine, measured

        self.model, self.tokenizer, self.length, self.rounds = model, tokenizer, length, args.rounds
        with quiet():
            self.known = measured(model, tokenizer, parts, length, args.rounds)
        shapes = {part.name: part.config(model.config) for part in parts}
        self.line = LatencyLine.through(shapes, self.known, length, model.head)
        print(f"latency of others is told by a line {self.line.quality}.")

    def __call__(self, part: SubNetwork) -> float:
        if part.name in self.known:
            return self.known[part.name]
        return self.line(part.config(self.model.config), self.length, self.model.head)

    def measure(self, parts: list[SubNetwork]) -> None:
        """Measure some more."""
        from ms_plm.elastic.search.latency import measured

        with quiet():
            self.known |= measured(self.model, self.tokenizer, parts, self.length, self.rounds)


def _timed(candidate: Candidate, seconds: _Seconds | None) -> Candidate:
    from ms_plm.elastic.search.searching import with_seconds

    if seconds is None or candidate.part.name not in seconds.known:
        return candidate
    return with_seconds(candidate, seconds.known[candidate.part.name])


def _confirmed(search: Search, seconds: _Seconds, found: Found) -> Found:
    """The choice with its latency measured; those that turn out too slow make room for the next best."""
    from dataclasses import replace

    from ms_plm.elastic.search.searching import best_of

    pool = [*found.grid, *found.tried]
    while found.chosen is not None:
        fitting = [each for each in pool if not search.limits.exceeded(each.cost, each.seconds)]
        if not fitting:
            raise UserError("every sub-network that was told to be fast enough turned out too slow; raise the limit.")
        chosen = best_of(fitting)
        if chosen.measured:
            count = len(found.grid)
            return replace(found, grid=tuple(pool[:count]), tried=tuple(pool[count:]), chosen=chosen)
        ahead = sorted((each for each in fitting if not each.measured), key=lambda each: -each.metric)[:3]
        seconds.measure([each.part for each in ahead])
        pool = [_timed(each, seconds) for each in pool]
    return found


def _show(args: argparse.Namespace, folder: Path, found: Found, metrics: tuple[str, ...]) -> None:
    from ms_plm.elastic.search.report import as_dict, found_points, found_table

    print(found_table(found, metrics))
    if found.chosen is not None:
        part = found.chosen.part
        lists = (f"--{n} {','.join(map(str, v))}" for n, v in _lists(part).items())
        print(f"\nchosen: {part.name}: ms-plm extract {args.folder} {' '.join(lists)} --output FOLDER")
    if args.json:
        write_json(args.json, {"model": str(folder), **as_dict(found)})
        print(f"Everything that was evaluated is in {args.json}.")
    if args.picture:
        from ms_plm.pictures.canvas import save_figure
        from ms_plm.pictures.tradeoff import tradeoff_figure

        save_figure(tradeoff_figure(**found_points(found, metrics[0])), args.picture)
        print(f"The picture is in {args.picture}.")
    if args.output:
        from ms_plm.elastic.extraction import extract

        with quiet():
            extract(folder, args.output, found.chosen.part, args.overwrite, found.chosen.figures)
        print(f"The folder is {args.output}.")


def _lists(part: SubNetwork) -> dict[str, tuple[int, ...]]:
    return {"layers": part.layers, "heads": part.heads, "intermediate": part.intermediate}
