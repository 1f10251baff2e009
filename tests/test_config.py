# ruff: noqa: E501  (tables of sentences)
"""Settings: how files and options merge, and that every wrong one is one sentence with file, key and choices."""

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipes import NAMES, complaint, complete, settings_of

from textvae import builder
from textvae.config import Config, Draft, changed_keys, recipe_files, signature
from textvae.errors import ConfigError

CORPORA, REMEDIES = recipe_files("corpora"), recipe_files("remedies")


def name(path):
    return path.stem


# What merges


def test_defaults_are_complete():
    config = complete()
    assert config.model.decoder.arguments["hidden_dim"] == 256
    assert config.training.optimiser.arguments == {"lr": 0.001, "weight_decay": 0.0}
    assert builder.complete(Draft(config.plain())) == config


def test_files_merge_left_to_right_and_options_last():
    first = "seed: 1\nmodel: {latent_dim: 8, encoder: {hidden_dim: 64}}"
    second = "model: {latent_dim: 9}"
    assert complete(first, second).model.latent_dim == 9
    assert complete(second, first).model.latent_dim == 8
    merged = complete(first, second, model__latent_dim=10)
    assert (merged.seed, merged.model.latent_dim) == (1, 10)
    assert merged.model.encoder.arguments["hidden_dim"] == 64


def test_a_member_of_the_same_kind_keeps_what_is_not_said_again():
    config = complete("training: {optimiser: {kind: sgd, lr: 0.5}}", "training: {optimiser: {momentum: 0.9}}")
    assert config.training.optimiser.arguments == {"lr": 0.5, "momentum": 0.9}


def test_a_member_of_another_kind_replaces_the_one_before_it_whole():
    config = complete(
        "training: {optimiser: {kind: sgd, lr: 0.5, momentum: 0.9}}", "training: {optimiser: {kind: adam}}"
    )
    assert config.training.optimiser.arguments == {"lr": 0.001, "weight_decay": 0.0}


def test_a_remedy_leaves_the_sizes_of_the_corpus_alone():
    config = complete("ptb", "free_bits")
    assert config.model == complete("ptb").model
    assert config.objective.penalty.kind == "free_bits_per_dimension"


@pytest.mark.parametrize("budget", [7, "3 epochs", "0.5 epochs", 0])
def test_steps_replaces_any_budget(budget):
    assert complete(f"training: {{budget: {budget}}}").training.budget == budget
    assert complete(f"training: {{budget: {budget}}}", steps=11).training.budget == 11


def test_epochs_become_steps_once():
    assert builder.in_steps({"a": "2 epochs", "b": ["1 epochs", 3], "c": {"d": "0.5 epoch"}}, 7) == {
        "a": 14, "b": ["1 epochs", 3], "c": {"d": 4},
    }  # fmt: skip
    assert builder.in_steps("1.1 epochs", 50) == 55


def test_epochs_are_kept_in_the_settings_where_steps_are_asked_for():
    config = complete("objective: {weight: {kind: linear, steps: 10 epochs}}")
    assert config.objective.weight.arguments["steps"] == "10 epochs"
    config = complete(
        "objective: {weight: {kind: cyclical, length: 2 epochs}, word_dropout: {kind: sigmoid, midpoint: 1 epoch}}"
    )
    assert config.objective.weight.arguments["length"] == "2 epochs"
    assert config.objective.word_dropout.arguments["midpoint"] == "1 epoch"


def test_yaml_floats_without_a_dot_are_floats():
    assert yaml.safe_load("1e-4") == "1e-4"
    config = complete("training: {optimiser: {lr: 1e-4}}\nmodel: {init_range: 1e-2}")
    assert config.training.optimiser.arguments["lr"] == 1e-4
    assert config.model.init_range == 0.01


def test_what_is_written_is_read_back_the_same():
    config = complete("ptb", "cyclical", "data: {corpus: Müßiggang}")
    text = yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True)
    assert builder.complete(Draft(yaml.safe_load(text))) == config


# What ships


