"""The last step of `prepare`: repeated documents are marked, counts added up, the manifest written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.common.files import full_disk_named, replacing_file, sha256_file, write_json
from ms_plm.data.corpus import DUPLICATE, FORMAT, ROLES, UNFINISHED, VERSION, Corpus
from ms_plm.data.deduplicate import mark_repeated
from ms_plm.data.units import hashes_path, read_facts, shard_name


def finish_corpus(output: Path, plan: dict[str, Any], digest: str, memory: int) -> Corpus:
    """Make a corpus of the shards of all units; may be cut short and done again.

    Args:
        output: folder of the corpus.
        plan: what the corpus depends on.
        digest: of the plan.
        memory: bytes for sorting hashes.

    Raises:
        UserError: there is no text, or the disk is full.
    """
    state = output / UNFINISHED
    shards = [read_facts(state, unit) for unit in range(plan["units"])]
    if not any(facts["documents"] for facts in shards):
        bad = [example for facts in shards for example in facts["bad_examples"]]
        names = ", ".join(file[0] for file in plan["files"][:3])
        shutil.rmtree(output)
        raise UserError(
            f"{names}: there is no text in {'these files' if len(plan['files']) > 1 else 'this file'}"
            + (f"; all records were bad, such as: {bad[0]}" if bad else ". Expected at least one sentence.")
        )
    with full_disk_named(output):
        if plan["options"]["dedup"]:
            _mark(output, state, shards, memory)
        counts = np.zeros((len(ROLES), 3), np.int64)
        for facts in shards:
            counts += _counts(output / facts["name"])
        manifest = _manifest(plan, digest, shards, counts)
        for facts in shards:
            if not facts["documents"]:
                shutil.rmtree(output / facts["name"], ignore_errors=True)
        write_json(output / "manifest.json", manifest)
    shutil.rmtree(state)
    return Corpus.open(output)


def _mark(output: Path, state: Path, shards: list[dict[str, Any]], memory: int) -> None:
    """Write DUPLICATE into the roles of repeated documents."""
    scratch = state / "sorting"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    flags = mark_repeated([hashes_path(state, unit) for unit in range(len(shards))], scratch, memory)
    start = 0
    for unit, facts in enumerate(shards):
        repeated = flags[start : start + facts["documents"]]
        start += facts["documents"]
        if not repeated.any():
            continue
        path = output / shard_name(unit) / "roles.npy"
        roles = np.load(path, allow_pickle=False)
        roles[repeated] = DUPLICATE
        with replacing_file(path) as temporary:
            _same_file(path, temporary, roles)
        facts["files"]["roles.npy"] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    del flags
    shutil.rmtree(scratch)


def _same_file(path: Path, target: Path, values: np.ndarray) -> None:
    """Copy an array file with other values of the same type and number."""
    shutil.copyfile(path, target)
    with open(target, "r+b") as file:
        file.seek(-values.nbytes, 2)
        file.write(values.tobytes())


def _counts(folder: Path) -> np.ndarray:
    """Documents, sentences and tokens of each role: int64 `[roles, 3]`."""
    counts = np.zeros((len(ROLES), 3), np.int64)
    if not folder.is_dir():  # an empty shard, removed before a run was cut short
        return counts
    sentences, documents, roles = (
        np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ("sentences", "documents", "roles")
    )
    lengths = np.stack([np.ones(len(roles), np.int64), np.diff(documents), np.diff(sentences[documents])], axis=1)
    for role in range(len(ROLES)):
        counts[role] = lengths[roles == role].sum(axis=0)
    return counts


def _manifest(plan: dict[str, Any], digest: str, shards: list[dict[str, Any]], counts: np.ndarray) -> dict[str, Any]:
    report = {name: sum(facts["report"][name] for facts in shards) for name in shards[0]["report"]}
    tokens = int(counts[:, 2].sum())
    examples = [example for facts in shards for example in facts["bad_examples"]]
    keys = ("name", "documents", "sentences", "tokens", "files")
    return {
        "format": FORMAT,
        "version": VERSION,
        "plan": digest,
        "tokenizer": plan["tokenizer"],
        "options": plan["options"],
        "inputs": {
            "files": len(plan["files"]),
            "bytes": sum(file[1] for file in plan["files"]),
            "names": [file[0] for file in plan["files"][:100]],
        },
        "counts": {
            role: dict(zip(("documents", "sentences", "tokens"), map(int, row), strict=True))
            for role, row in zip(ROLES, counts, strict=True)
        },
        "report": {**report, "unknown_share": report["unknown_tokens"] / tokens},
        "bad_examples": examples[:20],
        "shards": [{key: facts[key] for key in keys} for facts in shards if facts["documents"]],
    }
