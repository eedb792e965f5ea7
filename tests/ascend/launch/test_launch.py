"""The launcher's command line: what it prints without starting, which machine this is, and a real job on CPU."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tiny_job
import tiny_run

from ms_plm.config.loading import load_recipe
from ms_plm.models.model import Model
from ms_plm.training.throughput import parameter_count
from ms_plm_ascend.launch import __main__ as launch
from ms_plm_ascend.launch.__main__ import build_parser, is_this_machine, job_of, machines, main

BASE, LARGE = "nezha_base_pretrain_ascend", "nezha_large_pretrain_ascend"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the developer's own, and msrun beside this Python."""
    for name in ("HCCL_CONNECT_TIMEOUT", "HCCL_EXEC_TIMEOUT", "GLOG_v", "ASCEND_RT_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(launch, "_msrun", lambda: "msrun")
    monkeypatch.setattr(launch, "allowed_cores", lambda: set(range(16)))
    monkeypatch.setattr(launch, "bind", lambda devices, allowed: {f"device{d}": [str(2 * d)] for d in devices})
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def printed(capsys, *words: str) -> list[str]:
    assert main([*words, "--dry-run"]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_dry_run_prints_what_one_machine_would_start(capsys) -> None:
    lines = printed(capsys, BASE, "data.corpus=prepared/zh", "--devices", "2", "--overwrite")
    assert "export HCCL_CONNECT_TIMEOUT=600" in lines
    assert "export HCCL_EXEC_TIMEOUT=7200" in lines
    (command,) = [shlex.split(line) for line in lines if line.startswith("msrun ")]
    assert command == [
        "msrun",
        "--worker_num=2",
        "--local_worker_num=2",
        "--master_addr=127.0.0.1",
        "--master_port=8118",
        "--node_rank=0",
        f"--log_dir=runs/{BASE}.logs/attempt-01",
        "--cluster_time_out=600",
        "--join=True",
        "--tail_worker_log=0",
        '--bind_core={"device0":["0"],"device1":["2"]}',
        *("python", "-m", "ms_plm", "run", BASE, "data.corpus=prepared/zh", "impl.device=ascend"),
        "impl.parallel.fusion_mb=128",
        "--overwrite",
    ]
    assert any("this would be refused" in line and "no Ascend device" in line for line in lines)


def test_a_dry_run_of_several_machines_prints_the_command_of_each(capsys) -> None:
    lines = printed(capsys, LARGE, "--nodes", "a01,a02", "--ifname", "eth0")
    commands = [shlex.split(line) for line in lines if line.startswith("msrun ")]
    assert ["--node_rank=0" in commands[0], "--node_rank=1" in commands[1]] == [True, True]
    assert all("--worker_num=16" in words and "--master_addr=a01" in words for words in commands)
    assert ["--tail_worker_log=8" in words for words in commands] == [False, True]
    assert lines.count("export HCCL_SOCKET_IFNAME=eth0") == 2


def test_what_is_printed_is_what_msrun_understands(capsys) -> None:
    from mindspore.parallel.cluster.run import get_args

    lines = printed(capsys, LARGE, "--nnodes", "2", "--node-rank", "1", "--master-addr", "10.0.0.1", "--bind", "msrun")
    (words,) = [shlex.split(line) for line in lines if line.startswith("msrun ")]
    before, sys.argv = sys.argv, words
    try:
        understood = get_args()
    finally:
        sys.argv = before
    assert (understood.worker_num, understood.local_worker_num, understood.node_rank) == (16, 8, 1)
    assert (understood.join, understood.bind_core, understood.master_addr) == (True, True, "10.0.0.1")
    assert understood.task_script == "python"
    assert understood.task_script_args[:4] == ["-m", "ms_plm", "run", LARGE]


def test_settings_of_the_user_stay_and_options_go_before_them(capsys, monkeypatch) -> None:
    monkeypatch.setenv("HCCL_CONNECT_TIMEOUT", "1200")
    monkeypatch.setenv("HCCL_IF_IP", "10.0.0.9")
    lines = printed(capsys, BASE, "--if-ip", "10.0.0.3")
    assert not any("HCCL_CONNECT_TIMEOUT" in line for line in lines)
    assert "export HCCL_IF_IP=10.0.0.3" in lines


def test_a_fusion_of_the_users_own_stays(capsys) -> None:
    lines = printed(capsys, BASE, "impl.parallel.fusion_mb=16")
    assert any("impl.parallel.fusion_mb=16" in line for line in lines)
    assert not any("fusion_mb=128" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nnodes", "2"], "needs --node-rank and --master-addr"),
        (["--nodes", "a,b", "--nnodes", "3"], "--nodes names 2 machines, --nnodes 3"),
        (["--nodes", "a,a"], "named twice"),
        (["--nodes", "a.invalid,b.invalid"], "none of them is this machine"),
        (["--nodes", "a,b", "--node-rank", "2"], "expected 0 to 1"),
        (["--devices", "0"], "at least 1"),
        (["impl.device=cpu"], "impl.device is set by --device"),
        (["--lccl", "on"], "impl.jit_level=O0"),
        (["train.step=5"], "train.steps"),
    ],
)
def test_options_that_do_not_fit_are_refused(capsys, words: list[str], message: str) -> None:
    assert main([BASE, *words]) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_machine_knows_itself_in_a_list() -> None:
    assert is_this_machine(socket.gethostname())
    assert is_this_machine("127.0.0.1")
    assert not is_this_machine("192.0.2.1")  # of nobody (RFC 5737)
    args = build_parser().parse_args([BASE, "--nodes", "192.0.2.1,127.0.0.1"])
    assert machines(args) == (2, 1, "192.0.2.1")


def test_cores_are_left_alone_on_a_cpu(capsys) -> None:
    job = job_of(build_parser().parse_args(["quickstart", "--device", "cpu", "--devices", "2"]))
    assert (job.binding, job.added) == ("", {})


@pytest.mark.parametrize("family", ["nezha", "bert"])
def test_parameters_are_counted_without_building_the_model(family: str) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    recipe = load_recipe(BASE, {**{f"model.{key}": value for key, value in sizes.items()}, "model.model_type": family})
    config = recipe.model.build(101)
    built = Model(config, "pretraining")
    assert parameter_count(config) == sum(p.size for p in built.get_parameters() if p.requires_grad)


def _start(base: Path, folder: Path, *words: str, **changes: object) -> subprocess.Popen[str]:
    with socket.create_server(("", 0)) as probe:
        port = probe.getsockname()[1]
    settings = tiny_job.arguments(base / "tiny.yaml", folder, **changes)[1:]
    options = ["--device", "cpu", "--devices", "2", "--master-port", str(port), *words]
    return subprocess.Popen(
        [sys.executable, "-m", "ms_plm_ascend.launch", *settings, *options],
        env=tiny_run.environment(),
        cwd=base,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _worker(launcher: subprocess.Popen[str], rank: str) -> int:
    """Process id of a worker."""
    for process in psutil.Process(launcher.pid).children(recursive=True):
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if environment.get("MS_ROLE") == "MS_WORKER" and environment.get("RANK_ID") == rank and "py" in process.name():
            return process.pid
    raise AssertionError(f"no worker {rank}")


@pytest.mark.slow
def test_a_real_job_loses_a_process_and_ends_as_if_it_had_not(base: Path, tmp_path: Path) -> None:
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    changes = {"train.steps": 300, "train.checkpoint": {"every": 20, "keep": 20}, "evaluate.every": 300}
    job = _start(base, straight, **changes)
    output = job.communicate(timeout=300)[0]
    assert job.returncode == 0, output
    job = _start(base, cut, **changes)
    try:
        until = time.monotonic() + 120
        while tiny_run.last_step(cut) < 45 and time.monotonic() < until and job.poll() is None:
            time.sleep(0.02)
        os.kill(_worker(job, "1"), signal.SIGKILL)
        output = job.communicate(timeout=400)[0]
    finally:
        job.kill()
    assert job.returncode == 0, output
    lines = (tmp_path / "cut.logs" / "attempts-node0.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert (first["verdict"], second["verdict"]) == ("lost", "done")
    assert 40 <= first["to_step"] == second["from_step"] < 300
    assert second["to_step"] == 300
    assert re.search(r"Started again from step \d+; 3 more attempts", output)
    assert tiny_run.same_weights(straight / "model", cut / "model")
