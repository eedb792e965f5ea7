"""Libraries in the place of CANN's: what they are made of, and the environment that finds them."""

import subprocess
from pathlib import Path

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.chips import CHIPS, chip_of
from ms_plm_ascend.simulate import stubs


def test_the_drivers_name_of_every_chip_is_understood():
    assert {name: chip_of(stubs.driver_name(chip)) for name, chip in CHIPS.items()} == {name: name for name in CHIPS}


def test_a_process_is_told_libraries_chip_and_simulation(tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/before")
    made = stubs.Stubs(tmp_path).environment(CHIPS["910B3"])
    assert made["LD_LIBRARY_PATH"].split(":")[0] == str(tmp_path / "cann" / "lib64")
    assert made["LD_LIBRARY_PATH"].split(":")[-1] == "/before"
    assert made["MS_SIMULATION_LEVEL"] == "1"
    assert made["MS_PLM_SIMULATED_SOC"] == "Ascend910B3"
    assert "RANK_SIZE" not in made
    assert stubs.Stubs(tmp_path).environment(CHIPS["910C"], devices=8)["RANK_SIZE"] == "8"


def test_a_machine_without_a_compiler_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(stubs.shutil, "which", lambda tool: None if tool == "g++" else f"/usr/bin/{tool}")
    with pytest.raises(UserError, match=r"needs g\+\+, which this machine lacks.*apt-get install"):
        stubs.build()


def test_other_processors_are_refused(monkeypatch):
    monkeypatch.setattr(stubs, "architecture", lambda: "aarch64")
    with pytest.raises(UserError, match="works on x86-64 only, not on aarch64"):
        stubs.build()


def test_names_are_found_where_they_are_whole_strings(tmp_path):
    library = tmp_path / "lib.so"
    library.write_bytes(b"\0aclnnMatmul\0xaclnnNot\0aclrtMalloc more\0HcclSend\0aclrt\0InitHugeMemThreadLocal\0")
    assert set(stubs._looked_up([library])) == {"aclnnMatmul", "HcclSend", "InitHugeMemThreadLocal"}


def test_generated_functions_return_zero_and_objects_are_zeros(tmp_path):
    """The assembly for names without an answer of their own, called from C."""
    if any(stubs.shutil.which(tool) is None for tool in stubs.TOOLS):
        pytest.skip("needs gcc, g++, nm and readelf")
    stubs._link({"aclnnNothing", "_ZTV7Nothing", "aclrtGetSocName"}, tmp_path / stubs.LIBRARY)
    program = tmp_path / "main.c"
    program.write_text(
        "#include <stdio.h>\nint aclnnNothing(void); extern long _ZTV7Nothing[64]; const char *aclrtGetSocName(void);\n"
        'int main(void) { printf("%d %ld %s", aclnnNothing(), _ZTV7Nothing[63], aclrtGetSocName()); return 0; }\n'
    )
    command = [
        "gcc",
        str(program),
        "-o",
        str(tmp_path / "main"),
        f"-L{tmp_path}",
        "-lascendstub",
        f"-Wl,-rpath,{tmp_path}",
    ]
    subprocess.run(command, check=True)
    environment = {"MS_PLM_SIMULATED_SOC": "Ascend910B4", "PATH": "/usr/bin:/bin"}
    ran = subprocess.run([tmp_path / "main"], capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout == "0 0 Ascend910B4"


def test_no_file_of_the_vendors_is_shipped():
    files = [path for path in Path(stubs.__file__).parent.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {path.suffix for path in files} <= {".py", ".c", ".cc"}
