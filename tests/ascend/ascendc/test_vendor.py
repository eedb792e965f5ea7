"""The package for CANN: what would be built without CANN, and that all names agree."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm_ascend.ascendc import vendor
from ms_plm_ascend.ascendc.__main__ import main
from ms_plm_ascend.ascendc.operators import FOLDER, OPERATORS, Operator, not_installed


@pytest.fixture(autouse=True)
def _without_cann(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "ASCEND_CUSTOM_OPP_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(vendor, "PLACES", ())


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda item: item.name)
def test_definition_kernel_and_python_name_the_same_inputs_and_outputs_in_order(operator: Operator) -> None:
    host = {part: (operator.host / f"{operator.name}_{part}.cpp").read_text() for part in ("def", "proto", "tiling")}
    kernel = (operator.kernel / f"{operator.name}.cpp").read_text()
    assert tuple(re.findall(r'this->Input\("(\w+)"\)', host["def"])) == operator.inputs
    assert tuple(re.findall(r'this->Output\("(\w+)"\)', host["def"])) == operator.outputs
    entry = re.search(rf"void {operator.name}\(([^)]*)\)", kernel).group(1)
    parameters = tuple(re.findall(r"GM_ADDR (\w+)", entry))
    assert parameters == (*operator.inputs, *operator.outputs, "workspace", "tiling")
    assert f"OP_ADD({operator.type});" in host["def"]
    assert f"IMPL_OP_INFERSHAPE({operator.type})" in host["proto"]
    assert f"IMPL_OP_OPTILING({operator.type})" in host["tiling"]
    assert f"GetTilingData<{operator.type}Data>" in host["tiling"]
    assert f"REGISTER_TILING_DEFAULT({operator.type}Data);" in kernel


def test_kernels_and_their_tilings_need_no_header_of_cann_that_the_twin_lacks() -> None:
    known = {path.name for path in FOLDER.rglob("*.h")} | {"cstdint"}
    for operator in OPERATORS:
        for path in (*operator.kernel.iterdir(), *operator.host.glob("*.h")):
            for name in re.findall(r'#include ["<]([^">]+)[">]', path.read_text()):
                assert Path(name).name in known, f"{path.name} includes {name}"


def test_staged_sources_stand_alone_and_no_name_occurs_twice(tmp_path: Path) -> None:
    staged = vendor.stage(tmp_path)
    for operator in OPERATORS:
        assert f"{operator.name}.cpp" in staged["op_kernel"]
        assert {f"{operator.name}_{part}.cpp" for part in ("def", "proto", "tiling")} <= set(staged["op_host"])
    for folder, names in staged.items():
        for name in names:
            for included in re.findall(r'#include "(plm_[^"]+)"', (tmp_path / folder / name).read_text()):
                assert included in names, f"{folder}/{name} includes {included}"


def test_a_dry_run_says_what_would_be_done(capsys) -> None:
    assert main(["--build", "--vendor-name", "ms_plm", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "--vendor_name ms_plm" in said
    assert "--op_host_path WORK/op_host --op_kernel_path WORK/op_kernel" in said
    assert "--ascend_cann_package_path CANN" in said
    assert "plm_relative_attention.cpp" in said


def test_without_cann_the_plan_is_printed_and_the_error_names_the_remedy(capsys) -> None:
    assert main(["--build"]) == 1
    said = capsys.readouterr()
    assert "--vendor_name ms_plm" in said.out
    assert "there is no CANN here" in said.err
    assert "--cann" in said.err


def test_a_wrong_name_or_place_is_told(capsys, tmp_path: Path) -> None:
    assert main(["--build", "--vendor-name", "ms plm", "--dry-run"]) == 1
    assert "--vendor-name 'ms plm': expected lower-case letters" in capsys.readouterr().err
    assert main(["--build", "--cann", str(tmp_path), "--dry-run"]) == 1
    assert "expected a CANN toolkit" in capsys.readouterr().err


def _cann(folder: Path, script: str) -> Path:
    """A stand-in for CANN's project template, as far as custom_compiler reads it, with a build script of ours."""
    project = folder / vendor.TEMPLATES[0]
    (project.parent / "common").mkdir(parents=True)
    for name in ("op_host", "op_kernel"):
        (project / name).mkdir(parents=True)
    keys = ("ASCEND_CANN_PACKAGE_PATH", "vendor_name", "ASCEND_COMPUTE_UNIT")
    values = ", ".join(f'"{key}": {{"value": ""}}' for key in keys)
    (project / "CMakePresets.json").write_text(f'{{"configurePresets": [{{"cacheVariables": {{{values}}}}}]}}')
    (project / "build.sh").write_text(script)
    (project / "build.sh").chmod(stat.S_IRWXU)
    return folder


@pytest.mark.slow
def test_custom_compiler_gets_the_sources_and_its_package_is_handed_over(tmp_path: Path) -> None:
    script = "mkdir build_out\n(cat CMakePresets.json; ls op_host op_kernel) > build_out/custom_opp_test.run\n"
    package = vendor.Package("ms_plm", tmp_path / "out", cann=_cann(tmp_path / "cann", script))
    (made,) = vendor.build(package)
    assert made.parent == tmp_path / "out"
    seen = made.read_text()
    assert '"value": "ms_plm"' in seen
    assert vendor.CHIPS in seen
    assert "plm_relative_attention_grad_tiling.cpp" in seen


@pytest.mark.slow
def test_a_failing_compiler_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    cann = _cann(tmp_path / "cann", "echo bisheng: error: no such chip\nexit 3\n")
    with pytest.raises(UserError, match="bisheng: error: no such chip"):
        vendor.build(vendor.Package("ms_plm", tmp_path / "out", cann=cann))
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_cannot_take_the_package_is_told_before_it_is_built(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(vendor, "stage", lambda folder: pytest.fail("built"))
    (tmp_path / "file").touch()
    words = ["--build", "--cann", str(_cann(tmp_path / "cann", "")), "--output", str(tmp_path / "file")]
    assert main(words) == 1
    assert f"--output {tmp_path}/file: expected a folder that can be written" in capsys.readouterr().err


def test_an_operator_is_found_where_mindspore_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PlmDropoutAddLayerNorm, which is not installed" in not_installed(*OPERATORS)
    folder = tmp_path / "vendors" / "ms_plm"
    (folder / "op_api" / "include").mkdir(parents=True)
    for operator in OPERATORS[:3]:
        (folder / "op_api" / "include" / f"aclnn_{operator.name}.h").touch()
    monkeypatch.setenv("ASCEND_OPP_PATH", str(tmp_path))
    assert "of no vendor in load_priority of ASCEND_OPP_PATH/vendors/config.ini" in not_installed(*OPERATORS[:3])
    (folder.parent / "config.ini").write_text("load_priority=customize\n")
    assert not_installed(*OPERATORS[:3]) is not None
    (folder.parent / "config.ini").write_text("# by hand\nload_priority = customize, ms_plm,\n")
    assert not_installed(*OPERATORS[:3]) is None
    assert "PlmRelativeAttentionGrad" in not_installed(*OPERATORS)
    monkeypatch.delenv("ASCEND_OPP_PATH")
    monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", f"/nowhere:{folder}")
    assert not_installed(*OPERATORS[:3]) is None
