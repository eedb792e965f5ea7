"""`ms-plm env gpu`: what is printed sets up a shell, and says what is missing where it cannot."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from ms_plm.cli import env
from ms_plm.cli.main import main
from ms_plm.training import hardware
from ms_plm.training.hardware import CUDA_LIBRARIES

ROOT = Path(__file__).resolve().parents[2]


def wheel(site: Path, library: str) -> Path:
    """What installing a package that brings a library leaves behind; its folder of libraries."""
    package = CUDA_LIBRARIES[library]
    name, part = package.replace("-", "_"), package.removeprefix("nvidia-").removesuffix("-cu11").replace("-", "_")
    folder = site / "nvidia" / part / "lib"
    folder.mkdir(parents=True)
    (folder / library).touch()
    info = site / f"{name}-11.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 11.0\n", encoding="utf-8")
    files = (f"nvidia/{part}/__init__.py", f"nvidia/{part}/lib/{library}", f"{info.name}/METADATA")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files), encoding="utf-8")
    return folder


def toolkit(home: Path, release: str) -> Path:
    """A folder of CUDA: an nvcc that says its release."""
    nvcc = home / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.99'\n", encoding="utf-8")
    nvcc.chmod(0o755)
    return home


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """The folder where CUDA packages are looked for, empty; no other CUDA on this machine, and a home of its own."""
    folder = tmp_path / "it's a $HOME" / "site-packages"
    folder.mkdir(parents=True)

    def distribution(name: str) -> metadata.Distribution:
        for found in metadata.distributions(name=name, path=[str(folder)]):
            return found
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(hardware, "distribution", distribution)
    monkeypatch.setattr(hardware, "loadable", lambda name: False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.delenv("CUDA_HOME", raising=False)
    return folder


@pytest.fixture
def wheels(site) -> list[str]:
    """All eight packages are installed; their folders."""
    return [str(wheel(site, library)) for library in CUDA_LIBRARIES]


def evaluated(script: str, name: str) -> str:
    """The value of a variable in a shell that has carried out a script."""
    ran = subprocess.run(["sh", "-euc", f'{script}\nprintf %s "${name}"'], capture_output=True, text=True, check=True)
    return ran.stdout


def test_the_shell_finds_the_libraries_and_an_nvcc_of_the_release_that_mindspore_wants(wheels, capsys):
    assert main(["env", "gpu"]) == 0
    script = capsys.readouterr().out
    assert evaluated(script, "LD_LIBRARY_PATH").split(":") == wheels
    home = evaluated(script, "CUDA_HOME")
    told = subprocess.run([f"{home}/bin/nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    assert told == "Cuda compilation tools, release 11.6, V11.6.124\n"
    assert Path(home).is_relative_to(Path.home() / ".cache" / "ms_plm")


def test_stdout_holds_exports_only_and_remarks_are_comments_on_stderr(wheels, capsys):
    main(["env", "gpu"])
    captured = capsys.readouterr()
    assert [line.split("=")[0] for line in captured.out.splitlines()] == ["export LD_LIBRARY_PATH", "export CUDA_HOME"]
    assert "libcuda.so.1 is not found" in captured.err
    assert all(line.startswith("# ") for line in captured.err.splitlines())


def test_folders_that_the_path_names_already_stay_behind_ours_and_none_stands_twice(wheels, capsys, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/opt/first::{wheels[3]}:/opt/second:/opt/first:")
    main(["env", "gpu"])
    path = evaluated(capsys.readouterr().out, "LD_LIBRARY_PATH")
    assert path.split(":") == [*wheels, "/opt/first", "/opt/second"]


def test_in_a_shell_that_is_set_up_nothing_changes(wheels, capsys, monkeypatch):
    main(["env", "gpu"])
    script = capsys.readouterr().out
    before = {name: evaluated(script, name) for name in ("LD_LIBRARY_PATH", "CUDA_HOME")}
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    main(["env", "gpu"])
    again = capsys.readouterr()
    assert {name: evaluated(again.out, name) for name in before} == before
    assert "CUDA_HOME" not in again.out
    assert f"CUDA_HOME={before['CUDA_HOME']} stays: nvcc says release 11.6" in again.err


@pytest.mark.parametrize(("release", "stays"), [("11.6", True), ("11.8", True), ("11.1", False), ("12.4", False)])
def test_a_cuda_home_stays_only_where_mindspore_takes_the_plugin_of_these_libraries(
    wheels, tmp_path, capsys, monkeypatch, release, stays
):
    monkeypatch.setenv("CUDA_HOME", str(toolkit(tmp_path / "cuda", release)))
    assert main(["env", "gpu"]) == 0
    captured = capsys.readouterr()
    assert ("export CUDA_HOME" not in captured.out) == stays
    assert f"nvcc says release {release}" in captured.err


def test_a_cuda_home_without_nvcc_is_replaced(wheels, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    main(["env", "gpu"])
    captured = capsys.readouterr()
    assert "cuda-11.6" in evaluated(captured.out, "CUDA_HOME")
    assert f"instead of {tmp_path} (there is no bin/nvcc that gives a release)" in captured.err


def test_a_damaged_nvcc_of_ours_is_written_anew(wheels, capsys):
    main(["env", "gpu"])
    nvcc = Path(evaluated(capsys.readouterr().out, "CUDA_HOME")) / "bin" / "nvcc"
    nvcc.write_text("", encoding="utf-8")
    main(["env", "gpu"])
    assert nvcc.read_text(encoding="utf-8") == env.NVCC
    assert os.access(nvcc, os.X_OK)


def test_libraries_that_are_missing_are_named_with_the_command_that_brings_them(site, capsys):
    for library in list(CUDA_LIBRARIES)[2:]:
        wheel(site, library)
    (site / "nvidia" / "cudnn" / "lib" / "libcudnn.so.8").unlink()  # its package is there, the file is not
    assert main(["env", "gpu"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "not installed: libcublas.so.11, libcurand.so.10, libcudnn.so.8." in captured.err
    assert "`pip install '.[gpu]'` in the project's folder" in captured.err
    assert not (Path.home() / ".cache").exists()


def test_libraries_of_the_machine_do_for_packages(site, capsys, monkeypatch):
    monkeypatch.setattr(hardware, "loadable", lambda name: name != "libcudnn.so.8")
    cudnn = wheel(site, "libcudnn.so.8")
    assert main(["env", "gpu"]) == 0
    assert evaluated(capsys.readouterr().out, "LD_LIBRARY_PATH") == str(cudnn)


def test_a_folder_that_the_path_cannot_name_is_an_error(site, capsys, monkeypatch):
    monkeypatch.setattr(hardware, "cuda_folders", lambda: {library: Path("/a:b/lib") for library in CUDA_LIBRARIES})
    assert main(["env", "gpu"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cannot name a folder with `:`" in captured.err


def test_a_cache_folder_that_cannot_be_written_is_an_error(wheels, capsys):
    Path.home().mkdir()
    (Path.home() / ".cache").touch()
    assert main(["env", "gpu"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cuda-11.6: cannot be written" in captured.err


def test_the_command_works_in_a_process_of_its_own_and_without_mindspore(wheels, site):
    code = "import sys; from ms_plm.cli.main import main; main(['env', 'gpu']); sys.exit('mindspore' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": f"{site}:{ROOT}"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert evaluated(ran.stdout, "LD_LIBRARY_PATH").split(":") == wheels


def test_the_help_shows_how_a_shell_takes_it(capsys):
    with pytest.raises(SystemExit):
        main(["env", "--help"])
    assert 'eval "$(ms-plm env gpu)"' in capsys.readouterr().out
