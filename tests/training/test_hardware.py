"""Opening devices: what is missing is told from files, before MindSpore is asked."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import ImplSection
from ms_plm.training import hardware
from ms_plm.training.hardware import open_device, peak_flops

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def captured(monkeypatch):
    """A run turns off propagation of the package's log, which is how caplog sees it."""
    monkeypatch.setattr(logging.getLogger("ms_plm"), "propagate", True)


@pytest.fixture
def bare(monkeypatch):
    """A machine without accelerators: nothing in /dev, no libraries, no toolkits."""
    for name in ("MS_SIMULATION_LEVEL", "ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "LD_LIBRARY_PATH", "CUDA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    monkeypatch.setattr(Path, "exists", lambda self: False)
    monkeypatch.setattr(hardware, "loadable", lambda name: False)
    monkeypatch.setattr(hardware, "cuda_folders", dict)


def test_the_cpu_opens_in_graph_mode_and_is_described():
    import mindspore as ms

    device = open_device(ImplSection(device="cpu"))
    assert (device.name, device.jit_level, device.chip, device.peak_flops) == ("cpu", "O0", None, {})
    assert device.description.startswith("CPU, ")
    assert ms.get_context("mode") == ms.GRAPH_MODE
    assert ms.get_context("device_target") == "CPU"


def test_opening_the_same_device_again_is_fine():
    assert open_device(ImplSection(device="cpu")) == open_device(ImplSection(device="cpu"))


def test_auto_takes_the_cpu_on_a_bare_machine_and_logs_why_once(bare, caplog):
    with caplog.at_level(logging.INFO, logger="ms_plm"):
        assert open_device(ImplSection(device="auto")).name == "cpu"
    (line,) = [record.getMessage() for record in caplog.records]
    assert "impl.device auto; no Ascend device (no /dev/davinci*); no NVIDIA device (no /dev/nvidia*)" in line


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("ascend", ("no /dev/davinci*", "ASCEND_HOME_PATH", "set_env.sh", "impl.device=cpu")),
        (
            "gpu",
            (
                "no /dev/nvidia*",
                "libcuda.so.1",
                "libcudnn.so.8",
                "CUDA_HOME",
                "[gpu]",
                "env gpu",
                "README",
                "device=cpu",
            ),
        ),
    ],
)
def test_a_device_that_is_not_there_is_an_error_that_names_all_that_is_missing(bare, device, words):
    with pytest.raises(UserError, match=f"impl.device: {device} cannot be opened: ") as caught:
        open_device(ImplSection(device=device))
    for word in words:
        assert word in str(caught.value)


def test_auto_falls_back_when_a_present_device_does_not_open(monkeypatch, caplog):
    """The files are there, yet MindSpore cannot load the plugin: this process goes on with the CPU."""
    monkeypatch.setitem(hardware.MISSING, "ascend", list)
    monkeypatch.setitem(hardware.MISSING, "gpu", lambda: ["no NVIDIA device"])
    with caplog.at_level(logging.INFO, logger="ms_plm"):
        assert open_device(ImplSection(device="auto")).name == "cpu"
    assert "ascend cannot be opened" in caplog.text


def test_a_library_is_found_on_the_library_path_and_in_the_loaders_cache(tmp_path, monkeypatch):
    (tmp_path / "libsomething.so.9").touch()
    assert not hardware.loadable("libsomething.so.9")
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{tmp_path}")
    assert hardware.loadable("libsomething.so.9")
    assert not hardware.loadable("libsomething.so")
    if Path("/etc/ld.so.cache").exists():
        assert hardware.loadable("libc.so.6")


def test_cuda_libraries_are_told_apart_that_are_to_be_installed_and_that_only_the_path_lacks(bare, monkeypatch):
    names = list(hardware.CUDA_LIBRARIES)
    monkeypatch.setattr(hardware, "loadable", lambda name: name in names[4:])
    monkeypatch.setattr(hardware, "cuda_folders", lambda: {name: Path("/site/lib") for name in names[2:4]})
    missing = hardware.missing_for_gpu()
    assert f"not installed: {names[0]}, {names[1]} (`pip install '.[gpu]'` in the project's folder)" in missing
    assert (f'installed, but not on LD_LIBRARY_PATH: {names[2]}, {names[3]} (`eval "$(ms-plm env gpu)"`)') in missing


def test_the_extra_gpu_brings_what_the_plugin_loads():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert set(re.findall(r'"(nvidia-[a-z-]+-cu11)[=>]', text)) == set(hardware.CUDA_LIBRARIES.values())


@pytest.mark.parametrize(
    ("script", "release", "will_do"),
    [
        ("echo Built on a Tuesday; echo Cuda compilation tools, release 11.6, V11.6.124", (11, 6), True),
        ("echo Cuda compilation tools, release 11.8, V11.8.89", (11, 8), True),
        ("echo Cuda compilation tools, release 11.5, V11.5.119", (11, 5), False),
        ("echo Cuda compilation tools, release 12.0, V12.0.76", (12, 0), False),
        ("echo nothing of the kind", None, False),
    ],
)
def test_mindspore_is_told_a_release_of_cuda_by_the_nvcc_of_cuda_home(tmp_path, monkeypatch, script, release, will_do):
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    nvcc.chmod(0o755)
    assert hardware.nvcc_release(tmp_path) == release
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert any("CUDA_HOME" in line for line in hardware.missing_for_gpu()) != will_do


def test_an_nvcc_that_is_not_there_or_cannot_be_run_gives_no_release(tmp_path):
    assert hardware.nvcc_release(tmp_path) is None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").touch()
    assert hardware.nvcc_release(tmp_path) is None
    assert hardware.nvcc_release("") is None


def test_peaks_are_given_where_known_and_910a_has_no_bfloat16():
    assert peak_flops("910A") == {"float16": 262e12}
    assert peak_flops("910B3") == {"float16": 295e12, "bfloat16": 295e12}
    assert peak_flops(None) == {}


def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delitem(sys.modules, "mindspore", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    hardware.settle_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    hardware.settle_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize("name", ["load", "run"])
def test_python_users_get_sleeping_threads_too(name, tmp_path):
    """OpenMP reads the policy when MindSpore loads it: `ms_plm.run` and `ms_plm.load` set it before."""
    code = f"""\
import os, sys
import ms_plm
assert "OMP_WAIT_POLICY" not in os.environ, "importing ms_plm changes nothing"
class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == "mindspore":
            sys.exit("MindSpore comes, and the policy is " + os.environ.get("OMP_WAIT_POLICY", "not set"))
sys.meta_path.insert(0, AtImport())
ms_plm.{name}("quickstart", {{"output.folder": sys.argv[1]}})
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    child = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert child.stderr.splitlines()[-1] == "MindSpore comes, and the policy is PASSIVE"
