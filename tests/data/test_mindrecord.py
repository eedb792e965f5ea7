"""MindRecord in and out: every row checked, nothing lost, and the loader sees what was written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_corpus import FakeTokenizer, random_corpus, rows_of

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.config.recipe import MaskingSection
from ms_plm.data import mindrecord, mindrecord_writer
from ms_plm.data.loader import EvaluationBatches, UpdateLoader, preview
from ms_plm.data.masking import build_masking
from ms_plm.data.mindrecord import MindRecordSamples
from ms_plm.data.mindrecord_columns import COLUMNS, check_rows, row_shapes
from ms_plm.data.mindrecord_writer import write_mindrecord
from ms_plm.data.samples import CorpusSamples

pytest.importorskip("mindspore.mindrecord")
S, SEED = 32, 3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> CorpusSamples:
    corpus = random_corpus(documents=20, shards=1, seed=2, sentences=6)
    return CorpusSamples(corpus, "train", S, cache=tmp_path_factory.mktemp("cache"), seed=SEED)


@pytest.fixture(scope="module")
def masking(source: CorpusSamples):
    return build_masking(MaskingSection(), source.tokenizer)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, source: CorpusSamples, masking) -> Path:
    folder = tmp_path_factory.mktemp("data") / "records"
    write_mindrecord(folder, source, masking, SEED, epochs=2, rows_per_file=len(source) + 10)
    return folder


@pytest.fixture
def folder(tmp_path: Path, written: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "records"))


@pytest.fixture
def bare(folder: Path) -> Path:
    """The same files without our manifest, as others write them."""
    (folder / "manifest.json").unlink()
    return folder


def test_what_is_read_is_what_a_loader_would_have_seen(tmp_path: Path, written: Path, source, masking) -> None:
    records = MindRecordSamples(written, cache=tmp_path, tokenizer=source.tokenizer)
    assert len(records) == 2 * len(source)
    assert (records.max_length, records.nsp) == (S, True)
    n = len(source)
    batch = records.batch(np.zeros(2 * n), np.arange(2 * n))
    masked = records.masking()(batch, None)
    direct = rows_of(list(UpdateLoader(source, masking, SEED, 1, 1, workers=0).updates(0, 2 * n)))
    for name, value in {
        "input_ids": masked.input_ids,
        "masked_positions": masked.positions,
        "masked_labels": masked.labels,
        "masked_weights": masked.weights,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,
        "next_sentence_labels": batch.next_sentence_labels[:, None],
    }.items():
        assert np.array_equal(value, direct[name])
        assert value.dtype == (np.float32 if name == "masked_weights" else np.int32)
    assert records.masking().largest_count(S) == masking.largest_count(S)


def test_mindspore_reads_the_static_columns(written: Path, source: CorpusSamples) -> None:
    import mindspore.dataset as ds

    rows = list(
        ds.MindDataset(str(written / "part-00000.mr"), shuffle=False).create_dict_iterator(
            num_epochs=1, output_numpy=True
        )
    )
    assert len(rows) == len(source) + 10
    assert {name: value.dtype for name, value in rows[0].items()} == {k: np.dtype(v) for k, v in COLUMNS.items()}
    assert (rows[0]["input_ids"][0], rows[0]["next_sentence_labels"].shape) == (source.tokenizer.cls_id, (1,))


def test_records_feed_the_same_loaders(tmp_path: Path, written: Path, source: CorpusSamples) -> None:
    records = MindRecordSamples(written, cache=tmp_path, tokenizer=source.tokenizer)
    one = UpdateLoader(records, records.masking(), SEED, 12, 12)
    two = [UpdateLoader(records, records.masking(), SEED, 12, 3, rank=rank, ranks=2, workers=2) for rank in (0, 1)]
    for whole, *parts in zip(one.updates(4, 12), *(loader.updates(4, 12) for loader in two), strict=True):
        halves = [rows_of([part]) for part in parts]
        for key, value in rows_of([whole]).items():
            assert np.array_equal(np.concatenate([half[key] for half in halves]), value)
        assert whole.weights["next_sentence"] == 12
    batches = list(EvaluationBatches(records, records.masking(), SEED, 16))
    assert sum(batch.rows for batch in batches) == len(records)
    assert "|" in preview(records, records.masking(), SEED, 1)[0]
    assert len({index for u in range(len(records) // 12) for index in one._order(one.positions(u))[1]}) == (
        len(records) // 12 * 12
    )


def test_packed_samples_are_written_without_labels(tmp_path: Path, masking) -> None:
    source = CorpusSamples(random_corpus(documents=20, shards=1), "train", S, nsp=False, cache=tmp_path)
    write_mindrecord(tmp_path / "packed", source, masking, SEED)
    records = MindRecordSamples(tmp_path / "packed", cache=tmp_path)
    assert not records.nsp
    assert records.batch(np.zeros(2), np.arange(2)).next_sentence_labels is None
    with pytest.raises(UserError, match=r"packed: written without sentence pairs.*data\.nsp=false"):
        MindRecordSamples(tmp_path / "packed", cache=tmp_path, nsp=True)


def test_files_of_others_are_read_without_a_manifest(tmp_path: Path, bare: Path, written: Path) -> None:
    ours, theirs = (MindRecordSamples(folder, cache=tmp_path) for folder in (written, bare))
    assert len(ours) == len(theirs)
    one = MindRecordSamples(bare / "part-00000.mr", cache=tmp_path)
    assert 0 < len(one) < len(ours)
    rows = np.arange(len(one))
    assert np.array_equal(one.batch(rows, rows).input_ids, ours.batch(rows, rows).input_ids)


def test_int64_files_are_accepted(tmp_path: Path) -> None:
    from mindspore.mindrecord import FileWriter

    path = tmp_path / "old.mindrecord"
    row = {name: np.ones(8 if "mask" in name or "ids" in name else 2, np.int64) for name in COLUMNS}
    row["masked_lm_ids"] = row["masked_lm_positions"] = np.array([3, 0])
    row["masked_lm_weights"] = np.array([1, 0], np.float32)
    row["next_sentence_labels"] = np.array([1])
    writer = FileWriter(str(path), 1)
    writer.add_schema({name: {"type": value.dtype.name, "shape": [-1]} for name, value in row.items()}, "old")
    writer.write_raw_data([row] * 3)
    writer.commit()
    records = MindRecordSamples(path, cache=tmp_path)
    assert len(records) == 3
    assert records.batch(np.zeros(1), np.zeros(1, np.int64)).masked.positions.tolist() == [[3, 0]]


def test_the_copy_is_made_once(tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MindRecordSamples(written, cache=tmp_path)
    monkeypatch.setattr(mindrecord, "_copy", lambda *_: pytest.fail("copied again"))
    MindRecordSamples(written, cache=tmp_path)


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_file_without_its_index_is_named(tmp_path: Path, folder: Path, with_manifest: bool) -> None:
    (folder / "part-00001.mr.db").unlink()
    if not with_manifest:
        (folder / "manifest.json").unlink()
    with pytest.raises(
        UserError, match=r"part-00001\.mr: its index part-00001\.mr\.db is missing.*write the file again"
    ):
        MindRecordSamples(folder, cache=tmp_path)


def test_a_missing_part_is_named(tmp_path: Path, folder: Path) -> None:
    (folder / "part-00001.mr").unlink()
    with pytest.raises(UserError, match=r"part-00001\.mr: missing"):
        MindRecordSamples(folder, cache=tmp_path)
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"part-00001\.mr\.db: an index without its file"):
        MindRecordSamples(folder, cache=tmp_path)


def test_a_flipped_bit_is_noticed(tmp_path: Path, folder: Path) -> None:
    path = folder / "part-00000.mr"
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(16 * 1024 * 1024 + 100)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 4]))
    with pytest.raises(DamagedFileError, match=r"part-00000\.mr: its content.*SHA-256"):
        MindRecordSamples(folder, cache=tmp_path)


def test_a_renamed_file_is_refused_with_the_reason(tmp_path: Path, bare: Path) -> None:
    for end in ("", ".db"):
        (bare / f"part-00000.mr{end}").rename(bare / f"other.mr{end}")
    with pytest.raises(DamagedFileError, match=r"other\.mr: MindSpore cannot read it.*name with which it was written"):
        MindRecordSamples(bare / "other.mr", cache=tmp_path)
    assert not list((tmp_path / "mindrecord").glob("*/columns.json"))


def test_other_columns_are_refused(tmp_path: Path) -> None:
    from mindspore.mindrecord import FileWriter

    path = tmp_path / "x.mr"
    writer = FileWriter(str(path), 1)
    writer.add_schema({"input_ids": {"type": "int32", "shape": [4]}}, "x")
    writer.write_raw_data([{"input_ids": np.ones(4, np.int32)}])
    writer.commit()
    with pytest.raises(UserError, match="no column input_mask, segment_ids"):
        MindRecordSamples(path, cache=tmp_path)


def test_another_vocabulary_is_refused(tmp_path: Path, written: Path, bare: Path) -> None:
    other = FakeTokenizer(900)
    with pytest.raises(UserError, match="another vocabulary"):
        MindRecordSamples(written, cache=tmp_path, tokenizer=other)
    with pytest.raises(UserError, match="the vocabulary has 900 entries"):
        MindRecordSamples(bare, cache=tmp_path, tokenizer=other)


def test_nothing_is_written_over_and_nothing_half_written_stays(
    tmp_path: Path, written: Path, source: CorpusSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        def largest_count(self, max_length: int) -> int:
            return 5

        def __call__(self, batch, keys):
            masked = build_masking(MaskingSection(), source.tokenizer)(batch, keys)
            return type(masked)(masked.input_ids.astype(np.int64), masked.positions, masked.labels, masked.weights)

    with pytest.raises(UserError, match="exists already"):
        write_mindrecord(written, source, Wrong(), SEED)
    with pytest.raises(DamagedFileError, match=r"column input_ids, rows 0 to .*expected int32 .* found int64"):
        write_mindrecord(tmp_path / "new", source, Wrong(), SEED)
    assert list(tmp_path.iterdir()) == []


def test_lost_rows_are_noticed(tmp_path: Path, source, masking, monkeypatch: pytest.MonkeyPatch) -> None:
    """MindRecord drops a row whose type is wrong without a word; with the check switched off the count tells."""

    def spoil(columns: dict[str, np.ndarray], *_: object) -> None:
        rows = list(columns["input_ids"])
        columns["input_ids"] = [rows[0].astype(np.int64), *rows[1:]]

    monkeypatch.setattr(mindrecord_writer, "check_rows", spoil)
    with pytest.raises(DamagedFileError, match=f"{len(source)} rows were written but the file holds"):
        write_mindrecord(tmp_path / "new", source, masking, SEED)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("input_ids", np.ones((3, 8), np.int64), "rows 10 to 12: expected int32"),
        ("input_ids", np.ones((3, 7), np.int32), r"found int32 \[3, 7\]"),
        ("input_ids", [[1] * 8] * 3, "found list"),
        ("masked_lm_positions", np.array([[0, 1], [0, 8], [0, 1]], np.int32), "row 11, column masked_lm_positions: 8"),
        ("masked_lm_weights", np.array([[1, 1], [1, 1], [1, np.nan]], np.float32), "row 12, column masked_lm_weights"),
        ("next_sentence_labels", np.array([[0], [2], [1]], np.int32), "row 11, column next_sentence_labels: 2"),
    ],
)
def test_bad_rows_are_named_before_they_are_written(column: str, value: object, message: str) -> None:
    shapes = row_shapes(8, 2)
    columns = {name: np.ones((3, *shape), COLUMNS[name]) for name, shape in shapes.items()}
    check_rows(columns, shapes, Path("x.mr"), 10)
    columns[column] = value
    with pytest.raises(DamagedFileError, match=message):
        check_rows(columns, shapes, Path("x.mr"), 10)


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        MindRecordSamples(tmp_path / "none", cache=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no MindRecord files here"):
        MindRecordSamples(tmp_path / "empty", cache=tmp_path)
