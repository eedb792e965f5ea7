"""Write what a model folder of ours computes on seeded inputs, for tools/check_transformers.py to compare with.

python tools/make_reference.py runs/quickstart/model reference.npz

The outputs are those of the head of pretraining, or of a classifier of texts or tokens where the folder has one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import ms_plm
from ms_plm.elastic.extraction import head_of
from ms_plm.models.folder import open_folder

OUTPUTS = {
    "pretraining": {name: name for name in ("prediction_logits", "seq_relationship_logits")},
    "sequence_classification": {"logits": "task_logits"},
    "token_classification": {"logits": "task_logits"},
}
"""Head -> the name that transformers has for an output -> ours."""


def make_inputs(vocabulary: int, specials: tuple[int, ...], pad: int, types: int, batch: int, length: int) -> dict:
    """Padded pairs of random tokens, int32 `[batch, length]`; the sequences get shorter from row to row."""
    random = np.random.RandomState(batch * 1000 + length)
    ordinary = np.setdiff1d(np.arange(vocabulary), specials)
    ids = np.full((batch, length), pad, np.int32)
    segments, mask = np.zeros_like(ids), np.zeros_like(ids)
    for row in range(batch):
        size = max(4, length - row * length // (2 * batch))
        ids[row, :size] = random.choice(ordinary, size)
        segments[row, size // 2 : size] = min(1, types - 1)
        mask[row, :size] = 1
    return {"input_ids": ids, "token_type_ids": segments, "attention_mask": mask}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="model folder with heads of pretraining, or a classifier")
    parser.add_argument("out", type=Path, help=".npz to write")
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--length", type=int, help="default: 48, or max_position_embeddings if that is less")
    args = parser.parse_args()
    from mindspore import Tensor

    head = head_of(open_folder(args.folder))
    if head not in OUTPUTS:
        raise SystemExit(f"{args.folder}: has the head {head}; expected one of {', '.join(OUTPUTS)}")
    model, tokenizer = ms_plm.load(args.folder, head)
    config = model.config
    # transformers has position tables of this length also for NEZHA
    length = args.length or min(48, config.max_position_embeddings)
    inputs = make_inputs(
        config.vocab_size, tokenizer.special_ids, config.pad_token_id, config.type_vocab_size, args.batch, length
    )
    out = model(*(Tensor(array) for array in inputs.values()))
    logits = {name: getattr(out, ours).asnumpy() for name, ours in OUTPUTS[head].items()}
    np.savez(args.out, **inputs, **logits)
    print(f"wrote {args.out}: {', '.join(f'{name} {value.shape}' for name, value in logits.items())}")


if __name__ == "__main__":
    main()
