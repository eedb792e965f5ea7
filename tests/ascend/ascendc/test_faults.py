"""Mistakes planted in the kernels' source are caught by the twin, which names them and their line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from ms_plm.common.errors import UserError
from ms_plm_ascend.ascendc import check
from ms_plm_ascend.ascendc.check import Heads, Rows
from ms_plm_ascend.ascendc.library import TWIN, Fault, Library, compile_library
from ms_plm_ascend.ascendc.operators import ATTENTION, ATTENTION_GRAD, LAYER_NORM, OPERATORS, Operator


class Mistake(NamedTuple):
    """A change of a kernel's source, and what the twin says of it."""

    operator: Operator
    old: str
    new: str
    words: str


ROWS, HEADS = Rows(83, 256, cores=8), Heads(1, 2, 40, 16, cores=1)
MISTAKES = {
    "no wait: MTE2 to V": Mistake(
        LAYER_NORM,
        "      Mul(row, row, parameters,",
        "      plm::LoadRows(parameters, weight_, 1, t_.width, t_.pitch);\n      Mul(row, row, parameters,",
        "missing sync: Mul on V reads .* MTE2 wrote.*MTE2_V",
    ),
    "no wait before the scalar unit reads": Mistake(
        LAYER_NORM,
        "Muls(mean, sums, share, numbers);",
        "Muls(mean, sums, share * (sums.GetValue(0) > 0 ? 1.0f : 1.0f), numbers);",
        r"missing sync: GetValue on S reads .* V wrote.*V_S",
    ),
    "no FreeTensor": Mistake(LAYER_NORM, "    ys_.FreeTensor(y);\n", "", "missing FreeTensor: .* VECOUT buffer"),
    "no FreeTensor at the end": Mistake(
        LAYER_NORM, "    parameters_.FreeTensor(parameters);\n", "", "end of the kernel.*missing FreeTensor: a VECIN"
    ),
    "no EnQue": Mistake(LAYER_NORM, "    residuals_.EnQue(residual);\n", "", "missing EnQue: DeQue finds the VECIN"),
    "freed twice": Mistake(
        LAYER_NORM,
        "    xs_.FreeTensor(x);\n",
        "    xs_.FreeTensor(x);\n    xs_.FreeTensor(x);\n",
        "FreeTensor: the tensor is free, expected dequeued",
    ),
    "used after FreeTensor": Mistake(
        LAYER_NORM,
        "    LocalTensor<float> sums = sums_.Get<float>();\n    for",
        "    residuals_.FreeTensor(residual);\n    LocalTensor<float> sums = sums_.Get<float>();\n    for",
        "Add: the local tensor is used after FreeTensor",
    ),
    "beyond a local buffer": Mistake(
        LAYER_NORM,
        "plm::Drop(row, keep[r * t_.keepPitch], scale_, t_.width);",
        "plm::Drop(row, keep[(r + 1) * t_.keepPitch], scale_, t_.width);",
        "overrun of a local buffer: Select reads bytes",
    ),
    "beyond a global buffer": Mistake(
        LAYER_NORM,
        "plm::LoadRows(x, x_[first], rows,",
        "plm::LoadRows(x, x_[first + 1], rows,",
        "overrun of a global buffer: DataCopyPad reads bytes .* of x",
    ),
    "misaligned copy": Mistake(
        LAYER_NORM,
        "plm::StoreRows(rstd_[row], statistics[numbers_],",
        "plm::StoreRows(rstd_[row], statistics[numbers_ + 1],",
        "misaligned: DataCopyPad needs a local address that is a multiple of 32 bytes, not 4",
    ),
    "misaligned operand": Mistake(
        LAYER_NORM,
        "plm::SubtractFromRow(row, spread[r * plm::FLOATS], t_.width);",
        "plm::SubtractFromRow(row, spread[r * plm::FLOATS + 1], t_.width);",
        "misaligned: Sub",
    ),
    "more memory than there is": Mistake(
        LAYER_NORM, "InitBuffer(squares_, row)", "InitBuffer(squares_, 200 * row)", "UB over budget: [0-9]+ of 196608"
    ),
    "a buffer of odd length": Mistake(
        LAYER_NORM, "InitBuffer(squares_, row)", "InitBuffer(squares_, row + 4)", "misaligned: InitBuffer"
    ),
    "more queue buffers than events": Mistake(
        LAYER_NORM, "InitBuffer(parameters_, 1,", "InitBuffer(parameters_, 3,", "too many queue buffers: 9 in VECIN"
    ),
    "more in a queue than its depth": Mistake(
        LAYER_NORM,
        "    xs_.EnQue(x);\n",
        "    xs_.EnQue(x);\n    xs_.EnQue(xs_.template AllocTensor<X>());\n",
        "EnQue: more tensors than the VECIN queue's depth, 1",
    ),
    "another core's rows": Mistake(
        LAYER_NORM,
        "plm::Share(t_.rows, t_.cores, GetBlockIdx())",
        "plm::Share(t_.rows, t_.cores, 0)",
        "core 1, .*writes what core 0 wrote, in y",
    ),
    "rows left out": Mistake(
        LAYER_NORM, "share.last - row);", "share.last - row - 1);", "y: byte [0-9]+ was never written"
    ),
    "memory that nothing wrote": Mistake(
        LAYER_NORM,
        "Duplicate(ones_.Get<float>(), 1.0f, numbers_);",
        "",
        "Div reads a VECCALC buffer where nothing has been written",
    ),
    "an input written to": Mistake(
        LAYER_NORM,
        "plm::StoreRows(mean_[row], statistics,",
        "plm::StoreRows(bias_[row], statistics,",
        "writes to bias, an input",
    ),
    "no wait: V to MTE3": Mistake(
        ATTENTION,
        "    plm::Await<HardEvent::V_MTE3>(pipe_);\n",
        "",
        "missing sync: DataCopy on MTE3 reads .* V wrote.*V_MTE3",
    ),
    "no wait: MTE3 to the cube unit": Mistake(
        ATTENTION,
        "    plm::Await<HardEvent::MTE3_S>(pipe_);",
        "    //",
        "missing sync: Matmul on CUBE reads workspace that MTE3 wrote",
    ),
    "a flag that nobody sets": Mistake(
        ATTENTION,
        "plm::Await<HardEvent::V_MTE3>(pipe_);",
        "WaitFlag<HardEvent::V_MTE3>(0);",
        "WaitFlag: the flag was never set, the core would hang",
    ),
    "a flag that nobody waits for": Mistake(
        ATTENTION,
        "    byRows.End();",
        "    SetFlag<HardEvent::V_MTE3>(0);\n    byRows.End();",
        "SetFlag of event [0-9]+ was never waited for",
    ),
    "no wait: MTE3 to V": Mistake(
        ATTENTION_GRAD,
        "    plm::Await<HardEvent::MTE3_V>(pipe_);",
        "    //",
        "missing sync: Cast on V overwrites a local buffer that MTE3 still reads.*MTE3_V",
    ),
    "transposed by type alone": Mistake(
        ATTENTION_GRAD,
        "overRows.SetTensorA(weights[t_.wide], true);",
        "overRows.SetTensorA(weights[t_.wide]);",
        "Matmul: transposed by type or by argument, but not by both",
    ),
}
BINDINGS = {LAYER_NORM: "layer_norm", ATTENTION: "relative_attention", ATTENTION_GRAD: "relative_attention_grad"}


