"""Refinement of q: it finds the best diagonal Gaussian where that is known, and its score is a bound."""

import copy

import pytest
import torch
from helpers import (
    NO_SENTENCES,
    alive,
    batch_of,
    check_lower_bound,
    check_unbiased,
    random_rows,
    sequences_of,
    set_posterior,
    solvable,
    tiny,
    truth,
)
from torch.distributions import MultivariateNormal, kl_divergence

from textvae.data.batches import collate
from textvae.errors import ConfigError
from textvae.evaluation.estimators import Survey, standard_error
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.quadrature import on_grid
from textvae.evaluation.refinement import gaps, refinement
from textvae.models.distributions import DiagonalGaussian, FullGaussian
from textvae.models.linear_gaussian import LinearPosterior, observations

ROWS = [[4, 5, 6, 4], [], [6], [5, 5], [2, 6, 4]]


def lagging(dim: int, posterior: str = "diagonal"):
    """A model whose q has the wrong mean and variance, rows from it, and the exact posteriors."""
    model = solvable(dim, dim + 4, posterior=posterior, variance=1.0)
    best = model.best_diagonal()
    offset = best.offset + best.covariance.diagonal().sqrt()
    set_posterior(
        model, LinearPosterior((0.9 * best.slope).detach(), offset.detach(), (2 * best.covariance).detach())
    )
    x = model.sample(40, seed=0)[1]
    return model, x, model.exact_posterior()(x)


def exact_elbo(model, x, exact, mean, log_variance):
    q = MultivariateNormal(mean, torch.diag_embed(log_variance.exp()))
    return (model.evidence.log_prob(x) - kl_divergence(q, exact)).detach()


@pytest.mark.parametrize("dim", [1, 4, 16])
def test_it_finds_the_best_diagonal_gaussian(dim):
    model, x, exact = lagging(dim)
    found = refinement(model, observations(x), SentenceNoise(0, dim), batch_size=40)
    best = (model.evidence.log_prob(x) - model.diagonal_gap).detach()
    reached = exact_elbo(model, x, exact, found.q.mean, found.q.log_variance)
    regret = best - reached
    assert (regret >= 0).all()
    assert regret.mean() < 0.01 * dim
    variances = model.best_diagonal().covariance.diagonal().detach()
    assert ((found.q.log_variance - variances.log()).abs().mean()) < 0.15
    assert ((found.q.mean - exact.mean.detach()) / variances.sqrt()).abs().mean() < 0.1
    # Scored on noise of its own, the estimate is of that very ELBO and no more.
    scored = found.refined.elbo - reached
    assert abs(scored.mean()) < 3.5 * standard_error(scored)
    q = model.posterior(collate([row.numpy() for row in x]))
    amortised = found.amortised.elbo - exact_elbo(model, x, exact, q.mean, q.log_variance)
    assert abs(amortised.mean()) < 3.5 * standard_error(amortised)


def test_the_gaps_meet_their_closed_forms():
    model, x, exact = lagging(4)
    found = refinement(model, observations(x), SentenceNoise(0, 4), scoring=400, batch_size=40)
    evidence = model.evidence.log_prob(x).detach()
    split = gaps(evidence, found)
    torch.testing.assert_close(split.posterior_gap, split.amortisation_gap + split.family_gap, atol=1e-12, rtol=0)
    q = model.posterior(collate([row.numpy() for row in x]))
    posterior_gap = evidence - exact_elbo(model, x, exact, q.mean, q.log_variance)
    assert abs((split.posterior_gap - posterior_gap).mean()) < 0.1
    assert abs(split.family_gap.mean() - model.diagonal_gap) < 0.1
    assert abs((split.amortisation_gap - posterior_gap).mean() + model.diagonal_gap) < 0.1
    assert posterior_gap.mean() > 2 * model.diagonal_gap > 0.2


def test_a_full_posterior_is_refined_among_full_covariances():
    """Its family holds p(z|x), so that nothing is left of the gap but the encoder's part."""
    model, x, exact = lagging(4, posterior="full")
    found = refinement(model, observations(x), SentenceNoise(0, 4), steps=400, scoring=400, batch_size=40)
    split = gaps(model.evidence.log_prob(x).detach(), found)
    assert model.diagonal_gap > 0.1
    assert abs(split.family_gap.mean()) < 0.05
    assert split.amortisation_gap.mean() > 0.2
    assert isinstance(found.q, FullGaussian)
    off = (found.q.factor @ found.q.factor.mT - exact.covariance_matrix.detach()).abs()
    assert off.mean() < 0.1 * exact.covariance_matrix.abs().max()


