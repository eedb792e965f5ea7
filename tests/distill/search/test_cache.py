"""Evaluated maps on disk: what comes back, and what a file that is not as it should be gives."""

import json
import logging
import math

import pytest

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.distill.search.cache import Evaluation, EvaluationCache, fingerprint

SETTING = fingerprint({"teacher": "a", "steps": 10})
ONE = Evaluation((0, 0, 5, 10), 1, 0.5, {"glue/sst-2": 0.8, "glue/cola": 0.2}, 12.5)
OTHER = Evaluation((3, 6, 9, 12), 1, math.nan, {"glue/sst-2": 0.8, "glue/cola": math.nan}, 11.25)


@pytest.fixture
def path(tmp_path):
    cache = EvaluationCache(tmp_path / "search.jsonl", SETTING)
    cache.add(ONE)
    cache.add(OTHER)
    return cache.path


def test_what_was_added_comes_back(path):
    cache = EvaluationCache(path, SETTING)
    assert len(cache) == 2
    assert cache.get((0, 0, 5, 10), 1) == ONE
    assert cache.get((0, 0, 5, 10), 2) is None  # another seed is another evaluation
    _, other = cache
    assert math.isnan(other.fitness)
    assert math.isnan(other.figures["glue/cola"])


def test_a_line_is_plain_json_with_everything_about_a_map(path):
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    figures = {"glue/sst-2": 0.8, "glue/cola": 0.2}
    expected = {"gene": [0, 0, 5, 10], "seed": 1, "fitness": 0.5, "figures": figures, "seconds": 12.5}
    assert first.pop("elapsed") >= 0
    assert first == {**expected, "start": 0, "setting": SETTING}
    assert (second["fitness"], second["figures"]["glue/cola"]) == (None, None)


def test_the_time_of_all_starts_is_added_up(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("ms_plm.distill.search.cache.time.monotonic", lambda: now[0])
    first = EvaluationCache(tmp_path / "search.jsonl", SETTING)
    now[0] += 30
    first.add(ONE)
    now[0] += 1000  # it was cut
    second = EvaluationCache(first.path, SETTING)
    assert second.seconds == 30
    now[0] += 12
    second.add(OTHER)
    assert second.seconds == EvaluationCache(first.path, SETTING).seconds == 42


def test_there_may_be_no_file_yet(tmp_path):
    assert len(EvaluationCache(tmp_path / "none.jsonl", SETTING)) == 0


@pytest.mark.parametrize("left", [1, 20, -1])
def test_a_line_cut_while_it_was_written_is_named_and_dropped(path, left, caplog):
    content = path.read_bytes()
    whole = content.index(b"\n") + 1
    path.write_bytes(content[: whole + left] if left > 0 else content[:left])
    with caplog.at_level(logging.WARNING):
        cache = EvaluationCache(path, SETTING)
    assert f"{path}:2: the last line is damaged" in caplog.text
    assert list(cache) == [ONE]
    cache.add(OTHER)  # behind whole lines again
    assert len(EvaluationCache(path, SETTING)) == 2


@pytest.mark.parametrize("line", ["{", "[1]", '{"gene": [1, 2]}', "\0\0\0"])
def test_damage_before_the_last_line_is_an_error_that_names_it(path, line):
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([line, *lines]) + "\n", encoding="utf-8")
    with pytest.raises(DamagedFileError, match=r"search.jsonl:1: not a line of an evaluated map"):
        EvaluationCache(path, SETTING)


def test_maps_of_another_setting_are_refused(path):
    before = path.read_bytes()
    with pytest.raises(UserError, match="evaluated in another setting.*cannot be compared.*--overwrite"):
        EvaluationCache(path, fingerprint({"teacher": "a", "steps": 11}))
    assert path.read_bytes() == before


def test_a_fingerprint_does_not_depend_on_the_order_of_what_it_is_of():
    assert fingerprint({"steps": 10, "teacher": "a"}) == SETTING
