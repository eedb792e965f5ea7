"""Make RoBERTa's golden files in tests/goldens: small seeded models of transformers, and what its tokenizer does.

In the environment of huggingface.py beside it, whose seeded weights and inputs are used:

    goldens/bin/python tools/goldens/roberta.py --out tests/goldens

tests/goldens/README.md says what is in the files.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers
from huggingface import GOLDEN, TASK_SHAPE, choose_rows, make_inputs, make_task_inputs, record_task, with_random_weights
from huggingface import TASKS as ALL_TASKS
from safetensors.numpy import save_file
from tokenizers import models, pre_tokenizers, trainers
from transformers import RobertaConfig, RobertaForMaskedLM, RobertaModel, RobertaTokenizer, RobertaTokenizerFast

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
ENTRIES = 360
TEXT = (
    "The moon was bright before the bed, and it looked like frost on the ground. ",
    "He didn't know; they'll say we've been there, I'm sure it's the other one's. ",
    "A naïve café in Zürich served crème brûlée to the señor. ",
    "In 2019 the price was 1,299.50 dollars, in 2020 it wasn't. ",
    "床前明月光，疑是地上霜。 The poem has 20 characters. ",
    "What a day! 😀 The end of the story is here: another morning. ",
)
LENGTH = 16
SHAPE = {
    "vocab_size": ENTRIES,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": LENGTH + 2,  # a full input uses the last row
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "attn_implementation": "eager",
}
TASKS = ("sequence_classification", "token_classification", "question_answering", "multiple_choice")
ROLES = np.array([1, 3, 0, 2, 4])
"""Where [PAD], [UNK], [CLS], [SEP], [MASK] of huggingface.py are among `SPECIALS`."""
ONE = (
    "The moon was bright.",
    " the moon",
    "Two  spaces   and\ttabs \n lines ",
    "I'm sure they'll say it's what we've done; he didn't.",
    "A naïve café, crème brûlée: Zürich",
    "😀 day 😀😀 👩‍👩‍👧",
    "床前明月光，疑是地上霜。",
    "an <mask> here, <mask>, and</s>there <unk>",
    "$1,299.50 in 2019/2020",
    "",
    "\u00a0no-break\u3000wide",
)
TWO = ("It wasn't there.", "", "  two", "😀", "the price was 20", "疑是", "<mask> end", "x", "yz 12", "only this", "b")
WORDS = (("The", "moon", "was", "brûlée", "!"), ("床前", "明月光", "😀", "it's"), ("x",))


def with_roles(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs of huggingface.py with RoBERTa's special tokens and one token type."""
    entries = np.concatenate([ROLES, np.arange(len(ROLES), ENTRIES)]).astype(np.int32)
    changed = {"input_ids": entries[inputs["input_ids"]], "token_type_ids": np.zeros_like(inputs["token_type_ids"])}
    if "masked_labels" in inputs:
        labels = inputs["labels"]
        changed["labels"] = np.where(labels == -100, labels, entries[labels])
        changed["masked_labels"] = entries[inputs["masked_labels"]]
    return {name: value for name, value in {**inputs, **changed}.items() if name != "next_sentence_labels"}


def train_vocabulary(folder: Path) -> None:
    """vocab.json and merges.txt of a byte-level BPE."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=ENTRIES, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(TEXT, trainer)
    assert library.get_vocab_size() == ENTRIES
    folder.mkdir(parents=True, exist_ok=True)
    library.model.save(str(folder))


def save_folder(model: torch.nn.Module, tokenizer: RobertaTokenizer, folder: Path) -> None:
    """What `save_pretrained` writes in float32."""
    shutil.rmtree(folder, ignore_errors=True)
    model.float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def record(model: torch.nn.Module, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the masked language model computes, and the gradient of its loss."""
    tensors = {name: torch.from_numpy(value).long() for name, value in inputs.items()}
    names = ("input_ids", "token_type_ids", "attention_mask", "labels")
    out = model(**{name: tensors[name] for name in names}, output_hidden_states=True, output_attentions=True)
    out.loss.backward()
    rows = choose_rows(inputs)
    keep = torch.from_numpy(rows).long()
    results = {
        "prediction_logits": out.logits.flatten(0, 1)[keep],
        "masked_lm_loss": out.loss,
        "loss": out.loss,
        **{f"hidden_states.{i}": states.flatten(0, 1)[keep] for i, states in enumerate(out.hidden_states)},
        **{f"attentions.{i}": values for i, values in enumerate(out.attentions)},
        **{f"gradient.{name}": parameter.grad for name, parameter in model.named_parameters()},
    }
    arrays = {name: value.detach().numpy().astype(np.float32) for name, value in results.items()}
    return {**inputs, "rows": rows, **arrays}