def test_a_full_posterior_that_is_exact_is_left_as_it_is():
    model, x, _ = lagging(4, posterior="full")
    set_posterior(model, model.exact_posterior())
    found = refinement(model, observations(x), SentenceNoise(0, 4), scoring=400, batch_size=40)
    split = gaps(model.evidence.log_prob(x).detach(), found)
    assert abs(split.posterior_gap.mean()) < 0.02
    assert abs(split.amortisation_gap.mean()) < 0.02


@pytest.mark.parametrize(
    ("posterior", "dim", "left"), [("full", 16, 0.05), ("full", 32, 0.5), ("diagonal", 32, 0.08)]
)
def test_from_the_best_q_of_many_dimensions_refining_goes_nowhere(posterior, dim, left):
    model = solvable(dim, 2 * dim, posterior=posterior, scale=0.3, seed=1)
    x = model.evidence.rsample((40,)).detach()
    set_posterior(model, model.exact_posterior() if posterior == "full" else model.best_diagonal())
    found = refinement(model, observations(x), SentenceNoise(0, dim), scoring=200, batch_size=40)
    split = gaps(model.evidence.log_prob(x).detach(), found)
    assert -left < split.amortisation_gap.mean() < 0.02


@pytest.mark.parametrize("dim", [1, 2])
def test_on_text_the_refined_elbo_lies_between_the_encoders_and_the_truth(dim):
    model = alive(dim)
    exact = truth(model, batch_of(*ROWS))
    runs = [refinement(model, sequences_of(ROWS), SentenceNoise(s, dim), steps=40, samples=1) for s in range(8)]
    elbo = torch.stack([each.refined.elbo for each in runs])
    check_lower_bound(elbo, exact.log_evidence)
    check_unbiased(torch.stack([each.amortised.elbo for each in runs]), exact.elbo)
    assert (elbo.mean(0) > exact.elbo + 0.2 * exact.posterior_gap - 0.05).all()
    rate = torch.stack([each.amortised.rate for each in runs])
    torch.testing.assert_close(rate.mean(0), exact.rate, atol=1e-6, rtol=0)


