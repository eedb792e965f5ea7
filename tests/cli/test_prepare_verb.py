"""`ms-plm prepare` on the command line."""

from __future__ import annotations

import shlex

import numpy as np
import pytest

from ms_plm.cli.main import main
from ms_plm.common.errors import UserError
from ms_plm.config.recipe import DataSection, EvaluateSection
from ms_plm.data.corpus import Corpus
from ms_plm.data.loader import UpdateLoader
from ms_plm.data.mindrecord_writer import check_target
from ms_plm.data.sources import PretrainingData, open_data
from ms_plm.tokenization import Tokenizer

ENTRIES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"我们在北京大学习。", "a", "A", "##b"]


@pytest.fixture
def vocabulary(tmp_path):
    Tokenizer(ENTRIES).save(tmp_path / "vocab")
    return str(tmp_path / "vocab")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text" / "a.txt"
    path.parent.mkdir()
    path.write_text("\n\n".join(f"我们在北京{'大' * number}学。" for number in (1, 2, 3, 2)) + "\n", encoding="utf-8")
    return str(path)


def test_a_folder_becomes_a_corpus_and_the_counts_are_printed(tmp_path, vocabulary, text, capsys):
    out = str(tmp_path / "out")
    assert main(["prepare", str(tmp_path / "text"), "--vocab", vocabulary, "--dedup", "--output", out]) == 0
    printed = capsys.readouterr().out
    assert Corpus.open(out, verify=True).counts("duplicate").documents == 1
    assert "train                    3             3              27" in printed
    assert "duplicate                1             1               9" in printed
    assert "unknown tokens: 0 (0.000%)" in printed
    assert f"Next: ms-plm inspect {out}" in printed


def test_parts_are_joined(tmp_path, vocabulary, text, capsys):
    for part in ("0", "1"):
        arguments = ["prepare", text, "--vocab", vocabulary, "--shard", f"{part}/2", "--output", str(tmp_path / part)]
        assert main(arguments) == 0
        assert f"part {part}/2 is done" in capsys.readouterr().out
    joined = str(tmp_path / "joined")
    assert main(["prepare", "--join", str(tmp_path / "0"), str(tmp_path / "1"), "--output", joined]) == 0
    assert Corpus.open(joined).counts("train").documents == 4


def test_lower_casing_is_a_choice(tmp_path, vocabulary):
    path = tmp_path / "b.txt"
    path.write_text("A\n")
    for option, entry in (("--lower-case", "a"), ("--no-lower-case", "A")):
        out = tmp_path / option
        assert main(["prepare", str(path), "--vocab", vocabulary, option, "--output", str(out)]) == 0
        corpus = Corpus.open(out)
        assert corpus.tokenizer().tokens(corpus.shards[0].tokens) == [entry]


def test_bad_records_are_shown(tmp_path, vocabulary, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "我们"}\n{\n', encoding="utf-8")
    arguments = ["prepare", str(path), "--vocab", vocabulary, "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "a.jsonl, line 2: broken JSON" in capsys.readouterr().err
    assert main([*arguments, "--skip-bad"]) == 0
    printed = capsys.readouterr().out
    assert "skipped: 1 bad records" in printed
    assert "line 2" in printed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--shard", "2/2"], "--shard 2/2: expected i/n"),
        (["--shard", "x"], "--shard x: expected i/n"),
        (["--holdout", "1"], "--holdout: expected a share"),
        (["--columns", "a,,b"], "--columns a,,b: expected names"),
        (["--join"], "leave out --vocab"),
    ],
)
def test_wrong_arguments_are_refused_with_exit_code_2(tmp_path, vocabulary, text, capsys, arguments, expected):
    command = ["prepare", text, "--vocab", vocabulary, "--output", str(tmp_path / "out"), *arguments]
    assert main(command) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_is_needed(tmp_path, text, capsys):
    assert main(["prepare", text, "--output", str(tmp_path / "out")]) == 2
    assert "--vocab: say which" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["text", "vocabulary"])
def test_missing_files_are_named(tmp_path, vocabulary, text, capsys, missing):
    paths = {"text": text, "vocabulary": vocabulary, missing: str(tmp_path / "nowhere")}
    command = ["prepare", paths["text"], "--vocab", paths["vocabulary"], "--output", str(tmp_path / "out")]
    assert main(command) == 1
    assert "nowhere: no such" in capsys.readouterr().err


# --- MindRecord -----------------------------------------------------------------------------------------------------

