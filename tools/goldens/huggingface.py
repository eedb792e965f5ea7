"""Make the golden files in tests/goldens: small seeded models of transformers, what they compute, and every gradient.

Needs an environment of its own (nothing in ms_plm imports torch):

    python -m venv goldens && goldens/bin/pip install torch==2.13.0 transformers==4.46.3 safetensors "numpy<2.3"
    goldens/bin/python tools/goldens/huggingface.py --out tests/goldens

tests/goldens/README.md says what is in the files.
"""

from __future__ import annotations

import argparse
import json
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers import BertConfig, BertForPreTraining, BertTokenizer, NezhaConfig, NezhaForPreTraining

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
UNK, CLS, SEP, MASK = 1, 2, 3, 4
VOCABULARY = (
    *SPECIALS,
    *"，。！？",
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
    *"床前明月光疑是地上霜举头望低思故乡春眠不觉晓处闻啼鸟夜来风雨声",
    "the",
    "##ing",
    "##er",
)
SHAPE = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


@dataclass(frozen=True)
class Case:
    """One model and the lengths at which it is recorded."""

    name: str
    family: str
    lengths: tuple[int, ...]
    options: dict


CASES = (
    Case("nezha_k8", "nezha", (16, 200, 700), {"max_relative_position": 8, "max_position_embeddings": 704}),
    Case("nezha_k64", "nezha", (16, 200, 700), {"max_relative_position": 64, "max_position_embeddings": 704}),
    Case("nezha_gelu_new", "nezha", (16,), {"max_relative_position": 8, "hidden_act": "gelu_new"}),
    Case("bert", "bert", (16, 200), {"max_position_embeddings": 256}),
    Case("bert_gelu_new", "bert", (16,), {"max_position_embeddings": 32, "hidden_act": "gelu_new"}),
)
TASK_SHAPE = {**SHAPE, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
TASK_OPTIONS = {"nezha": {"max_relative_position": 4}, "bert": {"max_position_embeddings": 16}}
TASKS = {
    "sequence_classification": ("ForSequenceClassification", ("no", "yes", "perhaps")),
    "regression": ("ForSequenceClassification", ("score",)),
    "token_classification": ("ForTokenClassification", ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")),
    "question_answering": ("ForQuestionAnswering", None),
    "multiple_choice": ("ForMultipleChoice", None),
}
"""Name of a task -> the end of the class, names of the labels."""
CHOICES = 3
GOLDEN = "golden.safetensors"


def build(case: Case) -> torch.nn.Module:
    """The model in evaluation mode, float64, with weights that are exact in float32."""
    if case.family == "nezha":
        model = NezhaForPreTraining(NezhaConfig(**SHAPE, **case.options))
    else:
        model = BertForPreTraining(BertConfig(**SHAPE, **case.options, attn_implementation="eager"))
    return with_random_weights(model, case.family)


def build_task(family: str, task: str) -> torch.nn.Module:
    """A model with a head for a task, as `build` makes them."""
    end, names = TASKS[task]
    options = {**TASK_SHAPE, **TASK_OPTIONS[family]}
    if names:
        options["id2label"] = dict(enumerate(names))
        options["label2id"] = {name: number for number, name in enumerate(names)}
    if task == "regression":
        options["problem_type"] = "regression"
    config = NezhaConfig(**options) if family == "nezha" else BertConfig(**options, attn_implementation="eager")
    return with_random_weights(getattr(transformers, family.capitalize() + end)(config), family)


def with_random_weights(model: torch.nn.Module, family: str) -> torch.nn.Module:
    model.eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(random_weights(f"{family}.{name}", tuple(parameter.shape))))
    return model.double()


def random_weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 weights that depend on the name alone, large enough that no part of the model is nearly idle."""
    draws = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if "LayerNorm.weight" in name:
        draws = 1.0 + 0.2 * draws
    elif "embeddings" in name and len(shape) == 2:
        draws = 0.25 * draws
    elif len(shape) == 2:
        draws = draws / np.sqrt(shape[1])
    else:
        draws = 0.2 * draws
    return draws.astype(np.float32)


def make_inputs(length: int) -> dict[str, np.ndarray]:
    """A batch of padded sequence pairs with masked positions (int32)."""
    random = np.random.RandomState(length)
    sizes = (length, length * 5 // 8) if length > 500 else (length, length * 5 // 8, length * 3 // 8)
    shape = (len(sizes), length)
    ids, types, mask = (np.zeros(shape, np.int32) for _ in range(3))
    labels = np.full(shape, -100, np.int32)
    for row, size in enumerate(sizes):
        ids[row, :size] = random.randint(len(SPECIALS), len(VOCABULARY), size)
        middle = size // 2
        ids[row, 0], ids[row, middle], ids[row, size - 1] = CLS, SEP, SEP
        types[row, middle + 1 : size] = 1
        mask[row, :size] = 1
        ordinary = np.setdiff1d(np.arange(size), (0, middle, size - 1))
        chosen = np.sort(random.choice(ordinary, max(2, round(0.15 * size)), replace=False))
        labels[row, chosen] = ids[row, chosen]
        ids[row, chosen] = MASK
    positions = np.flatnonzero(labels.reshape(-1) != -100).astype(np.int32)
    return {
        "input_ids": ids,
        "token_type_ids": types,
        "attention_mask": mask,
        "labels": labels,
        "masked_positions": positions,
        "masked_labels": labels.reshape(-1)[positions],
        "next_sentence_labels": (np.arange(len(sizes)) % 2).astype(np.int32),
    }


def make_task_inputs(task: str, length: int = 12) -> dict[str, np.ndarray]:
    """Six padded pairs and labels (regression: numbers; question answering: start and end, one of them outside).

    Behind the mask stands [UNK]: the embedding of [PAD] has no gradient in transformers.
    """
    random = np.random.RandomState(length)
    sizes = np.array([length, 7, 10, 5, length, 8])
    columns, ends = np.arange(length), sizes[:, None]
    ids = random.randint(len(SPECIALS), len(VOCABULARY), (len(sizes), length))
    ids = np.where(columns < ends, np.where((columns == ends // 2) | (columns == ends - 1), SEP, ids), UNK)
    ids[:, 0] = CLS
    labels = {
        "sequence_classification": random.randint(0, 3, 6),
        "regression": random.standard_normal(6).astype(np.float32),
        "token_classification": np.where(
            (ids == CLS) | (ids == SEP) | (ids == UNK), -100, random.randint(0, 5, ids.shape)
        ),
        "question_answering": np.stack([random.randint(1, 3, 6), [3, 4, 3, 4, length, 3]], 1),
        "multiple_choice": random.randint(0, CHOICES, 6 // CHOICES),
    }[task]
    arrays = {
        "input_ids": ids,
        "token_type_ids": (columns > ends // 2) & (columns < ends),
        "attention_mask": columns < ends,
        "labels": labels,
    }
    return {
        name: np.ascontiguousarray(value, np.float32 if value.dtype == np.float32 else np.int32)
        for name, value in arrays.items()
    }


def choose_rows(inputs: dict[str, np.ndarray], count: int = 32) -> np.ndarray:
    """Flat positions into [B*S] that are kept: all of a short batch, else ends, edges of padding, masked and random."""
    mask = inputs["attention_mask"]
    total = mask.size
    if total <= 64:
        return np.arange(total, dtype=np.int32)
    starts = np.arange(mask.shape[0]) * mask.shape[1]
    last = starts + mask.sum(axis=1) - 1
    edges = np.unique(np.concatenate([starts, last, starts + mask.shape[1] - 1]))
    some = np.concatenate([edges, inputs["masked_positions"][:: max(1, len(inputs["masked_positions"]) // 10)]])
    others = np.random.RandomState(7).permutation(np.setdiff1d(np.arange(total), some))
    return np.sort(np.concatenate([some, others])[:count]).astype(np.int32)


def record(model: torch.nn.Module, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model computes on the inputs, and the gradient of the total loss."""
    as_tensor = {name: torch.from_numpy(value).long() for name, value in inputs.items()}
    model.zero_grad(set_to_none=True)
    arguments = {name: as_tensor[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
    seen = {}
    hook = model.base_model.pooler.register_forward_hook(lambda _, __, out: seen.update(pooler_output=out))
    out = model(
        **arguments,
        labels=as_tensor["labels"],
        next_sentence_label=as_tensor["next_sentence_labels"],
        output_hidden_states=True,
        output_attentions=True,
    )
    hook.remove()
    out.loss.backward()
    cross_entropy = torch.nn.functional.cross_entropy
    logits = out.prediction_logits.flatten(0, 1)
    rows = choose_rows(inputs)
    keep = torch.from_numpy(rows).long()
    results = {
        "prediction_logits": logits[keep],
        "pooler_output": seen["pooler_output"],
        "seq_relationship_logits": out.seq_relationship_logits,
        "masked_lm_loss": cross_entropy(logits, as_tensor["labels"].flatten()),
        "next_sentence_loss": cross_entropy(out.seq_relationship_logits, as_tensor["next_sentence_labels"]),
        "loss": out.loss,
        **{f"hidden_states.{i}": states.flatten(0, 1)[keep] for i, states in enumerate(out.hidden_states)},
        **{f"gradient.{name}": parameter.grad for name, parameter in model.named_parameters()},
    }
    if inputs["input_ids"].shape[1] <= 16:
        results.update({f"attentions.{i}": values for i, values in enumerate(out.attentions)})
    arrays = {name: value.detach().numpy().astype(np.float32) for name, value in results.items()}
    return {**inputs, "rows": rows, **arrays}


def record_task(model: torch.nn.Module, task: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Logits, the standard loss, and its gradients."""
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    tensors = {name: value.double() if value.is_floating_point() else value.long() for name, value in tensors.items()}
    if task == "multiple_choice":
        for name in ("input_ids", "token_type_ids", "attention_mask"):
            tensors[name] = tensors[name].reshape(-1, CHOICES, tensors[name].shape[-1])
    if task == "question_answering":
        tensors["start_positions"], tensors["end_positions"] = tensors.pop("labels").unbind(1)
    out = model(**tensors)
    out.loss.backward()
    logits = torch.stack((out.start_logits, out.end_logits), -1) if task == "question_answering" else out.logits
    results = {
        "logits": logits,
        "loss": out.loss,
        **{f"gradient.{name}": parameter.grad for name, parameter in model.named_parameters()},
    }
    return {**inputs, **{name: value.detach().numpy().astype(np.float32) for name, value in results.items()}}


def save_folder(model: torch.nn.Module, folder: Path) -> None:
    """What `save_pretrained` writes in float32, with a tokenizer."""
    shutil.rmtree(folder, ignore_errors=True)
    model.float().save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    BertTokenizer(str(vocabulary)).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def save_old_nezha(source: Path, folder: Path, length: int = 24) -> None:
    """The folder as older releases wrote it: position tables of every layer and the tied decoder are in the file."""
    model = NezhaForPreTraining.from_pretrained(source, max_position_embeddings=length)
    save_folder(model, folder)
    tensors = load_file(folder / "model.safetensors")
    for name, buffer in model.named_buffers():
        if name.endswith("positions_encoding"):
            tensors[name] = buffer.numpy().copy()
    add_tied_decoder(tensors, "nezha")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def save_old_bert(source: Path, folder: Path) -> None:
    """The folder as converters of TensorFlow checkpoints wrote it: gamma and beta, position ids, the tied decoder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    add_tied_decoder(tensors, "bert")
    tensors["bert.embeddings.position_ids"] = np.arange(256, dtype=np.int64)[None]
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
    }
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})


def add_tied_decoder(tensors: dict[str, np.ndarray], prefix: str) -> None:
    tensors["cls.predictions.decoder.weight"] = tensors[f"{prefix}.embeddings.word_embeddings.weight"]
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("tests/goldens"), help="folder to write (default: %(default)s)"
    )
    out = parser.parse_args().out
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    metadata = {
        "made_by": "tools/goldens/huggingface.py",
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "computed_in": "float64, stored as float32",
    }
    for case in CASES:
        model = build(case)
        for length in case.lengths:
            arrays = record(model, make_inputs(length))
            about = {**metadata, "model": case.name, "length": str(length)}
            # one entry: the order of several is not the same in every run
            save_file(arrays, out / f"{case.name}_{length}.safetensors", {"about": json.dumps(about)})
            print(f"{case.name} at {length}: loss {arrays['loss']:.6f}")
        save_folder(model, out / case.name)
    for family, name in (("nezha", "nezha_k8"), ("bert", "bert")):
        full = (NezhaForPreTraining if family == "nezha" else BertForPreTraining).from_pretrained(out / name)
        save_folder(full.base_model, out / f"{family}_base_model")
    for family in TASK_OPTIONS:
        for task in TASKS:
            model, folder = build_task(family, task), out / "tasks" / f"{family}_{task}"
            arrays = record_task(model, task, make_task_inputs(task))
            save_folder(model, folder)
            about = {"about": json.dumps({**metadata, "model": folder.name})}
            save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / GOLDEN, about)
            print(f"{folder.name}: loss {arrays['loss']:.6f}")
    save_old_nezha(out / "nezha_k8", out / "nezha_old_release")
    save_old_bert(out / "bert", out / "bert_gamma_beta")


if __name__ == "__main__":
    main()
