"""CLUE: the JSON files of cluebenchmarks.com, and the tab-separated ones that are passed around.

The order of the classes is that of CLUE's baselines. Where a test set was replaced (CLUE 1.1), `test` is the new one,
`test1.0` the old one. What a submission is called and holds: the CLUE repository's notes on submissions (2021-09-04).
"""

from __future__ import annotations

from ms_plm.data.benchmarks.glue import NLI
from ms_plm.data.benchmarks.tasks import BenchmarkTask, Reader, Source, Submission, one
from ms_plm.data.benchmarks.texts import Fields, Marked, Table, two_mentions

_TNEWS = {
    "100": "news_story",
    "101": "news_culture",
    "102": "news_entertainment",
    "103": "news_sports",
    "104": "news_finance",
    "106": "news_house",
    "107": "news_car",
    "108": "news_edu",
    "109": "news_tech",
    "110": "news_military",
    "112": "news_travel",
    "113": "news_world",
    "114": "news_stock",
    "115": "news_agriculture",
    "116": "news_game",
}
_BINARY = ("0", "1")


def splits(reader: Reader, **others: tuple[Source, ...]) -> dict[str, tuple[Source, ...]]:
    """Train, dev and test of a task whose files have one form; `others` are forms that are read where those lack."""
    return {name: (*one(f"{name}.json", reader), *others.pop(name, ())) for name in ("train", "dev", "test")} | others


def renewed(reader: Reader, **others: tuple[Source, ...]) -> dict[str, tuple[Source, ...]]:
    """The same where CLUE 1.1 has another test set, called test1.1.json or test.json."""
    newest = (Source(("test1.1.json",), reader), Source(("test.json",), reader))
    return splits(reader, **others) | {"test": newest, "test1.0": one("test1.0.json", reader)}


def submission(test: str, old: str | None = None, answers: bool = False) -> Submission:
    """A file of predictions for `test`, and one for the old test set."""
    return Submission(
        "answers" if answers else "records",
        {"test": f"{test}_predict.json"} | ({"test1.0": f"{old}_predict.json"} if old else {}),
    )


def _text_files(reader: Table, test: Table | None, suffix: str) -> dict[str, tuple[Source, ...]]:
    """Tab-separated forms."""
    forms = {name: one(f"{name}.{suffix}", reader) for name in ("train", "dev")}
    return forms | ({"test": one(f"test.{suffix}", test)} if test else {})


_PAIR = Fields("sentence1", "sentence2")
_PAIR_TEXT = Table(0, 1, label=2, columns=3)
_UNLABELLED_PAIR_TEXT = Table(0, 1, columns=2)

CLUE_TEXTS = (
    BenchmarkTask(
        "clue/afqmc",
        "classification",
        splits(_PAIR, **_text_files(_PAIR_TEXT, _UNLABELLED_PAIR_TEXT, "txt")),
        ("accuracy",),
        _BINARY,
        submission=submission("afqmc"),
    ),
    BenchmarkTask(
        "clue/tnews",
        "classification",
        renewed(Fields("sentence"), **_text_files(Table(0, label=1, columns=2), None, "tsv")),
        ("accuracy",),
        tuple(_TNEWS),
        {name: number for number, name in _TNEWS.items()},
        submission=submission("tnews11", "tnews10"),
    ),
    BenchmarkTask(
        "clue/iflytek",
        "classification",
        splits(Fields("sentence")),
        ("accuracy",),
        tuple(map(str, range(119))),
        submission=submission("iflytek"),
    ),
    BenchmarkTask(
        "clue/cmnli",
        "classification",
        splits(_PAIR, **_text_files(_PAIR_TEXT, _UNLABELLED_PAIR_TEXT, "txt")),
        ("accuracy",),
        NLI,
        unlabelled=("-",),
        submission=submission("cmnli"),
    ),
    BenchmarkTask(
        "clue/ocnli",
        "classification",
        {
            # the training set was published in four sizes
            "train": tuple(Source((f"train{size}.json",), _PAIR) for size in (".50k", "", ".30k", ".10k", ".3k")),
            "dev": one("dev.json", _PAIR),
            "test": one("test.json", _PAIR),
        },
        ("accuracy",),
        NLI,
        unlabelled=("-",),
        submission=submission("ocnli_50k"),
    ),
    BenchmarkTask(
        "clue/cluewsc2020",
        "classification",
        renewed(Marked(two_mentions, id="id")),
        ("accuracy",),
        ("true", "false"),
        submission=submission("cluewsc11", "cluewsc10"),
    ),
    BenchmarkTask(
        "clue/csl",
        "classification",
        splits(Fields("keyword", "abst")),
        ("accuracy",),
        _BINARY,
        submission=submission("csl"),
    ),
)
