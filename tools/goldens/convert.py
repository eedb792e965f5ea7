"""Make the checkpoints in tests/goldens/convert: small models as other frameworks save them, and what they compute.

Each framework makes its own in an environment of its own (nothing in ms_plm imports torch or tensorflow); weights are
drawn from a tensor's name, so that a maker knows no names but those of its framework:

    pip install torch==2.13.0 transformers==4.46.3 safetensors "numpy<2.3"
    python tools/goldens/convert.py torch --out tests/goldens/convert
    pip install tensorflow-cpu==2.21.0 safetensors "numpy<2"
    python tools/goldens/convert.py tensorflow --out tests/goldens/convert
    python tools/goldens/convert.py mindspore --out tests/goldens/convert       # MindSpore 2.10

tests/goldens/convert/README.md says what is in the files.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

FRAMEWORKS = ("torch", "tensorflow", "mindspore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("--out", type=Path, default=Path("tests/goldens/convert"), help="folder (default: %(default)s)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    import_module(f"_convert_{args.framework}").make(args.out)


if __name__ == "__main__":
    main()