@pytest.mark.parametrize(("corpus", "remedy"), list(product(CORPORA, REMEDIES)), ids=name)
def test_every_remedy_fits_every_corpus(corpus, remedy):
    config = complete(corpus.stem, remedy.stem)
    for slot in builder.SLOTS:
        section, member = slot.split(".")
        given = yaml.safe_load(remedy.read_text("utf-8")).get(section, {}).get(member, {})
        assert getattr(getattr(config, section), member).model_dump().items() >= given.items()


@pytest.mark.parametrize("file", [*CORPORA, *REMEDIES], ids=name)
def test_a_recipe_begins_with_what_it_is(file):
    assert re.fullmatch(r"# \S.{10,110}", file.read_text("utf-8").split("\n")[0])


AUTHOR_AND_YEAR = r"[^\W\d_][^\d—]* (?:19|20)\d\d"


@pytest.mark.parametrize("file", REMEDIES, ids=name)
def test_a_remedy_begins_with_its_author_and_year(file):
    """`# Author Year — what it does`, several of them, or one with a word on which version."""
    first = file.read_text("utf-8").split("\n")[0]
    several = rf"# {AUTHOR_AND_YEAR}(?:, {AUTHOR_AND_YEAR})*(?:, [^—]+)? — \S.+"
    assert re.fullmatch(several, first)


@pytest.mark.parametrize("file", REMEDIES, ids=name)
def test_a_remedy_is_a_few_lines_and_changes_no_data(file):
    assert 3 <= len(file.read_text("utf-8").splitlines()) <= 8
    assert set(yaml.safe_load(file.read_text("utf-8"))) <= {"first", "inherit", "model", "objective", "training"}


# The run's name


def test_the_signature_belongs_to_what_the_steps_compute():
    config = complete("ptb")
    same = [complete("ptb", steps=3), complete("ptb", device="cuda"), complete("ptb", threads=1)]
    assert {signature(other) for other in same} == {signature(config)}
    others = [complete("ptb", seed=1), complete("ptb", "beta"), complete("ptb", training__optimiser__lr=0.5)]
    assert len({signature(config), *map(signature, others)}) == 4


@pytest.mark.parametrize("stage", ["", "first.", "first.first."])
def test_where_a_stage_ran_is_no_other_setting_and_what_it_computed_is(stage):
    first = {"recipe": "pretrained_free_bits"}  # which has a first stage of its own
    made = complete("vanilla", first=first)
    there = complete("vanilla", first=first, **{f"{stage}threads".replace(".", "__"): 3})
    other = complete("vanilla", first=first, **{f"{stage}training.optimiser.lr".replace(".", "__"): 0.5})
    assert changed_keys(made, there) == []
    assert signature(made) == signature(there)
    assert f"{stage}training.optimiser.lr" in changed_keys(made, other)


def test_changed_keys_are_named_in_full():
    old, new = complete("ptb"), complete("ptb", seed=1, steps=5, training__optimiser__lr=0.5)
    assert changed_keys(old, new) == ["seed", "training.optimiser.lr"]
    assert changed_keys(complete(), complete("linear"))[-1] == "objective.weight.value"
    decay = [f"training.decay.{key}" for key in ("after", "factor", "patience", "times")]
    plain, decaying = complete(), complete(training__decay__factor=0.5)
    assert changed_keys(plain, decaying) == changed_keys(decaying, plain) == decay


