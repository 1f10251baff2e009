"""Models, weights and update rules from outside are held to what their base classes promise, before training."""

import inspect
import sys

import pytest
import torch
from recipes import complaint, complete

from textvae import builder
from textvae.tasks.evaluate import evaluate_run
from textvae.tasks.train import train

TINY = {
    "data.corpus": "grammar",
    "data.min_count": 20,
    "model.latent_dim": 2,
    "model.encoder": {"embedding_dim": 4, "hidden_dim": 4},
    "model.decoder": {"embedding_dim": 4, "hidden_dim": 4},
}

CLASSES = """
import torch
from torch import nn
from textvae.fields import Steps
from textvae.models.decoders.lstm import LSTMDecoder
from textvae.models.encoders.blank import Blank
from textvae.models.posteriors.diagonal import DiagonalPosterior
from textvae.models.distributions import DiagonalGaussian
from textvae.models.priors.standard_normal import StandardNormal
from textvae.objectives.penalties import Penalty
from textvae.objectives.weights import Weight
from textvae.training.updates import Joint

class Sound(DiagonalPosterior):
    pass

class Foreign(DiagonalPosterior):
    def distribution(self, features):
        return torch.distributions.Normal(self.mean(features), 1.0)

class OneForAll(DiagonalPosterior):
    def distribution(self, features):
        mean = self.mean(features).mean(0)
        return DiagonalGaussian(mean, mean)

class Wide(DiagonalPosterior):
    def distribution(self, features):
        mean = self.mean(features)
        return DiagonalGaussian(torch.cat([mean, mean], -1), torch.cat([mean, mean], -1))

class Undefined(DiagonalPosterior):
    def distribution(self, features):
        return DiagonalGaussian(self.mean(features) * float("nan"), self.log_variance(features))

class OnlyInTraining(DiagonalPosterior):
    def distribution(self, features):
        if not self.training:
            raise RuntimeError("only in training")
        return super().distribution(features)

class ForeignPrior(StandardNormal):
    def forward(self):
        p = super().forward()
        return torch.distributions.Independent(torch.distributions.Normal(p.mean, 1.0), 1)

class Speaks(LSTMDecoder):
    pass

class Positive(LSTMDecoder):
    def forward(self, batch, z):
        return -super().forward(batch, z)

class Pads(LSTMDecoder):
    def forward(self, batch, z):
        return super().forward(batch, z) - 1.0

class Summed(LSTMDecoder):
    def forward(self, batch, z):
        return super().forward(batch, z).sum(-1)

class Narrow(LSTMDecoder):
    def step(self, words, state):
        following, state = super().step(words, state)
        return following[:, 2:], state

class Shifted(LSTMDecoder):
    def step(self, words, state):
        following, state = super().step(words, state)
        return following.roll(1, -1), state

class Silent(LSTMDecoder):
    def step(self, words, state):
        raise RuntimeError("no such word")

class Plain(Weight):
    def forward(self, step):
        return 0.5

class Several(Weight):
    def forward(self, step):
        return torch.ones(3)

class Forgetful(Weight):
    def __init__(self):
        super().__init__()
        self.value = 0.0
    def forward(self, step):
        return self.value
    def observe(self, terms):
        self.value = self.value + 0.1

class Remembers(Forgetful):
    def __init__(self):
        Weight.__init__(self)
        self.register_buffer("value", torch.zeros(()))

class Never(Plain):
    settles_at = None

class Unready(Weight):
    def __init__(self):
        pass
    def forward(self, step):
        return 1.0

class Rule(Joint):
    pass

class Forgets(Joint):
    def __call__(self, stream, step, generator):
        super().__call__(stream, step, generator)

class Warm(torch.optim.SGD):
    def __init__(self, parameters, *, warmup: Steps = 0):
        super().__init__(parameters, lr=0.1)
        self.warmup = warmup

class Patient(Blank):
    def __init__(self, vocabulary, *, warmup: Steps = 0):
        super().__init__(vocabulary)

class Counts(Penalty):
    def __init__(self, scale=1.0):
        self.scale, self.seen = scale, 0
    def __call__(self, done, step):
        self.seen += 1
        return self.scale * done.terms.rate.mean() / self.seen

class Caches(Penalty):
    def __init__(self, scale=1.0):
        self.scale, self.unit = scale, None
    def __call__(self, done, step):
        if self.unit is None:
            self.unit = torch.ones(())
        return self.unit * self.scale * done.terms.rate.mean()

class Breaks(Joint):
    def __call__(self, stream, step, generator):
        raise RuntimeError("not today")
"""


