"""Whose names a checkpoint's tensors carry, and where each belongs under Hugging Face's names.

Three schemes are known: that of Hugging Face and the original PyTorch code, that of TensorFlow's BERT (NEZHA, PMLM),
and that of MindSpore's model zoo in its older and newer form. Which it is shows in the name of the word embeddings.
Targets are Hugging Face names without the family's prefix: `embeddings...`, `encoder.layer.0...`, `pooler.dense...`,
and heads `cls...` or `lm_head...` (RoBERTa), `classifier...`, `qa_outputs...`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ms_plm.common.errors import UserError
from ms_plm.models.names import CLASSES, PREFIXES

FAMILIES = tuple(sorted(CLASSES))
WORDS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
PREDICTION_BIAS = "cls.predictions.bias"
PROJECTIONS = ("fit_dense.", "fit_denses.")
"""TinyBERT's projections to the teacher's width, one for all layers or one for each."""
NO_PART, STATE = "the encoder has no such part", "optimizer or training state"


@dataclass(frozen=True)
class Place:
    """Where a tensor goes.

    Attributes:
        target: Hugging Face name without prefix; None: it is left out.
        transposed: a `[in, out]` kernel that becomes an `[out, in]` weight.
        reason: why it is left out.
        problem: True: left out, though nothing says that it may be.
    """

    target: str | None = None
    transposed: bool = False
    reason: str = ""
    problem: bool = False


@dataclass(frozen=True)
class Scheme:
    """A way to name tensors.

    Attributes:
        name: for messages and provenance.
        words: end of the name of the word embeddings.
        place: place of a name, given without what stands before the encoder (see `places`).
        state: finds optimizer slots and counters, in whole names.
        tanh_gelu: whether `gelu` means the tanh form where these names come from.
        layer_norm_eps: what is taken where the configuration does not say.
    """

    name: str
    words: str
    place: Callable[[str, bool], Place]
    state: re.Pattern[str]
    tanh_gelu: bool = False
    layer_norm_eps: float = 1e-12


def _torch_place(name: str, inside: bool) -> Place:
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(old):
            name = name.removesuffix(old) + new
    if name.endswith(".positions_encoding"):
        return Place(reason="the sinusoid of relative positions, which is computed")
    if name.endswith(("embeddings.position_ids", "embeddings.token_type_ids")):
        return Place(reason="a constant, which is computed")
    if re.search(r"\.(?:weight_clip_val|act_clip_val|clip_(?:query|key|value|attn))$", name):
        return Place(reason="clipping range of quantisation-aware training")
    return _known(name, inside)


_TENSORFLOW = {
    "embeddings/word_embeddings": WORDS,
    "embeddings/position_embeddings": POSITIONS,
    "embeddings/token_type_embeddings": "embeddings.token_type_embeddings.weight",
    "cls/predictions/output_bias": PREDICTION_BIAS,
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
}
"""Names that follow no rule; none of these is transposed."""
_TENSORFLOW_STATE = re.compile(
    r"(?:/(?:adam|lamb)_[mv]|/Adam(?:_1)?|/Momentum)$|^(?:global_step|loss_scale|beta[12]_power|good_steps|bad_steps|"
    r"current_(?:loss_)?scale\w*|save_counter|_CHECKPOINTABLE_OBJECT_GRAPH)\b|^signal_early_stopping/"
)


def _tensorflow_place(name: str, inside: bool) -> Place:
    if target := _TENSORFLOW.get(name):
        return Place(target)
    stem, _, leaf = name.rpartition("/")
    leaf = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}.get(leaf, leaf)
    dotted = re.sub(r"^encoder/layer_(\d+)/", r"encoder/layer/\1/", f"{stem}/{leaf}").replace("/", ".")
    return _known(dotted, inside, transposed=name.endswith("/kernel"))


_MINDSPORE_EMBEDDINGS = {
    "bert_embedding_lookup.embedding_table": WORDS,
    "bert_embedding_postprocessor.embedding_table": "embeddings.token_type_embeddings.weight",
    "bert_embedding_postprocessor.token_type_embedding.embedding_table": "embeddings.token_type_embeddings.weight",
    "bert_embedding_postprocessor.full_position_embeddings": POSITIONS,
    "bert_embedding_postprocessor.full_position_embedding.embedding_table": POSITIONS,
    "bert_embedding_postprocessor.layernorm": "embeddings.LayerNorm",
    "dense": "pooler.dense",
}
"""Both namings; those without a leaf take .weight and .bias."""
_MINDSPORE_LAYER = {
    "attention.attention.query_layer": "attention.self.query",
    "attention.attention.key_layer": "attention.self.key",
    "attention.attention.value_layer": "attention.self.value",
    "attention.output.dense": "attention.output.dense",
    "attention.output.layernorm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output.dense": "output.dense",
    "output.layernorm": "output.LayerNorm",
}
_MINDSPORE_HEADS = {
    "cls1.dense": "cls.predictions.transform.dense",
    "cls1.layernorm": "cls.predictions.transform.LayerNorm",
    "cls1.output_bias": PREDICTION_BIAS,
    "cls2.dense": "cls.seq_relationship",
    "dense_1": "classifier",
    "dense": "classifier",
    "dense1": "qa_outputs",
}
_MINDSPORE_STATE = re.compile(
    r"^(?:adam_[mv]|lamb_[mv]|moment[s12]*|velocity|accum)\.|^(?:global_step|learning_rate|beta[12]_power|loss_scale|"
    r"scale_sense|epoch_num|step_num|(?:current|last_overflow)_iterator_step)$"
)


def _mindspore_place(name: str, inside: bool) -> Place:
    stem, _, leaf = name.rpartition(".")
    leaf = {"gamma": "weight", "beta": "bias"}.get(leaf, leaf)
    if not inside or name.startswith(("cls1.", "cls2.")):
        if target := _MINDSPORE_HEADS.get(name):
            return _known(target, inside)
        return _known(f"{_MINDSPORE_HEADS.get(stem, stem)}.{leaf}", inside)
    if target := _MINDSPORE_EMBEDDINGS.get(name):
        return Place(target)
    if layer := re.match(r"bert_encoder\.layers\.(\d+)\.(.+)$", stem):
        part = _MINDSPORE_LAYER.get(layer[2], layer[2])
        return _known(f"encoder.layer.{layer[1]}.{part}.{leaf}", inside)
    return _known(f"{_MINDSPORE_EMBEDDINGS.get(stem, stem)}.{leaf}", inside)


_LAYER_TENSOR = re.compile(
    r"encoder\.layer\.\d+\.(?:attention\.(?:self\.(?:query|key|value)|output\.(?:dense|LayerNorm))|intermediate\.dense|"
    r"output\.(?:dense|LayerNorm))\.(?:weight|bias)"
)
_HEAD_TENSOR = re.compile(
    r"(?:pooler\.dense|cls\.predictions(?:\.decoder|\.transform\.dense|\.transform\.LayerNorm)|cls\.seq_relationship|"
    r"lm_head(?:\.decoder|\.dense|\.layer_norm)|classifier(?:\.dense|\.out_proj)?|qa_outputs|fit_dense|"
    r"fit_denses\.\d+)\.(?:weight|bias)|(?:cls\.predictions|lm_head)\.bias"
)
_OF_ROBERTA, _OF_OTHERS = re.compile(r"lm_head\.|classifier\.(?:dense|out_proj)\."), re.compile(r"cls\.")
"""Heads that one family alone has under these names, and that it alone lacks."""
_UNKNOWN_HEAD = Place(reason="not a head that is known", problem=True)
_ENCODER_TENSORS = {
    WORDS,
    POSITIONS,
    "embeddings.token_type_embeddings.weight",
    "embeddings.LayerNorm.weight",
    "embeddings.LayerNorm.bias",
}


def _known(target: str, inside: bool, transposed: bool = False) -> Place:
    """The place, if a model folder has it."""
    if inside and (target in _ENCODER_TENSORS or _LAYER_TENSOR.fullmatch(target)):
        return Place(target, transposed)
    if _HEAD_TENSOR.fullmatch(target):
        return Place(target, transposed)
    return Place(reason=NO_PART, problem=True) if inside else _UNKNOWN_HEAD


_NOTHING = re.compile("(?!)")
SCHEMES = (
    Scheme("Hugging Face or original PyTorch", WORDS, _torch_place, _NOTHING),
    Scheme("TensorFlow BERT/NEZHA", "embeddings/word_embeddings", _tensorflow_place, _TENSORFLOW_STATE, tanh_gelu=True),
    # nn.Dense(activation="gelu") is the tanh form, nn.LayerNorm's epsilon is 1e-7 unless told otherwise
    Scheme(
        "MindSpore model zoo",
        "bert_embedding_lookup.embedding_table",
        _mindspore_place,
        _MINDSPORE_STATE,
        tanh_gelu=True,
        layer_norm_eps=1e-7,
    ),
)
_OTHERS = {
    "word_embeddings.embedding.weight": "an AutoTinyBERT super-network; extract a sub-network with its own tools first",
    "embeddings.word_embeddings_2.weight": "an ALBERT-like model, which ms_plm does not have",
    "distilbert.embeddings.word_embeddings.weight": "a DistilBERT model, which ms_plm does not have",
}


def recognise(names: Collection[str], where: str) -> Scheme:
    """The scheme of a checkpoint's names.

    Raises:
        UserError: none fits; says what was found instead.
    """
    plain = {_plain(name) for name in names}
    for scheme in SCHEMES:
        if any(name == scheme.words or name.endswith((f".{scheme.words}", f"/{scheme.words}")) for name in plain):
            return scheme
    for ending, what in _OTHERS.items():
        if any(name.endswith(ending) for name in plain):
            raise UserError(f"{where}: this is {what}.")
    some = ", ".join(sorted(names)[:5]) or "no tensors at all"
    ends = " or ".join(f"`...{scheme.words}`" for scheme in SCHEMES)
    raise UserError(
        f"{where}: not a BERT, NEZHA or RoBERTa checkpoint: no tensor is called {ends}. It holds {some} ..."
    )


def _plain(name: str) -> str:
    """MindSpore's students of general distillation carry `tinybert_` where other files have `bert_`."""
    return ".".join(re.sub("^tinybert_", "bert_", part) for part in name.split("."))