def _planted(folder: Path, number: int, mistake: Mistake) -> str:
    """A kernel with a mistake, and its binding, in a folder; C++ that includes both under names of their own."""
    kernel = mistake.operator.kernel / f"{mistake.operator.name}.cpp"
    text = kernel.read_text(encoding="utf-8")
    assert text.count(mistake.old) == 1, f"{kernel.name} has {text.count(mistake.old)} times: {mistake.old}"
    here = folder / str(number)
    here.mkdir()
    (here / kernel.name).write_text(text.replace(mistake.old, mistake.new), encoding="utf-8")
    binding = TWIN / "bindings" / f"{BINDINGS[mistake.operator]}.cpp"
    text = binding.read_text(encoding="utf-8")
    names = set(re.findall(r'extern "C" int (\w+)\(', text)) - {mistake.operator.type}
    text = re.sub(r"#define DTYPE_X float.*?}\n", "", text, flags=re.DOTALL).replace("wide ? fp32::", "false ? fp16::")
    (here / binding.name).write_text(text.replace("_fp32", "_fp16"), encoding="utf-8")  # half the time to compile
    names.add(f"{LAYER_NORM.name}_fp16" if mistake.operator == LAYER_NORM else mistake.operator.name)
    renamed = {**{name: f"{name}_{number}" for name in names}, mistake.operator.type: f"Mistake{number}"}
    # the class of a kernel has the operator's name too: it is in a namespace, and no matter
    lines = [f"#define {old} {new}" for old, new in renamed.items()]
    lines += [f"namespace mistake{number} {{", f'#include "{here / binding.name}"', "}"]
    lines += [f"#undef {old}" for old in renamed]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """All mistakes in one library, so that headers are compiled once; symbols Mistake0, Mistake1 ..."""
    folder = tmp_path_factory.mktemp("mistakes")
    headers = [f'#include "{path.name}"' for item in OPERATORS for path in sorted(item.kernel.glob("*.h"))]
    headers += [f'#include "{path.name}"' for item in OPERATORS for path in sorted(item.host.glob("*.h"))]
    first = ['#include "kernel_operator.h"', '#include "plm_layer_norm_rows.h"', '#include "plm_row_block_kernel.h"']
    top = "\n".join([*first, *headers, '#include "twin/calls.h"']) + "\n"
    units = []
    for operators in ((LAYER_NORM,), (ATTENTION, ATTENTION_GRAD)):
        unit = folder / f"{operators[0].name}_mistakes.cpp"
        planted = [_planted(folder, n, m) for n, m in enumerate(MISTAKES.values()) if m.operator in operators]
        unit.write_text(top + "".join(planted), encoding="utf-8")
        units.append(unit)
    try:
        compile_library([*units, TWIN / "bindings" / "runtime.cpp"], folder / "mistakes.so", ["-O0"])
    except UserError as error:
        if "no C++ compiler" in str(error):
            pytest.skip(f"no twin of Ascend C: {error}")
        raise
    return Library(folder / "mistakes.so")


class Replaced(Library):
    """The library with one operator exchanged for a mistaken one."""

    def __init__(self, twin: Library, mistaken: Library, operator: Operator, symbol: str) -> None:
        self.twin, self.mistaken, self.operator, self.symbol = twin, mistaken, operator, symbol

    def __call__(self, operator, *arrays, cores):
        if operator == self.operator:
            return self.mistaken.run(self.symbol, *arrays, cores=cores)
        return self.twin(operator, *arrays, cores=cores)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_caught_and_named(twin: Library, mistaken: Library, name: str) -> None:
    mistake = MISTAKES[name]
    replaced = Replaced(twin, mistaken, mistake.operator, f"Mistake{list(MISTAKES).index(name)}")
    measure, case = (check.layer_norm, ROWS) if mistake.operator == LAYER_NORM else (check.attention, HEADS)
    with pytest.raises(Fault, match=mistake.words) as caught:
        measure(replaced, case)
    assert re.search(r"core \d+, (\S+:\d+|end of the kernel)|never written", str(caught.value)), caught.value
