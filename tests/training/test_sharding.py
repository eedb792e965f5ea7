"""Sharing the optimizer's state out: who owns what, the same bits as without it, checkpoints that fit both ways."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_job
import tiny_run
from mindspore import Parameter, Tensor, nn, ops

import ms_plm
import ms_plm.training.sharding as module
import ms_plm.training.step as step_module
from ms_plm.config.recipe import OptimizerSection, TrainSection
from ms_plm.kernels import Call, Kernels
from ms_plm.training.sharding import Sharding, owners
from ms_plm.training.step import StepOptions, TrainingStep

# ---- who owns what ----


def loads(shapes: list[tuple[int, ...]], ranks: int) -> list[int]:
    found = [0] * ranks
    for shape, owner in zip(shapes, owners(shapes, ranks), strict=True):
        found[owner] += int(np.prod(shape))
    return found


def test_the_largest_go_first_each_to_the_one_that_has_least() -> None:
    assert owners([(1,), (7,), (5,), (2, 2), (3,)], 2) == (1, 0, 1, 1, 0)


def test_equal_sizes_go_round_in_order() -> None:
    assert owners([(2, 3), (6,), (3, 2), (6, 1)], 3) == (0, 1, 2, 0)


def test_one_process_owns_everything_and_a_scalar_is_a_tensor() -> None:
    assert owners([(3,), (), (2, 2)], 1) == (0, 0, 0)
    assert owners([], 4) == ()
    assert sum(loads([(), (1,)], 2)) == 2


def test_some_own_nothing_where_tensors_are_fewer_than_processes() -> None:
    assert owners([(4,), (9,)], 4) == (1, 0)


@pytest.mark.parametrize("ranks", [2, 8, 13])
def test_no_one_has_more_than_a_fair_share_and_the_smallest_tensor(ranks: int) -> None:
    """Sizes of any kind: the busiest was the least busy before its last and smallest tensor came."""
    draw = np.random.default_rng(ranks)
    shapes = [tuple(draw.integers(1, 60, draw.integers(1, 4))) for _ in range(200)]
    fair = sum(int(np.prod(shape)) for shape in shapes) / ranks
    smallest = min(
        int(np.prod(shape)) for shape, owner in zip(shapes, owners(shapes, ranks), strict=True) if owner == 0
    )
    assert max(loads(shapes, ranks)) <= fair + max(smallest, fair / 3)


def test_the_shares_of_nezha_large_on_8_devices_are_within_a_percent() -> None:
    hidden, inner = 1024, 4096
    layer = (
        [(hidden, hidden), (hidden,)] * 4 + [(hidden,)] * 4 + [(inner, hidden), (inner,), (hidden, inner), (hidden,)]
    )
    shapes = [(21128, hidden), (2, hidden), *layer * 24, (hidden, hidden), (hidden,), (21128,)]
    found = loads(shapes, 8)
    assert max(found) <= 1.01 * sum(found) / 8


# ---- moments on their way to the first process ----


class Threads:
    """A group of processes, played by threads."""

    def __init__(self, ranks: int) -> None:
        self.ranks, self.sent, self.barrier = ranks, [None] * ranks, threading.Barrier(ranks, timeout=20)

    def member(self, rank: int) -> SimpleNamespace:
        def gather_arrays(array: np.ndarray) -> np.ndarray:
            self.barrier.wait()
            self.sent[rank] = array
            self.barrier.wait()
            return np.stack(self.sent)

        return SimpleNamespace(rank=rank, ranks=self.ranks, gather_arrays=gather_arrays)


SHAPES = {"a": (3, 5), "b": (7,), "c": (), "d": (2, 2, 2), "e": (9,)}


@pytest.mark.parametrize("message", [6, 1000])
@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_every_array_reaches_the_first_process_bit_for_bit(monkeypatch, ranks: int, message: int) -> None:
    monkeypatch.setattr(module, "_MESSAGE", message)
    draw = np.random.default_rng(0)
    arrays = {name: np.asarray(draw.normal(size=shape), np.float32) for name, shape in SHAPES.items()}
    arrays["b"][:4] = (-0.0, 1e-42, np.nan, np.inf)
    group = Threads(ranks)

    def work(rank: int) -> dict[str, np.ndarray]:
        sharding = Sharding(SHAPES, group.member(rank))
        return sharding.gather([arrays[name] for name in sharding.share(rank)])

    with ThreadPoolExecutor(ranks) as pool:
        first, *others = pool.map(work, range(ranks))
    assert {name: value.tobytes() for name, value in first.items()} == {n: v.tobytes() for n, v in arrays.items()}
    assert {name: value.shape for name, value in first.items()} == SHAPES
    for other in others:
        assert all(other[name] is arrays[name] for name in other)


# ---- updates ----


class Line(nn.Cell):
    """x . weight + sum(x) bias, whose gradients are x and its sum."""

    terms, inputs = ("line",), ("x",)

    def __init__(self) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.array([[1.0, -2.0, 3.0]], np.float32)), name="dense.weight")
        self.bias = Parameter(Tensor(np.array([0.5], np.float32)), name="dense.bias")

    def named(self) -> dict[str, Parameter]:
        return {"dense.weight": self.weight, "dense.bias": self.bias}

    def construct(self, rng, x):
        return ops.stack((ops.reduce_sum(x * self.weight) + ops.reduce_sum(x * self.bias),))


class Copies(nn.Cell):
    """In place of sums over processes that all have the same micro-batches."""

    def __init__(self, ranks: int) -> None:
        super().__init__()

    def construct(self, values):
        return tuple([value * 1.0 for value in values])


class Nothing(nn.Cell):
    """In place of the exchange of parameters."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(auto_prefix=False)

    def construct(self):
        return True


