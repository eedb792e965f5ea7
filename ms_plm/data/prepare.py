"""`ms-plm prepare`: text files become a prepared corpus, in several processes, on several machines, resumable.

The input is planned as numbered units. Each unit becomes a shard folder, written under a temporary name and renamed;
a small file in `unfinished/` then says that the unit is done. When all are, repeated documents are marked, the manifest
is written and `unfinished/` goes. Whatever is cut short is done again by the same command; nothing in the files depends
on when, where or by how many processes they were made.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ms_plm.common.errors import UserError
from ms_plm.common.files import full_disk_named, read_json, write_json
from ms_plm.config.recipe import TextSection
from ms_plm.data.corpus import PART, UNFINISHED, Corpus
from ms_plm.data.finish import finish_corpus
from ms_plm.data.inputs import InputFile, find_files, plan_units, sampled_hash
from ms_plm.data.pool import run_units
from ms_plm.data.units import Work, carry_out, facts_path, shard_name
from ms_plm.tokenization import Tokenizer, load_segmenter

logger = logging.getLogger(__name__)

LEAST_MEMORY_MB = 512
"""What a process is reckoned to need, with the text that it works on."""
_SHARED_OPTIONS = ("dedup", "holdout", "skip_bad", "segmenter")


def prepare(
    sources: TextSection | Sequence[TextSection],
    tokenizer: Tokenizer,
    output: str | os.PathLike,
    *,
    processes: int = 1,
    shard: tuple[int, int] = (0, 1),
    memory_mb: int = 2048,
    overwrite: bool = False,
    wait: bool = False,
) -> Corpus | Path:
    """Turn text into a prepared corpus; continues where an earlier call was cut short.

    Args:
        sources: files and how they are read; several may differ in everything but dedup, holdout, skip_bad, segmenter.
        tokenizer: whose ids are stored.
        output: folder of the corpus.
        processes: worker processes; the result does not depend on it.
        shard: `(i, n)`: do the i-th of n parts (from 0), to be joined by `join_parts`.
        memory_mb: fewer processes are used where all together would need more; also bounds sorting.
        overwrite: remove what is in the folder, if it is a corpus.
        wait: for another process that works in the folder, instead of raising.

    Returns:
        The corpus; the folder of the part if `shard` is one of several.

    Raises:
        UserError: bad input (see `ms_plm.data.readers`), a folder with something else in it, a full disk.
    """
    sources = [sources] if isinstance(sources, TextSection) else list(sources)
    output = Path(output)
    part, parts = shard
    if not 0 <= part < parts:
        raise UserError(f"shard {part}/{parts}: expected i/n with i from 0 to n - 1.")
    processes = _affordable(processes, memory_mb)
    files = find_files(sources)
    units = plan_units(files, sources)
    _outside(output, sources)
    segmenter = load_segmenter(sources[0].segmenter)
    plan = _plan(files, sources, len(units), tokenizer, segmenter.name)
    if not units:
        raise UserError(f"{_names(files)}: there is no text: every file is empty.")
    known = _known(output)
    finished = known and known["complete"] and not (output / UNFINISHED).exists()
    if finished and not overwrite and _is_asked(known, plan, shard):
        logger.info("%s: already prepared", output)  # no lock: the folder may be read-only, or read by many
        return Corpus.open(output)
    with full_disk_named(output), _claimed(output, plan, shard, overwrite, wait) as state:
        if state is None:
            logger.info("%s: already prepared", output)
            return Corpus.open(output) if parts == 1 else output
        try:
            tokenizer.save(output / "tokenizer")
            work = Work(files, sources, units, tokenizer, segmenter, sources[0].dedup, output, state)
            _carry_out_all(work, range(part, len(units), parts), processes)
        except BaseException:
            if not any(facts_path(state, unit).is_file() for unit in range(len(units))):
                _clear(output)  # there is nothing to continue from
            raise
        if parts > 1:
            write_json(output / PART, {"plan": _digest(plan), "shard": [part, parts], "units": len(units)})
            return output
        return finish_corpus(output, plan, _digest(plan), memory_mb << 19)


def _carry_out_all(work: Work, units: Sequence[int], processes: int) -> None:
    """Make the shards that are not there yet, with a progress bar on a terminal."""
    sizes = {unit: sum(span.size(work.files) for span in work.units[unit]) for unit in units}
    todo = [unit for unit in units if not facts_path(work.state, unit).is_file()]
    with tqdm(
        total=sum(sizes.values()),
        initial=sum(sizes.values()) - sum(sizes[unit] for unit in todo),
        unit="B",
        unit_scale=True,
        desc="prepare",
        disable=not sys.stderr.isatty(),
    ) as bar:
        if min(processes, len(todo)) > 1:
            run_units(work, todo, processes, lambda unit: bar.update(sizes[unit]))
            return
        for unit in todo:
            carry_out(work, unit)
            bar.update(sizes[unit])


def join_parts(parts: Sequence[str | os.PathLike], output: str | os.PathLike, *, memory_mb: int = 2048) -> Corpus:
    """One corpus from the parts that several machines made; the same as if one had made it.

    The parts stay as they are; where parts and result share a disk, their arrays do too (hard links).

    Raises:
        UserError: a part is missing, unfinished, given twice or belongs to another corpus.
    """
    output = Path(output)
    found: dict[int, Path] = {}
    first: dict[str, Any] = {}
    for path in map(Path, parts):
        if not (path / PART).is_file():
            unfinished = (path / UNFINISHED).is_dir()
            raise UserError(
                f"{path}: {'this part is not finished: run its command again.' if unfinished else 'not a part.'} "
                "Expected a folder made by `ms-plm prepare --shard i/n`."
            )
        facts = read_json(path / PART)
        first = first or facts
        number, of = facts["shard"]
        if (facts["plan"], of) != (first["plan"], first["shard"][1]):
            raise UserError(
                f"{path}: a part of another corpus than {parts[0]}: other files, options, vocabulary or number of "
                "parts. Every machine must be given the same files and options, and i/n with the same n."
            )
        if number in found:
            raise UserError(f"{path}: part {number} of {of}, like {found[number]}. Give each part once.")
        found[number] = path
    of = first["shard"][1]
    missing = [f"{number}/{of}" for number in range(of) if number not in found]
    if missing:
        raise UserError(f"parts missing: {', '.join(missing)}. Make them with `ms-plm prepare ... --shard i/{of}`.")
    plan = read_json(found[0] / UNFINISHED / "plan.json")["plan"]
    with _claimed(output, plan, (0, 1), overwrite=False) as state:
        if state is None:
            return Corpus.open(output)
        if not (output / "tokenizer").is_dir():
            shutil.copytree(found[0] / "tokenizer", output / "tokenizer")
        for unit in range(first["units"]):
            if not facts_path(state, unit).is_file():
                _take_over(found[unit % of], output, state, unit)
        return finish_corpus(output, plan, _digest(plan), memory_mb << 19)


def _take_over(part: Path, output: Path, state: Path, unit: int) -> None:
    """Bring a unit's files from a part into the corpus; the file that says it is done comes last."""
    target = output / shard_name(unit)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for file in sorted((part / shard_name(unit)).iterdir()):
        _link(file, target / file.name)
    for file in sorted((part / UNFINISHED).glob(f"{shard_name(unit)}.*"), key=lambda path: path.suffix == ".json"):
        temporary = state / f".{file.name}.tmp"
        shutil.copyfile(file, temporary)
        os.replace(temporary, state / file.name)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _outside(output: Path, sources: Sequence[TextSection]) -> None:
    """Refuse an output within an input folder: its files would be input the next time."""
    for source in sources:
        for given in source.files:
            if Path(given).is_dir() and output.resolve().is_relative_to(Path(given).resolve()):
                raise UserError(f"{output}: the output lies within the input folder {given}. Choose another place.")


