"""Are the losses of the first updates of fine-tuning those of transformers and PyTorch?

The same folder, head, batches in the same order, without dropout; AdamW, warm-up, decay and clipping by PyTorch's own
code. Runs in our environment; torch and transformers are in another one, whose Python is named:

    python -m venv peers && peers/bin/pip install torch==2.13.0 transformers==4.46.3 safetensors "numpy<2.3"
    python tools/check_finetuning.py FOLDER glue/mrpc glue/MRPC --peer peers/bin/python
    python tools/check_finetuning.py FOLDER glue/mrpc glue/MRPC --peer peers/bin/python --layer-decay 0.9 --fgm 0.1

Exit code 1: a loss differs by more than --tolerance.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PEER = """
import json, re, sys
import numpy as np, torch, transformers
folder, batches, settings = sys.argv[1:]
settings = json.loads(settings)
model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).train()
table, layers = model.get_input_embeddings(), model.config.num_hidden_layers
groups = []
for name, parameter in model.named_parameters():
    layer = re.search(r"encoder[.]layer[.](\\d+)[.]", name)
    below = layers - int(layer[1]) if layer else layers + 1 if ".embeddings." in name else 0
    decay = 0.0 if name.endswith("bias") or "LayerNorm" in name else settings["decay"]
    groups.append({"params": [parameter], "weight_decay": decay, "share": settings["layer_decay"] ** below})
optimizer = torch.optim.AdamW(groups, lr=1.0, betas=tuple(settings["betas"]), eps=settings["epsilon"])
data, losses = np.load(batches, allow_pickle=False), []

def backward(batch, labels, weights, moved):
    words = table(batch["input_ids"]) + moved
    words.retain_grad()
    logits = model(inputs_embeds=words, **{k: v for k, v in batch.items() if k != "input_ids"}).logits
    if settings["regression"]:
        each = (logits[:, 0] - labels) ** 2
    else:
        each = torch.nn.functional.cross_entropy(logits, labels.long(), reduction="none")
    loss = (each * weights).sum() / weights.sum()
    loss.backward()
    return loss.item(), words.grad

for number, rate in enumerate(settings["rates"]):
    batch = {k: torch.from_numpy(data[f"{number}.{k}"]) for k in
             ("input_ids", "token_type_ids", "attention_mask", "labels", "weights")}
    labels, weights = batch.pop("labels"), batch.pop("weights")
    loss, slope = backward(batch, labels, weights, 0.0)
    if settings["fgm"]:
        norm = slope.norm(dim=(1, 2), keepdim=True)
        backward(batch, labels, weights, torch.where(norm > 0, settings["fgm"] * slope / norm, 0.0))
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss)
print(json.dumps({"losses": losses, "versions": f"transformers {transformers.__version__}, torch {torch.__version__}"}))
"""


def of_ours(
    folder: Path, task: str, data: str, steps: int, work: Path, method: dict[str, float]
) -> tuple[list[float], dict]:
    """Losses of the first updates; the initial model and the batches are left in `work` for the peer."""
    import ms_plm
    from ms_plm.config.loading import load_recipe
    from ms_plm.config.precision import policy_for
    from ms_plm.training.assembly import build_step
    from ms_plm.training.finetuning import open_job
    from ms_plm.training.hardware import open_device
    from ms_plm.training.parallel import Parallel
    from ms_plm.training.schedule import build_schedule
    from ms_plm.training.session import Context

    changes = {"model.from": str(folder), "data.task": task, "data.folder": data, "train.steps": steps}
    changes |= {f"method.{key}": value for key, value in method.items()}
    recipe = load_recipe("bert_base_sst2", {**changes, "data.lengths": 2, "impl.device": "cpu"})
    device = open_device(recipe.impl)
    policy = policy_for("fp32", "cpu")
    job = open_job(Context(recipe, device, policy, Parallel(recipe.impl.parallel, "cpu")))
    ms_plm.save(work / "initial", job.model, job.tokenizer)
    step = build_step(recipe, job.loss, job.model, policy)
    optimizer = recipe.train.optimizer
    rate = build_schedule(recipe.train.schedule, optimizer.learning_rate, steps)
    arrays, losses = {}, []
    for number in range(steps):
        update = job.loader.load(number)
        arrays |= {f"{number}.{name}": values for name, values in update.micro_batches[0].items() if name != "rng"}
        result = step(rate(number), list(update.weights.values()), update.micro_batches)
        losses.append(float(result.terms.asnumpy().sum()))
    np.savez(work / "batches.npz", **{name: values for name, values in arrays.items() if values is not None})
    settings = {
        **method,
        "rates": [rate(number) for number in range(steps)],
        "decay": optimizer.weight_decay,
        "betas": [optimizer.beta1, optimizer.beta2],
        "epsilon": optimizer.epsilon,
        "clip": recipe.train.clip_norm,
        "regression": job.model.config.num_labels == 1,
    }
    return losses, settings


def without_dropout(folder: Path, to: Path) -> Path:
    """A copy of a model folder that drops nothing."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": None}
    (to / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return to


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a pretrained model folder")
    parser.add_argument("task", help="such as glue/mrpc")
    parser.add_argument("data", help="folder of the task's official files")
    parser.add_argument("--peer", required=True, help="Python of an environment with torch and transformers")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--layer-decay", type=float, default=1.0, help="method.layer_decay")
    parser.add_argument("--fgm", type=float, default=0.0, help="method.fgm")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        method = {"layer_decay": args.layer_decay, "fgm": args.fgm}
        model = without_dropout(args.folder, work / "copy")
        ours, settings = of_ours(model, args.task, args.data, args.steps, work, method)
        command = [args.peer, "-c", PEER, str(work / "initial"), str(work / "batches.npz"), json.dumps(settings)]
        ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    theirs = json.loads(ran.stdout.splitlines()[-1])
    differences = np.abs(np.array(ours) - np.array(theirs["losses"]))
    print(f"{args.task}, {args.steps} updates beside {theirs['versions']}:")
    print(f"  loss {ours[0]:.4f} -> {ours[-1]:.4f}, theirs {theirs['losses'][0]:.4f} -> {theirs['losses'][-1]:.4f}")
    print(f"  largest difference {differences.max():.2e} (update {int(differences.argmax())})")
    return int(differences.max() > args.tolerance)


if __name__ == "__main__":
    sys.exit(main())
