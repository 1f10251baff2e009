"""Auxiliary terms: each is its formula, computed otherwise, and touches nothing but the loss."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import SIZES, VOCABULARY, batch_of, make, members, objective_of, random_rows, tiny
from torch import Tensor

from textvae import builder
from textvae.config import Draft
from textvae.config.recipes import resolve
from textvae.data.batches import Batch, collate
from textvae.models.distributions import DiagonalGaussian
from textvae.models.terms import Pass, forward_pass
from textvae.models.text_vae import TextVAE
from textvae.objectives.auxiliaries.bag_of_words import BagOfWords
from textvae.objectives.auxiliaries.discrepancy import Discrepancy
from textvae.objectives.auxiliaries.mutual_divergence import MutualDivergence

ALL = members("objective.auxiliary")
BATCH = batch_of(*random_rows(6, 5, seed=2))


def run(model: TextVAE, batch: Batch = BATCH, samples: int = 1, seed: int = 0) -> Pass:
    shape = (samples, batch.sentences, model.latent_dim)
    generator = torch.Generator().manual_seed(seed)
    return forward_pass(model, batch, torch.randn(shape, generator=generator, dtype=torch.float64))


def built(kind: str, model: TextVAE, **options):
    return make("objective.auxiliary", kind, model, VOCABULARY, **options).double()


# What all of them owe.


@pytest.mark.parametrize(("kind", "options"), ALL)
@pytest.mark.parametrize("samples", [1, 3])
def test_it_joins_the_loss_and_nothing_else(kind, options, samples):
    model = tiny(2, scale=1.2)
    auxiliary = built(kind, model, **options)
    joined = objective_of(model, samples=samples, auxiliary=auxiliary)(BATCH, 7, torch.Generator().manual_seed(1))
    alone = objective_of(model, samples=samples)(BATCH, 7, torch.Generator().manual_seed(1))
    assert joined.auxiliary.shape == ()
    assert joined.value.item() == pytest.approx(alone.value.item() + joined.auxiliary.item(), abs=1e-12)
    assert torch.equal(joined.terms.distortion, alone.terms.distortion)
    assert torch.equal(joined.terms.rate, alone.terms.rate)
    if kind != "none":
        assert joined.auxiliary != 0
        slopes = torch.autograd.grad(joined.auxiliary, list(model.posterior.parameters()), allow_unused=True)
        assert any(slope is not None and slope.abs().sum() > 0 for slope in slopes)


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_its_own_parameters_are_trained_and_the_models_are_not_twice_in_it(kind, options):
    model = tiny(2)
    objective = objective_of(model, auxiliary=built(kind, model, **options))
    objective(BATCH, 0, torch.Generator().manual_seed(1)).value.backward()
    own = list(objective.auxiliary.parameters())
    assert all(p.grad is not None for p in own)
    assert not {id(p) for p in own} & {id(p) for p in model.parameters()}


@pytest.mark.parametrize(
    ("kind", "options"), members("objective.auxiliary", kinds=["bag_of_words", "coupled", "mmd"])
)
def test_a_weight_of_0_is_none(kind, options):
    model = tiny(2)
    assert built(kind, model, **{**options, "weight": 0.0})(run(model), 0).item() == 0


@pytest.mark.parametrize(("kind", "options"), ALL)
@pytest.mark.parametrize("rows", [[[4, 5]], [[4, 5], [4, 5]]])
def test_tiny_batches_have_finite_gradients(kind, options, rows):
    """The last batch of an epoch may hold one sentence, or two alike."""
    model = tiny(2)
    value = built(kind, model, **options)(run(model, batch_of(*rows)), 0)
    assert value.isfinite()
    if value.requires_grad:
        slopes = torch.autograd.grad(value, list(model.posterior.parameters()), allow_unused=True)
        assert all(slope is None or slope.isfinite().all() for slope in slopes)


@pytest.mark.parametrize(("kind", "options"), ALL)
def test_a_language_model_has_a_finite_one(kind, options):
    model = tiny(0, encoder=("none", {}), decoder=("lstm", SIZES))
    value = built(kind, model, **options)(run(model), 0)
    assert value.isfinite()


# Bag of words.


def test_bag_of_words_by_hand():
    model = tiny(2, scale=1.2)
    head = BagOfWords(model, VOCABULARY, weight=0.7, hidden_dim=3).double()
    done = run(model, samples=2)
    u, b = head.head.hear.weight.detach().numpy(), head.head.hear.bias.detach().numpy()
    w = head.head.output.weight.detach().numpy()
    total = 0.0
    for z in done.z.detach().numpy():
        for point, row, length in zip(z, BATCH.targets.numpy(), BATCH.lengths.numpy(), strict=True):
            logits = w @ np.tanh(u @ point + b)
            log_probs = logits - np.log(np.exp(logits).sum())
            # The softmax has no rows for PAD and BOS; EOS is the last target.
            total -= sum(log_probs[word - 2] for word in row[:length])
    assert head(done, 0).item() == pytest.approx(0.7 * total / (2 * BATCH.sentences))


def test_the_order_of_words_does_not_matter_to_it():
    model = tiny(2)
    head = BagOfWords(model, VOCABULARY, hidden_dim=3).double()
    done = run(model, batch_of([4, 5, 6, 6], [5, 4]))
    turned = replace(done, batch=batch_of([6, 5, 4, 6], [4, 5]))
    other = replace(done, batch=batch_of([6, 5, 4, 4], [4, 5]))
    assert head(turned, 0).item() == pytest.approx(head(done, 0).item())
    assert head(other, 0).item() != pytest.approx(head(done, 0).item())


# Discrepancy. Its estimator is tested in models/test_mmd.py.


def test_the_prior_is_drawn_afresh_in_every_pass_from_its_generator():
    model = tiny(2)
    done, term = run(model), Discrepancy(model, VOCABULARY)

    def values() -> list[float]:
        drawing = replace(done, generator=torch.Generator().manual_seed(1))
        return [term(drawing, 0).item() for _ in range(5)]

    torch.manual_seed(1)
    first = values()
    torch.manual_seed(2)
    assert values() == first
    assert len(set(first)) == 5


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_it_is_minimal_where_the_codes_lie_as_the_prior_has_them(kernel):
    """Its mean over steps falls from codes far off, and from codes all at one point, to codes from the prior."""
    model = tiny(2)
    term = Discrepancy(model, VOCABULARY, weight=1.0, kernel=kernel)
    batch = collate([np.array([4, 3])] * 200)
    done = run(model, batch)

    def mean(z: Tensor) -> float:
        return float(np.mean([term(replace(done, z=z[None]), step).item() for step in range(30)]))

    spread = torch.randn(200, 2, dtype=torch.float64)
    at_home, afar, collapsed = mean(spread), mean(spread + 2), mean(0 * spread)
    assert abs(at_home) < 0.1 * min(afar, collapsed)


def test_a_learned_prior_is_drawn_to_the_codes_too():
    model = tiny(2)
    where = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    prior = DiagonalGaussian(where, torch.zeros(2, dtype=torch.float64))
    done = replace(run(model), prior=prior, z=torch.ones(1, BATCH.sentences, 2, dtype=torch.float64))
    (slope,) = torch.autograd.grad(Discrepancy(model, VOCABULARY)(done, 0), where)
    assert (slope < 0).all()


@pytest.mark.parametrize(("alpha", "lambda_"), [(0.9, 10.0), (0.0, 3.0), (-0.5, 2.0)])
def test_info_vae_is_one_minus_alpha_of_the_rate_and_alpha_plus_lambda_minus_one_of_mmd(alpha, lambda_):
    """−E log p(x|z) + (1 − α) E KL(q(z|x) ‖ p(z)) + (α + λ − 1) MMD²(q(z) ‖ p(z)), in loops."""
    model, step = tiny(2, scale=1.2), 7
    rest = {"weight": alpha + lambda_ - 1, "kernel": "rbf"}
    objective = objective_of(model, weight=1 - alpha, auxiliary=("mmd", rest))
    found = objective(BATCH, step, torch.Generator().manual_seed(1))

    count = BATCH.sentences
    generator = torch.Generator().manual_seed(1)
    epsilon = torch.randn((1, count, 2), generator=generator)[0].numpy()
    y = torch.randn((1, count, 2), generator=generator, dtype=torch.float64)[0].numpy()
    q = model.posterior(BATCH)
    mean, deviation = (part.detach().numpy() for part in (q.mean, q.stddev))
    z = mean + deviation * epsilon

    def k(a, b):
        return math.exp(-sum((a - b) ** 2) / 4)  # C = 2D

    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    mmd = sum(k(z[i], z[j]) + k(y[i], y[j]) - 2 * k(z[i], y[j]) for i, j in pairs) / len(pairs)
    rate = sum(kl(m, d**2, 0, 1) for m, d in zip(mean.flat, deviation.flat, strict=True)) / count
    expected = found.terms.distortion.mean().item() + (1 - alpha) * rate + (alpha + lambda_ - 1) * mmd
    assert found.value.item() == pytest.approx(expected, abs=1e-9)


def test_the_recipe_of_info_vae_has_the_weights_that_its_alpha_and_lambda_make():
    draft = Draft()
    draft.merge_file("info_vae")
    objective = builder.complete(draft).objective
    first = resolve("info_vae").read_text("utf-8").split("\n")[0]
    alpha, lambda_ = map(float, re.search(r"α = (\S+) and λ = ([\d.]+)", first).groups())
    assert objective.weight.arguments["value"] == pytest.approx(1 - alpha)
    assert objective.auxiliary.arguments["weight"] == pytest.approx(alpha + lambda_ - 1)


# Mutual divergence.


def kl(mean: float, variance: float, other_mean: float, other_variance: float) -> float:
    ratio = variance / other_variance
    return 0.5 * (ratio + (mean - other_mean) ** 2 / other_variance - 1 - math.log(ratio))


@pytest.mark.parametrize(("diversity", "smoothness"), [(1.0, 0.0), (2.0, 0.3), (0.5, 1.0)])
def test_mutual_divergence_by_hand(diversity, smoothness):
    model = tiny(3, scale=1.5)
    done = run(model)
    means, variances = (part.detach().tolist() for part in (done.posterior.mean, done.posterior.variance))
    pairs = [(i, j) for i in range(len(means)) for j in range(len(means)) if i != j]
    table = [
        [kl(m, v, n, u) for m, v, n, u in zip(means[i], variances[i], means[j], variances[j], strict=True)]
        for i, j in pairs
    ]
    expected = -diversity * sum(
        math.log(1 / (1 + math.exp(-sum(column) / len(pairs) / diversity))) for column in zip(*table, strict=True)
    )
    expected += smoothness * np.std([sum(row) for row in table], ddof=1)
    term = MutualDivergence(model, VOCABULARY, diversity=diversity, smoothness=smoothness)
    assert term(done, 0).item() == pytest.approx(expected)


def test_posteriors_are_pushed_apart_until_they_are_eta_apart():
    """The slope by each M_d is −sigmoid(−M_d / η): ½ where all are one, next to nothing at some η."""
    model = tiny(1)
    batch = batch_of(*[[4]] * 4)

    def push(scale: float) -> float:
        mean = (scale * torch.tensor([[-1.5], [-0.5], [0.5], [1.5]]).double()).requires_grad_()
        q = DiagonalGaussian(mean, torch.zeros_like(mean))
        term = MutualDivergence(model, VOCABULARY, smoothness=0.0)(replace(run(model, batch), posterior=q), 0)
        (slope,) = torch.autograd.grad(term, mean)
        assert (slope * mean < 0).all()
        return slope.abs().max().item() / scale

    # M = (10 / 6) scale² at unit variances.
    shares = [push(scale) for scale in (1e-4, 1.0, 3.0)]
    halves = [1 / (1 + math.exp(10 / 6 * scale**2)) for scale in (1e-4, 1.0, 3.0)]
    assert [share / shares[0] for share in shares] == pytest.approx([half / halves[0] for half in halves], rel=1e-6)


def test_posteriors_that_are_all_one_have_a_gradient():
    """The root in their spread has none of its own there."""
    model = tiny(2)
    mean = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    done = replace(run(model, batch_of([4], [4], [4])), posterior=DiagonalGaussian(mean, torch.zeros_like(mean)))
    (slope,) = torch.autograd.grad(MutualDivergence(model, VOCABULARY, smoothness=1.0)(done, 0), mean)
    assert slope.isfinite().all()


def test_mutual_divergence_needs_diagonal_gaussians():
    model = tiny(2, posterior="dirac")
    with pytest.raises(ValueError, match="diagonal"):
        MutualDivergence(model, VOCABULARY)(run(model), 0)


def test_no_sentence_of_the_batch_is_special():
    model, rows = tiny(2, scale=1.5), random_rows(6, 5, seed=2)
    term = MutualDivergence(model, VOCABULARY)
    one, turned = (term(run(model, batch_of(*order)), 3).item() for order in (rows, rows[::-1]))
    assert turned == pytest.approx(one, abs=1e-12)
