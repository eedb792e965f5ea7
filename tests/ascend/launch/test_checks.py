"""What is wrong with a machine is found before a job starts, and all of it at once."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from ms_plm.common.releases import cann_release
from ms_plm.config.loading import load_recipe
from ms_plm_ascend.launch import checks
from ms_plm_ascend.launch.checks import port_free, problems
from ms_plm_ascend.launch.job import Job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job whose data and folders are in order, for the CPU."""
    text = tmp_path / "text.txt"
    text.write_text("a .\n")
    changes = {"data.text": {"files": [str(text)]}, "output.folder": str(tmp_path / "run"), "train.batch": 8}
    recipe = load_recipe("nezha_tiny_pretrain_zh", {**changes, "impl.micro_batch": 4})
    with socket.create_server(("", 0)) as probe:
        port = probe.getsockname()[1]
    return Job("r", (), recipe, "cpu", devices=2, port=port, msrun=shutil.which("true"))


@pytest.fixture
def ascend(job: Job, tmp_path: Path, monkeypatch) -> tuple[Job, Path]:
    """The same on a machine with two Ascend devices, CANN and the driver; where its files are."""
    root = tmp_path / "root"
    for name in ("dev/davinci0", "dev/davinci1", "dev/davinci_manager", "dev/devmm_svm", "dev/hisi_hdc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name, version in (("usr/local/Ascend/driver", "25.2"), ("cann/compiler", "8.3.RC1")):
        (root / name).mkdir(parents=True)
        (root / name / "version.info").write_text(f"Name=x\nVersion={version}\n")
    monkeypatch.setenv("ASCEND_HOME_PATH", str(root / "cann"))
    monkeypatch.delenv("ASCEND_RT_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(checks, "missing_for_ascend", list)
    return replace(job, device="ascend"), root


def only(found: list[str]) -> str:
    (text,) = found
    return text


def test_nothing_is_wrong_where_nothing_is(job: Job, ascend: tuple[Job, Path]) -> None:
    assert problems(job, False, False) == []
    assert problems(ascend[0], False, False, ascend[1]) == []


def test_everything_is_told_at_once(job: Job, tmp_path: Path, monkeypatch) -> None:
    changes = {"data.corpus": str(tmp_path / "none"), "output.folder": str(tmp_path / "run"), "train.batch": 6}
    recipe = load_recipe("nezha_tiny_pretrain_zh", {**changes, "impl.micro_batch": 2})
    monkeypatch.setattr(checks, "missing_for_ascend", lambda: ["no Ascend device (no /dev/davinci*)"])
    bad = replace(job, recipe=recipe, device="ascend", master="no-such-host.invalid", msrun="no-such-msrun")
    text = "\n".join(problems(bad, resume=True, overwrite=False, root=tmp_path))
    for words in ("msrun", "no-such-host.invalid", "data.corpus", "--resume", "no Ascend device", "train.batch 6"):
        assert words in text


def test_fewer_devices_than_asked_for(ascend: tuple[Job, Path], monkeypatch) -> None:
    job, root = ascend
    many = replace(job, devices=8, recipe=job.recipe.model_copy(update={"train": job.recipe.train.model_copy()}))
    assert any("--devices 8: this machine has 2" in text for text in problems(many, False, False, root))
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "1")
    assert "this machine has 1 (ASCEND_RT_VISIBLE_DEVICES)" in only(problems(job, False, False, root))


def test_a_container_without_the_drivers_files(ascend: tuple[Job, Path]) -> None:
    job, root = ascend
    (root / "dev/hisi_hdc").unlink()
    shutil.rmtree(root / "usr")
    first, second = problems(job, False, False, root)
    assert "/dev/hisi_hdc is not there" in first
    assert "/usr/local/Ascend/driver/version.info" in second


@pytest.mark.parametrize(("version", "fits"), [("8.2.RC1", True), ("9.0", True), ("8.20", False), ("7.0.0", False)])
def test_releases_of_cann_are_those_that_mindspore_names(ascend, version: str, fits: bool) -> None:
    job, root = ascend
    (root / "cann/compiler/version.info").write_text(f"Version={version}\n")
    assert cann_release() == version
    assert (problems(job, False, False, root) == []) is fits


def test_a_port_in_use_is_named_on_the_first_machine_only(job: Job) -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        assert not port_free(port)
        taken = replace(job, port=port)
        assert f"--master-port {port} is in use" in only(problems(taken, False, False))
        other = replace(taken, nodes=2, rank=1, devices=1, master="192.0.2.1")
        assert problems(other, False, False) == []
    assert "expected a number from 1024" in only(problems(replace(job, port=80), False, False))


def test_several_machines_need_an_address_that_others_reach(job: Job) -> None:
    found = only(problems(replace(job, nodes=2, devices=1, master="localhost"), False, False))
    assert "127.0.0.1 here, which other machines cannot reach" in found


def test_a_run_folder_is_refused_where_the_job_would_refuse_it(job: Job) -> None:
    job.folder.mkdir()
    (job.folder / "recipe.yaml").touch()
    assert "this run folder exists" in only(problems(job, False, False))
    assert problems(job, True, False) == problems(job, False, True) == []
    late = replace(job, nodes=2, rank=1, devices=1, master="192.0.2.1")  # the first machine may have made it already
    assert problems(late, False, False) == []


def test_a_task_whose_files_or_model_this_machine_does_not_see(job: Job, tmp_path: Path) -> None:
    changes = {"model.from": str(tmp_path / "m"), "data.folder": str(tmp_path / "sst"), "impl.micro_batch": 4}
    told = "; ".join(problems(replace(job, recipe=load_recipe("bert_base_sst2", changes)), False, False))
    assert f"data.folder {tmp_path / 'sst'}" in told
    assert f"model.from {tmp_path / 'm'}" in told
    own = {"data.own": {"train": str(tmp_path / "t.tsv")}, "data.folder": None}
    told = "; ".join(problems(replace(job, recipe=load_recipe("bert_base_sst2", {**changes, **own})), False, False))
    assert f"data.own.train {tmp_path / 't.tsv'}" in told


def test_a_corpus_that_only_the_first_machine_sees(job: Job, tmp_path: Path) -> None:
    changes = {"data.corpus": str(tmp_path / "elsewhere"), "output.folder": str(tmp_path / "run"), "train.batch": 8}
    recipe = load_recipe("nezha_tiny_pretrain_zh", {**changes, "impl.micro_batch": 4})
    assert "elsewhere/manifest.json" in only(problems(replace(job, recipe=recipe), False, False))