def record_tokens(folder: Path) -> list[dict]:
    """What the fast tokenizer does with texts, pairs, cuts, words and a space before every text."""
    cases = []
    for prefix in (False, True):
        tokenizer = RobertaTokenizerFast.from_pretrained(folder, add_prefix_space=prefix)
        for pairs, length in ((None, None), (TWO, None), (None, 9), (TWO, 12)):
            arguments = {"padding": True, "truncation": length is not None, "max_length": length}
            found = tokenizer(list(ONE), pairs and list(pairs), return_offsets_mapping=True, **arguments)
            cases.append({
                "add_prefix_space": prefix, "texts": ONE, "pairs": pairs, "max_length": length,
                "input_ids": found["input_ids"], "attention_mask": found["attention_mask"],
                "offsets": found["offset_mapping"],
                "word_ids": [found.word_ids(row) for row in range(len(ONE))],
                "decoded": [tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in found["input_ids"]],
            })  # fmt: skip
    for words in WORDS:  # with add_prefix_space, without which transformers refuses words
        found = tokenizer(list(words), is_split_into_words=True)
        cases.append({"words": words, "input_ids": found["input_ids"], "word_ids": found.word_ids()})
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("tests/goldens"), help="folder to write (default: %(default)s)"
    )
    out = parser.parse_args().out
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    metadata = {
        "made_by": "tools/goldens/roberta.py",
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "computed_in": "float64, stored as float32",
    }
    vocabulary = out / "roberta_vocabulary"
    train_vocabulary(vocabulary)
    fast, slow = RobertaTokenizerFast.from_pretrained(vocabulary), RobertaTokenizer.from_pretrained(vocabulary)
    shutil.rmtree(vocabulary)

    model = with_random_weights(RobertaForMaskedLM(RobertaConfig(**SHAPE)), "roberta")
    arrays = record(model, with_roles(make_inputs(LENGTH)))
    about = {"about": json.dumps({**metadata, "model": "roberta", "length": str(LENGTH)})}
    save_file(arrays, out / f"roberta_{LENGTH}.safetensors", about)
    print(f"roberta at {LENGTH}: loss {arrays['loss']:.6f}")
    save_folder(model, fast, out / "roberta")
    cases = json.dumps({"about": metadata, "cases": record_tokens(out / "roberta")}, ensure_ascii=False)
    (out / "roberta_tokens.json").write_text(cases + "\n", encoding="utf-8")
    save_folder(with_random_weights(RobertaModel(RobertaConfig(**SHAPE)), "roberta"), slow, out / "roberta_base_model")

    for task in TASKS:
        end, names = ALL_TASKS[task]
        options = {**SHAPE, **TASK_SHAPE, "vocab_size": ENTRIES}
        if names:
            options["id2label"] = dict(enumerate(names))
            options["label2id"] = {name: number for number, name in enumerate(names)}
        model = with_random_weights(getattr(transformers, f"Roberta{end}")(RobertaConfig(**options)), "roberta")
        folder, arrays = out / "tasks" / f"roberta_{task}", record_task(model, task, with_roles(make_task_inputs(task)))
        save_folder(model, slow, folder)
        about = {"about": json.dumps({**metadata, "model": folder.name})}
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / GOLDEN, about)
        print(f"{folder.name}: loss {arrays['loss']:.6f}")


if __name__ == "__main__":
    main()