def places(scheme: Scheme, names: Collection[str], where: str) -> dict[str, Place]:
    """The place of every tensor.

    Raises:
        UserError: several encoders, one of a family that ms_plm does not have, or a learned relative table.
    """
    _refuse_learned_table(names, where)
    root = _root(scheme, names, where)
    outer = re.sub(r"[^./]+[./]$", "", root)  # heads stand beside the encoder, under what is around it
    named = root.endswith((*PREFIXES, "bert/"))
    found = {}
    for name in names:
        plain = _plain(name)
        if scheme.state.search(plain):
            found[name] = Place(reason=STATE)
        elif plain.startswith("teacher."):
            found[name] = Place(reason="of the teacher, not of this model")
        elif plain.startswith(root):  # under a name of its own all is the encoder's, else what begins like it
            rest = plain.removeprefix(root)
            found[name] = scheme.place(rest, named or rest.startswith(_BEGINNINGS))
        else:
            found[name] = scheme.place(plain.removeprefix(outer), False)
    strange = _OF_OTHERS if root.endswith("roberta.") else _OF_ROBERTA
    return {name: _UNKNOWN_HEAD if strange.match(place.target or "") else place for name, place in found.items()}


_BEGINNINGS = ("embeddings.", "embeddings/", "encoder.", "encoder/", "bert_", "dense.")


