"""The typed schema of the settings of a run.

The members of the slots are not known here: `textvae.builder` derives their schemas from the constructors.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from textvae.fields import Count, Natural, Positive

__all__ = ["Config", "Member", "changed_keys", "epochs", "flat", "of_runtime", "signature"]

EPOCHS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) epochs?", re.ASCII)
RUNTIME = ("device", "threads", "training.checkpoint_every", "training.graphs")
"""Keys of any stage that may change between two calls on the same run: they do not affect what its steps compute.

So may the run's own budget, with one exception: a run is validated at the end of its budget. If that lies
between two validations and the run is then extended, it has had one more than a run with the larger budget;
`train` says so.
"""


def epochs(value: object) -> float | None:
    """The number in `"10 epochs"`, or None for anything else."""
    match = EPOCHS.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1]) if match else None


def _duration(value: object) -> int | str:
    if isinstance(value, str) and epochs(value) is not None:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    raise ValueError('must be a number of steps, at least 0 and less than 2³¹, or text such as "10 epochs"')


def _interval(value: object) -> int | str:
    found = _duration(value)
    if found == 0 or epochs(found) == 0:
        raise ValueError("must be above 0: every so many steps, or epochs if written so")
    return found


Duration = Annotated[int | str, PlainValidator(_duration)]
"""A number of optimiser steps, or text such as `"10 epochs"`."""
Interval = Annotated[int | str, PlainValidator(_interval)]
"""A duration above 0."""
Seed = Annotated[int, Ge(0), Lt(2**32)]


class Section(BaseModel):
    """A mapping that accepts only known keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Member(BaseModel):
    """A member of a slot: its kind and its constructor's arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Data(Section):
    """The corpus, its tokenisation and batches."""

    corpus: str = "grammar"
    """A corpus that `textvae corpus list` names, a folder with train, valid and test, or a file."""
    column: str | None = None
    """The text column of a table."""
    tokenizer: Literal["word", "unigram", "bpe", "char"] = "word"
    """word, unigram, bpe or char; trained on the train split alone."""
    min_count: Count = 1
    """Words that occur less often in train are unknown."""
    vocabulary_size: Count | None = None
    """The largest number of types; by default all words, or as many pieces as suit the text."""
    max_length: Count | None = 200
    """The most tokens that are read of a sentence, EOS not counted; longer ones are cut, and their number said."""
    batch_size: Count = 32
    """Sentences in a step."""


class Model(Section):
    """The sizes and families of posterior, prior and decoder."""

    latent_dim: Natural = 32
    """Dimensions of z; with 0 the model is a language model."""
    encoder: Member = Member(kind="lstm")
    posterior: Member = Member(kind="diagonal")
    prior: Member = Member(kind="standard_normal")
    decoder: Member = Member(kind="lstm")
    init_range: Positive | None = None
    """Weights start uniform in ± this; by default as torch initialises them."""
    embedding_init_range: Positive | None = None
    """Embeddings start uniform in ± this; by default as torch initialises them."""


class Objective(Section):
    """loss = distortion_weight · distortion + weight · penalty + auxiliary, under a bound."""

    weight: Member = Member(kind="constant")
    distortion_weight: Member = Member(kind="constant")
    penalty: Member = Member(kind="rate")
    auxiliary: Member = Member(kind="none")
    bound: Member = Member(kind="elbo")
    corruption: Member = Member(kind="none")
    inference: Member = Member(kind="amortised")
    word_dropout: Member = Member.model_validate({"kind": "constant", "value": 0.0})
    teacher_forcing: Member = Member(kind="constant")
    samples: Count = 1
    """Number of z drawn for each sentence in a step."""


class Decay(Section):
    """When valid stops improving, multiply the learning rate by `factor` and restore the best weights."""

    factor: Annotated[float, Gt(0), Lt(1)] = 0.5
    """What multiplies the learning rate when valid stops improving; training then goes on from the best weights."""
    patience: Count = 2
    """Validations without improvement before a decay."""
    after: Duration = 0
    """No decay comes before this step."""
    times: Count = 5
    """The largest number of decays; when one more is due, the run ends."""


class Training(Section):
    """Budget, optimiser, precision, CUDA graphs and validation interval."""

    budget: Duration = "10 epochs"
    """When training ends; `--steps` sets it, too."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Of matrix products in training: float32, or on a CUDA device tf32 or bf16."""
    graphs: bool | None = None
    """Whether steps are recorded as CUDA graphs; by default where they can be."""
    optimiser: Member = Member(kind="adam")
    update: Member = Member(kind="joint")
    decay: Decay | None = None
    stop_after: Count | None = None
    """Validations without improvement after which the run ends."""
    validate_every: Interval = "1 epochs"
    """How often valid is measured, and the best weights are selected."""
    log_every: Annotated[int, Ge(1), Le(50)] = 50
    """Steps between the rows of training in `metrics.jsonl` and TensorBoard."""
    checkpoint_every: Count | None = None
    """Steps between checkpoints, besides those of every validation and every 45 seconds."""


class Config(Section):
    """Everything that determines a run.

    `first` holds the settings of a preceding stage; `inherit` maps a part of this model
    (`posterior.encoder`, …) to the part of the first stage's model that initialises it.
    """

    seed: Seed = 0
    """Seed of the initial weights, the order of batches and all noise."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, …"""
    threads: Annotated[int, Ge(1), Le(1024)] | None = None
    """CPU threads; by default as many as torch chooses."""
    data: Data = Data()
    model: Model = Model()
    objective: Objective = Objective()
    training: Training = Training()
    first: "Config | None" = None
    """The settings of a stage that is trained before, or its recipe; `first.training.budget` is its own budget."""
    inherit: dict[str, str] = Field(default={})
    """Which parts start as parts of the first stage's model, such as `{posterior.encoder: posterior.encoder}`."""

    def plain(self) -> dict[str, Any]:
        """As nested plain mappings, including defaults."""
        return self.model_dump(mode="json")

    def flat(self) -> dict[str, Any]:
        """By dotted key."""
        return dict(flat(self.plain()))


def flat(values: Mapping[str, Any], at: str = "") -> Iterable[tuple[str, Any]]:
    """Nested values by dotted key."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{at}{name}.")
        else:
            yield f"{at}{name}", value


def of_runtime(key: str) -> bool:
    """Whether a dotted key, of any stage, does not affect what the steps compute."""
    return key.rpartition("first.")[2] in RUNTIME


def _may_change(key: str) -> bool:
    return key == "training.budget" or of_runtime(key)


def changed_keys(old: Config, new: Config) -> list[str]:
    """Dotted keys that differ and may not change on an existing run."""
    before, after = old.flat(), new.flat()
    keys = sorted(before.keys() | after.keys())
    return [key for key in keys if not _may_change(key) and before.get(key) != after.get(key)]


def signature(config: Config) -> str:
    """A short hash of all settings that determine what the steps of the run compute."""
    values = {key: value for key, value in config.flat().items() if not _may_change(key)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