# What is wrong, in one sentence


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modle: {}", "text: modle: unknown key (did you mean model?); valid keys are seed, device, threads, data, model"),
        ("model: {latnt_dim: 3}", "text: model.latnt_dim: unknown key (did you mean latent_dim?); valid keys are latent_dim,"),
        ("training: {decay: {patiens: 2}}", "training.decay.patiens: unknown key (did you mean patience?)"),
        ("model: {decoder: {hiden_dim: 3}}", "model.decoder.hiden_dim: unknown key (did you mean hidden_dim?); valid keys are"),
        ("objective: {penalty: {nats: 3}}", "objective.penalty.nats: unknown key; there are no keys to set here"),
        ("model: {latent_dim: many}", "text: model.latent_dim: must be a whole number, not 'many'"),
        ("model: {latent_dim: 3.5}", "model.latent_dim: must be a whole number, not 3.5"),
        ("model: {latent_dim: -1}", "model.latent_dim: must be at least 0, not -1"),
        ("model: {latent_dim: 9999999999}", "model.latent_dim: must be less than 2147483648"),
        ("model: 3", "text: model: must be a mapping of keys to values, not 3"),
        ("model: [latent_dim]", "text: model: must be a mapping of keys to values, not ['latent_dim']"),
        ("model: {encoder: gru}", "model.encoder: must be a mapping such as {kind: NAME}, not 'gru'"),
        ("model: {encoder: {kind: gru}}", "model.encoder.kind: unknown kind 'gru'; choose from lstm, bag_of_words, transformer, none, or write"),
        ("model: {encoder: {kind: 3}}", "model.encoder.kind: must be text, not 3"),
        ("model: {encoder: {kind: null}}", "model.encoder.kind: must be text, not null"),
        ("model: {encoder: {bidirectional: perhaps}}", "model.encoder.bidirectional: must be true or false, not 'perhaps'"),
        ("model: {encoder: {pooling: sum}}", "model.encoder.pooling: must be 'last', 'mean' or 'max', not 'sum'"),
        ("model: {decoder: {dropout_in: 1.5}}", "model.decoder.dropout_in: must be at most 1.0, not 1.5"),
        ("model: {decoder: {kind: dilated_convolution, dilations: 3}}", "model.decoder.dilations: must be a list, not 3"),
        ("model: {decoder: {hidden_dim: 10 epochs}}", "model.decoder.hidden_dim: must be a whole number, not '10 epochs'"),
        ("model: {init_range: 0}", "model.init_range: must be more than 0.0, not 0"),
        ("model: {init_range: .inf}", "model.init_range: must be a finite number, not inf"),
        ("model: {init_range: 1e30}", "text: the loss of the untrained model is not finite"),
        ("training: {optimiser: {lr: .nan}}", "training.optimiser.lr: must be"),
        ("training: {optimiser: {lr: fast}}", "training.optimiser.lr: must be a number, not 'fast'"),
        ("training: {decay: {factor: 1}}", "training.decay.factor: must be less than 1.0, not 1"),
        ("training: {decay: 3}", "training.decay: must be a mapping of keys to values, not 3"),
        ("training: {budget: 10 epochen}", 'training.budget: must be a number of steps, at least 0 and less than 2³¹, or text such as "10 epochs", not'),
        ("training: {budget: -1}", "training.budget: must be a number of steps, at least 0"),
        ("training: {budget: 1.5}", "training.budget: must be a number of steps"),
        ("training: {budget: true}", "training.budget: must be a number of steps"),
        ("training: {validate_every: [1]}", "training.validate_every: must be a number of steps"),
        ("training: {validate_every: 0}", "training.validate_every: must be above 0"),
        ("training: {validate_every: 0.0 epochs}", "training.validate_every: must be above 0"),
        ("training: {log_every: 0}", "training.log_every: must be at least 1, not 0"),
        ("data: {tokenizer: words}", "data.tokenizer: must be 'word', 'unigram', 'bpe' or 'char', not 'words'"),
        ("data: {batch_size: 0}", "data.batch_size: must be at least 1, not 0"),
        ("data: {corpus: null}", "data.corpus: must be text, not null"),
        ("objective: {weight: {kind: linear}}", "text: objective.weight.steps: must be given"),
        ("objective: {penalty: {kind: free_bits_total}}", "text: objective.penalty.nats_total: must be given"),
        ("objective: {weight: {kind: linera, steps: 3}}", "objective.weight.kind: unknown kind 'linera' (did you mean linear?)"),
        ("objective: {weight: {steps: 3}}", "text: objective.weight.steps: unknown key; valid keys are value"),
        ("objective: {weight: {kind: cyclical, length: 0 epochs}}", "objective.weight.length: must be at least 1, not 0"),
        ("objective: {word_dropout: {value: 1.5}}", "objective.word_dropout.value: must be at most 1, not 1.5"),
        ("objective: {word_dropout: {kind: linear, steps: 9, end: 2}}", "objective.word_dropout.end: must be at most 1, not 2"),
        ("objective: {teacher_forcing: {value: 1.5}}", "objective.teacher_forcing.value: must be at most 1, not 1.5"),
        ("seed: -1", "text: seed: must be at least 0, not -1"),
        ("seed: 4294967296", "text: seed: must be less than 4294967296"),
        ("threads: 0", "text: threads: must be at least 1, not 0"),
        ("data: {corpus: 2024-01-01}", "data.corpus: must be UTF-8 text, a number or a list, not datetime.date(2024, 1, 1)"),
        ("objective: {penalty: {kind: !!binary aaaa}}", "objective.penalty.kind: must be UTF-8 text, a number or a list, not b"),
        ("1: 2", "text: 1: a key must be text, not 1"),
        ("model: {true: 2}", "text: model.True: a key must be text, not true"),
        ('"a\\nb": 2', "'a\\nb': unknown key"),
    ],
)  # fmt: skip
def test_a_wrong_setting_names_origin_key_and_choices(text, says):
    assert says in complaint(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: {decoder: {tied: true, hidden_dim: 8}}", "model.decoder: tied embeddings need embedding_dim equal to hidden_dim, not 256 and 8"),
        ("model: {posterior: {kind: dirac}}", "objective.penalty.kind: rate needs a rate, and a posterior without a density (dirac) has none; choose none"),
        ("model: {posterior: {kind: dirac}}\nobjective: {penalty: {kind: free_bits_total, nats_total: 1}}", "text: objective.penalty.kind: free_bits_total needs a rate"),
        ("model: {posterior: {kind: dirac}}\nobjective: {penalty: {kind: free_bits_per_dimension, nats_per_dimension: 1}}", "free bits need a rate, and this posterior has none; choose the penalty none"),
        ("model: {posterior: {kind: dirac}}\nobjective: {penalty: {kind: free_bits_per_dimension, nats_per_dimension: 1}}", "text: objective.penalty.kind: "),
    ],
)  # fmt: skip
def test_an_impossible_combination_is_refused_before_work_starts(text, says):
    assert says in complaint(text)


