"""The student and the teacher of a recipe: opened, held against each other before anything is trained, and frozen."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mindspore import Tensor

from ms_plm.common.errors import UserError
from ms_plm.common.files import sha256_file
from ms_plm.config.distillation import DistillMethod
from ms_plm.config.model import ModelConfig
from ms_plm.config.places import place
from ms_plm.config.recipe import Recipe
from ms_plm.distill.objective import Objective
from ms_plm.kernels import Kernels
from ms_plm.models.folder import ModelFolder, check_vocabulary, open_folder
from ms_plm.models.heads import Projection
from ms_plm.models.model import HEADS, Model
from ms_plm.tokenization import Tokenizer
from ms_plm.training.finetuning import check_length
from ms_plm.training.pretraining import check_same_vocabulary
from ms_plm.training.session import Context, Job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Who learns of whom.

    Attributes:
        student: with the head that the terms need, its projection, and the outputs that are compared.
        teacher: the same; not trained.
        tokenizer: of both.
        objective: what is compared.
        fingerprint: of the teacher's weights and configuration.
    """

    student: Model
    teacher: Model
    tokenizer: Tokenizer
    objective: Objective
    fingerprint: str

    def with_teacher(self, job: Job) -> Job:
        """A run that is resumed with the same teacher only, and says who it was."""
        digest = hashlib.sha256(f"{job.fingerprint}{self.fingerprint}".encode()).hexdigest()
        facts = {"teacher": self.objective.method.teacher.from_, "losses": describe(self.objective)}
        return replace(job, fingerprint=digest, facts={**job.facts, **facts})


def open_pair(
    context: Context,
    head: str,
    labels: Sequence[str] | int | None = None,
    task: str | None = None,
    compared: type[Objective] = Objective,
) -> Pair:
    """Open both models.

    Args:
        context: of a recipe of distillation.
        head: whose logits are compared, where a term needs them; the teacher must have it in any case.
        labels: of a head that classifies, in the order of the teacher's.
        task: what the head is for: the teacher must not have learned another one, and a student's head that has is
            replaced.
        compared: what makes the objective.

    Raises:
        UserError: they cannot be compared as the recipe asks; with what differs and the remedy.
    """
    recipe = context.recipe
    method: DistillMethod = recipe.method
    teacher, name, fingerprint = open_teacher(method.teacher.from_, head, labels, task)
    student = open_folder(place(recipe.model.from_)) if recipe.model.from_ else None
    if student:
        check_same_vocabulary(f"model.from {recipe.model.from_}", student.tokenizer, teacher.tokenizer)
        config = student.config
    else:
        config = recipe.model.build(teacher.tokenizer.vocab_size, teacher.tokenizer.pad_id)
        check_vocabulary(config, teacher.tokenizer, "model.vocab_size")
    try:
        objective = compared.of(method, config.num_hidden_layers, teacher.config.num_hidden_layers)
    except ValueError as error:
        raise UserError(f"{error}.") from error
    _check_comparable(objective, config, teacher.config)
    projection = _projection(objective, config, student, teacher.config)
    used, labels = (head, labels) if method.losses.on_outputs else ("encoder", None)
    wants = objective.wants()
    kernels = context.kernels(wants=wants, wants_of=objective.layers(teacher=False))
    model = _student(student, config, used, labels, task, kernels, projection, recipe)
    kernels = context.kernels(method.teacher.precision, wants=wants, wants_of=objective.layers(teacher=True))
    known = teacher.build(used, kernels=kernels)
    for who, built in ((name, known), ("the student", model)):
        check_length(built, recipe.data.max_length, who)
    if method.initial_layers:
        begin_with(model, known, method.initial_layers)
    _freeze_unreached(model, objective)
    log.info("teacher: %s, %d layers x %d, %s", method.teacher.from_, *_size(teacher.config), describe(objective))
    return Pair(model, known, teacher.tokenizer, objective, fingerprint)


