"""Jobs of the long comparisons: what is done once, what goes on, what is refused, what stops everything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GIVEN = {"model.from": "MODEL", "data.folder": "RTE"}


class FakeRuns:
    """Stand where processes are started; each run is finished at once, unless `ends` says otherwise."""

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.commands: list[list[str]] = []
        self.ends: dict[str, int | str] = {}
        self.signals: list[str] = []

    def run(self, folder: Path, overrides, signals) -> int:
        self.folders.append(folder)
        assert (folder / "recipe.yaml").is_file()
        (folder / "metrics.jsonl").touch()
        how = self.ends.get(folder.name, 0)
        if how == "SIGTERM":
            self.signals.append(how)
            return 1
        if how == 0:
            (folder / "figures.json").write_text("{}")
        return 0 if how == "budget" else how

    def command(self, command, signals) -> int:
        self.commands.append(command)
        Path(command[-1]).write_text("made")
        return 0


@pytest.fixture
def fake(monkeypatch) -> FakeRuns:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import _jobs

    runs = FakeRuns()
    monkeypatch.setattr(_jobs, "run_in_process", runs.run)
    monkeypatch.setattr(_jobs, "run_command", runs.command)
    return runs


def jobs(fake: FakeRuns, work: Path, minutes: float | None = None):
    from _jobs import Jobs

    return Jobs(work, minutes, {"impl.device": "cpu"}, fake.signals)


def test_a_finished_run_is_not_done_again(fake: FakeRuns, tmp_path: Path) -> None:
    for _ in range(2):
        assert jobs(fake, tmp_path).run("rte/1", "bert_base_rte", GIVEN) == tmp_path / "rte/1/model"
    assert fake.folders == [tmp_path / "rte/1"]
    assert "device: cpu" in (tmp_path / "rte/1/recipe.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train.epochs": 7}, "train.epochs was "),
        ({"model.from": "other"}, "model.from was 'MODEL', is 'other'"),
        ({"data.folder": "subset"}, "data.folder was 'RTE', is 'subset'"),
        ({"evaluate.every_epochs": 0.5}, "evaluate.every_epochs was 1.0, is 0.5"),
    ],
)
def test_a_run_of_other_values_is_never_taken_for_the_one_that_is_asked_for(fake, tmp_path, changes, named) -> None:
    jobs(fake, tmp_path).run("rte/1", "bert_base_rte", GIVEN)
    with pytest.raises(SystemExit) as caught:
        jobs(fake, tmp_path).run("rte/1", "bert_base_rte", {**GIVEN, **changes})
    said = str(caught.value)
    assert said.startswith("job rte/1: ")
    assert named in said
    assert said.endswith(f"(For all jobs: another --work; for this one alone: remove {tmp_path / 'rte/1'}.)")
    assert len(fake.folders) == 1


def test_a_run_that_was_cut_goes_on_and_one_that_never_began_may_change(fake: FakeRuns, tmp_path: Path) -> None:
    fake.ends["1"] = "budget"
    assert jobs(fake, tmp_path).run("1", "bert_base_rte", GIVEN) is None
    (tmp_path / "1/metrics.jsonl").unlink()
    fake.ends.clear()
    assert jobs(fake, tmp_path).run("1", "bert_base_rte", {**GIVEN, "train.epochs": 7}) == tmp_path / "1/model"


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("SIGTERM", "SIGTERM received in job a/1"),
        (1, "job a/1 ended with code 1"),
        (-9, "job a/1 was ended by signal 9"),
    ],
)
def test_a_signal_or_a_failure_stops_the_comparison_and_names_the_job(fake, tmp_path, end, said) -> None:
    fake.ends["1"] = end
    with pytest.raises(SystemExit) as caught:
        jobs(fake, tmp_path).run("a/1", "bert_base_rte", GIVEN)
    assert said in str(caught.value)


def test_nothing_begins_after_a_signal_between_two_jobs(fake: FakeRuns, tmp_path: Path) -> None:
    fake.signals.append("SIGINT")
    with pytest.raises(SystemExit, match="SIGINT received before job a/1"):
        jobs(fake, tmp_path).run("a/1", "bert_base_rte", GIVEN)
    assert not fake.folders


def test_a_wrong_recipe_names_the_job(fake: FakeRuns, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"job a/1: .*train.batches"):
        jobs(fake, tmp_path).run("a/1", "bert_base_rte", {**GIVEN, "train.batches": 3})


def test_no_job_begins_late_and_finished_ones_are_still_found(fake: FakeRuns, tmp_path: Path) -> None:
    jobs(fake, tmp_path).run("1", "bert_base_rte", GIVEN)
    late = jobs(fake, tmp_path, minutes=-1)
    assert late.run("1", "bert_base_rte", GIVEN) == tmp_path / "1/model"
    assert late.run("2", "bert_base_rte", GIVEN) is None
    assert late.command("a.jsonl", ["augment"]) is None


def test_a_command_makes_its_file_once(fake: FakeRuns, tmp_path: Path) -> None:
    for _ in range(2):
        assert jobs(fake, tmp_path).command("rows/a.jsonl", ["augment", "M", "--output"]) == tmp_path / "rows/a.jsonl"
    made = str(tmp_path / "rows/a.jsonl")
    assert fake.commands == [[sys.executable, "-m", "ms_plm", "augment", "M", "--output", made]]


def test_the_comparison_of_distillation_shares_rows_steps_and_evaluations(fake, tmp_path, monkeypatch, capsys) -> None:
    """All of its jobs, with runs that are finished at once."""
    import compare_distillation as tool

    from ms_plm.config.loading import load_recipe

    data = tmp_path / "SST-2"
    data.mkdir()
    rows = "".join(f"text {number}\t{number % 2}\n" for number in range(9000))
    for name in ("train.tsv", "dev.tsv"):
        (data / name).write_text("sentence\tlabel\n" + rows, encoding="utf-8")

    def measured(runs: list[Path]) -> dict:
        return {"figure": 0.9 if "stage" in str(runs[-1]) else 0.8, "updates": [10] * len(runs), "evaluations": 6}

    monkeypatch.setattr(tool, "measured", measured)
    given = ["sst-2", "--model", str(tmp_path / "M"), "--data", str(data), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", ["compare_distillation.py", *given, "--seeds", "1", "2"])
    assert tool.main() == 0
    recipes = {folder.relative_to(tmp_path / "work"): load_recipe(folder) for folder in fake.folders}
    general = recipes.pop(Path("tinybert_small_general"))
    assert recipes.pop(Path("bert_small_masked_lm")).model.from_ == general.method.teacher.from_
    assert len(recipes) == 1 + 2 * 8
    assert {recipe.data.folder for recipe in recipes.values()} == {str(tmp_path / "work/sst-2/rows")}
    assert len((tmp_path / "work/sst-2/rows/train.tsv").read_text(encoding="utf-8").splitlines()) == 8001
    assert {recipe.data.rows for recipe in recipes.values()} == {None}
    scored = {name: r for name, r in recipes.items() if name.parts[1] != "teacher" and "inside" not in str(name)}
    assert {round(r.train.epochs / r.evaluate.every_epochs) for r in scored.values()} == {6}
    assert [command[3] for command in fake.commands] == ["compare", "augment"]
    assert fake.commands[1][-1] == str(tmp_path / "work/sst-2/augmented_4.jsonl")
    shown, begun = capsys.readouterr().out, len(fake.folders)
    figures = tmp_path / "work/sst-2/figures.json"
    elsewhere = ["--work", str(tmp_path / "other"), "--figures", str(figures)]
    monkeypatch.setattr(sys, "argv", ["compare_distillation.py", *given, *elsewhere, "--seeds", "2"])
    assert tool.main() == 0
    assert len(fake.folders) == begun  # all that it asks for is known
    assert capsys.readouterr().out.splitlines() == shown.splitlines()[-11:]
    assert "| teacher | 0.8000 |  | 2 | 10 | 6 | fine-tuned |" in shown
    assert "| stages 1+2 | 0.9000 ± 0.0000 | +0.1000 ± 0.0000 | 2 | 10 + 10 | 6 |" in shown
    assert "| labels | 0.8000 ± 0.0000 |  | 2 | 10 | 6 |" in shown
    monkeypatch.setattr(sys, "argv", ["compare_distillation.py", *given])
    (data / "train.tsv").write_text("sentence\tlabel\n" + rows.replace("text", "word"), encoding="utf-8")
    with pytest.raises(SystemExit, match="was drawn from other files"):
        tool.main()


def test_figures_outlive_the_folders_of_their_jobs_and_are_never_joined_with_those_of_other_settings(
    fake, tmp_path
) -> None:
    from _jobs import Record

    path = tmp_path / "figures.json"
    first = Record(path, {"task": "rte", "rate": 5e-5})
    assert not first.has("plain", 1)
    assert not path.exists()
    first.add("plain", 1, 0.75)
    again = Record(path, {"task": "rte", "rate": 5e-5})
    first.add("plain", 3, 0.25)  # beside it, in another process
    again.add("plain", 2, 0.5)
    assert again.figures == {"plain": {"1": 0.75, "2": 0.5, "3": 0.25}}
    assert again.has("plain", 1)
    with pytest.raises(SystemExit) as caught:
        Record(path, {"task": "rte", "rate": 1e-4})
    assert f"{path}: its figures are of rate 5e-05, this call has 0.0001" in str(caught.value)
