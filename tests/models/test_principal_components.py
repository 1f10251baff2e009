"""The best linear-Gaussian model: stationary by the exact objective, found by training with the library's own
objective and optimiser, its dimensions collapsed where an eigenvalue falls under σ²."""

import json
import math

import numpy as np
import pytest
import torch
from helpers import objective_of, set_posterior, solvable
from torch.distributions import MultivariateNormal

from textvae.data.batches import BatchStream
from textvae.evaluation.collapse import active_units
from textvae.evaluation.estimators import Survey
from textvae.evaluation.noise import SentenceNoise
from textvae.models.linear_gaussian import observations
from textvae.models.principal_components import Optimum, optimum
from textvae.runs import Run
from textvae.training.optimisers import adam
from textvae.training.plan import Plan
from textvae.training.trainer import Trainer
from textvae.training.updates import Joint

EIGENVALUES = [6.0, 3.0, 1.6, 0.6, 0.3, 0.15]


def covariance_of(eigenvalues: list[float], seed: int = 0) -> torch.Tensor:
    root = torch.randn((len(eigenvalues),) * 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    vectors = torch.linalg.qr(root).Q
    return vectors @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ vectors.T


def model_at(found: Optimum, latent_dim: int, posterior: str = "full"):
    """The model at an optimum, around its mean 0, with the posterior that is exact for σ² · β."""
    model = solvable(latent_dim, len(found.weight), posterior=posterior, variance=found.variance, learned=True)
    model.decoder.linear.weight.data = found.weight.clone()
    model.decoder.linear.bias.data.zero_()
    model.decoder.log_variance.data = torch.tensor(math.log(found.variance), dtype=torch.float64)
    return model


def exact_loss(model, q, data, beta: float) -> torch.Tensor:
    return q.distortion(model, data) + beta * q.rate(data)


def best_response(model, beta: float):
    """The q that minimises distortion + β · rate: the exact posterior of the same W at σ² β."""
    warmer = solvable(model.latent_dim, len(model.decoder.linear.bias))
    warmer.decoder.linear.weight = model.decoder.linear.weight
    warmer.decoder.linear.bias = model.decoder.linear.bias
    warmer.decoder.log_variance = model.decoder.log_variance + math.log(beta)
    return warmer.exact_posterior()


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("variance", [None, 0.2, 1.0, 10.0])
@pytest.mark.parametrize("dim", [1, 3, 5])
def test_nothing_nearby_is_better_than_the_optimum(dim, variance, beta):
    """Loss at the best q for each W and σ²: its slope is 0 at the optimum, and random steps go up."""
    data = MultivariateNormal(torch.zeros(6).double(), covariance_of(EIGENVALUES))
    found = optimum(data.covariance_matrix, dim, variance, beta)
    model = model_at(found, dim)
    moved = [model.decoder.linear.weight, *([model.decoder.log_variance] if variance is None else [])]

    def loss() -> torch.Tensor:
        return exact_loss(model, best_response(model, beta), data, beta)

    least = loss()
    assert max(slope.abs().max() for slope in torch.autograd.grad(least, moved)) < 1e-9
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        saved = [p.data for p in moved]
        for p in moved:
            p.data = p.data + 0.3 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
        assert loss() > least
        for p, before in zip(moved, saved, strict=True):
            p.data = before


@pytest.mark.parametrize("dim", [1, 3, 5])
def test_the_optimum_is_that_of_tipping_and_bishop(dim):
    """σ² is the mean of the eigenvalues left over, and the best evidence a sum over eigenvalues."""
    covariance = covariance_of(EIGENVALUES)
    found = optimum(covariance, dim)
    rest = EIGENVALUES[dim:]
    assert found.variance == pytest.approx(sum(rest) / len(rest))
    assert found.alive == dim
    model = model_at(found, dim)
    logs = sum(map(math.log, EIGENVALUES[:dim])) + len(rest) * math.log(found.variance)
    expected = -0.5 * (6 * math.log(2 * math.pi) + logs + 6)
    fitted = model.evidence
    trace = torch.linalg.solve(fitted.covariance_matrix, covariance).trace()
    assert (fitted.log_prob(torch.zeros(6).double()) - 0.5 * trace).item() == pytest.approx(expected)
    assert model.diagonal_gap.item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("variance", "alive"), [(0.1, 6), (0.2, 5), (0.5, 4), (1.0, 3), (2.0, 2), (5.0, 1), (7.0, 0)]
)
def test_a_dimension_collapses_where_its_eigenvalue_is_under_the_variance(variance, alive):
    covariance = covariance_of(EIGENVALUES)
    found = optimum(covariance, 6, variance)
    assert found.alive == alive
    model = model_at(found, 6)
    gain = torch.tensor([max(v / variance, 1.0) for v in EIGENVALUES], dtype=torch.float64)
    assert model.mutual_information.item() == pytest.approx(0.5 * gain.log().sum().item())
    assert optimum(covariance, 2, variance).alive == min(alive, 2)