def open_teacher(
    folder: str, head: str, labels: Sequence[str] | int | None = None, task: str | None = None
) -> tuple[ModelFolder, str, str]:
    """A teacher's folder, what messages call it, and a fingerprint of its weights and what is computed with them.

    Args:
        folder: as the recipe names it.
        head: that it must have.
        labels: of a head that classifies; they are matched by name.
        task: what the head is for.

    Raises:
        UserError: it has no such head, or one for other labels or of another task.
    """
    opened, name = open_folder(place(folder)), f"method.teacher.from {folder}"
    _check_head(opened, name, head, labels)
    _check_task(opened, name, task)
    behaviour = opened.config.model_dump_json(exclude={"provenance"})
    return opened, name, hashlib.sha256(f"{sha256_file(opened.weights.path)}{behaviour}".encode()).hexdigest()


def _student(
    folder: ModelFolder | None,
    config: ModelConfig,
    head: str,
    labels: Sequence[str] | int | None,
    task: str | None,
    kernels: Kernels,
    projection: Projection | None,
    recipe: Recipe,
) -> Model:
    """From its folder, or new; an encoder that is new has no pooler, which no term would train."""
    seed = recipe.train.seed
    if folder:
        return folder.build(
            head,
            kernels=kernels,
            new_head=True,
            seed=seed,
            labels=labels,
            projection=projection,
            task=task,
            fresh=recipe.model.fresh,
        )
    config = config if labels is None else config.with_labels(labels)
    pooler = head != "encoder" and "pooler" in HEADS[head]
    return Model(config, head, kernels, pooler=pooler, projection=projection).initialise(seed)


def _size(config: ModelConfig) -> tuple[int, int]:
    return config.num_hidden_layers, config.hidden_size


def describe(objective: Objective) -> str:
    """The terms and their layer maps, for the log."""
    parts = []
    for name, term in objective.method.losses.named().items():
        layers = objective.maps.get(name)
        parts.append(f"{name} x {term.weight:g}" + (f" {list(layers)}" if layers else ""))
    return "; ".join(parts)


def _check_head(teacher: ModelFolder, name: str, head: str, labels: Sequence[str] | int | None) -> None:
    if teacher.lacks(head) and head != "encoder":
        if head == "masked_lm":
            raise UserError(
                f"{name}: has no masked-LM head, whose logits the terms prediction and labels compare. Choose a "
                "teacher that has one, or leave these terms out of method.losses."
            )
        raise UserError(
            f"{name}: has no {head.replace('_', ' ')} head: it was not fine-tuned on this task, and what it would say "
            f"is random. Fine-tune it first (ms-plm run RECIPE model.from={teacher.weights.path.parent}), or distil it "
            "as it is with a recipe of kind general_distill."
        )
    if labels is None:
        return
    wanted = (labels,) if isinstance(labels, int) else tuple(labels)
    known = teacher.config.labels or (teacher.config.num_labels,)
    if isinstance(labels, int):
        known = (teacher.config.num_labels,)
    if set(known) != set(wanted):
        raise UserError(
            f"{name}: its labels are {_listed(known)}, those of the data are {_listed(wanted)}. Fine-tune a teacher on "
            "this data, or, if its labels only have no names, write them into id2label of its config.json."
        )


def _check_task(teacher: ModelFolder, name: str, task: str | None) -> None:
    """Labels of the same names may mean something else in another task."""
    trained = (teacher.config.provenance or {}).get("task")
    if task is not None and trained not in (None, task):
        raise UserError(
            f"{name}: its head was trained on {trained} (provenance.task of its config.json), the data are {task}. "
            "Name a teacher that was fine-tuned on this task; if both are the same task under two names, write "
            f"{task} there."
        )


def _listed(labels: Sequence) -> str:
    return ", ".join(map(str, labels[:8])) + (", ..." if len(labels) > 8 else "")


def _check_comparable(objective: Objective, student: ModelConfig, teacher: ModelConfig) -> None:
    losses = objective.method.losses
    if losses.attention:
        for ours, theirs in objective.pairs("attention"):
            heads = student.heads(ours - 1), teacher.heads(theirs - 1)
            if heads[0] != heads[1]:
                raise UserError(
                    f"method.losses.attention: layer {ours} of the student has {heads[0]} heads, layer {theirs} of the "
                    f"teacher {heads[1]}: their maps cannot be compared. Give the student {heads[1]} heads "
                    "(model.num_attention_heads), or replace the term by relations, which splits both into as many "
                    "heads (method.losses.relations), or leave it out."
                )
    if losses.relations:
        heads = objective.relation_heads(teacher)
        pairs = objective.pairs("relations")
        layers = [("student", student, ours) for ours, _ in pairs] + [("teacher", teacher, of) for _, of in pairs]
        for who, config, layer in layers:
            width = config.heads(layer - 1) * config.attention_head_size
            if width % heads:
                raise UserError(
                    f"method.losses.relations.heads: {heads} do not divide the width {width} of the {who}'s queries, "
                    "keys and values; choose a number that divides both."
                )
    if objective.method.initial_layers is not None:
        _check_initial(objective.method.initial_layers, student, teacher)