def named_roberta(scheme: Scheme, names: Collection[str], where: str) -> bool | None:
    """Whether what stands before the encoder's tensors is RoBERTa's name; None: no family is named there."""
    root = _root(scheme, names, where)
    return root.endswith("roberta.") if root.endswith((*PREFIXES, "bert/")) else None


def _root(scheme: Scheme, names: Collection[str], where: str) -> str:
    """What stands before the encoder's tensors, with its dot or slash."""
    plain = [name for name in map(_plain, names) if not scheme.state.search(name)]
    roots = sorted({name.removesuffix(scheme.words) for name in plain if name.endswith(scheme.words)})
    students = [root for root in roots if not root.startswith("teacher.")]
    if len(students) != 1:
        raise UserError(f"{where}: holds several encoders ({', '.join(roots)}); save the one that is meant alone.")
    family = re.split(r"[./]", students[0])[-2] if students[0] else ""
    if family not in ("", *FAMILIES, "module", "model", "network"):
        raise UserError(
            f"{where}: the encoder's tensors are called `{students[0]}...`: this is a checkpoint of the family "
            f"{family}. ms_plm has {', '.join(FAMILIES)}."
        )
    return students[0]


def _refuse_learned_table(names: Collection[str], where: str) -> None:
    tables = [n for n in names if re.search(r"relative_positions?_embeddings\.embeddings_table$", n)]
    tables += [n for n in names if re.search(r"relative_positions_(?:keys|values)/embeddings$|distance_embedding", n)]
    if tables:
        raise UserError(
            f"{where}: holds a learned table of relative positions ({tables[0]}, {len(tables)} in all). What the model "
            "zoo of MindSpore calls nezha trains such tables (reach 16, one a layer); the published NEZHA computes one "
            "fixed sinusoid, and that is what ms_plm has. This model cannot be expressed; convert a published NEZHA, "
            "or train one with ms_plm."
        )
