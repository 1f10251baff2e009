"""Estimators of text VAEs trained until z is used, with D = 1 and 2, against quadrature over z.

Random weights make mild posteriors. Training makes them narrow, skew and of many scales, and q a little wrong.
"""

import math
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from helpers import (
    batch_of,
    check_lower_bound,
    check_standard_errors,
    check_unbiased,
    draw_log_weights,
    make,
    objective_of,
    sequences_of,
)

from textvae.data.batches import BatchStream, collate
from textvae.evaluation.annealed import Annealing, sandwich
from textvae.evaluation.density import information
from textvae.evaluation.estimators import Survey, importance_weighted_nll, standard_error
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.prior_monte_carlo import prior_curve
from textvae.evaluation.quadrature import integrate
from textvae.evaluation.refinement import gaps, refinement
from textvae.generation import simulate
from textvae.models.distributions import DiagonalGaussian
from textvae.models.terms import importance_weighted, log_weight, pass_under
from textvae.models.text_vae import TextVAE
from textvae.training.optimisers import adam
from textvae.training.updates import Joint

pytestmark = pytest.mark.slow

VOCABULARY = 10
CORPUS = [[a, *[b] * count, a] for a, b, count in product(range(4, VOCABULARY), range(4, VOCABULARY), (1, 2))]
"""72 sentences a b a and a b b a: 4.3 nats, of which z can tell some."""
ROWS = CORPUS[::9]
REPLICATIONS, K = 400, 64


def trained(dim: int) -> TextVAE:
    """Free bits of 2 nats: single-threaded, float32 in training and float64 then."""
    torch.manual_seed(0)
    sizes = {"embedding_dim": 12, "hidden_dim": 16}
    model = TextVAE(
        make("model.posterior", "diagonal", make("model.encoder", "lstm", VOCABULARY, **sizes), dim),
        make("model.prior", "standard_normal", dim),
        make("model.decoder", "lstm", VOCABULARY, dim, **sizes, dropout_in=0.0, dropout_out=0.0),
    )
    objective = objective_of(model, penalty=("free_bits_total", {"nats_total": 2.0}))
    update = Joint(objective, lambda: adam(objective.parameters(), lr=0.01))
    stream, generator = BatchStream(sequences_of(CORPUS), 36, seed=0), torch.Generator().manual_seed(0)
    for step in range(600):
        update(stream, step, generator)
    return model.double().eval()


@pytest.fixture(scope="module", params=[1, 2], ids=["D=1", "D=2"])
def world(request):
    """The model, some of its sentences, the truth about them, and many log-weights (R, K, B)."""
    model = trained(request.param)
    weights = draw_log_weights(model, batch_of(*ROWS), REPLICATIONS * K, seed=5)
    return SimpleNamespace(
        model=model,
        dim=request.param,
        sequences=sequences_of(ROWS),
        exact=integrate(model, sequences_of(ROWS)),
        weights=weights.unflatten(0, (REPLICATIONS, K)),
    )


def check_weights(log_weights: torch.Tensor, log_evidence: torch.Tensor) -> None:
    """Mean weights of replications (R, B) are p(x): over all sentences within 3 standard errors, and of each."""
    means = (log_weights - log_evidence).exp()
    check_unbiased(means.mean(1, keepdim=True), torch.ones(1), deviations=3)
    check_unbiased(means, torch.ones(len(ROWS)))


def test_the_world_is_alive_and_its_truth_exact(world):
    exact = world.exact
    assert exact.error.max() <= 1e-6
    assert exact.rate.mean() > 1.5
    assert exact.information.mean() > 1
    assert (exact.posterior_gap > 0.01).all()
    torch.testing.assert_close(exact.log_evidence - exact.posterior_gap, exact.elbo, atol=1e-6, rtol=0)


def test_importance_weights_are_unbiased(world):
    """Under q, whose tails are lighter than the posterior's, and under q of twice the deviation, whose are not."""
    check_weights(importance_weighted(world.weights.transpose(0, 1)), world.exact.log_evidence)
    batch = batch_of(*ROWS)
    with torch.no_grad():
        q = world.model.posterior(batch)
        wide = DiagonalGaussian(q.mean, q.log_variance + math.log(4))
        noise = SentenceNoise(7, world.dim)(batch, 0, 250 * 80)
        weights = log_weight(pass_under(world.model, batch, wide, wide.transport(noise))).unflatten(0, (250, 80))
    check_weights(importance_weighted(weights.transpose(0, 1)), world.exact.log_evidence)
    ratios = (weights - world.exact.log_evidence).exp()
    check_standard_errors((ratios.mean((1, 2)) - 1) / (ratios.mean(2).std(1) / 80**0.5))
    with pytest.raises(AssertionError):
        check_weights(importance_weighted(weights.transpose(0, 1)), world.exact.log_evidence + 0.1)


