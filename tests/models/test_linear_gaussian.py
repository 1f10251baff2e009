"""The linear-Gaussian model: its closed forms against Bayes' rule, quadrature and large samples, and against
each other; and that the library's own estimators and data path take it for one more model."""

import math

import numpy as np
import pytest
import torch
from helpers import set_posterior, solvable
from torch.distributions import MultivariateNormal, kl_divergence

from textvae.data.batches import collate
from textvae.evaluation.estimators import Survey, importance_weighted_nll
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.quadrature import on_grid
from textvae.models.linear_gaussian import LinearPosterior, observations
from textvae.models.terms import forward_pass, log_weight

SIZES = [(1, 2), (3, 5), (16, 24)]


def batch_of_rows(x: torch.Tensor):
    return collate([row.numpy() for row in x])


def some_posterior(model, seed: int = 0) -> LinearPosterior:
    """A full-covariance q that is not the posterior."""
    generator = torch.Generator().manual_seed(seed)
    exact = model.exact_posterior()
    dim = model.latent_dim
    stretch = torch.randn((dim, dim), generator=generator, dtype=torch.float64) / dim
    offset = exact.offset + 0.3 * torch.randn(dim, generator=generator, dtype=torch.float64)
    covariance = 1.5 * exact.covariance + 0.1 * stretch @ stretch.T
    return LinearPosterior((0.8 * exact.slope).detach(), offset.detach(), covariance.detach())


