"""Worker of _finetuning.py: a recipe, carried out, with what its process took.

Called with the job (JSON: `recipe`, `overrides`) and the file of the result.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from _serving import peak_mb

STARTED = time.perf_counter()


def main() -> None:
    import ms_plm

    run = ms_plm.run
    import mindspore
    from mindspore.graph.api import _CellGraphExecutor

    compiled = []
    compile_cell = _CellGraphExecutor.compile

    def timed(*args, **kwargs):
        begun = time.perf_counter()
        phase, is_new = compile_cell(*args, **kwargs)
        if is_new:
            compiled.append(time.perf_counter() - begun)
        return phase, is_new

    _CellGraphExecutor.compile = timed
    imported = time.perf_counter() - STARTED
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    done = run(job["recipe"], job["overrides"])
    result = {
        "scores": done.figures,
        "import_seconds": imported,
        "compiled": len(compiled),
        "compile_seconds": sum(compiled),
        "peak_mb": peak_mb(),
        "versions": f"ms_plm {ms_plm.__version__}, mindspore {mindspore.__version__}",
    }
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