@pytest.mark.parametrize("beta", [0.25, 3.0])
def test_the_variance_weighs_the_rate_as_beta_does(beta):
    """The same W and q, but not the same ELBO: a β other than 1 is no likelihood."""
    covariance = covariance_of(EIGENVALUES)
    weighted, plain = optimum(covariance, 4, 0.5, beta), optimum(covariance, 4, 0.5 * beta)
    torch.testing.assert_close(weighted.weight, plain.weight)
    data = MultivariateNormal(torch.zeros(6).double(), covariance)
    elbos = []
    for found in (weighted, plain):
        model = model_at(found, 4)
        q = best_response(model, 0.5 * beta / found.variance)
        elbos.append(-(q.distortion(model, data) + q.rate(data)).item())
    assert abs(elbos[0] - elbos[1]) > 0.1


def trained(model, x, beta: float = 1.0, steps: int = 400):
    """The library's objective, update rule, optimiser and batches, on rows x."""
    objective = objective_of(model, weight=beta, samples=4)
    update = Joint(objective, lambda: adam(objective.parameters(), lr=0.06), clip_norm=None)
    stream = BatchStream(observations(x), batch_size=len(x), seed=0)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        update(stream, step, generator)
        update.scale_learning_rate(1.0 if step < steps / 2 else 0.97)
    return model.eval()


def rows_with(covariance: torch.Tensor, count: int = 250) -> torch.Tensor:
    """Rows whose own mean is exactly 0 and whose own covariance, divided by N, is exactly this."""
    noise = torch.randn((count, len(covariance)), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    noise = noise - noise.mean(0)
    white = noise @ torch.linalg.inv(torch.linalg.cholesky(noise.T @ noise / count)).T
    return white @ torch.linalg.cholesky(covariance).T


@pytest.mark.parametrize(
    ("posterior", "variance", "beta"),
    [("diagonal", 1.0, 1.0), ("full", 1.0, 1.0), ("diagonal", None, 1.0), ("diagonal", 0.5, 2.0)],
)
def test_training_finds_the_optimum_and_collapses_the_same_dimensions(posterior, variance, beta):
    covariance = covariance_of(EIGENVALUES)
    dim = 5 if variance else 3
    found = optimum(covariance, dim, variance, beta)
    assert found.alive == 3
    model = solvable(
        dim, 6, posterior=posterior, variance=variance or 1.0, learned=variance is None, scale=0.3, seed=3
    )
    x = rows_with(covariance)
    trained(model, x, beta)
    spectrum = torch.linalg.eigvalsh(model.decoder.linear.weight @ model.decoder.linear.weight.T).flip(0)
    expected = (found.weight**2).sum(0).sort(descending=True).values
    torch.testing.assert_close(spectrum[:dim], expected, atol=0.12, rtol=0.06)
    assert model.decoder.log_variance.exp().item() == pytest.approx(found.variance, rel=0.05)
    survived = Survey.of(model, observations(x), SentenceNoise(0, dim))
    data = MultivariateNormal(torch.zeros(6).double(), covariance)
    best = exact_loss(model_at(found, dim), best_response(model_at(found, dim), beta), data, beta)
    reached = survived.rate.mean() * beta + survived.distortion.mean()
    error = survived.distortion.std() / math.sqrt(len(x))
    assert abs(reached - best) < 3.5 * error + 0.1
    if posterior == "diagonal":
        # Only a diagonal q ties the axes of z to the principal ones: three units are used, the rest idle.
        assert active_units(survived.mean) == 3
        idle = survived.rate_per_dimension.mean(0).sort().values[: dim - 3]
        assert (idle < 0.02).all()


def test_the_best_diagonal_posterior_at_the_optimum_has_no_gap_although_it_is_diagonal():
    found = optimum(covariance_of(EIGENVALUES), 4, 0.5)
    model = model_at(found, 4, "diagonal")
    set_posterior(model, model.best_diagonal())
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 6)))
    with torch.no_grad():
        torch.testing.assert_close(model.best_diagonal()(x).mean, model.exact_posterior()(x).mean)
        torch.testing.assert_close(model.best_diagonal().covariance, model.exact_posterior().covariance)


class Silent:
    """A watcher that watches nothing."""

    def step(self, step: int, values: dict[str, float]) -> None: ...

    def remark(self, sentence: str) -> None: ...


def test_the_trainer_takes_it_as_it_takes_a_text_model_and_resumes_to_the_bit(tmp_path):
    rows = rows_with(covariance_of(EIGENVALUES))
    train, valid = observations(rows[:200]), observations(rows[200:])

    def fitted(name: str, budgets: list[int]):
        run = Run(tmp_path / name)
        run.create()
        for budget in budgets:
            model = solvable(3, 6, variance=1.0, learned=True, scale=0.3)
            objective = objective_of(model, samples=2)
            update = Joint(objective, lambda objective=objective: adam(objective.parameters(), lr=0.02))
            plan = Plan(budget, 20, 10, None, None, None)
            stream = BatchStream(train, batch_size=50, seed=0)
            Trainer(run, objective, update, stream, valid, plan, seed=0).fit(Silent())
        return run, model

    run, model = fitted("whole", [60])
    assert run.status == "done"
    _, resumed = fitted("resumed", [20, 60])
    for one, two in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)
    validations = [json.loads(line) for line in run.metrics.read_text().splitlines() if '"valid"' in line]
    assert [row["step"] for row in validations] == [20, 40, 60]
    assert validations[-1]["elbo"] > validations[0]["elbo"]
    assert validations[-1]["active_units"] == 3