def _affordable(processes: int, memory_mb: int) -> int:
    if processes < 1:
        raise UserError(f"processes: expected at least 1, found {processes}.")
    if memory_mb < LEAST_MEMORY_MB:
        raise UserError(f"memory: expected at least {LEAST_MEMORY_MB} MB, what one process needs; found {memory_mb}.")
    fitting = memory_mb // LEAST_MEMORY_MB
    if fitting < processes:
        logger.warning("%d MB of memory are enough for %d processes, not %d", memory_mb, fitting, processes)
    return min(processes, fitting)


def _names(files: Sequence[InputFile]) -> str:
    return ", ".join(str(file.path) for file in files[:3]) + (", ..." if len(files) > 3 else "")


def _plan(
    files: Sequence[InputFile], sources: Sequence[TextSection], units: int, tokenizer: Tokenizer, segmenter: str
) -> dict[str, Any]:
    """Everything that the result depends on, without paths of this machine."""
    for source in sources[1:]:
        for name in _SHARED_OPTIONS:
            if getattr(source, name) != getattr(sources[0], name):
                raise UserError(
                    f"{name}: the texts of one corpus need the same value, found {getattr(sources[0], name)!r} and "
                    f"{getattr(source, name)!r}."
                )
    options = sources[0]
    return {
        "options": {
            "dedup": options.dedup,
            "holdout": options.holdout,
            "skip_bad": options.skip_bad,
            "segmenter": segmenter,
            "sources": [
                {"field": source.field, "columns": list(source.columns), "one_per_line": source.one_per_line}
                for source in sources
            ],
        },
        "tokenizer": {
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
            "lower_case": tokenizer.lower_case,
        },
        "units": units,
        "files": [[file.name, file.bytes, file.source, sampled_hash(file)] for file in files],
    }


