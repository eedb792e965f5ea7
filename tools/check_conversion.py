"""Does a converted model compute what it computed before, and does it come back from us bit for bit?

Converts a Hugging Face folder to a model folder and that one back, in a temporary folder, and compares what encoders
give for texts. Runs in our environment; torch and transformers are in another one, whose Python is named:

    python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==4.46.3 safetensors "numpy<2.3"
    python tools/check_conversion.py FOLDER --peer peers/bin/python --texts sentences.txt

Exit code 1: other token ids, a larger difference than --tolerance, or a tensor that came back with other bits.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PEER = """
import sys
import numpy as np, torch, transformers
folder, texts, out, length = sys.argv[1:]
lines = open(texts, encoding="utf-8").read().split("\\n")
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model, info = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
inputs = tokenizer(lines, padding="max_length", truncation=True, max_length=int(length), return_tensors="pt")
if "token_type_ids" not in inputs:
    inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
with torch.no_grad():
    states = [model.eval().float()(**{k: v[i : i + 50] for k, v in inputs.items()}).last_hidden_state
              for i in range(0, len(lines), 50)]
np.savez(out, states=torch.cat(states).numpy(), **{k: v.numpy() for k, v in inputs.items()})
print(f"transformers {transformers.__version__}, torch {torch.__version__}, missing: {info['missing_keys'] or 'none'}")
"""
INPUTS = ("input_ids", "token_type_ids", "attention_mask")


def of_peer(python: str, folder: Path, texts: Path, out: Path, length: int) -> dict[str, np.ndarray]:
    """Token ids and last hidden states `[texts, length, hidden]` by transformers."""
    command = [python, "-c", PEER, str(folder), str(texts), str(out), str(length)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{python} on {folder}:\n{ran.stderr}")
    print(f"  {folder.name}: {ran.stdout.strip()}")
    with np.load(out, allow_pickle=False) as arrays:
        return dict(arrays)


def of_ours(folder: Path, lines: list[str], length: int) -> dict[str, np.ndarray]:
    """The same by ms_plm."""
    from mindspore import Tensor

    import ms_plm

    model, tokenizer = ms_plm.load(folder)
    batch = tokenizer(lines, max_length=length)
    found = {name: getattr(batch, name) for name in INPUTS}
    found = {name: np.pad(value, ((0, 0), (0, length - value.shape[1]))) for name, value in found.items()}
    found["input_ids"][found["attention_mask"] == 0] = tokenizer.pad_id
    states = []
    for first in range(0, len(lines), 50):
        rows = [
            np.pad(found[name][first : first + 50], ((0, max(0, 50 - len(lines) + first)), (0, 0))) for name in INPUTS
        ]
        states.append(model(*map(Tensor, rows)).last_hidden_state.asnumpy()[: len(lines) - first])
    return {**found, "states": np.concatenate(states)}


def same_bits(one: Path, other: Path) -> list[str]:
    """Names of tensors that are not in both, or differ in a bit; constants that are computed may be missing."""
    from safetensors.numpy import load_file

    before, after = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    lost = [name for name in before.keys() - after.keys() if not name.endswith("position_ids")]
    differing = [
        name
        for name, value in after.items()
        if name not in before or value.dtype != before[name].dtype or value.tobytes() != before[name].tobytes()
    ]
    return lost + differing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="Hugging Face folder with model.safetensors")
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="of an environment with torch and transformers")
    parser.add_argument("--texts", type=Path, required=True, metavar="FILE", help="a text a line")
    parser.add_argument("--count", type=int, default=200, help="lines that are used (%(default)s)")
    parser.add_argument("--length", type=int, default=64, help="tokens that are used of a text (%(default)s)")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest absolute difference (%(default)s)")
    args = parser.parse_args()
    from ms_plm.convert import convert

    lines = [line for line in args.texts.read_text(encoding="utf-8").split("\n") if line.strip()][: args.count]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
        convert(args.folder, work / "ours")
        convert(work / "ours", work / "back", huggingface=True)
        print(f"{args.folder}: {len(lines)} texts")
        before = of_peer(args.peer, args.folder, work / "texts.txt", work / "before.npz", args.length)
        after = of_peer(args.peer, work / "back", work / "texts.txt", work / "after.npz", args.length)
        ours = of_ours(work / "ours", lines, args.length)
        bits = same_bits(args.folder, work / "back")
    tokens = before["attention_mask"] == 1
    difference = float(np.abs(before["states"] - ours["states"])[tokens].max())
    results = [
        ("token ids are equal", all(np.array_equal(before[name], ours[name]) for name in INPUTS)),
        (
            f"last hidden states of {int(tokens.sum())} tokens: largest difference {difference:.2e}, largest value "
            f"{np.abs(before['states'][tokens]).max():.3g}",
            difference <= args.tolerance,
        ),
        (
            "transformers gives the same bits for the folder converted back",
            bool((before["states"] == after["states"]).all()),
        ),
        (f"tensors come back bit for bit{': not ' + ', '.join(bits) if bits else ''}", not bits),
    ]
    for text, good in results:
        print(f"{'ok' if good else 'FAILED'}  {text}")
    return int(not all(good for _, good in results))


if __name__ == "__main__":
    sys.exit(main())
