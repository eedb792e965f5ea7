"""Checkpoints: back bit for bit, damage named, the one before used, nothing half-written, nothing lost."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tiny
from mindspore import Tensor
from tiny_run import listening

import ms_plm.training.checkpoint as module
from ms_plm.common.errors import UserError
from ms_plm.tokenization import Options, Tokenizer
from ms_plm.training.checkpoint import STATE, TRAINER, Checkpoint, CheckpointStore

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENIZER = Tokenizer([*SPECIAL, *(f"w{n}" for n in range(tiny.VOCABULARY - 5))], Options())
FILES = [
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer_config.json",
    TRAINER,
    STATE,
    "vocab.txt",
]


class Trained:
    """A model and its training state; nothing is compiled."""

    def __init__(self) -> None:
        self.trainer = tiny.Trainer()
        self.model, self.state = self.trainer.model, self.trainer.step.state()
        self.all = self.trainer.state

    def fill(self, seed: int) -> dict[str, np.ndarray]:
        """Other values everywhere, also such as only bits tell apart."""
        draw = np.random.default_rng(seed)
        for parameter in self.all.values():
            old = parameter.asnumpy()
            new = draw.normal(size=old.shape).astype(old.dtype) if old.dtype == np.float32 else old + seed
            if new.size > 3:
                new.reshape(-1)[:3] = (-0.0, 1e-42, 3.0e38)
            parameter.set_data(Tensor(new))
        return self.values()

    def values(self) -> dict[str, np.ndarray]:
        return {name: parameter.asnumpy().copy() for name, parameter in self.all.items()}


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained()


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep=2)


def save(store: CheckpointStore, trained: Trained, step: int, best: int | None = None, **record: object) -> Path:
    return store.save(step, trained.model, TOKENIZER, trained.trainer.step.collect(), record, best)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        one[k].dtype == other[k].dtype and one[k].tobytes() == other[k].tobytes() for k in one
    )


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_weights_moments_counters_and_records_come_back_bit_for_bit(trained: Trained, store: CheckpointStore) -> None:
    before = trained.fill(1)
    record = {"elapsed": 0.1 + 0.2, "pending": [[4.25, 1 / 3]], "best_step": None, "text": "词"}
    folder = save(store, trained, 200, **record)
    assert folder.name == "step-000200"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    trained.fill(2)
    checkpoint = store.newest()
    assert checkpoint is not None
    assert checkpoint.step == 200
    assert {key: checkpoint.record[key] for key in record} == record
    checkpoint.restore(trained.model, trained.state)
    assert same(trained.values(), before)


def test_what_another_process_holds_is_left_to_it(trained: Trained, store: CheckpointStore) -> None:
    before = trained.fill(1)
    save(store, trained, 200)
    other = trained.fill(2)
    first = next(iter(trained.state))
    store.newest().restore(trained.model, {**trained.state, first: None})
    assert same(trained.values(), {**before, first: other[first]})


def test_a_checkpoint_is_a_model_folder(trained: Trained, store: CheckpointStore) -> None:
    from ms_plm.models.folder import load

    trained.fill(3)
    model, tokenizer = load(save(store, trained, 1), head="pretraining")
    assert tokenizer.vocabulary == TOKENIZER.vocabulary
    mine = dict(trained.model.parameters_and_names())
    assert all(np.array_equal(p.asnumpy(), mine[name].asnumpy()) for name, p in model.parameters_and_names())


def test_others_may_read_it_as_any_new_file(trained: Trained, store: CheckpointStore, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    modes = {path.stat().st_mode for path in [tmp_path / "new", *save(store, trained, 1).iterdir()]}
    assert len(modes) == 1


def test_the_newest_are_kept_and_the_best_beside_them(trained: Trained, store: CheckpointStore) -> None:
    for step in (10, 20, 30, 40, 50):
        save(store, trained, step, best=20 if step >= 20 else 10)
    assert names(store) == ["step-000020", "step-000040", "step-000050"]
    save(store, trained, 60, best=60)
    assert names(store) == ["step-000050", "step-000060"]


def test_the_newest_is_decided_by_what_was_written_not_by_names(trained: Trained, store: CheckpointStore) -> None:
    save(store, trained, 5)
    save(store, trained, 12)
    (store.folder / "step-000005").rename(store.folder / "step-000099")
    (store.folder / "step-000012").rename(store.folder / "a-copy")
    newest = store.newest()
    assert newest is not None
    assert (newest.step, newest.folder.name) == (12, "a-copy")


def test_saving_a_step_again_replaces_it(trained: Trained, store: CheckpointStore) -> None:
    save(store, trained, 7, note="old")
    save(store, trained, 7, note="new")
    assert names(store) == ["step-000007"]
    assert store.newest().record["note"] == "new"


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def missing(path: Path) -> None:
    path.unlink()


def flipped(path: Path) -> None:
    """One bit, in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.fixture(scope="module")
