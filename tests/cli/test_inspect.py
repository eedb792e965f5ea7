"""`ms-plm inspect`."""

import json
import shutil

import numpy as np
import pytest
from golden_files import GOLDENS, padded_folder
from safetensors.numpy import load_file, save_file
from tiny_corpus import make_corpus

from ms_plm.cli.main import main

VOCABULARY = GOLDENS / "nezha_k8"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("inspect"), VOCABULARY)


@pytest.fixture
def folder(tmp_path):
    """A model folder to spoil."""
    return shutil.copytree(VOCABULARY, tmp_path / "model")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with two checkpoints."""
    from ms_plm.models.folder import load
    from ms_plm.training.checkpoint import CheckpointStore

    path = tmp_path_factory.mktemp("run")
    model, tokenizer = load(VOCABULARY, head="pretraining")
    state = {f"first_moment.{name}": np.ones(3, np.float32) for name in "ab"}
    store = CheckpointStore(path / "checkpoints", keep=5)
    for step in (100, 200):
        store.save(step, model, tokenizer, state, {"tokens": 7 * step, "seed": 1}, best=None)
    (path / "recipe.yaml").write_text("kind: pretrain\n", encoding="utf-8")
    return path


def _inspect(capsys, *arguments) -> tuple[int, str]:
    code = main(["inspect", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out if code == 0 or captured.out else captured.err


def _tensors(folder, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def test_parameters_of_a_model_folder_are_counted_by_part(capsys):
    code, text = _inspect(capsys, VOCABULARY)
    assert code == 0
    total = sum(value.size for value in load_file(VOCABULARY / "model.safetensors").values())
    assert f"{total:,}" in text
    for part in ("2 layers x 32", "functional_relative", "embeddings", "masked-LM head", "next-sentence head"):
        assert part in text
    assert "WRONG" not in text


@pytest.mark.parametrize("name", ["bert", "nezha_base_model", "bert_gamma_beta", "nezha_old_release"])
def test_every_family_and_age_of_folder_is_found_whole(capsys, name):
    code, text = _inspect(capsys, GOLDENS / name)
    assert (code, "WRONG" in text) == (0, False)


def test_values_that_are_not_numbers_are_found(folder, capsys):
    name = "nezha.encoder.layer.1.output.dense.bias"
    _tensors(folder, lambda tensors: {**tensors, name: np.full_like(tensors[name], np.nan)})
    code, text = _inspect(capsys, folder)
    assert code == 1
    assert f"WRONG: holds nan or infinite values: {name}" in text


def test_missing_and_foreign_tensors_are_named(folder, capsys):
    gone = "nezha.encoder.layer.0.output.dense.bias"
    strange = {"nezha.encoder.strange": np.zeros(2, np.float32)}
    _tensors(folder, lambda tensors: {**{k: v for k, v in tensors.items() if k != gone}, **strange})
    code, text = _inspect(capsys, folder)
    assert code == 1
    assert f"WRONG: missing: {gone}" in text
    assert "WRONG: not of this family: nezha.encoder.strange" in text


def test_heads_of_other_tasks_are_told_and_are_no_fault(folder, capsys):
    relation = {"relation.weight": np.zeros((3, 32), np.float32), "relation.bias": np.zeros(3, np.float32)}
    _tensors(folder, lambda tensors: {**tensors, **relation})
    code, text = _inspect(capsys, folder)
    assert (code, "WRONG" in text) == (0, False)
    assert "heads that ms_plm does not use: relation\n" in text


def test_a_padded_embedding_table_is_told_and_too_large_a_vocabulary_is_wrong(folder, tmp_path, capsys):
    code, text = _inspect(capsys, padded_folder(tmp_path / "padded"))
    assert code == 0
    assert "vocabulary: 95 (the embedding table has 128 rows)" in text
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("more\n")
    code, text = _inspect(capsys, folder)
    assert code == 1
    assert "WRONG: the vocabulary has 96 entries, but vocab_size is 95" in text


def test_a_cut_weights_file_is_named(folder, capsys):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    code = main(["inspect", str(folder)])
    assert code == 1
    assert "model.safetensors: cannot be read as safetensors" in capsys.readouterr().err


def test_a_corpus_is_verified_counted_and_shown_masked(corpus, tmp_path, capsys):
    code, text = _inspect(capsys, corpus.folder, "--cache", tmp_path, "--length", 24, "--samples", 4)
    assert code == 0
    assert "every SHA-256 is right" in text
    for role in ("train", "held_out"):
        counts = corpus.counts(role)
        assert f"{role:10}{counts.documents:>12,}{counts.sentences:>12,}{counts.tokens:>14,}" in text
    samples = text.split("samples of length 24")[1].splitlines()[1:]
    assert len(samples) == 4
    assert all(line.startswith("  [CLS] ") and "|" in line and line.endswith("next") for line in samples)


def test_a_flipped_bit_in_a_corpus_is_named(corpus, tmp_path, capsys):
    copy = shutil.copytree(corpus.folder, tmp_path / "copy")
    tokens = next(copy.rglob("tokens.npy"))
    data = bytearray(tokens.read_bytes())
    data[-1] ^= 1
    tokens.chmod(0o644)
    tokens.write_bytes(data)
    assert main(["inspect", str(copy), "--cache", str(tmp_path)]) == 1
    assert "tokens.npy: its content is not what was written" in capsys.readouterr().err
    assert main(["inspect", str(copy), "--cache", str(tmp_path), "--no-verify", "--samples", "0"]) == 0
    assert "hashes not verified" in capsys.readouterr().out


def test_a_checkpoint_shows_its_record_and_optimizer_state(run, capsys):
    code, text = _inspect(capsys, run / "checkpoints" / "step-000200")
    assert code == 0
    assert "step 200, every SHA-256" in text
    assert "tokens: 1400" in text
    assert "first_moment x 2" in text
    assert "2 layers x 32" in text


def test_a_run_lists_its_checkpoints_and_names_a_damaged_one(run, tmp_path, capsys):
    code, text = _inspect(capsys, run)
    assert code == 0
    assert "2 checkpoints" in text
    assert "step-000100: step 100, tokens 700" in text
    assert "the run is not finished" in text

    copy = shutil.copytree(run, tmp_path / "copy")
    state = copy / "checkpoints" / "step-000200" / "training_state.safetensors"
    state.write_bytes(b"")
    code, text = _inspect(capsys, copy)
    assert code == 1
    assert "DAMAGED: " in text
    assert "step-000200/training_state.safetensors: not what was written (0 bytes" in text
    assert "step-000100: step 100" in text


def test_a_mindir_file_tells_inputs_and_outputs_and_is_held_against_its_report(tmp_path, capsys, monkeypatch):
    import mindspore as ms

    from ms_plm.export import export_mindir, mindir

    ms.set_device("CPU")
    ms.set_context(mode=0)
    monkeypatch.setattr(mindir, "_in_new_process", lambda file, cases: [0.0, 0.0])
    file = tmp_path / "encoder.mindir"
    export_mindir(VOCABULARY, file, "encoder", 2, 16)
    code, text = _inspect(capsys, file)
    assert code == 0
    assert "input 0: input_ids int32 [2, 16]" in text
    assert "output 1: pooler_output float32 [2, 32]" in text
    report = file.with_name("encoder.mindir.json")
    facts = json.loads(report.read_text(encoding="utf-8"))
    report.write_text(json.dumps({**facts, "files": {"encoder.mindir": "0"}}), encoding="utf-8")
    assert main(["inspect", str(file)]) == 1
    assert "encoder.mindir: not what was exported" in capsys.readouterr().err
    report.unlink()
    code, text = _inspect(capsys, file)
    assert (code, "input 0: input_ids int32 [2, 16]" in text) == (0, True)


@pytest.mark.slow
def test_mindrecord_shows_columns_rows_and_with_a_vocabulary_samples(corpus, tmp_path, capsys):
    from ms_plm.config.recipe import MaskingSection
    from ms_plm.data.masking import build_masking
    from ms_plm.data.mindrecord_writer import write_mindrecord
    from ms_plm.data.samples import CorpusSamples

    source = CorpusSamples(corpus, "train", 24, cache=tmp_path)
    write_mindrecord(tmp_path / "records", source, build_masking(MaskingSection(), source.tokenizer), seed=0)

    def shown(*arguments) -> str:
        code, text = _inspect(capsys, *arguments, "--cache", tmp_path)
        assert code == 0
        assert f"{len(source):,} rows, every one checked" in text
        assert "input_ids              int32 [24]" in text
        return text

    records = tmp_path / "records"
    for path in (records, records / "part-00000.mr"):
        assert shown(path).count("[CLS]") == 3
    shutil.rmtree(records / "tokenizer")
    assert "--vocab PATH shows samples as text" in shown(records)
    assert shown(records, "--vocab", VOCABULARY).count("[CLS]") == 3
    (tmp_path / "records" / "part-00000.mr.db").unlink()
    assert main(["inspect", str(tmp_path / "records" / "part-00000.mr"), "--cache", str(tmp_path)]) == 1
    assert "its index part-00000.mr.db is missing" in capsys.readouterr().err


def test_what_is_none_of_the_kinds_is_refused_with_a_list_of_them(tmp_path, capsys):
    for path, message in ((tmp_path, "a prepared corpus (manifest.json)"), (tmp_path / "gone", "no such file")):
        assert main(["inspect", str(path)]) == 1
        assert message in capsys.readouterr().err
