"""A tiny search: a teacher of 3 layers x 32 with random weights, a student of 2 x 16, generated text, one task."""

from __future__ import annotations

from pathlib import Path

import tiny_moods
import tiny_run
import yaml

from ms_plm.config.loading import load_recipe
from ms_plm.config.model import ModelConfig
from ms_plm.config.recipe import Recipe
from ms_plm.models.folder import save
from ms_plm.models.model import Model


def recipe(base: Path, folder: Path, **changes) -> Recipe:
    """A recipe on the corpus in `base`, saved into the run folder `folder`, with teacher and task beside that."""
    tokenizer = tiny_run.tokenizer()
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    config = ModelConfig(model_type="bert", vocab_size=tokenizer.vocab_size, initializer_range=0.2, **shape)
    above = folder.parent
    save(above / "teacher", Model(config).initialise(7), tokenizer)
    tiny_moods.write_table(above / "train.tsv", 64, 1)
    tiny_moods.write_table(above / "dev.tsv", 37, 2)
    values = {
        "kind": "search_layer_map",
        "name": "tiny",
        "model": {"model_type": "bert", **shape, "hidden_size": 16, "num_hidden_layers": 2},
        "data": {"corpus": f"{base}/corpus", "cache": f"{base}/cache", "max_length": 16, "nsp": False},
        "train": {"steps": 3, "batch": 4, "optimizer": {"learning_rate": 1e-2}},
        "method": {
            "teacher": {"from": str(above / "teacher")},
            "losses": {"embedding": 1, "hidden": 1, "attention": 1},
            "evolution": {"evaluations": 7, "population": 4, "elites": 1},
            "processes": 2,
            "confirm": 1,
            "tasks": [
                {
                    "own": {
                        **{"train": str(above / "train.tsv"), "dev": str(above / "dev.tsv")},
                        **{"text": "sentence", "label": "mood"},
                    },
                    **{"lengths": 1, "max_length": 16, "dev_rows": 16},
                    **{"steps": 12, "batch": 8, "learning_rate": 1e-2},
                }
            ],
        },
        "impl": {"device": "cpu"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return load_recipe(folder, changes)