def test_who_penalises_a_rate_that_is_not_there_is_named():
    assert complaint("autoencoder", "vanilla").startswith(str(next(f for f in REMEDIES if f.stem == "vanilla")))
    assert complaint("autoencoder", "free_bits").startswith(str(next(f for f in REMEDIES if f.stem == "free_bits")))


def test_an_option_is_blamed_by_its_own_name():
    assert complaint(steps=-3).startswith("--steps: must be ")
    assert complaint(training__budget=-3).startswith("--training.budget: must be ")
    assert complaint(tokenizer="words").startswith("--tokenizer: must be 'word'")
    assert complaint(objective__weight__kind="linear").startswith(
        "--objective.weight.kind: objective.weight.steps: must"
    )
    assert complaint(model__encoder__hidden_dim=0).startswith(
        "--model.encoder.hidden_dim: must be at least 1, not 0"
    )


def test_the_last_to_set_a_key_is_blamed(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("model: {latent_dim: 3}\nobjective: {weight: {kind: linear, steps: 5}}")
    bad.write_text("model: {latent_dim: -3}")
    assert complaint(str(good), str(bad)).startswith(f"{bad}: model.latent_dim")
    bad.write_text("objective: {weight: {kind: cyclical}}")
    assert complaint(str(good), str(bad)) == f"{bad}: objective.weight.length: must be given"
    bad.write_text("objective: {weight: {kind: cosine}}")
    assert complaint(str(good), str(bad)) == f"{bad}: objective.weight.steps: must be given"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"model: {latent_dim: 3", "not valid YAML"),
        (b"model:\n\tlatent_dim: 3", "not valid YAML"),
        (b"seed: 1\nmodel: {latent_dim: 3}\nseed: 2", "not valid YAML: duplicate key 'seed' on line 3"),
        (b"model: {latent_dim: 3, latent_dim: 4}", "duplicate key 'latent_dim' on line 1"),
        (
            b"- model\n- training",
            "must be a mapping of sections such as model and training, not ['model', 'training']",
        ),
        (b"latent_dim", "must be a mapping of sections"),
        (b"0", "must be a mapping of sections"),
        (b"model: \xff", "cannot be read"),
        (b"seed: 1\x00", "not valid YAML"),
        (b"seed: !!python/object/apply:os.system [exit]", "not valid YAML"),
        (b"seed: 2024-13-45", "not valid YAML"),
        (b"model: &m {encoder: *m}", "contains itself"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_sentence(content, says, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    sentence = complaint(str(file))
    assert sentence.startswith(f"{file}: ")
    assert says in sentence


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "{}"])
def test_an_empty_file_changes_nothing(content, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    assert complete(str(file)) == complete()


def test_a_file_that_is_not_there():
    assert complaint("nowhere.yaml") == "nowhere.yaml: no such file"


def test_a_recipe_that_is_not_there():
    sentence = complaint("free_bit")
    assert sentence.startswith(
        "free_bit: no corpus or remedy of this name (did you mean free_bits?), or give a file"
    )
    sentence = complaint("qqq")
    assert sentence.startswith("qqq: no corpus or remedy of this name; choose from ")
    assert all(file.stem in sentence for file in [*CORPORA, *REMEDIES])


def test_a_hyphen_is_an_underscore_in_the_name_of_a_recipe():
    assert complete("grammar-stream", "free-bits") == complete("grammar_stream", "free_bits")


# Members from outside

OUTSIDE = """
import torch
from torch import nn
from textvae.objectives.penalties.penalty import Penalty
from textvae.models.priors import Prior

class Squared(Penalty):
    def __init__(self, *, scale: float, free=None):
        self.scale = scale
    def __call__(self, done, step):
        return self.scale * done.terms.rate.square().mean()

class Stubborn(Penalty):
    def __init__(self):
        raise ValueError("not today")
    def __call__(self, done, step):
        return 0

calls = []
def penalty(*, scale=1.0):
    calls.append(scale)
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "__init__.py").write_text("")
    (tmp_path / "outside" / "penalties.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    return "outside.penalties"


def test_a_class_from_outside_is_a_member_like_any_other(outside):
    config = complete(objective__penalty__kind=f"{outside}:Squared", objective__penalty__scale="2")
    assert config.objective.penalty.arguments == {"scale": 2.0, "free": None}


def test_its_arguments_are_checked(outside):
    kind = {"objective__penalty__kind": f"{outside}:Squared"}
    assert "objective.penalty.scale: must be given" in complaint(**kind)
    assert "must be a number, not 'big'" in complaint(**kind, objective__penalty__scale="big")
    assert "unknown key; valid keys are scale, free" in complaint(
        **kind, objective__penalty__size=1, objective__penalty__scale=1
    )


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (
            "OUTSIDE:Nothing",
            "cannot be imported: AttributeError: module 'outside.penalties' has no attribute 'Nothing'",
        ),
        ("OUTSIDE.deeper:Squared", "cannot be imported: there is no module"),
        (
            "nowhere:Squared",
            "cannot be imported: there is no module nowhere; run from the folder that holds nowhere",
        ),
        ("my/penalties.py:Squared", "name the module and not its file: my.penalties:Squared"),
        (":Squared", "cannot be imported"),
        ("OUTSIDE:", "cannot be imported"),
        ("OUTSIDE:penalty", "is not a subclass of textvae.objectives.penalties.penalty.Penalty"),
        ("OUTSIDE:Prior", "is not a subclass of"),
        ("os:system", "is not a subclass of"),
        ("OUTSIDE:Stubborn", "objective.penalty: not today"),
    ],
)
def test_what_cannot_be_a_member_is_refused(kind, says, outside):
    sentence = complaint(objective__penalty__kind=kind.replace("OUTSIDE", outside))
    assert sentence.startswith("--objective.penalty.kind: ")
    assert says in sentence


MISTAKEN = """
import torch
from textvae.objectives.auxiliaries.auxiliary import Auxiliary
from textvae.objectives.penalties.penalty import Penalty

class Misspelt(Penalty):
    def __call__(self, done, step):
        return done.terms.rte.mean()

class Misshapen(Penalty):
    def __call__(self, done, step):
        return (done.z @ torch.ones(7, 7)).mean()

class PerSentence(Penalty):
    def __call__(self, done, step):
        return done.terms.rate

class PerSample(Penalty):
    def __call__(self, done, step):
        return torch.ones(5, 3)

class Number(Penalty):
    def __call__(self, done, step):
        return 0.0

class Nothing(Penalty):
    def __call__(self, done, step):
        return None

class Unbuilt(PerSentence):
    def __init__(self):
        self.scale = nowhere

class Unread(PerSentence):
    def __init__(self, *, scale: "Nowhere" = 1):
        pass

class Extra(Auxiliary):
    def __init__(self, model, vocabulary):
        super().__init__()
    def forward(self, done, step):
        return done.terms.rate
"""


@pytest.fixture
def mistaken(tmp_path, monkeypatch):
    (tmp_path / "mistaken.py").write_text(MISTAKEN)
    (tmp_path / "broken.py").write_text("nowhere.import_of(1)")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("slot", "kind", "says"),
    [
        (
            "penalty",
            "broken:Penalty",
            "'broken:Penalty' cannot be imported: NameError: name 'nowhere' is not defined",
        ),
        (
            "penalty",
            "mistaken:Unbuilt",
            "mistaken:Unbuilt cannot be built: NameError: name 'nowhere' is not defined",
        ),
        (
            "penalty",
            "mistaken:Unread",
            "mistaken:Unread has parameters that cannot be read: NameError: name 'Nowhere'",
        ),
        (
            "penalty",
            "mistaken:Misspelt",
            "mistaken:Misspelt failed: AttributeError: 'Terms' object has no attribute",
        ),
        ("penalty", "mistaken:Misshapen", "mistaken:Misshapen failed: RuntimeError: "),
        ("penalty", "mistaken:PerSentence", "mistaken:PerSentence must return a scalar tensor, not shape (2,)"),
        ("penalty", "mistaken:PerSample", "mistaken:PerSample must return a scalar tensor, not shape (5, 3)"),
        ("penalty", "mistaken:Number", "mistaken:Number must return a scalar tensor, not float"),
        ("penalty", "mistaken:Nothing", "mistaken:Nothing failed: TypeError: "),
        ("auxiliary", "mistaken:Extra", "mistaken:Extra must return a scalar tensor, not shape (2,)"),
    ],
)
@pytest.mark.usefixtures("mistaken")
def test_a_mistake_in_a_class_from_outside_is_one_sentence_about_it(slot, kind, says):
    sentence = complaint(**{f"objective__{slot}__kind": kind})
    assert sentence.startswith(f"--objective.{slot}.kind: ")
    assert says in sentence
    assert "\n" not in sentence


@pytest.mark.usefixtures("mistaken")
def test_what_is_too_large_is_not_the_fault_of_a_class_from_outside():
    assert "mistaken" not in complaint(objective__penalty__kind="mistaken:Number", model__latent_dim=10**12)


def test_a_function_from_outside_is_never_called(outside):
    complaint(objective__penalty__kind=f"{outside}:penalty")
    import outside.penalties

    assert outside.penalties.calls == []


# Anything else

WORDS = sorted(
    {*Config.model_fields, *Config().model.__class__.model_fields, *Config().objective.__class__.model_fields,
     *Config().training.__class__.model_fields, *Config().data.__class__.model_fields, "kind", "steps", "lr", "layers",
     "hidden_dim", "factor", "nats_total", "pooling", "value"}
)  # fmt: skip
KINDS = ["lstm", "none", "dirac", "linear", "cyclical", "free_bits_total", "rate", "sgd", "a:b", ":", "os:system"]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.sampled_from([10**12, 10**30, -(10**30)]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([*KINDS, "3 epochs", "1e-4", "last"]),
    st.dates(),
    st.binary(max_size=3),
)
keys = st.one_of(st.sampled_from(WORDS), st.text(max_size=4), st.integers(), st.none())
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    ),
    max_leaves=12,
)


def outcome(settings_of):
    """The settings, or the one sentence of a ConfigError; anything else that is raised fails the test."""
    try:
        return settings_of()
    except ConfigError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert len(sentence) < 1000
    return sentence


@pytest.mark.parametrize("remedy", ["bn_vae", "scale_vae", "du_vae"])
def test_statistics_of_a_batch_need_two_sentences(remedy):
    sentence = complaint("grammar", remedy, data__batch_size=1)
    assert sentence.startswith("--data.batch_size: ")
    assert "needs batches of at least two sentences" in sentence
    complete("grammar", remedy, data__batch_size=2)


def test_python_values_are_those_of_yaml():
    draft = Draft()
    draft.set("data.corpus", Path("some/corpus"))
    draft.set("seed", np.int64(3))
    draft.set("training.optimiser", {"kind": "sgd", "lr": np.float32(0.5)})
    draft.set("model.decoder", {"kind": "dilated_convolution"})
    draft.set("model.decoder.dilations", (1, 2))
    found = builder.complete(draft)
    assert (found.data.corpus, found.seed) == ("some/corpus", 3)
    assert found.training.optimiser.arguments["lr"] == 0.5
    assert found.model.decoder.arguments["dilations"] == [1, 2]


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("seed", "--seed: must be a number, not true"),
        ("model.latent_dim", "--model.latent_dim: must be a number, not true"),
        ("training.optimiser.lr", "--training.optimiser.lr: must be a number, not true"),
    ],
)
def test_true_is_no_number(key, says):
    draft = Draft()
    draft.set(key, True)
    assert says in outcome(lambda: builder.complete(draft))


def test_without_a_first_stage_nothing_is_inherited():
    draft = Draft()
    draft.set("inherit", {"decoder": "decoder"})
    assert outcome(lambda: builder.complete(draft)).startswith("--inherit: there is nothing to inherit from")


def test_of_two_remedies_in_one_slot_the_first_is_said_to_be_replaced():
    draft = Draft()
    draft.merge_file("free_bits")
    with pytest.warns(
        UserWarning, match=r"objective.penalty: free_bits_per_dimension of .* is replaced by .*total"
    ):
        draft.merge_file("free_bits_total")
    draft.set("objective.penalty.kind", "rate")  # an option says so itself


def test_a_posterior_of_another_remedy_is_said_to_be_replaced_and_that_of_a_corpus_is_not():
    draft = Draft()
    draft.merge_file("demo")
    draft.merge_file("transformer")  # demo's decoder is an LSTM
    draft.merge_file("bn_vae")
    with pytest.warns(UserWarning, match=r"model.posterior: batch_norm of .* is replaced by vmf of "):
        draft.merge_file("vmf")


def test_a_file_with_other_settings_of_the_data_is_a_remedy_still(tmp_path):
    for name, data in (("mine.yml", "{batch_size: 64}"), ("corpus.yml", "{corpus: words/}")):
        penalty = "{kind: free_bits_total, nats_total: 3.0}"
        (tmp_path / name).write_text(f"data: {data}\nobjective: {{penalty: {penalty}}}\n", "utf-8")
    draft = Draft()
    for name in ("demo", tmp_path / "corpus.yml", tmp_path / "mine.yml"):
        draft.merge_file(str(name))
    assert draft.remedies() == ["mine"]
    assert draft.chosen_by("objective.penalty") == str(tmp_path / "mine.yml")
    with pytest.warns(UserWarning, match=r"free_bits_total of .*mine.yml is replaced by free_bits_per_dimension"):
        draft.merge_file("free_bits")


NO_Z, NOT_LEARNED, UNREAD = "without a z", "nothing that is learned", "reads no words"


@pytest.mark.parametrize(
    ("names", "slots", "why"),
    [
        (("lm", "free_bits"), {"objective.penalty"}, NO_Z),
        (("beta", "lm"), {"objective.weight"}, NO_Z),
        (("lm", "bag_of_words"), {"objective.auxiliary", "objective.weight"}, NO_Z),
        (("lm", "iwae"), {"objective.bound"}, NO_Z),
        (("lm", "bn_vae"), {"model.posterior", "objective.weight"}, NO_Z),
        (("vmf", "beta"), {"objective.weight"}, NOT_LEARNED),
        (("vmf", "free_bits_total"), {"objective.penalty"}, NOT_LEARNED),
        (("autoencoder", "linear"), {"objective.weight"}, NOT_LEARNED),
        (("inputless", "word_dropout"), {"objective.word_dropout"}, UNREAD),
        (("unigram", "scheduled_sampling"), {"objective.teacher_forcing"}, UNREAD),
        (("lm", "vanilla"), set(), ""),
        (("demo", "lm", "word_dropout"), set(), ""),
        (("vmf", "vamp_prior", "iwae"), set(), ""),
    ],
)
def test_a_member_that_cannot_act_is_remarked_on(names, slots, why, recwarn):
    draft = Draft()
    for name in names:
        draft.merge_file(name)
    recwarn.clear()  # of members that are replaced
    builder.complete(draft)
    said = [str(each.message) for each in recwarn]
    assert {sentence.partition(":")[0] for sentence in said} == slots
    assert all(".yaml has no effect: " in sentence and why in sentence for sentence in said)


def test_a_default_that_is_written_out_is_not_remarked_on(recwarn):
    """As in the configuration of a run; but a weight below 1 is meant to have an effect."""
    draft = Draft()
    draft.merge_file("lm")
    draft.merge({"objective": Config().plain()["objective"]}, "mine.yaml")
    draft.merge({"model": {"posterior": {"kind": "diagonal"}}}, "mine.yaml")
    builder.complete(draft)
    assert not recwarn.list
    draft.merge({"objective": {"weight": {"value": 0.5}, "word_dropout": {"value": 0.0}}}, "mine.yaml")
    builder.complete(draft)
    assert [str(each.message).partition(":")[0] for each in recwarn] == ["objective.weight"]


@pytest.mark.parametrize("remedy", NAMES)
def test_every_remedy_acts_by_itself(remedy, recwarn):
    settings_of(remedy)
    assert not [each for each in recwarn if "has no effect" in str(each.message)]


mappings = st.dictionaries(st.sampled_from(WORDS[:]), nested, max_size=4)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=mappings, second=mappings)
def test_any_mappings_give_settings_or_one_sentence(first, second):
    def merged():
        draft = Draft()
        draft.merge(first, "first")
        draft.merge(second, "second")
        return builder.complete(draft)

    found = outcome(merged)
    if isinstance(found, str):
        assert re.match(r"(first|second|the configuration): \S", found)
    else:
        assert builder.complete(Draft(found.plain())) == found


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=nested, slot=st.sampled_from(sorted(builder.SLOTS)))
def test_any_value_in_a_slot_gives_settings_or_one_sentence(values, slot):
    section, member = slot.split(".")
    draft = Draft()

    def merged():
        draft.merge({section: {member: values}}, "file")
        return builder.complete(draft)

    found = outcome(merged)
    assert isinstance(found, Config) or found.startswith(("file: ", "the configuration: "))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=st.one_of(
        st.binary(max_size=40),
        st.text(alphabet="model:{}[]&*!-\n\t 'a1.", max_size=30).map(str.encode),
    )
)
def test_any_bytes_in_a_file_give_settings_or_one_sentence(content, tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content)
    draft = Draft()

    def merged():
        draft.merge_file(str(file))
        return draft.config()

    found = outcome(merged)
    assert isinstance(found, Config) or found.startswith(f"{file}: ")