def test_bounds_are_below_the_truth_and_rise_with_k(world):
    draws, previous = world.weights.flatten(0, 1), None
    for samples in (1, 4, 16, 64):
        bound = importance_weighted(draws.unflatten(0, (-1, samples)).transpose(0, 1))
        check_lower_bound(bound, world.exact.log_evidence)
        if previous is not None:
            # Paired: a bound against the mean of those of a quarter of the draws that it is made of.
            gain = bound - previous.unflatten(0, (-1, 4)).mean(1)
            assert (gain >= -1e-12).all()
            assert (gain.mean(0) > 0).all()
        previous = bound
    assert ((world.exact.log_evidence - bound.mean(0)) < world.exact.posterior_gap).all()


def test_elbo_rate_and_distortion_are_those_of_the_quadrature(world):
    found = [Survey.of(world.model, world.sequences, SentenceNoise(seed, world.dim)) for seed in range(250)]
    elbo = torch.stack([each.elbo for each in found])
    check_unbiased(elbo.mean(1, keepdim=True), world.exact.elbo.mean()[None], deviations=3)
    check_unbiased(elbo, world.exact.elbo)
    check_unbiased(torch.stack([each.distortion for each in found]), world.exact.distortion)
    torch.testing.assert_close(found[0].rate, world.exact.rate, atol=1e-6, rtol=0)
    estimates = [
        importance_weighted_nll(world.model, world.sequences, 20, SentenceNoise(s, world.dim)) for s in range(60)
    ]
    check_lower_bound(-torch.stack(estimates), world.exact.log_evidence)


def test_prior_monte_carlo_is_unbiased_in_p_and_low_in_its_logarithm(world):
    curves = [
        prior_curve(world.model, world.sequences, [100], SentenceNoise(seed, world.dim)) for seed in range(100)
    ]
    found = -torch.stack([curve.nll[-1] for curve in curves])
    check_weights(found, world.exact.log_evidence)
    check_lower_bound(found, world.exact.log_evidence)


def test_mutual_information_under_q_is_that_of_integrals(world):
    """I_q(x; z) of the reference set itself, its mixture integrated on a grid of z."""
    batch, dim, spacing = batch_of(*ROWS), world.dim, 0.02
    axis = torch.arange(-7, 7, spacing, dtype=torch.float64)
    with torch.no_grad():
        z = torch.cartesian_prod(*[axis] * dim).reshape(-1, 1, dim)
        own = world.model.posterior(batch).log_prob(z)
    mixture = own.logsumexp(1, keepdim=True) - math.log(len(ROWS))
    exact = (own.exp() * (own - mixture)).sum(0).mean() * spacing**dim
    found = [
        information(world.model, Survey.of(world.model, world.sequences, SentenceNoise(seed, dim)))
        for seed in range(250)
    ]
    for name, value in {"mutual_information": exact, "marginal_kl": world.exact.rate.mean() - exact}.items():
        check_unbiased(torch.tensor([each[name] for each in found])[:, None], value[None], deviations=3)


@pytest.fixture(scope="module")
def simulated(world):
    """Sentences that the model wrote, from which z, and the truth about them."""
    sequences, z = simulate(world.model, 40, seed=1, max_length=8)
    batch = collate([sequences[i] for i in range(40)])
    return SimpleNamespace(sequences=sequences, z=z, batch=batch, exact=integrate(world.model, sequences))


def test_what_the_model_knows_of_z_is_what_its_own_sentences_show(world, simulated):
    """E log p(x|z)/p(x) = I(x; z) = E KL(p(z|x) ‖ p(z)): z was drawn with x, so it is a draw of p(z|x)."""
    with torch.no_grad():
        told = world.model.decoder(simulated.batch, simulated.z[None]).sum(-1)[0] - simulated.exact.log_evidence
    assert simulated.exact.error.max() <= 1e-6
    excess = told - simulated.exact.information
    assert excess.mean().abs() < 3 * standard_error(excess)
    away = simulated.z - simulated.exact.posterior_mean
    assert (away.mean(0).abs() < 3 * away.std(0) / len(away) ** 0.5).all()
    standardised = away.square() / simulated.exact.posterior_variance
    assert ((standardised.mean(0) - 1).abs() < 3 * standardised.std(0) / len(away) ** 0.5).all()


def test_the_truth_lies_between_annealing_there_and_back(world, simulated):
    how = Annealing(temperatures=30, leapfrogs=3)
    found = sandwich(world.model, simulated.sequences, simulated.z, how, batch_size=40)
    below, above = found.lower - simulated.exact.log_evidence, found.upper - simulated.exact.log_evidence
    assert below.mean() <= 3 * standard_error(below)
    assert above.mean() >= -3 * standard_error(above)
    assert found.gap.mean() < 0.5


def test_refinement_ends_between_q_and_the_truth(world):
    found = refinement(world.model, world.sequences, SentenceNoise(0, world.dim), steps=100)
    parts = gaps(world.exact.log_evidence, found)
    for gap in (parts.posterior_gap, parts.amortisation_gap, parts.family_gap):
        assert gap.mean() >= -3 * standard_error(gap)
    assert found.refined.elbo.mean() > found.amortised.elbo.mean()
    many = torch.stack(
        [
            refinement(world.model, world.sequences, SentenceNoise(seed, world.dim), steps=25).refined.elbo
            for seed in range(8)
        ]
    )
    check_lower_bound(many, world.exact.log_evidence)