class Process:
    """A training step of one process."""

    def __init__(self, accumulate: bool, rank: int = 0, ranks: int = 1) -> None:
        self.loss = Line()
        self.named = self.loss.named()
        shapes = {name: parameter.shape for name, parameter in self.named.items()}
        self.sharding = Sharding(shapes, SimpleNamespace(rank=rank, ranks=ranks)) if ranks > 1 else None
        train = TrainSection(steps=5, optimizer=OptimizerSection(name="lamb"))
        options = StepOptions(clip_norm=0.5, loss_scale=1024.0, window=2)
        kernels = Kernels(Call(training=True))
        self.step = TrainingStep(self.loss, self.named, train, kernels, options, accumulate, self.sharding)

    def update(self, values: list[float]):
        return self.step(0.1, [4.0], [{"x": np.full((2, 3), value, np.float32)} for value in values])

    def held(self) -> dict[str, np.ndarray]:
        """Parameters and what this process has of the state."""
        state = {name: value for name, value in self.step.state().items() if value is not None}
        return {name: value.asnumpy().copy() for name, value in {**self.named, **state}.items()}


@pytest.mark.parametrize("accumulate", [False, True])
def test_three_processes_update_what_one_does_also_after_an_overflow(monkeypatch, accumulate: bool) -> None:
    monkeypatch.setattr(step_module, "HandOut", Nothing)
    monkeypatch.setattr(step_module, "AddOverRanks", Copies)
    alone = Process(accumulate)
    group = [Process(accumulate, rank, 3) for rank in range(3)]  # the third owns nothing
    assert [len(process.sharding.own) for process in group] == [1, 1, 0]
    for number, value in enumerate([0.5, np.inf, 0.25, -1.0]):
        values = [0.5, value] if accumulate else [value]
        before, expected = alone.held(), alone.update(values)
        for process in group:
            result = process.update(values)
            assert [bool(result.finite.asnumpy()), bool(expected.finite.asnumpy())] == [number != 1] * 2
            for name in ("terms", "norm", "scale"):
                np.testing.assert_array_equal(getattr(result, name).asnumpy(), getattr(expected, name).asnumpy())
        after = alone.held()
        if number == 1:
            assert all(np.array_equal(before[name], after[name]) for name in before if "dense" in name)
        for rank, process in enumerate(group):
            for name, owner in zip(process.named, process.sharding.owners, strict=True):
                if owner != rank:  # what the exchange would do; until then it is what it was
                    np.testing.assert_array_equal(process.named[name].asnumpy(), before[name])
                    ops.assign(process.named[name], group[owner].named[name])
            held = process.held()
            assert {name for name in held if "dense" not in name} == {
                "applied_updates",
                "loss_scale",
                "good_updates",
                "skipped_updates",
            }
            for name, array in held.items():
                np.testing.assert_array_equal(array, after[name], err_msg=name)
        moments = [name for process in group for name in process.held() if "moment" in name]
        assert sorted(moments) == sorted(name for name in after if "moment" in name)
    assert all(process.step.state().keys() == alone.step.state().keys() for process in group)


# ---- real processes ----


@pytest.mark.slow
def test_two_processes_resume_with_either_setting_what_was_made_with_the_other(base: Path, tmp_path: Path) -> None:
    """Also: an update of several micro-batches, and updates that overflow."""
    recipe, on, off = base / "tiny.yaml", {"impl.parallel.shard_optimizer": True}, {}
    kinds = {
        "plain": {},
        "lamb": {"train.optimizer.name": "lamb", "impl.micro_batch": 2},
        "overflow": {"impl.precision": "fp16", "impl.loss_scale": 2.0**19, "impl.loss_scale_window": 2},
    }
    runs = [
        tiny_job.arguments(recipe, tmp_path / f"{kind}_{setting}", **changes, **switch)
        for kind, changes in kinds.items()
        for setting, switch in (("on", on), ("off", off))
    ]
    tiny_job.run_all(tmp_path / "first", runs, timeout=400)
    for kind in kinds:
        tiny_job.assert_same_bits(tmp_path / f"{kind}_off", tmp_path / f"{kind}_on")
    skipped = [record["skipped"] for record in tiny_run.figures(tmp_path / "overflow_on") if record["kind"] == "train"]
    assert 0 < skipped[-1] < 10

    resumed = []
    for kind, changes in kinds.items():
        for setting, switch in (("on", off), ("off", on)):
            folder = tiny_job.cut_after(5, tmp_path / f"{kind}_{setting}", tmp_path / f"{kind}_{setting}_resumed")
            resumed.append(tiny_job.arguments(recipe, folder, "--resume", **changes, **switch))
    tiny_job.run_all(tmp_path / "second", resumed, timeout=400)
    for kind in kinds:
        for setting in ("on", "off"):
            tiny_job.assert_same_bits(tmp_path / f"{kind}_off", tmp_path / f"{kind}_{setting}_resumed")

    folder = tiny_job.cut_after(5, tmp_path / "plain_on", tmp_path / "alone")
    ms_plm.run(recipe, {**tiny_job.SETTINGS, "output.folder": str(folder)}, resume=True)
    print(tiny_job.same_training(tmp_path / "plain_off", folder))
