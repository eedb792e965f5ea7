"""Loading: the same data, masks and keys for any threads, processes, micro-batches and starting point."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fake_corpus import FakeCorpus, random_corpus, rows_of, shard_of

from ms_plm.common import rng
from ms_plm.common.errors import UserError
from ms_plm.config.recipe import MaskingSection
from ms_plm.data import loader
from ms_plm.data.loader import EvaluationBatches, UpdateLoader, preview
from ms_plm.data.masking import build_masking
from ms_plm.data.samples import CorpusSamples
from ms_plm.data.updates import Update

S = 32


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> CorpusSamples:
    return CorpusSamples(random_corpus(), "train", S, cache=tmp_path_factory.mktemp("cache"), seed=7)


def load(source: CorpusSamples, start: int = 0, stop: int = 20, **options: int) -> list[Update]:
    masking = build_masking(MaskingSection(), source.tokenizer)
    return list(
        UpdateLoader(source, masking, **({"seed": 7, "batch": 24, "micro_batch": 24} | options)).updates(start, stop)
    )


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_an_update_is_what_the_interface_says(source: CorpusSamples) -> None:
    masking = build_masking(MaskingSection(), source.tokenizer)
    (update,) = load(source, 3, 4, micro_batch=6)
    count = masking.largest_count(S)
    assert update.index == 3
    assert len(update.micro_batches) == 4
    shapes = {
        **dict.fromkeys(("input_ids", "token_type_ids", "attention_mask"), (6, S)),
        **dict.fromkeys(("masked_positions", "masked_labels", "masked_weights"), (6 * count,)),
        "next_sentence_labels": (6,),
        "counted": (6,),
        "dropout_keys": (6, 2),
    }
    for arrays in update.micro_batches:
        assert {key: value.shape for key, value in arrays.items()} == shapes
        floats = {key for key, value in arrays.items() if value.dtype == np.float32}
        assert floats == {"masked_weights", "counted"}
        assert {str(value.dtype) for key, value in arrays.items() if key not in floats} == {"int32"}
        assert arrays["counted"].all()
        real = arrays["masked_weights"] > 0
        maskable = arrays["input_ids"].reshape(-1)[arrays["masked_positions"][real]]
        assert not np.isin(maskable, (0, 2, 3)).any()
    total = sum(float(arrays["masked_weights"].sum()) for arrays in update.micro_batches)
    assert update.weights == {"masked_lm": total, "next_sentence": 24.0}
    assert update.tokens == sum(int(arrays["attention_mask"].sum()) for arrays in update.micro_batches)


def test_flat_positions_point_at_the_tokens_that_were_there(source: CorpusSamples) -> None:
    (update,) = load(source, 0, 1, micro_batch=8)
    _, indices = UpdateLoader(source, build_masking(MaskingSection(), source.tokenizer), 7, 24, 24)._order(
        np.arange(24)
    )
    original = source.batch(np.zeros(24), indices).input_ids
    for number, arrays in enumerate(update.micro_batches):
        flat = original[number * 8 : number * 8 + 8].reshape(-1)
        real = arrays["masked_weights"] > 0
        assert np.array_equal(flat[arrays["masked_positions"][real]], arrays["masked_labels"][real])


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("micro_batch", [24, 8, 1])
def test_threads_and_micro_batches_change_nothing(source: CorpusSamples, workers: int, micro_batch: int) -> None:
    plain = load(source, workers=0)
    other = load(source, workers=workers, micro_batch=micro_batch)
    assert [update.index for update in other] == list(range(20))
    assert [update.weights for update in other] == [update.weights for update in plain]
    assert same(rows_of(other), rows_of(plain))


def test_updates_made_together_are_those_made_one_by_one(
    source: CorpusSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = load(source, start=5, workers=2)
    monkeypatch.setattr(loader, "_ENOUGH", 1)
    assert same(rows_of(together), rows_of(load(source, start=5)))
    assert [update.tokens for update in together] == [update.tokens for update in load(source, start=5)]


def test_two_ranks_share_what_one_does_alone(source: CorpusSamples) -> None:
    alone = load(source)
    parts = [load(source, rank=rank, ranks=2, micro_batch=4, workers=rank) for rank in (0, 1)]
    for number, update in enumerate(alone):
        both = [rows_of([part[number]]) for part in parts]
        joined = {key: np.concatenate([rows[key] for rows in both]) for key in both[0]}
        assert same(joined, rows_of([update]))
        for term, weight in update.weights.items():
            assert sum(part[number].weights[term] for part in parts) == weight
        assert sum(part[number].tokens for part in parts) == update.tokens


def test_a_resume_in_mid_epoch_repeats_and_loses_nothing(source: CorpusSamples) -> None:
    per_epoch = UpdateLoader(source, None, 7, 48, 48).updates_per_epoch
    assert 5 < per_epoch < 18
    assert per_epoch % 1
    whole = load(source, batch=48, micro_batch=48)
    resumed = load(source, start=5, batch=48, micro_batch=12, workers=2)
    assert same(rows_of(whole[5:]), rows_of(resumed))


def test_one_epoch_shows_every_sample_once_and_the_next_masks_it_anew(tmp_path: Path) -> None:
    corpus = FakeCorpus((shard_of([[12]] * 40),))
    corpus.shards[0].tokens[::12] = 100 + np.arange(40)
    corpus.shards[0].word_starts[:] = True
    source = CorpusSamples(corpus, "train", 15, nsp=False, cache=tmp_path)
    documents = source.batch(np.zeros(40), np.arange(40)).input_ids[:, 1].tolist()
    assert len(set(documents)) == len(source) == 40
    rows = rows_of(load(source, 0, 2 * len(source), batch=1, micro_batch=1))
    keys = rows["dropout_keys"].view(np.int64)[:, 0]
    assert len(set(keys.tolist())) == 2 * len(source)
    n = len(source)
    expected = [rng.sample_keys(7, 0, np.array([i]), rng.DROPOUT).view(np.int64)[0, 0] for i in range(n)]
    assert sorted(keys[:n].tolist()) == sorted(expected)
    assert (keys[:n] != keys[n:]).all()


class Held:
    """Stands for the dropout masks of a micro-batch; counts how many are alive."""

    alive = 0

    def __init__(self, arrays: dict) -> None:
        self.sum = int(arrays["input_ids"].sum())
        Held.alive += 1

    def __del__(self) -> None:
        Held.alive -= 1


def _finishing(source: CorpusSamples, finish, **options: int) -> UpdateLoader:
    masking = build_masking(MaskingSection(), source.tokenizer)
    return UpdateLoader(source, masking, **({"seed": 7, "batch": 24, "micro_batch": 12} | options), finish=finish)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_micro_batches_are_finished_each_once_and_by_the_threads(source: CorpusSamples, workers: int) -> None:
    seen = []

    def finish(arrays: dict) -> dict:
        seen.append(threading.current_thread() is threading.main_thread())
        return {"sum": int(arrays["input_ids"].sum())}

    plain = load(source, 2, 8, micro_batch=4, workers=0)
    loader = _finishing(source, finish, workers=workers, micro_batch=4)
    taken = [(len(update.micro_batches), list(update.micro_batches)) for update in loader.updates(2, 8)]
    assert taken == [(6, [{"sum": int(a["input_ids"].sum())} for a in update.micro_batches]) for update in plain]
    assert seen == [workers == 0] * 36


@pytest.mark.parametrize("workers", [1, 3])
def test_memory_does_not_grow_with_the_micro_batches_of_an_update(source: CorpusSamples, workers: int) -> None:
    loader = _finishing(source, lambda arrays: {"held": Held(arrays)}, workers=workers, batch=64, micro_batch=1)
    most = 0
    for update in loader.updates(0, 2):
        for arrays in update.micro_batches:
            assert set(arrays) == {"held"}
            time.sleep(0.001)  # the threads may run as far ahead as they are let
            most = max(most, Held.alive)
    assert 2 <= most <= workers + 3  # those waiting, this one, and the one before, which goes when the name is rebound
    del arrays
    assert Held.alive == 0


def test_micro_batches_can_be_taken_again_and_after_the_loader_has_ended(source: CorpusSamples) -> None:
    loader = _finishing(source, lambda arrays: {"sum": int(arrays["input_ids"].sum())}, workers=2)
    updates = list(loader.updates(0, 4))
    sums = [[arrays["sum"] for arrays in update.micro_batches] for update in updates]
    assert sums == [[arrays["sum"] for arrays in update.micro_batches] for update in updates]
    assert [row[-1] for row in sums] == [update.micro_batches[-1]["sum"] for update in updates]
    with pytest.raises(IndexError):
        updates[0].micro_batches[2]
    generator = loader.updates(0, 4)
    first = next(generator)
    generator.close()
    assert [arrays["sum"] for arrays in first.micro_batches] == sums[0]


def test_updates_that_are_passed_over_do_not_stop_the_others(source: CorpusSamples) -> None:
    loader = _finishing(source, lambda arrays: {"sum": int(arrays["input_ids"].sum())}, workers=1)
    wanted = [[arrays["sum"] for arrays in loader.load(number).micro_batches] for number in range(6)]
    for update in loader.updates(0, 6):
        if update.index in (1, 4):
            assert [arrays["sum"] for arrays in update.micro_batches] == wanted[update.index]
        elif update.index == 2:
            assert update.micro_batches[0]["sum"] == wanted[2][0]


@pytest.mark.parametrize("workers", [0, 1])
def test_what_finish_raises_surfaces_when_the_micro_batch_is_taken(source: CorpusSamples, workers: int) -> None:
    def finish(arrays: dict) -> dict:
        raise MemoryError("no room for the masks")

    updates = _finishing(source, finish, workers=workers).updates()
    update = next(updates)
    with pytest.raises(MemoryError, match="no room for the masks"):
        list(update.micro_batches)
    updates.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


class Broken:
    """A source that fails at one sample, with an error of its own."""

    class Failure(Exception):
        pass

    max_length, nsp, tokenizer = S, True, None

    def __init__(self, source: CorpusSamples, after: int) -> None:
        self.source, self.left = source, after

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, epochs: np.ndarray, indices: np.ndarray):
        self.left -= 1
        if self.left < 0:
            raise self.Failure("the disk went away")
        return self.source.batch(epochs, indices)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failure_surfaces_with_its_type_when_its_update_is_due(source: CorpusSamples, workers: int) -> None:
    masking = build_masking(MaskingSection(), source.tokenizer)
    updates = UpdateLoader(Broken(source, 2), masking, 7, 256, 8, workers=workers).updates()
    assert [next(updates).index, next(updates).index] == [0, 1]
    with pytest.raises(Broken.Failure, match="the disk went away"):
        next(updates)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_closing_is_prompt_and_leaves_no_threads(source: CorpusSamples) -> None:
    masking = build_masking(MaskingSection(), source.tokenizer)
    updates = UpdateLoader(source, masking, 7, 24, 24, workers=2).updates()
    next(updates)
    start = time.perf_counter()
    updates.close()
    assert time.perf_counter() - start < 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_only_a_few_updates_are_prepared_ahead(source: CorpusSamples) -> None:
    made = []
    masking = build_masking(MaskingSection(), source.tokenizer)

    def finish(arrays: dict) -> dict:
        made.append(1)
        return arrays

    updates = UpdateLoader(source, masking, 7, 8, 8, workers=2, finish=finish).updates()
    next(updates)
    time.sleep(0.2)
    assert 1 <= len(made) <= 3
    updates.close()


@pytest.mark.parametrize(
    ("sizes", "advice"),
    [
        ({"batch": 30, "micro_batch": 8, "ranks": 2}, "train.batch to 16 or 32, or impl.micro_batch to 5 or 15"),
        ({"batch": 7, "micro_batch": 16, "ranks": 1}, "train.batch to 16, or impl.micro_batch to 7."),
        ({"batch": 33, "micro_batch": 4, "ranks": 2}, "train.batch to 32 or 40."),
    ],
)
def test_sizes_that_do_not_divide_are_refused_with_ones_that_do(
    source: CorpusSamples, sizes: dict, advice: str
) -> None:
    with pytest.raises(UserError) as error:
        UpdateLoader(source, None, 1, **sizes)
    assert advice in str(error.value)
    assert f"train.batch {sizes['batch']}" in str(error.value)


def test_held_out_batches_are_static_and_hold_every_sample_once(tmp_path: Path) -> None:
    source = CorpusSamples(random_corpus(), "held_out", S, cache=tmp_path)
    masking = build_masking(MaskingSection(), source.tokenizer)
    batches = EvaluationBatches(source, masking, seed=11, batch=10)
    assert len(source) % 10
    lists = [list(batches), list(batches)]
    for first, second in zip(*lists, strict=True):
        assert same(first.arrays, second.arrays)
        assert first.arrays["input_ids"].shape == (10, S)
        assert first.sequence_weights.tolist() == [1.0] * first.rows + [0.0] * (10 - first.rows)
        weights = first.arrays["masked_weights"].reshape(10, -1)
        assert not weights[first.rows :].any()
        assert first.weights == {"masked_lm": float(weights.sum()), "next_sentence": float(first.rows)}
    assert len(lists[0]) == len(batches)
    assert [batch.rows for batch in lists[0]] == [10] * (len(batches) - 1) + [len(source) % 10]
    everything = source.batch(np.zeros(len(source)), np.arange(len(source)))
    seen = np.concatenate([batch.arrays["attention_mask"][: batch.rows] for batch in lists[0]])
    assert np.array_equal(seen, everything.attention_mask)


def test_held_out_samples_can_be_limited_and_shared_by_ranks(tmp_path: Path) -> None:
    source = CorpusSamples(random_corpus(), "train", S, cache=tmp_path)
    masking = build_masking(MaskingSection(), source.tokenizer)
    alone = list(EvaluationBatches(source, masking, 11, 8, samples=21))
    assert sum(batch.rows for batch in alone) == 21
    ranks = [list(EvaluationBatches(source, masking, 11, 4, samples=21, rank=rank, ranks=2)) for rank in (0, 1)]
    assert len(ranks[0]) == len(ranks[1]) == len(alone) == 3
    ids = np.concatenate([batch.arrays["input_ids"][: batch.rows] for batch in alone])
    parts = [batch.arrays["input_ids"][: batch.rows] for pair in zip(*ranks, strict=True) for batch in pair]
    assert np.array_equal(np.concatenate(parts), ids)
    assert ranks[1][-1].rows == 1


def test_a_preview_marks_what_is_masked(source: CorpusSamples) -> None:
    masking = build_masking(MaskingSection(mask_share=1.0, random_share=0.0), source.tokenizer)
    texts = preview(source, masking, 7, 5)
    assert len(texts) == 5
    (update,) = list(UpdateLoader(source, masking, 7, 5, 1, workers=0).updates(0, 1))
    for text, arrays in zip(texts, update.micro_batches, strict=True):
        assert text.startswith("[CLS] ")
        assert "[PAD]" not in text
        assert text.count("|[MASK]}") == int(arrays["masked_weights"].sum()) > 0
        assert text.endswith("-> random next" if arrays["next_sentence_labels"][0] else "-> next")
        labels = [part.split("|")[0] for part in text.split("{")[1:]]
        real = arrays["masked_weights"] > 0
        assert labels == source.tokenizer.tokens(arrays["masked_labels"][real].tolist())


@pytest.mark.slow
def test_two_real_processes_share_what_one_does_alone(tmp_path: Path, source: CorpusSamples) -> None:
    script = """
import sys
import numpy as np
from fake_corpus import random_corpus, rows_of
from test_loader import load
from ms_plm.data.samples import CorpusSamples
rank, folder = int(sys.argv[1]), sys.argv[2]
source = CorpusSamples(random_corpus(), "train", 32, cache=folder + "/cache", seed=7)
np.savez(f"{folder}/rank{rank}.npz", **rows_of(load(source, rank=rank, ranks=2, micro_batch=4, workers=2)))
"""
    here = Path(__file__).parent
    environment = {"PYTHONPATH": f"{here}:{here.parents[1]}", "PATH": ""}
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(rank), str(tmp_path)], env=environment) for rank in (0, 1)
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    alone = rows_of(load(source))
    for key, value in alone.items():
        parts = [np.load(tmp_path / f"rank{rank}.npz")[key].reshape(20, 12, -1) for rank in (0, 1)]
        assert np.array_equal(np.concatenate(parts, axis=1).reshape(value.shape), value)
