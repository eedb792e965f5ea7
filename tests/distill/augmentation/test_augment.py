"""Examples with their variants: labels kept, pairs clean, rows independent of each other, lines that read back."""

import json

import pytest

from ms_plm.common.errors import UserError
from ms_plm.data.benchmarks import TASKS, Split, TextExample, check_augmentable, own_texts, read_augmented
from ms_plm.distill.augmentation import augment as module
from ms_plm.distill.augmentation.augment import Augmenter, Sampling, write_rows
from ms_plm.tokenization import Segmenter, Tokenizer

NONE = Segmenter("none", None)
WORDS = ["film", "good", "movie", "fine", "great", "story"]
TOKENIZER = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", '"', ".", "the", *WORDS, "un", "##real"])
ODD = 'a "good"\tfilm — “good” \\n 电影 \u2028\x0b.'


class Masked:
    """Candidates without a model: for every word the other ones."""

    def __init__(self):
        self.calls = 0

    def __call__(self, asked, done=None):
        self.calls += sum(len(one.words) for one in asked)
        if done:
            done(1.0)
        return [
            [[w for w in WORDS if w != TOKENIZER.vocabulary[one.ids[word.first]]] for word in one.words]
            for one in asked
        ]


class Vectors:
    """Neighbours of one word."""

    def neighbours(self, words, most, least):
        return [["genuine", "real"] if word == "unreal" else [] for word in words]


def rows(examples, sampling=None, vectors=None, masked=None, done=None):
    augmenter = Augmenter(TOKENIZER, NONE, masked or Masked(), vectors)
    return list(augmenter(examples, sampling or Sampling(5), done))


def single(*texts, label="1"):
    return [TextExample(str(number), text, None, label) for number, text in enumerate(texts)]


PAIR = TextExample("7", "the good film", "the great story", 2.5)


def test_every_example_comes_first_and_label_and_number_are_kept():
    examples = [*single("the good film", label="yes"), *single("the great story", label="no")]
    made = rows(examples)
    assert [len(group) for group in made] == [6, 6]
    for number, (group, example) in enumerate(zip(made, examples, strict=True)):
        assert group[0] == {"text": example.text, "label": example.label, "source": number}
        assert {(row["label"], row["source"]) for row in group} == {(example.label, number)}
        assert len({row["text"] for row in group}) == 6


def test_of_a_pair_one_side_changes_and_the_other_is_the_original():
    ((first, *others),) = rows([PAIR], Sampling(5))
    assert first == {"text": PAIR.text, "pair": PAIR.pair, "label": 2.5, "source": 0}
    assert len(others) == 10
    assert all(row["pair"] == PAIR.pair and row["text"] != PAIR.text for row in others[:5])
    assert all(row["text"] == PAIR.text and row["pair"] != PAIR.pair for row in others[5:])


def test_rows_do_not_depend_on_what_else_is_augmented(monkeypatch):
    texts = [f"the {a} {b}" for a in WORDS for b in WORDS]
    whole = rows(single(*texts))
    monkeypatch.setattr(module, "TOGETHER", 5)
    assert rows(single(*texts)) == whole
    assert rows(single(*texts[:7])) == whole[:7]
    assert rows(single(*texts), Sampling(5, seed=2)) != whole
    other = rows(single(*["good"] * 3, *texts[3:]))
    assert other[3:] == whole[3:]


def test_a_text_that_comes_again_is_looked_at_once_and_draws_anew(monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", 1)
    masked = Masked()
    made = rows(single("the good film", "the story", "the good film"), masked=masked)
    assert masked.calls == 3
    assert made[0] != made[2]


def test_words_of_several_pieces_take_neighbours_and_stay_without_vectors():
    examples = single("unreal")
    augmenter = Augmenter(TOKENIZER, NONE, Masked())
    assert [len(group) for group in augmenter(examples, Sampling(5))] == [1]
    assert augmenter.counts == {"pieces": 1}
    with_vectors = Augmenter(TOKENIZER, NONE, Masked(), Vectors())
    ((_, *others),) = with_vectors(single("unreal"), Sampling(5))
    assert {row["text"] for row in others} == {"genuine", "real"}
    assert with_vectors.counts == {"vectors": 1}


def test_progress_is_told_in_examples(monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", 2)
    told = []
    rows(single("good", "film", "story"), done=told.append)
    assert told == sorted(told)
    assert told[-1] == 3


@pytest.mark.parametrize(
    "example",
    [
        TextExample("0", ODD, None, "1"),
        TextExample("0", "the film", ODD, "1"),
        TextExample("0", "\ud800 film", None, "1"),
    ],
    ids=["text", "pair", "surrogate"],
)
def test_quotes_tabs_and_odd_characters_read_back(tmp_path, example):
    (group,) = rows([example])
    assert len(group) > 5
    assert write_rows(tmp_path / "aug.jsonl", [group]) == len(group)
    task = own_texts({"train": "train.tsv"}, "text", "pair" if example.pair else None)
    train = Split("own", "train", (), (example,), ("1",))
    read = read_augmented(task, tmp_path / "aug.jsonl", train).examples
    assert [(one.text, one.pair, one.label) for one in read] == [(r["text"], r.get("pair"), r["label"]) for r in group]


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path):
    (tmp_path / "aug.jsonl").write_text("before\n")

    def broken():
        yield [{"text": "a"}]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_rows(tmp_path / "aug.jsonl", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["aug.jsonl"]
    assert (tmp_path / "aug.jsonl").read_text() == "before\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conll2003", "is a task of tokens; expected one of texts"),
        ("squad1", "is a task of question answering"),
        ("clue/c3", "is a task of multiple choice"),
        ("superglue/wic", "words that are marked in its texts: they must stay"),
    ],
)
def test_tasks_whose_words_must_stay_are_refused(name, message):
    name = name if name in TASKS else next(n for n, task in TASKS.items() if task.kind == "tokens")
    with pytest.raises(UserError, match=message):
        check_augmentable(TASKS[name], "--task")


def test_lines_are_json_objects(tmp_path):
    write_rows(tmp_path / "aug.jsonl", rows(single("the film", "the story")))
    lines = (tmp_path / "aug.jsonl").read_text(encoding="utf-8").splitlines()
    assert [list(json.loads(line)) for line in lines] == [["text", "label", "source"]] * len(lines)