def _check_initial(layers: Sequence[int], student: ModelConfig, teacher: ModelConfig) -> None:
    names = ["hidden_size", "intermediate_size", "num_attention_heads", "position_embedding_type", "vocab_size"]
    names += ["type_vocab_size", "hidden_act", "layer_norm_eps"]
    names += ["max_position_embeddings"] if student.position_embedding_type == "absolute" else []
    for name in names:
        ours, theirs = getattr(student, name), getattr(teacher, name)
        if ours != theirs:
            raise UserError(
                f"method.initial_layers: {name} of the student is {ours}, of the teacher {theirs}; layers can only be "
                "taken over between equal ones. Make them equal, or leave initial_layers out."
            )
    if len(layers) != student.num_hidden_layers or not all(1 <= n <= teacher.num_hidden_layers for n in layers):
        raise UserError(
            f"method.initial_layers: expected {student.num_hidden_layers} teacher layers from 1 to "
            f"{teacher.num_hidden_layers}, one for each student layer, found {list(layers)}."
        )
    for ours, theirs in enumerate(layers):
        sizes = [(config.heads(at), config.intermediate(at)) for config, at in ((student, ours), (teacher, theirs - 1))]
        if sizes[0] != sizes[1]:
            raise UserError(
                f"method.initial_layers: layer {ours + 1} of the student has {sizes[0][0]} heads and {sizes[0][1]} "
                f"neurons, layer {theirs} of the teacher {sizes[1][0]} and {sizes[1][1]}; choose layers of equal size, "
                "or leave initial_layers out."
            )


def _projection(
    objective: Objective, config: ModelConfig, student: ModelFolder | None, teacher: ModelConfig
) -> Projection | None:
    """What takes the student's hidden states to the teacher's width."""
    width, same = teacher.hidden_size, config.hidden_size == teacher.hidden_size
    wanted = objective.method.projection
    if not objective.projected():
        return None
    if wanted == "none" and not same:
        raise UserError(
            f"method.projection: none, but hidden_size is {config.hidden_size} in the student and {width} in the "
            "teacher: their hidden states cannot be compared. Use projection: per_layer, or leave the terms embedding "
            "and hidden out."
        )
    if wanted == "auto":
        known = student.projection if student else None
        if known and known.width == width:
            return known
        return None if same else Projection("projections", width)
    return {"none": None, "shared": Projection("projection", width), "per_layer": Projection("projections", width)}[
        wanted
    ]


def begin_with(student: Model, teacher: Model, layers: Sequence[int]) -> None:
    """Give a student the embeddings of a teacher of the same width, and these layers (from 1) in their order."""
    theirs = dict(teacher.encoder.parameters_and_names())
    for name, parameter in student.encoder.parameters_and_names():
        source = name
        if name.startswith("layers."):
            _, number, rest = name.split(".", 2)
            source = f"layers.{layers[int(number)] - 1}.{rest}"
        parameter.set_data(Tensor(theirs[source].asnumpy()))


def _freeze_unreached(student: Model, objective: Objective) -> None:
    """Take from training what no term reaches: weight decay would wear it away."""
    if not objective.method.losses.on_outputs:
        deepest = max((layer for name in objective.maps for layer, _ in objective.pairs(name)), default=0)
        idle = [*student.encoder.layers[deepest:], *([student.pooler] if student.has_pooler else [])]
        for cell in idle:
            _freeze(cell)
    if hasattr(student, "projections"):
        for number, cell in enumerate(student.projections):
            if number not in objective.projected():
                _freeze(cell)


def _freeze(cell) -> None:
    for parameter in cell.get_parameters():
        parameter.requires_grad = False