def some_data(model, seed: int = 1) -> MultivariateNormal:
    """Gaussian data that are not the model's own."""
    n = len(model.decoder.linear.bias)
    root = torch.randn((n, n), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean = model.decoder.linear.bias.detach() + 0.5
    return MultivariateNormal(mean, root @ root.T / n + 0.3 * torch.eye(n, dtype=torch.float64))


@pytest.mark.parametrize(("dim", "coordinates"), SIZES)
@torch.no_grad()
def test_evidence_and_posterior_obey_bayes_rule_at_every_z(dim, coordinates):
    model = solvable(dim, coordinates)
    z, x = model.sample(30, seed=0)
    batch = batch_of_rows(x)
    anywhere = torch.randn((7, 30, dim), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for point in (z[None], anywhere):
        joint = model.decoder(batch, point).sum(-1) + model.prior().log_prob(point)
        evidence = joint - model.exact_posterior()(x).log_prob(point)
        torch.testing.assert_close(evidence, model.log_evidence(batch).expand_as(evidence), atol=1e-8, rtol=1e-10)


@pytest.mark.parametrize("dim", [1, 2])
@torch.no_grad()
def test_evidence_and_gap_are_those_of_quadrature(dim):
    model = solvable(dim, 3, variance=1.0)
    _, x = model.sample(6, seed=0)
    set_posterior(model, model.best_diagonal())
    grid = on_grid(model, batch_of_rows(x), 0.08)
    assert grid.error.max() < 1e-8
    torch.testing.assert_close(grid.log_evidence, model.log_evidence(batch_of_rows(x)), atol=1e-9, rtol=0)
    torch.testing.assert_close(grid.posterior_gap, model.diagonal_gap.expand(6), atol=1e-8, rtol=0)
    exact = model.exact_posterior()(x)
    torch.testing.assert_close(grid.posterior_mean, exact.mean, atol=1e-8, rtol=0)
    torch.testing.assert_close(grid.posterior_variance, exact.variance, atol=1e-8, rtol=0)


@pytest.mark.parametrize(("dim", "coordinates"), SIZES)
@torch.no_grad()
def test_rate_is_information_plus_marginal_kl(dim, coordinates):
    """Three closed forms, none of which is made from the others, for data and q of any kind."""
    model = solvable(dim, coordinates)
    for data in (model.evidence, some_data(model)):
        for q in (model.exact_posterior(), model.best_diagonal(), some_posterior(model)):
            parts = q.mutual_information(data) + q.marginal_kl(data)
            torch.testing.assert_close(q.rate(data), parts, atol=1e-9, rtol=1e-12)


@pytest.mark.parametrize(("dim", "coordinates"), SIZES)
@torch.no_grad()
def test_the_elbo_is_the_evidence_minus_the_gap(dim, coordinates):
    """log p(x) − KL(q ‖ p(z|x)) = −(distortion + rate), for each x and, by closed forms, in the mean."""
    model = solvable(dim, coordinates)
    for data in (model.evidence, some_data(model)):
        q = some_posterior(model)
        x = data.sample((50,))
        gap = kl_divergence(q(x), model.exact_posterior()(x))
        point = MultivariateNormal(x[0], 1e-30 * torch.eye(coordinates, dtype=torch.float64))
        elbo = -(q.distortion(model, point) + q.rate(point))
        torch.testing.assert_close(elbo, model.log_evidence(batch_of_rows(x[:1]))[0] - gap[0], atol=1e-7, rtol=0)
        evidence = model.evidence
        cross = torch.linalg.solve(evidence.covariance_matrix, data.covariance_matrix).trace()
        mahalanobis = evidence.log_prob(data.mean) - 0.5 * cross
        exact = model.exact_posterior()
        slope, offset = q.slope - exact.slope, q.offset - exact.offset
        missed = slope @ data.mean + offset
        spread = model.precision @ (slope @ data.covariance_matrix @ slope.T + missed.outer(missed))
        ratio = model.precision @ q.covariance
        mean_gap = 0.5 * (ratio.trace() - dim - torch.logdet(ratio) + spread.trace())
        torch.testing.assert_close(
            -(q.distortion(model, data) + q.rate(data)), mahalanobis - mean_gap, atol=1e-8, rtol=1e-11
        )


@pytest.mark.parametrize(("dim", "coordinates"), SIZES)
@torch.no_grad()
def test_the_exact_posterior_tells_what_the_model_says_and_aggregates_to_the_prior(dim, coordinates):
    model = solvable(dim, coordinates)
    q, data = model.exact_posterior(), model.evidence
    torch.testing.assert_close(q.mutual_information(data), model.mutual_information, atol=1e-9, rtol=0)
    assert abs(q.marginal_kl(data).item()) < 1e-9
    torch.testing.assert_close(q.distortion(model, data) + q.rate(data), data.entropy(), atol=1e-9, rtol=0)


@pytest.mark.parametrize(("dim", "coordinates"), SIZES)
def test_no_diagonal_gaussian_is_better_than_the_best(dim, coordinates):
    model = solvable(dim, coordinates)
    x = torch.randn(4, coordinates, dtype=torch.float64)
    best, exact = model.best_diagonal(), model.exact_posterior()(x)
    mean = best(x).mean.detach().requires_grad_()
    log_variance = best.covariance.diagonal().log().expand(4, dim).detach().clone().requires_grad_()

    def gap(mean, log_variance):
        return kl_divergence(MultivariateNormal(mean, torch.diag_embed(log_variance.exp())), exact)

    torch.testing.assert_close(gap(mean, log_variance), model.diagonal_gap.expand(4), atol=1e-9, rtol=0)
    slopes = torch.autograd.grad(gap(mean, log_variance).sum(), [mean, log_variance])
    assert max(slope.abs().max() for slope in slopes) < 1e-8
    for seed in range(5):
        noise = 0.1 * torch.randn((2, 4, dim), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert (gap(mean + noise[0], log_variance + noise[1]) > model.diagonal_gap).all()
    assert (model.diagonal_gap > 0.01) == (dim > 1)


@torch.no_grad()
def test_closed_forms_over_the_data_are_means_over_many_rows():
    model = solvable(3, 5)
    data, q = some_data(model), some_posterior(model)
    torch.manual_seed(0)
    x = data.sample((20_000,))
    batch, posterior = batch_of_rows(x), q(x)
    prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    z = posterior.sample()
    columns = {
        "rate": kl_divergence(posterior, prior),
        "distortion": -model.decoder(batch, z[None])[0].sum(-1),
        "information": posterior.log_prob(z) - q.marginal(data).log_prob(z),
        "marginal": q.marginal(data).log_prob(z) - prior.log_prob(z),
    }
    exact = {
        "rate": q.rate(data),
        "distortion": q.distortion(model, data),
        "information": q.mutual_information(data),
        "marginal": q.marginal_kl(data),
    }
    for name, values in columns.items():
        score = (values.mean() - exact[name]) / (values.std() / math.sqrt(len(values)))
        assert abs(score) < 3.5, f"{name}: {score:.1f} standard errors"


def test_samples_have_the_moments_of_the_model():
    model = solvable(3, 5)
    z, x = model.sample(40_000, seed=3)
    data = model.evidence
    assert (x.mean(0) - data.mean).abs().max() < 5 * data.variance.max().sqrt() / 200
    assert (torch.cov(x.T) - data.covariance_matrix).abs().max() < 0.04 * data.covariance_matrix.abs().max()
    assert (torch.cov(z.T) - torch.eye(3)).abs().max() < 0.03
    ripple = x - z @ model.decoder.linear.weight.T.detach() - model.decoder.linear.bias.detach()
    assert ripple.var() == pytest.approx(0.5, rel=0.02)
    assert torch.equal(x, model.sample(40_000, seed=3)[1])


# One more member of the hierarchy: the data path, the noise and the estimators as they are for sentences.


def test_rows_of_coordinates_make_batches_without_padding():
    x = torch.arange(12, dtype=torch.float64).view(4, 3) / 7
    sequences = observations(x)
    assert len(sequences) == 4
    np.testing.assert_array_equal(sequences[2], x[2].numpy())
    batch = collate([sequences[i] for i in (1, 3)])
    assert torch.equal(batch.targets, x[[1, 3]])
    assert batch.targets.dtype == torch.float64
    assert batch.lengths.tolist() == [3, 3]
    assert (batch.tokens, batch.padded, batch.sentences) == (6, False, 2)
    assert batch.inputs.dtype == torch.int64
    assert batch.inputs.shape == batch.targets.shape


def test_noise_belongs_to_a_row_also_where_rows_agree_in_whole_numbers():
    x = torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.25, 0.5]], dtype=torch.float64)
    noise = SentenceNoise(0, 3)(batch_of_rows(x), 0, 5)
    assert (noise[:, 0] != noise[:, 1]).all()
    assert torch.equal(noise[:, 0], noise[:, 2])
    assert torch.equal(SentenceNoise(0, 3)(batch_of_rows(x[1:2]), 0, 5)[:, 0], noise[:, 1])


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
def test_estimates_do_not_depend_on_batch_or_chunk(posterior):
    model = solvable(3, 5, posterior=posterior)
    sequences = observations(model.sample(23, seed=0)[1])
    noise = SentenceNoise(0, 3)
    whole = Survey.of(model, sequences, noise)
    bound = importance_weighted_nll(model, sequences, 20, noise)
    for size in (1, 7):
        again = Survey.of(model, sequences, noise, batch_size=size)
        torch.testing.assert_close(again.elbo, whole.elbo, atol=1e-9, rtol=0)
        torch.testing.assert_close(again.z, whole.z, atol=1e-12, rtol=0)
        cut = importance_weighted_nll(model, sequences, 20, noise, batch_size=size, chunk=3)
        torch.testing.assert_close(cut, bound, atol=1e-8, rtol=0)


