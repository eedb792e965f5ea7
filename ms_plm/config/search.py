"""What only recipes of kind `search_layer_map` hold: how maps are bred, and by which tasks they are judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ms_plm.config.distillation import DistillMethod, LayerTermSection
from ms_plm.config.finetuning import TaskDataSection
from ms_plm.config.sections import Section


class EvolutionSection(Section):
    """How maps are bred. ELM (arXiv 2012.06153) searches by a genetic algorithm; the numbers here are ours."""

    evaluations: int = Field(40, gt=0, description="maps that are evaluated, baselines included")
    population: int = Field(10, ge=4, description="maps of a generation")
    elites: int = Field(3, ge=0, description="best maps that live on in the next generation as they are")
    selection: Literal["tournament", "proportional"] = Field(
        "tournament", description="of parents: the best of a few drawn ones, or by how far they are above the worst"
    )
    tournament: int = Field(3, ge=1, description="maps drawn for a tournament")
    crossover: float = Field(0.8, ge=0, le=1, description="chance of a child to have two parents, cut at one layer")
    mutation: float = Field(
        0.15, ge=0, le=1, description="chance of each layer of a child to get another layer of the teacher, or none"
    )
    monotone: bool = Field(
        True, description="only maps whose supervised layers follow the teacher's order; false: all maps, as in ELM"
    )

    @model_validator(mode="after")
    def _sizes(self) -> EvolutionSection:
        if self.elites >= self.population:
            raise ValueError(f"elites {self.elites} leave no place for children in a population of {self.population}")
        if self.evaluations < self.population:
            raise ValueError(f"evaluations {self.evaluations} are fewer than the first population {self.population}")
        return self


class ProxyTask(TaskDataSection):
    """A task by which maps are judged: the student is fine-tuned on some of its rows, in a few steps."""

    dev_rows: int | None = Field(
        None, gt=0, description="judge by so many examples of the (first) dev set, drawn by train.seed; default: all"
    )
    steps: int = Field(60, gt=0, description="updates")
    batch: int = Field(16, gt=0, description="sequences per update")
    learning_rate: float = Field(1e-4, gt=0, description="peak, after a tenth of the steps; linear decay")


_SEARCHED = ("embedding", "hidden", "attention")


class SearchMethod(DistillMethod):
    """How maps are evaluated: a short distillation (train.steps, on as little text as that takes), then the tasks."""

    evolution: EvolutionSection = EvolutionSection()
    tasks: tuple[ProxyTask, ...] = Field(min_length=1, description="fitness is the mean of their first figures")
    confirm: int = Field(
        2, ge=0, le=20, description="further seeds with which the best map and the baselines are measured at the end"
    )
    processes: int | None = Field(None, gt=0, description="maps evaluated at a time; default: one a core")

    @model_validator(mode="after")
    def _searchable(self) -> SearchMethod:
        if self.layer_map != "uniform":
            raise ValueError("layer_map is what is searched for; remove it")
        others = self.losses.named().keys() - set(_SEARCHED)
        if others:
            raise ValueError(
                f"losses: {', '.join(sorted(others))} cannot be searched with; expected {', '.join(_SEARCHED)} (ELM "
                "looks for the map of general distillation)"
            )
        terms = {name: term for name, term in self.losses.named().items() if isinstance(term, LayerTermSection)}
        if not terms:
            raise ValueError("losses: no term has a layer map; name hidden, attention or both")
        if mapped := [name for name, term in terms.items() if term.layers is not None]:
            raise ValueError(f"losses.{mapped[0]}.layers is what is searched for; remove it")
        names = [task.task or task.own.train for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tasks: {twice[0]} stands twice; each counts once")
        return self


class SearchEvaluateSection(Section):
    """Nothing: maps are judged by method.tasks."""
