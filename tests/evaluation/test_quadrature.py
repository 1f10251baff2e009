"""Quadrature against closed forms, and that the error it states is an error it has at most."""

import copy
import math

import pytest
import torch
from helpers import NO_SENTENCES, alive, batch_of, make, random_rows, sequences_of, set_posterior, solvable, tiny

from textvae.data.batches import collate
from textvae.errors import ConfigError
from textvae.evaluation.estimators import Survey
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.quadrature import integrate, on_grid, quadrature
from textvae.models.linear_gaussian import LinearPosterior, observations
from textvae.models.text_vae import TextVAE

ROWS = [[4, 5, 6, 4], [], [6], [5, 5], [2, 6, 4]]


def exactly_known(dim: int, variance: float = 1.0, shift: float = 0.0, factor: float = 1.0, posterior="diagonal"):
    """A model with its best diagonal q, shifted and scaled; six rows from it, and their batch."""
    model = solvable(dim, 3, variance=variance, posterior=posterior)
    best = model.best_diagonal()
    placed = (best.slope, best.offset + shift, factor * best.covariance)
    set_posterior(model, LinearPosterior(*(part.detach() for part in placed)))
    x = model.sample(6, seed=0)[1]
    return model, x, collate([row.numpy() for row in x])


@pytest.mark.parametrize("dim", [1, 2])
@torch.no_grad()
def test_every_integral_meets_its_closed_form(dim):
    model, x, batch = exactly_known(dim)
    found = quadrature(model, batch)
    assert found.error.max() < 1e-6
    exact, q = model.exact_posterior()(x), model.best_diagonal()
    torch.testing.assert_close(found.log_evidence, model.log_evidence(batch), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.posterior_mean, exact.mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.posterior_variance, exact.variance, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.posterior_gap, model.diagonal_gap.expand(6), atol=1e-9, rtol=0)
    prior = torch.distributions.MultivariateNormal(torch.zeros(dim).double(), torch.eye(dim).double())
    information = torch.distributions.kl_divergence(exact, prior)
    torch.testing.assert_close(found.information, information, atol=1e-8, rtol=0)
    rate = torch.distributions.kl_divergence(q(x), prior)
    torch.testing.assert_close(found.rate, rate, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.distortion, -found.elbo - rate, atol=1e-8, rtol=0)


@pytest.mark.parametrize("dim", [1, 2])
@torch.no_grad()
def test_the_error_stated_is_never_less_than_the_error_made(dim):
    """From grids on which a narrow posterior falls between the points, and which say so, to fine ones."""
    model, _, batch = exactly_known(dim, variance=0.1)
    exact = model.log_evidence(batch)
    missed = []
    for spacing in (1.2, 0.6, 0.3, 0.15) if dim == 2 else (1.2, 0.6, 0.3, 0.15, 0.07):
        found = on_grid(model, batch, spacing)
        true = (found.log_evidence - exact).abs()
        assert ((true <= found.error + 1e-9) | (found.error > 0.4)).all()
        missed.append(true.max().item())
    assert missed[0] > 0.1
    assert missed[-1] < 1e-3


@torch.no_grad()
def test_a_posterior_across_the_border_is_told_by_the_error_although_doubling_changes_little():
    model = solvable(1, 3, variance=3.0)
    for parameter in model.posterior.parameters():
        parameter.zero_()  # q is the prior: well inside
    slope = model.exact_posterior().slope
    x = model.decoder.linear.bias + 9 * slope / slope.square().sum()
    batch = collate([row.numpy() for row in x])
    found = on_grid(model, batch, 0.02)
    true = (found.log_evidence - model.log_evidence(batch)).abs()
    assert true > 0.3
    assert found.error > 0.3
    assert (found.coarser().log_evidence - found.log_evidence).abs() < 0.05


def divergences(model, x: torch.Tensor, batch) -> tuple[torch.Tensor, torch.Tensor]:
    """KL of q from the prior and from the exact posterior (B,), in closed form."""
    q, exact = model.posterior(batch), model.exact_posterior()(x)
    dim = model.latent_dim
    covariance = torch.diag_embed(q.variance) if hasattr(q, "log_variance") else q.factor @ q.factor.mT
    normal = torch.distributions.MultivariateNormal
    prior = normal(torch.zeros(dim).double(), torch.eye(dim).double())
    return tuple(torch.distributions.kl_divergence(normal(q.mean, covariance), other) for other in (prior, exact))


HARD = {
    "narrow posterior": {"variance": 1e-5},
    "q outside": {"shift": 20.0},
    "q far outside": {"shift": -1000.0},
    "q between the points": {"factor": 1e-5},
    "q all but a point": {"factor": 1e-10},
    "wide q": {"factor": 30.0},
    "narrow and apart": {"variance": 1e-3, "shift": 3.0},
    "narrow, q wide and apart": {"variance": 1e-5, "shift": 5.0, "factor": 1e4},
}


