"""`ms-plm evaluate`: a model's figures on held-out documents beside baselines, or, of a classifier, on a task."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_plm.cli.evaluate_task import evaluate_task
from ms_plm.cli.model_folder import add_device_argument, find_model_folder, head_of, open_model, recipe_of
from ms_plm.common.errors import UsageError, UserError
from ms_plm.common.files import write_json

if TYPE_CHECKING:
    from ms_plm.config.recipe import DataSection
    from ms_plm.data.corpus import Corpus
    from ms_plm.data.loader import EvaluationBatches
    from ms_plm.models.model import Model
    from ms_plm.tasks.runner import EvaluationResult
    from ms_plm.tokenization import Tokenizer

NAME = "evaluate"
HELP = "measure a model: on the held-out documents of a prepared corpus, or a fine-tuned one on its task"
EPILOG = """\
examples:
  ms-plm evaluate runs/nezha_tiny_pretrain_zh prepared/zh
  ms-plm evaluate runs/nezha_tiny_pretrain_zh prepared/zh --baselines --length 256 --json figures.json

  ms-plm evaluate runs/bert_base_sst2 glue/SST-2                      the dev set of the task it was trained on
  ms-plm evaluate runs/nezha_base_tnews clue/tnews --confusion confusion.png   numbers are beside it, in confusion.json
  ms-plm evaluate runs/bert_base_mnli glue/MNLI --split test_matched --predictions submission
  ms-plm evaluate runs/moods                                          the dev file of your own that its recipe names
  ms-plm evaluate runs/moods more.tsv --predictions out               another file of the same form

For a run folder, or a model or checkpoint inside one, length, masking, pairs and number of samples are those of the
run's recipe.yaml, so that the figures on the run's own corpus are those that the run reported; options given here take
their place.

