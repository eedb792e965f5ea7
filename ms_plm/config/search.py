"""What only recipes of kind `search_layer_map` hold: how maps are bred, and by which tasks they are judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

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
    crossover: float = Field(0.5, ge=0, le=1, description="chance of a child to have two parents, cut at one layer")
    mutation: float = Field(
        0.25, ge=0, le=1, description="chance of each layer of a child to get another layer of the teacher, or none"
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
