"""A task's figures go by the names of its classes and metrics."""

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.finetuning import METRICS as OWN_METRICS
from ms_plm.data.benchmarks import (
    TASKS,
    ChoiceExample,
    QuestionExample,
    TextExample,
    TokensExample,
    own_texts,
    own_tokens,
)
from ms_plm.evaluation.scoring import METRICS, score


def examples(*labels, groups=None):
    return [
        TextExample(str(number), "text", label=label, group=groups[number] if groups else None)
        for number, label in enumerate(labels)
    ]


def test_every_metric_of_every_task_is_known():
    for task in TASKS.values():
        assert task.metrics
        assert set(task.metrics) <= set(METRICS), task.name


def test_figures_come_in_the_order_of_the_task():
    found = score(TASKS["glue/mrpc"], examples("1", "0", "1", "1"), ["1", "1", "0", "1"])
    assert list(found) == ["accuracy", "f1"]
    assert found == pytest.approx({"accuracy": 0.5, "f1": 2 / 3})


def test_classes_are_compared_by_name_whatever_their_order():
    labels = ["neutral", "entailment", "contradiction"]
    assert score(TASKS["glue/mnli"], examples(*labels), labels)["accuracy"] == 1
    own = own_texts({"train": "a.tsv"}, "x", metrics=["macro_f1"])
    assert score(own, examples("a", "b"), ["a", "a"], labels=("b", "a")) == pytest.approx({"macro_f1": 1 / 3})


def test_f1_is_that_of_the_tasks_second_class_whatever_the_models_order():
    truth, guess = examples("1", "1", "1", "0"), ["1", "1", "0", "0"]
    for order in (("0", "1"), ("1", "0")):
        assert score(TASKS["glue/mrpc"], truth, guess, order)["f1"] == pytest.approx(0.8)
    own = own_texts({"train": "a.tsv"}, "x", metrics=["f1"])
    with pytest.raises(UserError, match="f1 is of the second of two classes, and there are 3: macro_f1"):
        score(own, examples("a", "b", "c"), ["a", "b", "c"], ["a", "b", "c"])


def test_metrics_that_a_recipe_may_name_are_there():
    assert {name for names in OWN_METRICS.values() for name in names} <= set(METRICS)


def test_numbers_are_correlated():
    found = score(TASKS["glue/sts-b"], examples(1.0, 2.0, 4.0), [10, 20, 40])
    assert found == pytest.approx({"pearson_spearman": 1, "pearson": 1, "spearman": 1})


def test_answers_of_a_question_are_judged_together():
    found = score(TASKS["superglue/multirc"], examples("1", "0", "1", groups="aab"), ["1", "1", "1"])
    assert found == pytest.approx({"multirc_f1a": 0.8, "multirc_em": 0.5, "accuracy": 2 / 3})


def test_what_cannot_be_compared_is_named():
    task = TASKS["glue/cola"]
    with pytest.raises(UserError, match="1 predictions for 2 examples"):
        score(task, examples("1", "0"), ["1"])
    with pytest.raises(UserError, match="example 1 has no label"):
        score(task, examples("1", None), ["1", "1"])
    with pytest.raises(UserError, match="class 'yes'; expected one of '0', '1'"):
        score(task, examples("1", "0"), ["1", "yes"])
    with pytest.raises(UserError, match="no metric 'rouge'; there are accuracy"):
        score(own_texts({"train": "a.tsv"}, "x", metrics=["rouge"]), examples("1"), ["1"], labels="1")


def test_tags_answers_and_choices_are_compared_too():
    tagged = [TokensExample("0", ("小", "明"), ("B-PER", "I-PER")), TokensExample("1", ("去",), ("O",))]
    found = score(own_tokens({"train": "a.txt"}), tagged, [["B-PER", "I-PER"], ["B-PER"]])
    assert found == pytest.approx({"entity_f1": 2 / 3, "entity_precision": 0.5, "entity_recall": 1})

    asked = [QuestionExample("0", "q", "c", (("the cat", 0), ("dog", 1))), QuestionExample("1", "q", "c", (), True)]
    found = score(TASKS["squad2"], asked, ["Dog", ""])
    assert set(found.values()) == {1.0}
    with pytest.raises(UserError, match="example 0 has no label"):
        score(TASKS["squad2"], [QuestionExample("0", "q", "c")], ["a"])

    chosen = [ChoiceExample("0", "c", None, ("a", "b"), 1), ChoiceExample("1", "c", None, ("a", "b"), 0)]
    assert score(TASKS["clue/c3"], chosen, [1, 1]) == {"accuracy": 0.5}
    several = [ChoiceExample("0", "c", "q", ("Ann", "Ann B", "Bo"), 1, ("Ann B", "Ann B C"))]
    assert score(TASKS["superglue/record"], several, [0]) == pytest.approx({"record_f1": 2 / 3, "record_em": 0})