@pytest.mark.parametrize("posterior", ["diagonal", "full"])
@pytest.mark.parametrize("where", list(HARD))
@pytest.mark.parametrize("dim", [1, 2])
@torch.no_grad()
def test_q_and_posterior_are_found_wherever_they_are(dim, where, posterior):
    model, x, batch = exactly_known(dim, **HARD[where], posterior=posterior)
    x, batch = x[:2], batch.part(slice(0, 2))
    found = quadrature(model, batch)
    rate, gap = divergences(model, x, batch)
    assert found.error.max() <= 1e-6
    for name, exact in {"rate": rate, "posterior_gap": gap, "log_evidence": model.log_evidence(batch)}.items():
        rounding = 1e-12 * exact.abs()
        assert ((getattr(found, name) - exact).abs() < found.error + rounding).all(), name
    torch.testing.assert_close(found.posterior_mean, model.exact_posterior()(x).mean, atol=1e-7, rtol=0)


@pytest.mark.parametrize("where", ["q outside", "q between the points"])
@pytest.mark.parametrize("dim", [1, 2])
@torch.no_grad()
def test_a_grid_says_that_it_does_not_see_q(dim, where):
    model, x, batch = exactly_known(dim, **HARD[where])
    found = on_grid(model, batch, 0.16)
    true = (found.rate - divergences(model, x, batch)[0]).abs()
    assert true.min() > 0.5
    assert (found.error > 0.5).all()
    assert (found.log_evidence - model.log_evidence(batch)).abs().max() < 1e-9


@torch.no_grad()
def test_the_error_covers_everything_that_is_returned():
    """Of a grid too coarse for the posterior, whose every integral is off."""
    model, batch = alive(2), batch_of(*ROWS)
    exact = quadrature(model, batch)
    for spacing in (0.5, 0.7, 1.0):
        found = on_grid(model, batch, spacing)
        for name in exact.__dataclass_fields__:
            if name != "error":
                true = (getattr(found, name) - getattr(exact, name)).abs().reshape(len(ROWS), -1).amax(1)
                assert (true <= found.error + 1e-6).all(), (name, spacing)


@torch.no_grad()
def test_cells_are_halved_until_they_suffice():
    model, x, batch = exactly_known(2, variance=0.01)
    previous = torch.inf
    for tolerance in (1e-2, 1e-4, 1e-6, 1e-8):
        found = quadrature(model, batch, tolerance)
        true = (found.log_evidence - model.log_evidence(batch)).abs().max()
        assert true < found.error.max() <= tolerance
        assert found.error.max() < previous
        previous = found.error.max()
        torch.testing.assert_close(found.rate, divergences(model, x, batch)[0], atol=tolerance, rtol=0)


class Hills(torch.nn.Module):
    """A likelihood with hills of one height: a log-density at z that is known, multimodal and of any width."""

    def __init__(self, places: list[list[float]], width: float) -> None:
        super().__init__()
        self.places = torch.nn.Parameter(torch.tensor(places).double())
        self.width = width

    def forward(self, batch, z: torch.Tensor) -> torch.Tensor:
        squares = (z[..., None, :] - self.places).square().sum(-1) / self.width**2
        return (-0.5 * squares).logsumexp(-1)[..., None] - 5


@pytest.mark.parametrize("width", [0.06, 0.2, 0.5])
@pytest.mark.parametrize("dim", [1, 2])
@torch.no_grad()
def test_every_mode_of_a_posterior_is_found(dim, width):
    """p(x) = Σ N(place; 0, 1 + width²) · (2π width²)^(D/2), each hill times the prior a Gaussian."""
    places = [[-2.17, 1.03], [0.41, -0.77], [1.73, 1.91]]
    places = [place[:dim] for place in places]
    base = alive(dim)
    model = TextVAE(base.posterior, base.prior, base.decoder).eval()
    model.decoder = Hills(places, width)
    found = quadrature(model, batch_of([4, 5]))
    assert found.error <= 1e-6
    z, total = torch.tensor(places).double(), 1 + width**2
    weights = -0.5 * (z.square().sum(1) / total + dim * math.log(total)) + dim * math.log(width) - 5
    torch.testing.assert_close(found.log_evidence, weights.logsumexp(0)[None], atol=1e-6, rtol=0)
    share = weights.softmax(0)
    torch.testing.assert_close(found.posterior_mean, (share @ z / total)[None], atol=1e-6, rtol=0)


def test_who_misses_the_tolerance_says_so(monkeypatch):
    monkeypatch.setattr("textvae.evaluation.quadrature.POINTS", 5_000)
    model, _, batch = exactly_known(2, variance=1e-4)
    with pytest.warns(UserWarning, match=r"6 of 6 sentences miss the tolerance of 1e-06: .* up to \d"):
        found = quadrature(model, batch)
    with torch.no_grad():
        true = (found.log_evidence - model.log_evidence(batch)).abs()
    assert (found.error > 1e-6).all()
    assert (found.error > true / 2).all()