def two(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = CheckpointStore(tmp_path_factory.mktemp("two"), keep=9)
    for step in (10, 20):
        save(store, trained, step)
    return store.folder


@pytest.mark.parametrize("damage", [truncated, emptied, flipped, missing], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", FILES)
def test_any_damage_to_any_file_is_named_and_the_one_before_is_used(two: Path, tmp_path: Path, name, damage):
    shutil.copytree(two, tmp_path / "checkpoints")
    file = tmp_path / "checkpoints" / "step-000020" / name
    damage(file)
    with listening() as log:
        checkpoint = CheckpointStore(file.parents[1], 2).newest()
    assert checkpoint is not None
    assert checkpoint.step == 10
    warnings = [record.getMessage() for record in log if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert str(file) in warnings[0]
    assert (file.parents[1] / "damaged-step-000020").is_dir()  # moved out of the way, not removed


def test_a_damaged_checkpoint_does_not_count_among_those_that_are_kept(two: Path, tmp_path: Path) -> None:
    shutil.copytree(two, tmp_path / "checkpoints")
    flipped(tmp_path / "checkpoints" / "step-000020" / "model.safetensors")
    store = CheckpointStore(tmp_path / "checkpoints", 2)
    store.newest()
    assert [step for step, _ in store.list()] == [10]


def test_a_process_that_only_looks_changes_nothing(two: Path, tmp_path: Path) -> None:
    shutil.copytree(two, tmp_path / "checkpoints")
    flipped(tmp_path / "checkpoints" / "step-000020" / "model.safetensors")
    before = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    checkpoint = CheckpointStore(tmp_path / "checkpoints", 2).newest(repair=False)
    assert checkpoint is not None
    assert checkpoint.step == 10
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == before


def test_a_checkpoint_that_a_killed_process_had_moved_aside_comes_back(two: Path, tmp_path: Path) -> None:
    shutil.copytree(two, tmp_path / "checkpoints")
    aside = tmp_path / "checkpoints" / ".step-000020.abcd.old"
    aside.mkdir()
    (tmp_path / "checkpoints" / "step-000020").rename(aside / "replaced")
    checkpoint = CheckpointStore(tmp_path / "checkpoints", 2).newest()
    assert checkpoint is not None
    assert checkpoint.step == 20
    assert not aside.exists()


def test_every_single_flipped_bit_of_trainer_json_is_noticed(two: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    shutil.copytree(two / "step-000020", folder)
    good = (folder / TRAINER).read_bytes()
    record = Checkpoint.open(folder).record
    draw = np.random.default_rng(0)
    for place in draw.choice(len(good), 150, replace=False):
        bad = bytearray(good)
        bad[place] ^= 1 << int(draw.integers(8))
        (folder / TRAINER).write_bytes(bad)
        try:
            assert Checkpoint.open(folder).record == record  # a space that became another one
        except UserError as error:
            assert str(folder) in str(error)  # noqa: PT017 (either is right)


def test_when_all_are_damaged_the_error_names_each(two: Path, tmp_path: Path) -> None:
    shutil.copytree(two, tmp_path / "checkpoints")
    flipped(tmp_path / "checkpoints" / "step-000010" / STATE)
    missing(tmp_path / "checkpoints" / "step-000020" / TRAINER)
    with pytest.raises(UserError, match="every checkpoint is damaged") as error:
        CheckpointStore(tmp_path / "checkpoints", 2).newest()
    assert f"step-000010/{STATE}" in str(error.value)
    assert f"step-000020/{TRAINER}" in str(error.value)
    assert "--overwrite" in str(error.value)


def test_without_any_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "nothing", 2).newest() is None


def test_what_a_killed_process_left_is_removed_and_never_read(trained: Trained, store: CheckpointStore) -> None:
    save(store, trained, 10)
    for name in (".step-000020.abc.tmp", ".step-000010.xyz.old"):
        shutil.copytree(store.folder / "step-000010", store.folder / name)
    record = json.loads((store.folder / ".step-000020.abc.tmp" / TRAINER).read_text())
    (store.folder / ".step-000020.abc.tmp" / TRAINER).write_text(json.dumps({**record, "step": 20}))
    assert store.newest().step == 10
    assert names(store) == ["step-000010"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_error_that_leaves_earlier_checkpoints(trained, store, monkeypatch, number) -> None:
    save(store, trained, 10)
    write = module.write_tensors

    def failing(path: Path, *rest: object) -> None:
        write(path, *rest)
        truncated(path)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "write_tensors", failing)
    with pytest.raises(UserError, match="disk is full.*run the same command again"):
        save(store, trained, 20)
    assert names(store) == ["step-000010"]
    assert store.newest().step == 10


def test_a_disk_that_really_is_full(trained: Trained, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        store = CheckpointStore(disk / "checkpoints", keep=2)
        save(store, trained, 10)
        with pytest.raises(UserError, match="disk is full"):
            save(store, trained, 20)
        assert names(store) == ["step-000010"]
        assert store.newest().step == 10
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_state_of_another_optimizer_is_an_error_that_says_what_differs(trained, store) -> None:
    del_one = dict(list(trained.trainer.step.collect().items())[1:])
    first = next(iter(trained.state))
    store.save(10, trained.model, TOKENIZER, del_one, {}, None)
    with pytest.raises(UserError, match="another training state.*recipe that the run was started with") as error:
        store.newest().restore(trained.model, trained.state)
    assert first in str(error.value)


def test_weights_of_another_model_are_an_error(trained: Trained, store: CheckpointStore) -> None:
    from ms_plm.kernels import Call, Kernels
    from ms_plm.models.model import Model

    save(store, trained, 10)
    wider = Model(tiny.tiny_config(intermediate_size=64), "pretraining", Kernels(Call(training=True)))
    with pytest.raises(UserError, match=r"model\.safetensors.*intermediate"):
        store.newest().restore(wider, trained.state)
