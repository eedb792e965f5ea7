"""Worker of _finetuning.py: fine-tuning of a text classifier as the examples of transformers do it.

fp32, eager; batches of shuffled rows, each padded to its longest; AdamW without decay of biases and LayerNorm weights,
linear warm-up and decay, clipping. Called with the job (JSON) and the file of the result.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path

from _serving import peak_mb

STARTED = time.perf_counter()

import torch  # noqa: E402 (its import is part of the time)
import transformers  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    get_linear_schedule_with_warmup,
)


def tokenized(rows: list, tokenizer, max_length: int) -> list[dict]:
    """Rows `[text, pair or None, label]` as features, padded later."""
    texts, pairs, labels = zip(*rows, strict=True)
    pairs = None if pairs[0] is None else list(pairs)
    made = tokenizer(list(texts), pairs, truncation=True, max_length=max_length)
    return [
        {**{name: values[number] for name, values in made.items()}, "labels": labels[number]}
        for number in range(len(rows))
    ]


def logits_of(model, loader) -> list[list[float]]:
    model.eval()
    with torch.no_grad():
        return [row for batch in loader for row in model(**batch).logits.tolist()]


def main() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    imported = time.perf_counter() - STARTED
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    transformers.set_seed(job["seed"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=job["classes"])
    collate = DataCollatorWithPadding(tokenizer)
    train = DataLoader(
        tokenized(job["train"], tokenizer, job["max_length"]), job["batch"], shuffle=True, collate_fn=collate
    )
    dev = DataLoader(tokenized(job["dev"], tokenizer, job["max_length"]), job["batch"], collate_fn=collate)
    kept = {name for name, _ in model.named_parameters() if name.endswith("bias") or "LayerNorm" in name}
    groups = [
        {"params": [p for n, p in model.named_parameters() if n not in kept], "weight_decay": job["weight_decay"]},
        {"params": [p for n, p in model.named_parameters() if n in kept], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=job["learning_rate"], betas=tuple(job["betas"]), eps=job["epsilon"])
    total = job["epochs"] * len(train)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(job["warmup"] * total), total)
    logits = None
    for epoch in range(1, job["epochs"] + 1):
        model.train()
        for batch in train:
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), job["clip_norm"])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if epoch % job["every_epochs"] == 0 or epoch == job["epochs"]:
            logits = logits_of(model, dev)
    model.save_pretrained(job["output"])
    tokenizer.save_pretrained(job["output"])
    result = {
        "logits": logits,
        "import_seconds": imported,
        "peak_mb": peak_mb(),
        "versions": f"transformers {transformers.__version__}, torch {torch.__version__}",
    }
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
