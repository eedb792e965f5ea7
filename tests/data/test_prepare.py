"""prepare: what is in the corpus, that it is the same however it was made, and that nothing is left half done."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prepare_help import (
    CHARACTERS,
    TOKENIZER,
    VOCABULARY,
    chinese_documents,
    contents,
    roles,
    section,
    small_units,
    texts,
    words,
    write_text,
)

from ms_plm.common.errors import UserError
from ms_plm.data import shards, units
from ms_plm.data.corpus import Corpus
from ms_plm.data.prepare import corpus_key, join_parts, prepare
from ms_plm.tokenization import Tokenizer


def test_documents_and_sentences_are_kept_in_order(tmp_path):
    path = write_text(tmp_path / "a.txt", [["我们在北京。今天好！", "中国"], ["学习，爱"]])
    corpus = prepare(section(path), TOKENIZER, tmp_path / "out")
    assert texts(corpus) == [["我们在北京。", "今天好！", "中国"], ["学习，爱"]]
    assert corpus.manifest["report"]["unknown_tokens"] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json", "shard-00000", "tokenizer"]


def test_words_begin_where_the_segmenter_says_and_english_by_pieces(tmp_path):
    pytest.importorskip("rjieba")
    path = write_text(tmp_path / "a.txt", [["我们在北京大学学习。", "The learning, 今天天气！北京 in 3.1"]])
    corpus = prepare(section(path, segmenter="rjieba"), TOKENIZER, tmp_path / "out")
    assert words(corpus)[0] == ["我们", "在", "北京大学", "学习", "。"]
    assert words(corpus)[1] == ["the", "learning", ",", "今天天气", "！"]
    assert words(corpus)[2] == ["北京", "in", "3", ".", "1"]


def test_words_are_those_of_each_sentence_alone_wherever_it_stands_in_a_block(tmp_path):
    rjieba = pytest.importorskip("rjieba")
    documents = [*chinese_documents(50), ["no Chinese here."], ["我"], *chinese_documents(50, seed=9)]
    path = write_text(tmp_path / "a.txt", documents)
    corpus = prepare(section(path, segmenter="rjieba"), TOKENIZER, tmp_path / "out")
    sentences = [sentence for document in documents for sentence in document]
    found = dict(zip(("".join(word) for word in words(corpus)), words(corpus), strict=True))
    for sentence in sentences:
        if "no" not in sentence:
            assert found[sentence] == rjieba.cut(sentence)


def test_without_a_segmenter_every_chinese_character_is_a_word(tmp_path):
    path = write_text(tmp_path / "a.txt", [["我们 learning"]])
    assert words(prepare(section(path), TOKENIZER, tmp_path / "out")) == [["我", "们", "learning"]]


def test_removed_characters_and_unknown_tokens_are_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "我\\ud800们\\u0000\\u200b在龘。"}\n{"text": "\\u0007"}\n', encoding="utf-8")
    corpus = prepare(section(path), TOKENIZER, tmp_path / "out")
    report = corpus.manifest["report"]
    assert texts(corpus) == [["我们在[UNK]。"]]
    assert report["removed_surrogates"] == 1
    assert report["removed_control_characters"] == 3
    assert report["empty_documents"] == 1
    assert (report["unknown_tokens"], report["unknown_share"]) == (1, 0.2)


def test_bad_records_are_counted_and_the_rest_is_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "我们"}\n{broken\n{"other": 1}\n{"text": "中国"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="line 2: broken JSON"):
        prepare(section(path), TOKENIZER, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*")), "nothing half-written stays"
    corpus = prepare(section(path, skip_bad=True), TOKENIZER, tmp_path / "out")
    assert texts(corpus) == [["我们"], ["中国"]]
    assert corpus.manifest["report"]["bad_records"] == 2
    assert "line 2" in corpus.manifest["bad_examples"][0]


def test_several_sources_with_their_own_fields_make_one_corpus(tmp_path):
    poems = tmp_path / "poems.json"
    poems.write_text(json.dumps([{"paragraphs": ["我们。", "中国。"]}]))
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("old\tnew\n学\t学习\n", encoding="utf-8")
    sources = [section(poems, field="paragraphs"), section(pairs, columns=("old", "new"))]
    assert texts(prepare(sources, TOKENIZER, tmp_path / "out")) == [["我们。", "中国。"], ["学", "学习"]]
    with pytest.raises(UserError, match="holdout: the texts of one corpus need the same value"):
        prepare([sources[0], section(pairs, columns=("old",), holdout=0.5)], TOKENIZER, tmp_path / "other")


def test_repeated_documents_are_marked_but_for_the_first(tmp_path, monkeypatch):
    small_units(monkeypatch)
    documents = chinese_documents(300)
    corpus = prepare(section(write_text(tmp_path / "a.txt", documents), dedup=True), TOKENIZER, tmp_path / "out")
    assert len(corpus.shards) > 3
    seen: set[tuple[str, ...]] = set()
    expected = []
    for document in documents:
        expected.append(2 if tuple(document) in seen else 0)
        seen.add(tuple(document))
    assert roles(corpus) == expected
    assert expected.count(2) > 10


def test_held_out_documents_are_chosen_by_their_text(tmp_path, monkeypatch):
    small_units(monkeypatch)
    documents = chinese_documents(1000)
    first = prepare(section(write_text(tmp_path / "a.txt", documents), holdout=0.2), TOKENIZER, tmp_path / "first")
    second = prepare(
        section(write_text(tmp_path / "b.txt", documents[::-1]), holdout=0.2), TOKENIZER, tmp_path / "second"
    )
    held_out = {tuple(document) for document in texts(first, role=1)}
    assert held_out == {tuple(document) for document in texts(second, role=1)}
    assert not held_out & {tuple(document) for document in texts(first, role=0)}, "repeated ones go the same way"
    assert 0.15 < first.counts(1).documents / len(documents) < 0.25


def test_processes_and_parts_change_no_byte(tmp_path, monkeypatch):
    small_units(monkeypatch)
    paths = [write_text(tmp_path / f"{number}.txt", chinese_documents(150, number % 2)) for number in range(3)]
    source = section(*paths, dedup=True, holdout=0.1, segmenter="auto")
    corpus = prepare(source, TOKENIZER, tmp_path / "one")
    assert len(corpus.shards) > 4
    expected = contents(tmp_path / "one")
    prepare(source, TOKENIZER, tmp_path / "two", processes=2)
    assert contents(tmp_path / "two") == expected
    for part in range(3):
        prepare(source, TOKENIZER, tmp_path / f"part-{part}", shard=(part, 3))
    parts = {part: contents(tmp_path / f"part-{part}") for part in range(3)}
    join_parts([tmp_path / f"part-{part}" for part in (2, 0, 1)], tmp_path / "joined")
    assert contents(tmp_path / "joined") == expected
    assert parts == {part: contents(tmp_path / f"part-{part}") for part in range(3)}, "parts stay as they are"
    Corpus.open(tmp_path / "joined", verify=True)


def test_text_of_other_machines_paths_gives_the_same_files(tmp_path):
    for place in ("here", "there/deeper"):
        path = write_text(tmp_path / place / "text" / "a.txt", chinese_documents(20))
        prepare(section(path.parent), TOKENIZER, tmp_path / place / "out")
    assert contents(tmp_path / "here" / "out") == contents(tmp_path / "there/deeper" / "out")


def test_parts_that_do_not_make_a_corpus_are_named(tmp_path, monkeypatch):
    small_units(monkeypatch)
    source = section(write_text(tmp_path / "a.txt", chinese_documents(200)))
    first = prepare(source, TOKENIZER, tmp_path / "first", shard=(0, 3))
    second = prepare(source, TOKENIZER, tmp_path / "second", shard=(1, 3))
    other = prepare(source, TOKENIZER, tmp_path / "other", shard=(1, 2))
    with pytest.raises(UserError, match=r"parts missing: 2/3\. Make them with"):
        join_parts([first, second], tmp_path / "out")
    with pytest.raises(UserError, match="other: a part of another corpus"):
        join_parts([first, other], tmp_path / "out")
    with pytest.raises(UserError, match="second: part 1 of 3, like"):
        join_parts([second, second], tmp_path / "out")
    with pytest.raises(UserError, match="out: not a part"):
        join_parts([tmp_path / "out"], tmp_path / "out")
    with pytest.raises(UserError, match="part 0 of 3 of a corpus, not a whole one"):
        Corpus.open(first)
    assert not (tmp_path / "out").exists()


def test_a_finished_corpus_is_not_made_again(tmp_path):
    source = section(write_text(tmp_path / "a.txt", chinese_documents(20)))
    prepare(source, TOKENIZER, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    prepare(source, TOKENIZER, tmp_path / "out")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}


def test_another_corpus_is_replaced_only_on_request(tmp_path):
    path = write_text(tmp_path / "a.txt", chinese_documents(20))
    prepare(section(path), TOKENIZER, tmp_path / "out")
    with pytest.raises(UserError, match="holds a corpus with other files, options or vocabulary.*--overwrite"):
        prepare(section(path, one_per_line=True), TOKENIZER, tmp_path / "out")
    changed = prepare(section(path, one_per_line=True), TOKENIZER, tmp_path / "out", overwrite=True)
    assert changed.counts(0).documents > 20


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    path = write_text(tmp_path / "a.txt", chinese_documents(5))
    mine = write_text(tmp_path / "out" / "mine.txt", [["x"]])
    for overwrite in (False, True):
        with pytest.raises(UserError, match="holds something else than a corpus"):
            prepare(section(path), TOKENIZER, tmp_path / "out", overwrite=overwrite)
    assert mine.exists()
    with pytest.raises(UserError, match="lies within the input folder"):
        prepare(section(tmp_path), TOKENIZER, tmp_path / "new")


@pytest.mark.parametrize("content", [b"", b"\n \n\xe3\x80\x80\n", b"\x00\x00\n"])
def test_an_empty_corpus_is_an_error(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.txt: there is no text"):
        prepare(section(path, dedup=True), TOKENIZER, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_text_that_is_all_bad_says_so(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "x"}\n')
    with pytest.raises(UserError, match="all records were bad, such as: .*line 1: no field 'text_'"):
        prepare(section(path, skip_bad=True, field="text_"), TOKENIZER, tmp_path / "out")


def test_a_full_disk_leaves_no_half_corpus_and_the_next_run_ends_it(tmp_path, monkeypatch):
    small_units(monkeypatch)
    source = section(write_text(tmp_path / "a.txt", chinese_documents(300)), dedup=True)
    prepare(source, TOKENIZER, tmp_path / "whole")
    original, calls = shards.ArrayWriter.append, []

    def append(self, values):
        calls.append(1)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, values)

    monkeypatch.setattr(shards.ArrayWriter, "append", append)
    with pytest.raises(UserError, match="the disk is full"):
        prepare(source, TOKENIZER, tmp_path / "out")
    left = contents(tmp_path / "out")
    assert "manifest.json" not in left
    assert not any(".tmp" in name for name in left)
    assert sum(name.endswith("tokens.npy") for name in left) == 1, "the shard that was done stays"
    with pytest.raises(UserError, match="cut short. Run the same `ms-plm prepare` again"):
        Corpus.open(tmp_path / "out")
    monkeypatch.setattr(shards.ArrayWriter, "append", original)
    prepare(source, TOKENIZER, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("place", ["write_json", "_mark", "_counts"])
def test_an_error_at_the_very_end_is_made_good_by_the_next_run(tmp_path, monkeypatch, place):
    small_units(monkeypatch)
    source = section(write_text(tmp_path / "a.txt", chinese_documents(300)), dedup=True, holdout=0.1)
    prepare(source, TOKENIZER, tmp_path / "whole")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"ms_plm.data.finish.{place}", full)
        with pytest.raises(UserError, match="the disk is full"):
            prepare(source, TOKENIZER, tmp_path / "out")
    prepare(source, TOKENIZER, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_error_in_a_worker_process_reaches_the_user(tmp_path, monkeypatch):
    small_units(monkeypatch)
    good = write_text(tmp_path / "a.txt", chinese_documents(200))
    bad = tmp_path / "b.txt"
    bad.write_bytes("中文".encode("gb18030") * 3000)
    with pytest.raises(UserError, match=r"b.txt: not UTF-8: byte 0"):
        prepare(section(good, bad), TOKENIZER, tmp_path / "out", processes=2)


def test_two_runs_in_one_folder_do_not_mix(tmp_path, monkeypatch):
    source = section(write_text(tmp_path / "a.txt", chinese_documents(20)))
    original = units.carry_out

    def second_run(work, unit):
        with pytest.raises(UserError, match="another `prepare` is working in this folder"):
            prepare(source, TOKENIZER, tmp_path / "out")
        original(work, unit)

    monkeypatch.setattr("ms_plm.data.prepare.carry_out", second_run)
    prepare(source, TOKENIZER, tmp_path / "out")


def test_a_ten_megabyte_line_is_prepared_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("我们在北京大学学习，今天。" * 250_000, encoding="utf-8")  # 9.75 MB
    corpus = prepare(section(path), TOKENIZER, tmp_path / "out", memory_mb=512)
    assert corpus.counts(0).tokens == 13 * 250_000
    assert corpus.counts(0).sentences == 250_000


def test_processes_and_memory_are_checked(tmp_path, caplog):
    source = section(write_text(tmp_path / "a.txt", chinese_documents(5)))
    with pytest.raises(UserError, match="memory: expected at least 512 MB"):
        prepare(source, TOKENIZER, tmp_path / "out", memory_mb=100)
    with pytest.raises(UserError, match="processes: expected at least 1"):
        prepare(source, TOKENIZER, tmp_path / "out", processes=0)
    with pytest.raises(UserError, match="shard 2/2"):
        prepare(source, TOKENIZER, tmp_path / "out", shard=(2, 2))
    prepare(source, TOKENIZER, tmp_path / "out", processes=8, memory_mb=1024)
    assert "enough for 2 processes, not 8" in caplog.text


def test_the_key_of_a_cache_follows_text_options_and_vocabulary(tmp_path):
    path = write_text(tmp_path / "a.txt", chinese_documents(5))
    key = corpus_key([section(path)], TOKENIZER)
    assert key == corpus_key([section(tmp_path / "a.txt")], TOKENIZER)
    assert key != corpus_key([section(path, dedup=True)], TOKENIZER)
    assert key != corpus_key([section(path)], Tokenizer([*VOCABULARY, "extra"]))
    write_text(path, chinese_documents(5, seed=1))
    assert key != corpus_key([section(path)], TOKENIZER)


@pytest.fixture(scope="module")
def long_text(tmp_path_factory):
    """A text of three work units, its options, and the corpus of a run that nobody cut short."""
    folder = tmp_path_factory.mktemp("long")
    block = "".join(
        f"{CHARACTERS[n % 20]}们在北京大学学习自然语言处理。\n{'今天天气很好！' * 5}\n\n" for n in range(500)
    )
    (folder / "a.txt").write_text(block * 120, encoding="utf-8")  # 9.7 MB
    TOKENIZER.save(folder / "vocab")
    source = section(folder / "a.txt", dedup=True, holdout=0.1)
    prepare(source, TOKENIZER, folder / "whole")
    assert len(contents(folder / "whole")) == 3 * 5 + 4
    return folder, source


def children_of(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_continues_to_the_same_bytes(tmp_path, long_text, processes):
    """kill -9 as soon as the first shard is there; more than one unit is left then."""
    folder, source = long_text
    program = "import sys; from ms_plm.cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = f"prepare {folder}/a.txt --vocab {folder}/vocab --output {tmp_path}/out --dedup --holdout 0.1"
    more = f"--segmenter none --processes {processes}"
    process = subprocess.Popen([sys.executable, "-c", program, *arguments.split(), *more.split()])
    while process.poll() is None and not list((tmp_path / "out").glob("shard-*")):
        time.sleep(0.005)
    workers = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out" / "manifest.json").exists()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{worker}/exe").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(Path(f"/proc/{worker}/exe").exists() for worker in workers), "workers end with their parent"
    assert len(workers) >= processes - 1
    prepare(source, TOKENIZER, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(folder / "whole")


@pytest.mark.data
def test_the_poems_that_occur_twice_are_found(tmp_path, shared_data):
    vocabulary = Tokenizer.load(shared_data / "vocab" / "nezha-cn-base")
    folders = [shared_data / "poetry" / name for name in ("全唐诗", "宋词")]
    source = section(*folders, include=("poet.*", "ci.*", "*三百首*"), field="paragraphs", dedup=True)
    corpus = prepare(source, vocabulary, tmp_path / "out", processes=os.cpu_count() or 1)
    assert corpus.counts("duplicate").documents == 898