@torch.no_grad()
def test_a_posterior_beyond_the_prior_is_told():
    """A likelihood so sharp and so far out that no draw of prior or q is near."""
    model, *_ = exactly_known(1, variance=1e-3)
    slope = model.exact_posterior().slope
    for parameter in model.posterior.parameters():
        parameter.zero_()  # q is the prior
    far = (model.decoder.linear.bias + 12 * slope / slope.square().sum())[0]
    with pytest.warns(UserWarning, match="1 of 1 sentences"):
        found = quadrature(model, collate([far.numpy()]))
    assert found.error > 0.5


@pytest.mark.parametrize("spacing", [0.1, 0.2, 0.35])
@pytest.mark.parametrize("dim", [1, 2])
def test_the_coarser_grid_is_the_grid_of_twice_the_spacing(dim, spacing):
    model, batch = alive(dim), batch_of(*ROWS)
    fine = on_grid(model, batch, spacing)
    coarse = fine.coarser()
    direct = on_grid(model, batch, 2 * spacing, reach=coarse.z.max().item() - 1e-9)
    torch.testing.assert_close(coarse.z, direct.z)
    torch.testing.assert_close(coarse.log_likelihood, direct.log_likelihood)
    assert coarse.log_volume == pytest.approx(direct.log_volume)
    assert (coarse.z == 0).all(1).sum() == 1


@pytest.mark.parametrize("dim", [1, 2])
def test_a_model_in_float32_is_integrated_in_float64(dim):
    model = alive(dim).float()
    before = copy.deepcopy(model.state_dict())
    found, exact = quadrature(model, batch_of(*ROWS)), quadrature(copy.deepcopy(model).double(), batch_of(*ROWS))
    assert found.log_evidence.dtype == torch.float64
    torch.testing.assert_close(found.log_evidence, exact.log_evidence, atol=1e-12, rtol=0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_split_is_integrated_in_its_own_order_whatever_the_batches():
    model, rows, ticks = alive(1), random_rows(9, 5, seed=1), []
    found = integrate(model, sequences_of(rows), tick=ticks.append)
    assert sum(ticks) == 9
    assert found.error.max() < 1e-6
    together = quadrature(model, batch_of(*rows))
    for name in found.__dataclass_fields__:
        torch.testing.assert_close(getattr(together, name), getattr(found, name), atol=1e-9, rtol=0)
    for i, row in enumerate(rows):
        alone = quadrature(model, batch_of(row))
        torch.testing.assert_close(found.log_evidence[i : i + 1], alone.log_evidence, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.posterior_mean[i : i + 1], alone.posterior_mean, atol=1e-6, rtol=0)
    rate = Survey.of(model, sequences_of(rows), SentenceNoise(0, 1)).rate
    torch.testing.assert_close(found.rate, rate, atol=1e-6, rtol=0)


@pytest.mark.parametrize("posterior", ["full", "flow"])
def test_any_family_with_a_density_can_be_integrated(posterior):
    """E_q of the constant 1 is 1, and the posterior gap a divergence."""
    encoder = make("model.encoder", "lstm", 7, embedding_dim=5, hidden_dim=5)
    base = alive(2)
    model = TextVAE(make("model.posterior", posterior, encoder, 2), base.prior, base.decoder).double().eval()
    batch = batch_of(*ROWS)
    exact, grid = quadrature(model, batch), on_grid(model, batch, 0.05)
    assert exact.error.max() <= 1e-6
    for name in ("log_evidence", "rate", "posterior_gap", "elbo"):
        assert ((getattr(exact, name) - getattr(grid, name)).abs() <= grid.error + exact.error).all(), name
    assert ((grid.under_q(torch.ones_like(grid.log_q)) - 1).abs() <= grid.error).all()
    assert (exact.posterior_gap > 0).all()


def test_what_cannot_be_integrated_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="latent_dim of 1 or 2, not 3"):
        quadrature(tiny(3), batch_of(*ROWS))
    with pytest.raises(ConfigError, match="empty"):
        integrate(alive(1), NO_SENTENCES)
    with pytest.raises(ConfigError, match="autoencoder"):
        integrate(tiny(2, posterior="dirac"), sequences_of(ROWS))
    with pytest.raises(ConfigError, match="language model"):
        integrate(tiny(0, encoder=("none", {})), sequences_of(ROWS))
    encoder = make("model.encoder", "lstm", 7, embedding_dim=5, hidden_dim=5)
    sphere = TextVAE(
        make("model.posterior", "vmf", encoder, 2), make("model.prior", "uniform_sphere", 2), alive(2).decoder
    )
    with pytest.raises(ConfigError, match="sphere"):
        integrate(sphere.double(), sequences_of(ROWS))


def test_observations_with_one_latent_dimension_are_integrated_like_sentences():
    model, x, _ = exactly_known(1)
    found = integrate(model, observations(x))
    torch.testing.assert_close(found.log_evidence, model.evidence.log_prob(x).detach(), atol=1e-8, rtol=0)