@pytest.mark.parametrize(("dim", "coordinates"), SIZES)
@torch.no_grad()
def test_where_q_is_the_posterior_every_log_weight_is_the_evidence(dim, coordinates):
    model = solvable(dim, coordinates, posterior="full")
    set_posterior(model, model.exact_posterior())
    batch = batch_of_rows(model.sample(20, seed=0)[1])
    done = forward_pass(model, batch, SentenceNoise(0, dim)(batch, 0, 30))
    exact = model.log_evidence(batch)
    torch.testing.assert_close(log_weight(done), exact.expand(30, -1), atol=1e-10, rtol=0)
    assert (-done.token_log_probs.sum(-1)).std(0).min() > 0.1


@pytest.mark.parametrize("learned", [False, True])
def test_the_variance_is_a_parameter_only_where_it_is_learned(learned):
    model = solvable(2, 3, variance=0.7, learned=learned)
    assert ("decoder.log_variance" in dict(model.named_parameters())) == learned
    assert "decoder.log_variance" in model.state_dict()
    assert model.decoder.log_variance.exp().item() == pytest.approx(0.7)


def test_a_gaussian_decoder_has_no_words():
    model = solvable(2, 3)
    with pytest.raises(NotImplementedError, match="no words"):
        model.decoder.start(torch.zeros(1, 2))
    with pytest.raises(NotImplementedError, match="no words"):
        model.decoder.step(torch.zeros(1), ())
