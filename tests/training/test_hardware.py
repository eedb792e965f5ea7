"""Opening devices: what is missing is told from files, before MindSpore is asked."""

import logging
import os
import sys
from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.recipe import ImplSection
from ms_plm.training import hardware
from ms_plm.training.hardware import chip_of, open_device, peak_flops


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
    monkeypatch.setattr(hardware, "_library", lambda name: False)
    monkeypatch.setattr(hardware, "_nvcc", lambda: False)


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
            ("no /dev/nvidia*", "libcuda.so.1", "libcudnn.so.8", "CUDA_HOME", "[gpu]", "README.md", "device=cpu"),
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
    assert not hardware._library("libsomething.so.9")
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{tmp_path}")
    assert hardware._library("libsomething.so.9")
    assert not hardware._library("libsomething.so")
    if Path("/etc/ld.so.cache").exists():
        assert hardware._library("libc.so.6")


@pytest.mark.parametrize(
    ("soc", "chip"),
    [
        ("Ascend910B1", "910B1"),
        ("Ascend910B4-1", "910B4"),
        ("Ascend910_9392", "910C"),
        ("Ascend910ProA", "910A"),
        ("Ascend910B", "910A"),
        ("Ascend910A", "910A"),
        ("Ascend310P3", "310P"),
        ("Ascend950", None),
    ],
)
def test_a_chip_is_known_by_its_drivers_name(soc, chip):
    assert chip_of(soc) == chip


def test_peaks_are_given_where_known_and_910a_has_no_bfloat16():
    assert peak_flops("910A") == {"float16": 262e12}
    assert peak_flops("910B3") == {"float16": 295e12, "bfloat16": 295e12}
    assert peak_flops("310P") == peak_flops(None) == {}


def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delitem(sys.modules, "mindspore", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    hardware.settle_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    hardware.settle_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