SEED = 5


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A corpus with held-out documents, its MindRecord of two epochs, and what was printed."""
    folder = tmp_path_factory.mktemp("mindrecord")
    Tokenizer(ENTRIES).save(folder / "vocab")
    draw = np.random.default_rng(0)
    documents = ["".join(draw.choice(ENTRIES[5:13], draw.integers(5, 60))) + "。" for _ in range(60)]
    (folder / "a.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    corpus = ["prepare", str(folder / "a.txt"), "--vocab", str(folder / "vocab"), "--holdout", "0.2"]
    assert main([*corpus, "--output", str(folder / "corpus")]) == 0
    records = ["prepare", str(folder / "corpus"), "--format", "mindrecord", "--output", str(folder / "records")]
    options = ["--max-length", "32", "--masking", "token", "--ratio", "0.3", "--epochs", "2", "--seed", str(SEED)]
    assert main([*records, *options, "--cache", str(folder / "cache")]) == 0
    return folder


def opened(folder, evaluate: EvaluateSection | None = None, **data) -> PretrainingData:
    section = DataSection(
        **{"max_length": 32, "cache": str(folder / "cache"), "masking": {"strategy": "token", "ratio": 0.3}, **data}
    )
    return open_data(section, evaluate or EvaluateSection(), SEED, processes=1)


def all_rows(data: PretrainingData, count: int) -> list[bytes]:
    """The samples that `count` updates of one sequence train on, with their masks, in an order of their own."""
    loader = UpdateLoader(data.train, data.masking, SEED, batch=1, micro_batch=1, workers=0)
    batches = [update.micro_batches[0] for update in loader.updates(0, count)]
    return sorted(b"".join(v.tobytes() for k, v in sorted(b.items()) if k != "dropout_keys") for b in batches)


def test_a_recipe_trains_on_the_written_samples_as_on_two_epochs_of_the_corpus(converted):
    """The same samples under the same masks; only their order is another, for it is drawn over both epochs at once."""
    corpus = opened(converted, corpus=str(converted / "corpus"))
    records = opened(converted, mindrecord=str(converted / "records"))
    count = 2 * len(corpus.train)
    assert len(records.train) == count > 60
    assert all_rows(records, count) == all_rows(corpus, count)
    assert records.tokenizer.fingerprint == corpus.tokenizer.fingerprint
    assert records.masking.largest_count(32) == corpus.masking.largest_count(32)
    assert records.held_out is None


def test_held_out_documents_come_from_the_corpus_under_the_masks_of_the_recipe(converted):
    corpus = opened(converted, corpus=str(converted / "corpus"))
    evaluate = EvaluateSection(corpus=str(converted / "corpus"))
    records = opened(converted, evaluate, mindrecord=str(converted / "records"))
    rows = np.arange(len(corpus.held_out))
    keys = np.stack([rows, rows], 1).astype(np.int32)
    expected, found = (data.masking(data.held_out.batch(rows * 0, rows), keys) for data in (corpus, records))
    assert np.array_equal(found.input_ids, expected.input_ids)
    assert found.weights.sum() > 0


def test_a_recipe_that_does_not_fit_the_samples_is_told_so(converted):
    with pytest.raises(UserError, match="data.max_length is 64, but the samples in .*records have 32.*max_length=32"):
        opened(converted, mindrecord=str(converted / "records"), max_length=64)


def test_text_becomes_mindrecord_in_one_command_and_the_next_one_is_printed(tmp_path, vocabulary, text, capsys):
    out = str(tmp_path / "out")
    command = ["prepare", text, "--format", "mindrecord", "--vocab", vocabulary, "--output", out]
    options = ["--max-length", "16", "--no-nsp", "--holdout", "0.5", "--cache", str(tmp_path / "cache")]
    assert main([*command, *options]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    overrides = dict(item.split("=") for item in shlex.split(last.partition("Next: ms-plm run RECIPE ")[2]))
    assert {**overrides, "evaluate.corpus": "made below"} == {
        "data.mindrecord": out,
        "data.max_length": "16",
        "data.nsp": "false",
        "evaluate.corpus": "made below",
    }
    assert Corpus.open(overrides["evaluate.corpus"]).counts("held_out").documents > 0
    data = DataSection(mindrecord=out, max_length=16, nsp=False, cache=str(tmp_path / "cache"))
    assert len(open_data(data, EvaluateSection(), 1, 1).train) > 0
    assert main([*command, *options]) == 1
    assert "exists already. Replace it with --overwrite" in capsys.readouterr().err
    assert main([*command, *options, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max-length", "64"], "--max-length: only with --format mindrecord"),
        (["--no-nsp"], "--no-nsp: only with --format mindrecord"),
        (["--format", "mindrecord", "--max-length", "7"], "--max-length: expected at least 8 tokens, found 7"),
        (["--format", "mindrecord", "--ratio", "1"], "--ratio: expected a share"),
        (["--format", "mindrecord", "--epochs", "0"], "--epochs: expected at least 1"),
        (["--format", "mindrecord", "--shard", "0/2"], "join the parts first"),
    ],
)
def test_options_of_samples_are_checked(tmp_path, vocabulary, text, capsys, arguments, expected):
    assert main(["prepare", text, "--vocab", vocabulary, "--output", str(tmp_path / "out"), *arguments]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_of_text_are_refused_for_a_corpus(converted, tmp_path, capsys):
    command = ["prepare", str(converted / "corpus"), "--format", "mindrecord", "--output", str(tmp_path / "out")]
    assert main([*command, "--dedup"]) == 2
    assert "--dedup: " in capsys.readouterr().err


def test_another_vocabulary_than_the_corpus_is_refused(converted, tmp_path, capsys):
    Tokenizer([*ENTRIES, "z"]).save(tmp_path / "vocab")
    command = ["prepare", str(converted / "corpus"), "--format", "mindrecord", "--vocab", str(tmp_path / "vocab")]
    assert main([*command, "--output", str(tmp_path / "out")]) == 1
    assert "vocabulary" in capsys.readouterr().err


def test_only_folders_of_our_own_are_written_over(tmp_path):
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(UserError, match="something else than MindRecord files of ours"):
        check_target(tmp_path, overwrite=True)


def test_a_recipe_runs_on_mindrecord(converted, tmp_path):
    import ms_plm

    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "kind: pretrain\n"
        "model: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 64}\n"
        f"data: {{mindrecord: {converted / 'records'}, max_length: 32, cache: {tmp_path / 'cache'}}}\n"
        "train: {steps: 3, batch: 8}\n"
        f"evaluate: {{corpus: {converted / 'corpus'}, samples: 8}}\n"
        f"output: {{folder: {tmp_path / 'run'}}}\n"
    )
    result = ms_plm.run(recipe)
    assert result.finished
    assert 0 < result.figures["masked_lm_loss"] < 10
    assert (result.model_folder / "config.json").is_file()