def test_on_text_no_gaussian_is_much_better_than_the_refined_one():
    """Every (μ, log σ) of a lattice, its ELBO by quadrature over z."""
    model, batch = alive(1), batch_of(*ROWS)
    found = refinement(model, sequences_of(ROWS), SentenceNoise(0, 1), steps=300)
    grid = on_grid(model, batch, 0.02)
    joint = grid.log_likelihood + grid.log_prior

    def elbo(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        log_q = DiagonalGaussian(mean[..., None], log_variance[..., None]).log_prob(grid.z[:, None])
        return ((log_q + grid.log_volume).exp() * (joint - log_q)).sum(0)

    lattice = torch.cartesian_prod(torch.linspace(-3, 3, 61), torch.linspace(-4, 0.8, 49)).double()
    values = torch.stack([elbo(m.expand(5), v.expand(5)) for m, v in lattice])
    reached = elbo(found.q.mean[:, 0], found.q.log_variance[:, 0])
    assert (reached > values.amax(0) - 0.02).all()


def test_what_scores_never_refined():
    asked: list[tuple[int, int]] = []

    class Recorded(SentenceNoise):
        def __call__(self, batch, start=0, stop=1):
            asked.append((start, stop))
            return super().__call__(batch, start, stop)

    refinement(alive(2), sequences_of([[4, 5]]), Recorded(0, 2), steps=5, samples=3, scoring=20)
    refining, scores = asked[:5], asked[5:]
    assert refining == [(20 + 3 * step, 23 + 3 * step) for step in range(5)]
    assert scores == [(0, 16), (16, 20)] * 2


def test_it_does_not_depend_on_the_batch():
    model, rows, ticks = alive(2), random_rows(9, 5, seed=1), []
    whole = refinement(model, sequences_of(rows), SentenceNoise(0, 2), steps=10, tick=ticks.append)
    assert sum(ticks) == 9
    for size in (1, 4):
        cut = refinement(model, sequences_of(rows), SentenceNoise(0, 2), steps=10, batch_size=size)
        for name in ("mean", "log_variance"):
            torch.testing.assert_close(getattr(cut.q, name), getattr(whole.q, name), atol=1e-6, rtol=0)
        torch.testing.assert_close(cut.refined.elbo, whole.refined.elbo, atol=1e-6, rtol=0)
        torch.testing.assert_close(cut.amortised.elbo, whole.amortised.elbo, atol=1e-6, rtol=0)


def test_the_encoders_q_is_scored_as_a_survey_scores_it():
    model, rows = alive(2), random_rows(9, 5, seed=1)
    found = refinement(model, sequences_of(rows), SentenceNoise(3, 2), steps=1, scoring=1)
    direct = Survey.of(model, sequences_of(rows), SentenceNoise(3, 2))
    torch.testing.assert_close(found.amortised.elbo, direct.elbo, atol=1e-9, rtol=0)


def test_refining_moves_nothing():
    model = alive(2).train()
    model.decoder.dropout_in.p = 0.9
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    one = refinement(model, sequences_of(ROWS), SentenceNoise(0, 2), steps=5)
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    two = refinement(model.eval(), sequences_of(ROWS), SentenceNoise(0, 2), steps=5)
    assert torch.equal(one.refined.elbo, two.refined.elbo)


def test_the_cost_stated_is_the_cost():
    model, passes = alive(2), []
    model.decoder.register_forward_hook(lambda module, inputs, output: passes.append(inputs[1].shape[0]))
    found = refinement(model, sequences_of([[4, 5]]), SentenceNoise(0, 2), steps=7, samples=3, scoring=20)
    assert found.refining == 7 * 3 * 2
    assert sum(passes) == found.passes == found.refining + 40


def test_a_family_with_dropout_is_put_together_without_it():
    model, rows = tiny(2, posterior="du").train(), sequences_of(random_rows(20, 4))
    state = torch.get_rng_state()
    one = refinement(model, rows, SentenceNoise(0, 2), steps=5)
    assert torch.equal(state, torch.get_rng_state())
    two = refinement(model.eval(), rows, SentenceNoise(0, 2), steps=5)
    assert torch.equal(one.q.variance, two.q.variance)


@pytest.mark.parametrize("name", ["steps", "samples", "scoring"])
def test_bad_numbers_are_refused_in_a_sentence(name):
    with pytest.raises(ConfigError, match=f"{name}: an estimate needs at least 1"):
        refinement(alive(1), sequences_of([[4]]), SentenceNoise(0, 1), **{name: 0})


def test_what_has_no_likelihood_is_refused_in_a_sentence():
    noise = SentenceNoise(0, 2)
    with pytest.raises(ConfigError, match="autoencoder"):
        refinement(tiny(2, posterior="dirac"), sequences_of([[4]]), noise)
    with pytest.raises(ConfigError, match="language model has no z"):
        refinement(tiny(0, encoder=("none", {})), sequences_of([[4]]), noise)
    with pytest.raises(ConfigError, match="empty"):
        refinement(alive(2), NO_SENTENCES, noise)


@pytest.mark.parametrize("kind", ["fixed_variance", "delta", "du"])
def test_a_narrower_family_is_not_left(kind):
    """Else what the family cannot do would count as the encoder's error."""
    model = tiny(2, posterior=kind)
    rows = sequences_of(random_rows(20, 4))
    q = Survey.of(model, rows, SentenceNoise(0, 2)).posteriors[0][1]
    found = refinement(model, rows, SentenceNoise(0, 2), steps=60)
    assert (found.refined.elbo - found.amortised.elbo).mean() > 0
    if kind == "fixed_variance":
        assert torch.equal(found.q.variance, q.variance[:1].expand(20, 2))
    elif kind == "delta":
        floor = model.posterior.nats * 2
        assert found.refined.rate.min() >= floor - 1e-9
        assert found.refined.rate.mean() < found.amortised.rate.mean() or found.refined.rate.mean() > floor
    else:
        assert (found.q.variance > model.posterior.floor).all()


def test_a_mean_at_the_edge_of_its_family_can_leave_it():
    model = tiny(2, posterior="delta")
    model.posterior.mean.weight.data.zero_()  # no rate above the floor
    model.decoder.first_state.weight.data *= 8
    rows = sequences_of(random_rows(20, 4))
    found = refinement(model, rows, SentenceNoise(0, 2), steps=60)
    assert (found.q.unconstrained[0] != 0).all()
    assert (found.refined.rate > found.amortised.rate + 0.1).any()
