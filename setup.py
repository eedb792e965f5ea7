"""Installation: the package `ms_plm`, its recipes (`ms_plm_recipes`) and its Ascend part (`ms_plm_ascend`)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "ms_plm" / "__init__.py").read_text(encoding="utf-8")).group(1)

REQUIRES = [
    "mindspore>=2.10,<2.11",  # the framework; one tested minor version at a time
    "numpy>=1.25,<2",  # MindSpore's wheel is compiled against NumPy 1: bfloat16 and more break with 2
    "pydantic>=2.5",  # typed recipes, all errors at once
    "pyyaml>=6",  # recipes
    "safetensors>=0.4.3",  # model folders and checkpoints, readable by Hugging Face
    "tokenizers>=0.20",  # WordPiece, for use and for training
    "sentencepiece>=0.2",  # vocabularies of the families that use it
    "onnx>=1.15",  # writing and checking ONNX files
    "scikit-learn>=1.3",  # metrics
    "scipy>=1.10",  # correlations, assignments, sparse counts, least squares
    "tqdm>=4.60",  # progress bars
]
EXTRAS = {
    "zh": ["rjieba>=0.1.11"],  # Chinese words for whole-word masking
    "runtime": ["onnxruntime>=1.17"],  # running exported ONNX files
    "viz": ["tensorboardX>=2.6", "matplotlib>=3.7"],  # TensorBoard events, pictures
    "probing": ["conllu>=4.5"],  # treebanks
    "torch": ["torch>=2.6"],  # converting PyTorch files: its weights-only loader; older ones could run code
    "tf": ["tensorflow>=2.16"],  # converting TensorFlow checkpoints: their reader
    "test": [
        "pytest>=7.4",
        "pytest-xdist>=3.5",  # files of tests side by side: compiling graphs takes one core
        "hypothesis>=6.80",
        "networkx>=3.1",
        "ruff>=0.17,<0.18",
        "seqeval>=1.2.2",  # an oracle for figures of entities
        "psutil>=5.9",
        "setuptools>=68",
        "wheel",
    ],
    "gpu": [  # CUDA 11 libraries that MindSpore's GPU plugin loads; the driver comes with the machine
        "nvidia-cublas-cu11==11.11.3.6",
        "nvidia-cuda-nvrtc-cu11==11.8.89",
        "nvidia-cuda-runtime-cu11==11.8.89",
        "nvidia-cudnn-cu11>=8.6,<9",
        "nvidia-cufft-cu11==10.9.0.58",
        "nvidia-curand-cu11==10.3.0.86",
        "nvidia-cusolver-cu11==11.4.1.48",
        "nvidia-cusparse-cu11==11.7.5.86",
    ],
}

setup(
    name="ms-plm",
    version=VERSION,
    description="Pretrained language models of Noah's Ark Lab on MindSpore: NEZHA first",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=[
        *find_packages(include=["ms_plm", "ms_plm.*"]),
        "ms_plm_recipes",
        "ms_plm_ascend",
        *(f"ms_plm_ascend.{name}" for name in find_packages("ascend")),
    ],
    package_dir={"ms_plm_recipes": "recipes", "ms_plm_ascend": "ascend"},
    package_data={
        "ms_plm": ["resources/*", "resources/*/*", "kernels/native/src/*"],
        "ms_plm_recipes": ["*/*.yaml"],
        "ms_plm_ascend": [
            "simulate/src/*",
            *(f"ascendc/{folder}*.{kind}" for folder in ("*/", "*/*/") for kind in ("h", "cpp")),
        ],
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["ms-plm = ms_plm.cli.main:main"],
        "ms_plm.dry_runs": ["ascend = ms_plm_ascend.simulate.dry_run:for_command_line"],
        "ms_plm.kernels": ["ascend = ms_plm_ascend.ops.forms:IMPLEMENTATIONS"],
    },
)
