"""Building the native operations: for which processor, into which file, and what is said where it cannot be done."""

from __future__ import annotations

import logging
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm.kernels.native import build

SMALL = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, one small source file, a processor with AVX2."""
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "small.cc").write_text(SMALL)
    monkeypatch.setattr(build, "SOURCES", folder)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(build, "architecture", lambda: "x86_64")
    monkeypatch.setattr(build, "cpu_features", lambda: ("a CPU", {"avx2", "fma"}))
    monkeypatch.delenv(build.SWITCH, raising=False)
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path


def _compiler(folder: Path, script: str) -> Path:
    """A g++ that is a shell script."""
    program = folder / "bin" / "g++"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def _counting(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A g++ that writes what it is asked for and a line in a file for every call."""
    calls = home / "calls"
    calls.touch()
    _compiler(home, f'echo "$@" >> {calls}\nwhile [ "$1" != "-o" ]; do shift; done\necho made > "$2"')
    monkeypatch.setenv("PATH", f"{home / 'bin'}:/usr/bin:/bin")
    return calls


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (set(), "x86_64"),
        ({"avx2"}, "x86_64"),
        ({"avx2", "fma"}, "avx2"),
        ({"avx2", "fma", "avx512f"}, "avx2"),
        ({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"}, "avx512"),
        ({"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"}, "avx512_bf16"),
    ],
)
def test_the_best_target_that_the_processor_can_run_is_taken(home, monkeypatch, features, expected):
    monkeypatch.setattr(build, "cpu_features", lambda: ("a CPU", features))
    assert build.target().name == expected


def test_a_lower_target_can_be_named_and_a_higher_one_is_refused(home, monkeypatch):
    monkeypatch.setenv(build.SWITCH, "x86_64")
    assert build.target().name == "x86_64"
    monkeypatch.setenv(build.SWITCH, "avx512")
    with pytest.raises(UserError, match=r"MS_PLM_NATIVE=avx512: expected off or one of avx2, x86_64 on this processor"):
        build.target()


def test_native_operations_can_be_switched_off(home, monkeypatch):
    monkeypatch.setenv(build.SWITCH, "off")
    with pytest.raises(UserError, match="switched off by MS_PLM_NATIVE=off"):
        build.ensure()


def test_a_processor_for_which_there_is_nothing_is_named(home, monkeypatch):
    monkeypatch.setattr(build, "architecture", lambda: "riscv64")
    with pytest.raises(UserError, match=r"there are none for this processor \(riscv64, a CPU\)"):
        build.ensure()


def test_the_library_is_built_once_and_kept(home, monkeypatch):
    calls = _counting(home, monkeypatch)
    path = build.ensure()
    assert path.parent == home / ".cache" / "ms_plm" / "native"
    assert path.read_text() == "made\n"
    assert len(calls.read_text().splitlines()) == 2  # one unit, then the library
    assert build.ensure() == path
    monkeypatch.setenv("PATH", "")  # what is built needs no compiler any more
    assert build.ensure() == path
    assert len(calls.read_text().splitlines()) == 2


def test_other_sources_flags_and_processors_get_files_of_their_own(home, monkeypatch):
    avx2 = build.target()
    paths = {build.library_path(target) for target in build.TARGETS}
    assert len(paths) == len(build.TARGETS)
    (build.SOURCES / "small.cc").write_text(SMALL.replace("42", "43"))
    paths.add(build.library_path(avx2))
    (build.SOURCES / "more.h").write_text("")
    paths.add(build.library_path(avx2))
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    paths.add(build.library_path(avx2))
    assert len(paths) == len(build.TARGETS) + 3


def test_builders_at_the_same_time_build_once(home, monkeypatch):
    calls = _counting(home, monkeypatch)
    found: list[Path] = []
    builders = [threading.Thread(target=lambda: found.append(build.ensure())) for _ in range(4)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert len(calls.read_text().splitlines()) == 2


def test_without_a_compiler_the_message_says_what_to_install(home, monkeypatch):
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(UserError, match=r"no C\+\+ compiler is on PATH .*apt-get install g\+\+"):
        build.ensure()
    assert not list((home / ".cache").rglob("*.so"))


def test_a_broken_compiler_is_quoted_with_its_first_error(home, monkeypatch):
    script = (
        "echo 'In file included from small.cc:1:' >&2\necho 'small.cc:3:1: fatal error: omp.h: not found' >&2\nexit 1"
    )
    program = _compiler(home, script)
    monkeypatch.setenv("PATH", f"{home / 'bin'}:/usr/bin:/bin")
    with pytest.raises(UserError, match=r"small\.cc:3:1: fatal error: omp\.h: not found") as error:
        build.ensure()
    assert str(program) in str(error.value)
    assert not [path for path in (home / ".cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_an_error_in_the_sources_is_quoted(home):
    (build.SOURCES / "small.cc").write_text("int answer() { return nothing_of_this_name; }\n")
    try:
        build.compiler()
    except UserError as error:
        pytest.skip(str(error))
    with pytest.raises(UserError, match="nothing_of_this_name"):
        build.ensure()


def test_the_reason_is_told_once(home, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.setattr(build, "onednn", lambda: home)
    build.unavailable.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, build.__name__):
            reasons = {build.unavailable() for _ in range(3)}
    finally:
        build.unavailable.cache_clear()
    (reason,) = reasons
    assert "no C++ compiler" in reason
    (record,) = caplog.records
    assert "composed forms, which are slower, take their place" in record.getMessage()


def test_a_cache_that_cannot_be_written_is_named(home, monkeypatch):
    (home / ".cache").write_text("in the way")
    with pytest.raises(UserError, match=r"they cannot be written to .*native"):
        build.ensure()


@pytest.mark.slow
@pytest.mark.parametrize("program", ["none", "broken"])
def test_training_goes_on_without_native_operations(tmp_path: Path, program: str) -> None:
    """A process with an empty cache, and a PATH without a compiler or with one that fails."""
    if program == "broken":
        _compiler(tmp_path, "echo 'small.cc:1:1: error: broken' >&2; exit 1")
    code = (
        "import logging; logging.basicConfig(level=logging.WARNING)\n"
        "from ms_plm.training.selftest import small_step; print(small_step())"
    )
    environment = {
        "HOME": str(tmp_path),
        "PATH": str(tmp_path / "bin"),
        "GLOG_v": "3",
        "PYTHONPATH": ":".join(sys.path),
    }
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300
    )
    assert child.returncode == 0, child.stderr
    assert "updates" in child.stdout
    told = [line for line in child.stderr.splitlines() if "native CPU operations are not used" in line]
    assert len(told) == 1
    assert ("no C++ compiler is on PATH" if program == "none" else "error: broken") in told[0]