@pytest.fixture(autouse=True)
def mistaken(tmp_path, monkeypatch):
    (tmp_path / "outside_models.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "outside_models", raising=False)  # that of another test


@pytest.mark.parametrize(
    ("slot", "name", "says"),
    [
        ("model__posterior", "Foreign", "failed: AttributeError: 'Normal' object has no attribute 'transport'"),
        ("model__posterior", "OneForAll", "must have a rate of shape (2,) (B,), not shape ()"),
        ("model__posterior", "Wide", "failed: RuntimeError: The size of tensor"),
        ("model__posterior", "OnlyInTraining", "failed: RuntimeError: only in training"),
        ("model__prior", "ForeignPrior", "must return a textvae.models.distributions.reparameterised.Reparam"),
        ("model__decoder", "Positive", "must return log-probabilities, and one is "),
        ("model__decoder", "Pads", "must return 0 on padding"),
        (
            "model__decoder",
            "Summed",
            "must return log-probabilities of shape (1, 2, 3) (K, B, T), not",
        ),
        ("model__decoder", "Narrow", "must return from step log-probabilities of shape (2, 16) (N, V), not"),
        ("model__decoder", "Shifted", "must give a word the same log-probability in forward and in step, not"),
        ("model__decoder", "Silent", "failed: RuntimeError: no such word"),
        ("objective__weight", "Several", "must return a number or a scalar tensor, not shape (3,)"),
        ("objective__weight", "Never", "must have a whole number as settles_at, not None"),
        ("objective__weight", "Forgetful", "must keep what it observes in buffers"),
        ("objective__weight", "Unready", "failed: AttributeError: "),
        ("objective__penalty", "Counts", "must keep no state, which a resumed run would lose"),
        ("training__update", "Forgets", "must return a textvae.training.updates.update.Step, not NoneType"),
        ("training__update", "Breaks", "failed: RuntimeError: not today"),
    ],
)
def test_a_broken_promise_is_one_sentence_about_the_class(slot, name, says):
    sentence = complaint(**{f"{slot}__kind": f"outside_models:{name}"})
    assert sentence.startswith(f"--{slot.replace('__', '.')}.kind: outside_models:{name} {says}")
    assert "\n" not in sentence


def test_an_infinite_loss_is_the_fault_of_the_model_from_outside():
    sentence = complaint(model__posterior__kind="outside_models:Undefined")
    assert sentence == "--model.posterior.kind: the loss of the untrained model is not finite"


@pytest.mark.parametrize(
    ("slot", "name"),
    [
        ("model__posterior", "Sound"),
        ("model__decoder", "Speaks"),
        ("objective__weight", "Plain"),
        ("objective__weight", "Remembers"),
        ("objective__penalty", "Caches"),
        ("training__update", "Rule"),
    ],
)
def test_what_keeps_its_promise_is_accepted(slot, name):
    config = complete("grammar", **{f"{slot}__kind": f"outside_models:{name}"})
    section, key = slot.split("__")
    assert getattr(getattr(config, section), key).kind == f"outside_models:{name}"


def test_a_class_that_changes_under_a_run_is_remarked_on(tmp_path, capsys):
    weight = {"objective.weight": {"kind": "outside_models:Plain"}}

    def said(steps: int) -> str:
        train([], {**TINY, **weight, "training.budget": steps}, tmp_path / "run")
        return " ".join(capsys.readouterr().err.split())

    assert "has changed" not in said(2) + said(3)
    with (tmp_path / "outside_models.py").open("a") as file:
        file.write("# another thought")
    assert "has changed" not in said(4), "this process goes on with the class that it has"
    del sys.modules["outside_models"]
    assert "the file of outside_models:Plain has changed since the run began" in said(5)


def test_what_a_class_from_outside_decides_is_not_recorded_unless_that_is_asked_for(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("textvae.training.graphs.record", lambda update, wanted, device: asked.append(wanted))
    own = {**TINY, "training.budget": 1}
    train([], own, tmp_path / "own")
    train([], {**own, "objective.weight": {"kind": "outside_models:Plain"}}, tmp_path / "other")
    assert asked == [None, False]


def test_an_optimiser_from_outside_counts_epochs_as_everything_else_does():
    config = complete("grammar", training__optimiser={"kind": "outside_models:Warm", "warmup": "2 epochs"})
    model = builder.model(config, 16)
    rule = builder.update(config, builder.objective(config, model, 16, 7), 7)
    assert rule.optimiser.warmup == 14


def test_a_part_of_the_model_knows_no_epochs():
    encoder = {"kind": "outside_models:Patient", "warmup": "2 epochs"}
    assert "a model knows no epochs; give optimiser steps" in complaint("grammar", model__encoder=encoder)
    assert complete("grammar", model__encoder={**encoder, "warmup": 5}).model.encoder.arguments["warmup"] == 5


def test_the_optimisers_of_torch_are_used_as_they_are():
    config = complete(
        "grammar", training__optimiser={"kind": "torch.optim:RAdam", "lr": 0.01, "betas": [0.8, 0.99]}
    )
    rule = builder.update(config, builder.objective(config, builder.model(config, 16), 16, 7), 7)
    assert isinstance(rule.optimiser, torch.optim.RAdam)
    (group,) = rule.optimiser.param_groups
    assert (group["lr"], tuple(group["betas"])) == (0.01, (0.8, 0.99))
    assert sum(p.numel() for p in group["params"]) == sum(p.numel() for p in rule.objective.parameters())
    said = complaint(training__optimiser={"kind": "torch.optim:RAdam", "params": 3})
    assert said.endswith("torch.optim:RAdam: params cannot be set: the library supplies it")
    assert "learning_rate" in complaint(training__optimiser={"kind": "torch.optim:RAdam", "learning_rate": 3})


def test_every_member_takes_what_its_slot_supplies():
    for name, slot in builder.SLOTS.items():
        for kind, member in slot.members.items():
            parameters = inspect.signature(member).parameters.values()
            positional = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
            assert len(positional) == slot.supplied, (name, kind)


def test_a_class_is_a_kind_from_python():
    from outside_models import Caches

    config = complete("grammar", objective__penalty={"kind": Caches, "scale": 0.5})
    assert config.objective.penalty.kind == "outside_models:Caches"
    assert config.objective.penalty.arguments == {"scale": 0.5}


def test_numbers_with_fewer_samples_say_that_they_replace_better_ones(tmp_path, capsys):
    run = train([], {**TINY, "training.budget": 2}, tmp_path / "run")
    evaluate_run(run, samples=3)
    evaluate_run(run, samples=4)
    assert "are replaced" not in capsys.readouterr().err
    evaluate_run(run, samples=2)
    assert "valid: its numbers with 4 samples are replaced by these" in " ".join(capsys.readouterr().err.split())