Loss is the mean over predicted positions in nats, perplexity is e^loss. `words` is the accuracy over labels that are
neither punctuation nor [UNK]. The same seed, length and masking give the same predicted positions for any model.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="model folder or run folder")
    parser.add_argument(
        "corpus", metavar="DATA", nargs="?", help="made by `ms-plm prepare`; for a classifier the task's official files"
    )
    parser.add_argument("--split", help="held_out (default) or train; of a task: dev (default), test ...")
    parser.add_argument("--task", help="such as glue/sst-2 (default: what the model was trained on)")
    parser.add_argument("--predictions", metavar="FOLDER", help="write predictions there, for the task's server")
    parser.add_argument("--confusion", metavar="FILE.png", help="of a classifier: draw which classes it confuses")
    parser.add_argument("--length", type=int, metavar="N", help="longest sequence (default: the run's, else 128)")
    parser.add_argument(
        "--samples", type=int, metavar="N", help="how many, 0: all (default: the run's evaluate.samples, else 1000)"
    )
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="sequences at once; changes no figure")
    parser.add_argument(
        "--packed", action="store_true", help="no sentence pairs, even if the model has a head for them"
    )
    parser.add_argument("--masking", choices=("whole_word", "token"), help="default: the run's, else whole_word")
    parser.add_argument("--ratio", type=float, help="share of tokens that is predicted (default: the run's, else 0.15)")
    parser.add_argument("--seed", type=int, default=0, help="of samples and masks (default 0, as in every run)")
    parser.add_argument(
        "--baselines", action="store_true", help="also the most frequent token and the best one for both neighbours"
    )
    parser.add_argument("--cache", metavar="FOLDER", help="for the table of samples (default ~/.cache/ms_plm)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    add_device_argument(parser)


def run(args: argparse.Namespace) -> int:
    for name in ("length", "batch"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise UsageError(f"--{name}: expected a number above 0, found {value}.")
    if args.ratio is not None and not 0 < args.ratio < 1:
        raise UsageError(f"--ratio: expected a share between 0 and 1, found {args.ratio}.")
    folder = find_model_folder(args.folder)
    if head := head_of(folder):
        return evaluate_task(args, folder, head)
    if args.confusion:
        raise UsageError(f"--confusion: {folder} has no head for a task, so there are no classes to confuse.")
    if args.split not in (None, "held_out", "train"):
        raise UsageError(f"--split: expected held_out or train, found {args.split!r}.")
    args.split = args.split or "held_out"
    if not args.corpus:
        raise UsageError("name a folder made by `ms-plm prepare`.")
    from ms_plm.data.corpus import Corpus

    recipe = recipe_of(folder)
    data, samples = _settings(args, recipe)
    corpus = Corpus.open(Path(args.corpus).expanduser())
    model, tokenizer = open_model(folder, args.device)
    corpus.check_vocabulary(tokenizer)
    if model.limit is not None and data.max_length > model.limit:
        raise UserError(
            f"--length {data.max_length}: {folder} has {model.limit} absolute positions. Evaluate it at {model.limit} "
            "or less."
        )
    result, batches = _evaluate(args, data, samples, model, tokenizer, corpus)
    settings = {
        "model": str(folder),
        "recipe": str(recipe) if recipe else None,
        "corpus": str(corpus.folder),
        "corpus_fingerprint": corpus.fingerprint,
        "split": args.split,
        "samples": batches.samples,
        "length": data.max_length,
        "pairs": result.nsp,
        "masking": data.masking.strategy,
        "ratio": data.masking.ratio,
        "seed": args.seed,
    }
    print(
        f"{args.split} of {corpus.folder}: {batches.samples} samples of length {data.max_length}, "
        f"{int(result.sums.positions)} predicted positions ({data.masking.strategy}, {data.masking.ratio:g}), seed "
        f"{args.seed}{f'; as in {recipe}' if recipe else ''}"
    )
    print(figures_text(str(folder), result))
    if args.json:
        write_json(args.json, {**settings, **result.as_dict()})
    return 0


def _settings(args: argparse.Namespace, recipe: Path | None) -> tuple[DataSection, int]:
    """What is read and how many samples of it: as the run's recipe says, else as recipes do by default; options first.

    Raises:
        UserError: the recipe cannot be read.
    """
    from ms_plm.config.loading import load_recipe
    from ms_plm.config.recipe import DataSection, EvaluateSection, MaskingSection

    data, samples = DataSection(), EvaluateSection().samples
    if recipe is not None:
        of_run = load_recipe(recipe)
        data, samples = of_run.data, of_run.evaluate.samples
    masking = data.masking.model_dump() | _given(strategy=args.masking, ratio=args.ratio)
    if args.masking == "token":
        masking["ngram"] = 1
    changes = _given(max_length=args.length, cache=args.cache, nsp=False if args.packed else None)
    data = data.model_copy(update={**changes, "masking": MaskingSection(**masking)})
    return data, samples if args.samples is None else args.samples


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _evaluate(
    args: argparse.Namespace, data: DataSection, samples: int, model: Model, tokenizer: Tokenizer, corpus: Corpus
) -> tuple[EvaluationResult, EvaluationBatches]:
    from ms_plm.data.loader import EvaluationBatches
    from ms_plm.data.masking import build_masking
    from ms_plm.data.samples import CorpusSamples
    from ms_plm.data.sources import cache_folder
    from ms_plm.evaluation.baselines import MostFrequentBaseline, NeighbourBaseline, TokenCounts, not_neighbours
    from ms_plm.tasks.runner import PretrainingEvaluator

    pairs = model.has_next_sentence and data.nsp
    shape = (args.split, data.max_length, pairs, data.short_sample_probability)
    source = CorpusSamples(corpus, *shape, cache=cache_folder(data), seed=args.seed)
    batches = EvaluationBatches(source, build_masking(data.masking, tokenizer), args.seed, args.batch, samples or None)
    others = {}
    if args.baselines:
        counts = TokenCounts.of(corpus)
        others["most frequent token"] = MostFrequentBaseline(counts)
        others["both neighbours"] = NeighbourBaseline(counts, not_neighbours(tokenizer))
    return PretrainingEvaluator(model, pairs, tokenizer).evaluate(batches, others=others), batches


def figures_text(name: str, result: EvaluationResult) -> str:
    """A table: the model's figures, below it those of the others on the same positions."""
    from ms_plm.tasks.runner import accuracies

    columns = {"loss": "masked_lm_loss", "perplexity": "perplexity", "accuracy": "accuracy", "words": "accuracy_words"}
    if result.nsp:
        columns["next sentence"] = "next_sentence_accuracy"
    rows = {name: result.figures(), **{other: accuracies(sums) for other, sums in result.others.items()}}
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"  {title:>10}" for title in columns)]
    for title, figures in rows.items():
        cells = [f"{figures[key]:.4f}" if key in figures else "" for key in columns.values()]
        lines.append(
            title.ljust(width)
            + "".join(f"  {cell:>{max(10, len(head))}}" for cell, head in zip(cells, columns, strict=True))
        )
    return "\n".join(line.rstrip() for line in lines)