def _digest(plan: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plan, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def corpus_key(sources: Sequence[TextSection], tokenizer: Tokenizer) -> str:
    """A key for a cache of prepared corpora: another text, option or vocabulary gives another one."""
    sources = list(sources)
    files = find_files(sources)
    segmenter = load_segmenter(sources[0].segmenter).name
    return _digest(_plan(files, sources, len(plan_units(files, sources)), tokenizer, segmenter))[:32]


@contextlib.contextmanager
def _claimed(
    output: Path, plan: dict[str, Any], shard: tuple[int, int], overwrite: bool, wait: bool = False
) -> Iterator[Path | None]:
    """The state folder of a corpus, locked for this process; None if the corpus is complete."""
    state = output / UNFINISHED
    known = _known(output)
    if known is None and output.is_dir() and any(output.iterdir()):
        raise UserError(f"{output}: the folder holds something else than a corpus. Choose an empty or a new folder.")
    output.mkdir(parents=True, exist_ok=True)
    with _locked(output, wait):
        known = _known(output)  # another process may have worked here meanwhile
        if overwrite and known is not None:
            _clear(output)
            known = None
        if known and not _is_asked(known, plan, shard):
            begun = "holds a corpus" if known["complete"] else "was begun"
            raise UserError(
                f"{output}: {begun} with other files, options or vocabulary (a file that was mended counts as "
                "another). Choose another folder, or replace it with --overwrite."
            )
        _remove_leftovers(output)
        if known and known["complete"]:
            if (output / "manifest.json").is_file():
                shutil.rmtree(state, ignore_errors=True)  # killed between the manifest and this
            yield None
            return
        state.mkdir(exist_ok=True)
        if not known:
            write_json(state / "plan.json", {"digest": _digest(plan), "shard": list(shard), "plan": plan})
        yield state


@contextlib.contextmanager
def _locked(output: Path, wait: bool) -> Iterator[None]:
    """Hold the folder's lock file, which is gone afterwards."""
    path = output / ".lock"
    while True:
        lock = open(path, "w")  # noqa: SIM115 (closed below)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            lock.close()
            raise UserError(
                f"{output}: another `prepare` is working in this folder. Wait for it, or stop it."
            ) from error
        if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            break
        lock.close()  # the one before removed it while we waited
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def _is_asked(known: dict[str, Any], plan: dict[str, Any], shard: tuple[int, int]) -> bool:
    return (known["digest"], known["shard"]) == (_digest(plan), list(shard))


def _known(output: Path) -> dict[str, Any] | None:
    """Digest, shard and completeness of what is in a folder; None if it is no corpus; {} if it was barely begun."""
    if (output / "manifest.json").is_file():
        manifest = read_json(output / "manifest.json")
        return {"digest": manifest.get("plan"), "shard": [0, 1], "complete": True}
    if (output / UNFINISHED / "plan.json").is_file():
        known = read_json(output / UNFINISHED / "plan.json")
        return {**known, "complete": (output / PART).is_file()}
    if (output / UNFINISHED).is_dir() or [path.name for path in output.glob("*")] == [".lock"]:
        return {}
    return None


def _remove_leftovers(output: Path) -> None:
    """Remove temporary files and folders of a process that was killed."""
    for folder in (output, output / UNFINISHED, output / "tokenizer"):
        for path in [*folder.glob(".*.tmp"), *folder.glob(".*.old")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _clear(output: Path) -> None:
    for path in output.iterdir():
        if path.name != ".lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
