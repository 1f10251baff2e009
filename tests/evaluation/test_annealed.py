"""Annealed importance sampling: unbiased in both directions, so that it encloses log p(x); its transitions leave
what they should as it is; on models with closed forms, on text by quadrature, and on text with wider z."""

import copy
from itertools import product

import pytest
import torch
from helpers import (
    NO_SENTENCES,
    alive,
    check_unbiased,
    make,
    objective_of,
    sequences_of,
    set_posterior,
    solvable,
    tiny,
    truth,
)

from textvae.data.batches import BatchStream, collate, longest_first
from textvae.errors import ConfigError
from textvae.evaluation.annealed import Annealing, annealed, sandwich
from textvae.evaluation.curves import importance_curve
from textvae.evaluation.estimators import Survey, importance_weighted_nll, standard_error
from textvae.evaluation.hamiltonian import Bridge
from textvae.evaluation.noise import SentenceNoise
from textvae.evaluation.quadrature import quadrature
from textvae.generation import simulate
from textvae.models.linear_gaussian import LinearPosterior, observations
from textvae.models.modes import fixed, inert
from textvae.models.text_vae import TextVAE
from textvae.training.optimisers import adam
from textvae.training.updates import Joint

QUICK = Annealing(temperatures=6, leapfrogs=2, chains=1, pilots=1)


def misfitted(dim: int, posterior: str = "diagonal", scale: float = 1.0):
    """A model, and a q whose mean is off and whose variance is too wide."""
    model = solvable(dim, dim + 4, posterior=posterior, scale=scale)
    best = model.best_diagonal() if posterior == "diagonal" else model.exact_posterior()
    offset = best.offset + 0.5 * best.covariance.diagonal().sqrt()
    set_posterior(model, LinearPosterior(best.slope.detach(), offset.detach(), 1.5 * best.covariance.detach()))
    return model


def drawn(model, count: int, seed: int = 0):
    """Rows from the model with their z and exact log p(x)."""
    z, x = model.sample(count, seed)
    return observations(x), z, model.evidence.log_prob(x).detach()


@pytest.mark.parametrize("origin", ["posterior", "prior"])
@pytest.mark.parametrize("dim", [1, 3])
def test_forward_and_reverse_weights_are_unbiased(dim, origin):
    """E w = p(x) and E 1/w = 1/p(x): each row is a replication, also with chains averaged."""
    model = misfitted(dim, scale=0.5)
    sequences, z, exact = drawn(model, 300)
    for chains in (1, 3):
        how = Annealing(temperatures=6, leapfrogs=2, chains=chains, origin=origin)
        found = sandwich(model, sequences, z, how, batch_size=300)
        check_unbiased((found.lower - exact).exp()[:, None], torch.ones(1))
        check_unbiased((exact - found.upper).exp()[:, None], torch.ones(1))
        assert (found.lower - exact).std() > 0.01
        assert (found.upper - exact).std() > 0.01


@pytest.mark.parametrize(("dim", "temperatures"), [(1, 15), (4, 30), (16, 80)])
def test_the_truth_lies_between_the_two_bounds(dim, temperatures):
    model = misfitted(dim, scale=0.6)
    sequences, z, exact = drawn(model, 100)
    how = Annealing(temperatures=temperatures)
    found = sandwich(model, sequences, z, how, batch_size=100)
    below, above = found.lower - exact, found.upper - exact
    assert below.mean() <= 3 * standard_error(below)
    assert above.mean() >= -3 * standard_error(above)
    assert found.gap.mean() <= 0.5
    torch.testing.assert_close(annealed(model, sequences, how, batch_size=100), found.lower, atol=1e-9, rtol=0)


def test_more_temperatures_bring_the_bounds_together():
    model = misfitted(8)
    sequences, z, _ = drawn(model, 60)
    gaps = [
        sandwich(model, sequences, z, Annealing(temperatures=t, origin="prior"), batch_size=60).gap.mean()
        for t in (4, 16, 64)
    ]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0


def test_where_q_is_the_posterior_every_path_gives_the_evidence():
    model = solvable(3, 5, posterior="full")
    set_posterior(model, model.exact_posterior())
    sequences, z, exact = drawn(model, 10)
    for how in (QUICK, Annealing(temperatures=1, chains=2), Annealing(temperatures=9, leapfrogs=3)):
        found = sandwich(model, sequences, z, how)
        torch.testing.assert_close(found.lower, exact, atol=1e-9, rtol=0)
        torch.testing.assert_close(found.upper, exact, atol=1e-9, rtol=0)


def test_with_one_temperature_it_is_importance_sampling():
    """The same number of samples of the same weights; the noise is its own, so in distribution."""
    model = misfitted(2, scale=0.5)
    sequences, z, exact = drawn(model, 300)
    found = sandwich(model, sequences, z, Annealing(temperatures=1, chains=8), batch_size=300)
    weighted = importance_weighted_nll(model, sequences, 8, SentenceNoise(0, 2))
    difference = found.lower + weighted
    assert abs(difference.mean()) < 3.5 * standard_error(difference)
    assert ((found.lower - exact).std() / (weighted + exact).std() - 1).abs() < 0.25


def bridge_of(model, sequences) -> Bridge:
    _, batch = next(longest_first(sequences, len(sequences)))
    with torch.no_grad():
        return Bridge(model, batch, model.posterior(batch))


@pytest.mark.parametrize("make_model", [lambda: misfitted(3), lambda: alive(2)], ids=["linear", "text"])
def test_gradients_are_those_of_the_densities(make_model):
    model = make_model()
    sequences = observations(model.sample(4, 0)[1]) if hasattr(model, "sample") else sequences_of([[4, 5], [], [6]])
    bridge = bridge_of(model, sequences)
    z = torch.randn((2, len(sequences), model.latent_dim), generator=torch.Generator().manual_seed(0)).double()
    with inert(model), fixed(model):
        point = bridge.at(z)
        for power in (0.0, 0.3, 1.0):
            for d in range(model.latent_dim):
                nudge = torch.zeros(model.latent_dim).double()
                nudge[d] = 1e-5
                up, down = bridge.at(z + nudge), bridge.at(z - nudge)
                slope = (up.log_density(power) - down.log_density(power)) / 2e-5
                torch.testing.assert_close(point.gradient(power)[..., d], slope, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("power", [0.0, 0.4, 1.0])
def test_transitions_leave_their_density_as_it_is(power):
    """Chains drawn from f_β itself, a product of two Gaussians, have its moments after steps that often fail."""
    model = misfitted(2, scale=0.5)
    sequences, _, _ = drawn(model, 1)
    bridge, count = bridge_of(model, sequences), 20_000
    _, batch = next(longest_first(sequences, 1))
    with torch.no_grad():
        q, exact = model.posterior(batch), model.exact_posterior()(batch.targets)
        precision = (1 - power) * torch.diag(1 / q.variance[0]) + power * exact.precision_matrix[0]
        pull = (1 - power) * q.mean[0] / q.variance[0] + power * exact.precision_matrix[0] @ exact.mean[0]
        target = torch.distributions.MultivariateNormal(
            torch.linalg.solve(precision, pull), precision_matrix=precision
        )
    torch.manual_seed(0)
    accepted = []
    with inert(model), fixed(model):
        point = bridge.at(target.sample((count, 1)))
        start = point.z
        for _ in range(3):
            noise = torch.randn((count, 1, 4)).double()
            point, acceptance = bridge.move(point, power, torch.tensor([1.1]).double(), noise, leaps=3)
            accepted.append(acceptance.mean().item())
    assert 0.3 < min(accepted) < 0.95
    assert ((point.z - start).abs() > 1e-3).all(-1).double().mean() > 0.5
    white = (point.z[:, 0] - target.mean) @ torch.linalg.cholesky(precision)
    assert white.mean(0).abs().max() < 4 / count**0.5
    assert (white.T @ white / count - torch.eye(2)).abs().max() < 6 / count**0.5


def test_pilots_find_steps_that_are_accepted_as_often_as_asked_and_then_stay():
    from textvae.evaluation import annealed as module

    model = misfitted(4)
    sequences, z, _ = drawn(model, 20)
    _, batch = next(longest_first(sequences, 20))
    with inert(model), fixed(model):
        paths = module._Paths(model, batch, Annealing(temperatures=60, pilots=4))
        steps = [step.clone() for step in paths.steps]
        point, shares = paths._begin(4, 2), []
        for t in range(1, 60):
            point, acceptance = paths._move(point, t, paths.steps[t - 1], 4)
            shares.append(acceptance.mean())
        paths.lower(), paths.upper(z)
    assert torch.stack(shares[20:]).mean().item() == pytest.approx(module.ACCEPTANCE, abs=0.08)
    assert all(torch.equal(a, b) for a, b in zip(steps, paths.steps, strict=True))


@pytest.mark.parametrize("make_model", [lambda: misfitted(3), lambda: alive(2)], ids=["linear", "text"])
def test_bounds_do_not_depend_on_the_batch(make_model):
    model = make_model()
    if hasattr(model, "sample"):
        sequences, z, _ = drawn(model, 7)
    else:
        sequences, z = simulate(model, 7, seed=0)
    ticks: list[int] = []
    whole = sandwich(model, sequences, z, QUICK, tick=ticks.append)
    assert sum(ticks) == 7
    for size in (1, 3):
        cut = sandwich(model, sequences, z, QUICK, batch_size=size)
        torch.testing.assert_close(cut.lower, whole.lower, atol=1e-6, rtol=0)
        torch.testing.assert_close(cut.upper, whole.upper, atol=1e-6, rtol=0)


def test_annealing_moves_nothing():
    model = alive(2).train()
    model.decoder.dropout_in.p = 0.9
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    sequences, z = simulate(model, 5, seed=0)
    one = sandwich(model, sequences, z, QUICK)
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    two = sandwich(model.eval(), sequences, z, QUICK)
    assert torch.equal(one.lower, two.lower)
    assert torch.equal(one.upper, two.upper)


@pytest.mark.parametrize("dim", [1, 2])
def test_on_text_quadrature_lies_between(dim):
    model = alive(dim)
    sequences, z = simulate(model, 40, seed=1, max_length=5)
    exact = quadrature(model, collate([sequences[i] for i in range(40)]), tolerance=1e-3).log_evidence
    found = sandwich(model, sequences, z, Annealing(temperatures=20, leapfrogs=3), batch_size=40)
    below, above = found.lower - exact, found.upper - exact
    assert below.mean() <= 3 * standard_error(below)
    assert above.mean() >= -3 * standard_error(above)
    assert found.gap.mean() < 0.5
    bound = -importance_curve(model, sequences, [10], SentenceNoise(0, dim)).nll[0]
    excess = bound - found.upper
    assert excess.mean() <= 3 * standard_error(excess)


@torch.no_grad()
def test_simulated_sentences_come_from_the_model():
    """Each sentence of up to two words as often as its exact probability, z as often as the prior."""
    model = alive(1)
    sequences, z = simulate(model, 6000, seed=0, max_length=3)
    rows = [tuple(sequences[i].tolist()) for i in range(6000)]
    distinct = sorted(set(rows))
    assert {len(row) for row in rows} == {1, 2, 3}
    assert sequences.cut == sum(row[-1] != 3 for row in rows) > 0
    probabilities = truth(
        model, collate([torch.tensor(row).int().numpy() for row in distinct]), 0.03
    ).log_evidence.exp()
    counts = torch.tensor([rows.count(row) for row in distinct])
    error = (6000 * probabilities * (1 - probabilities)).sqrt()
    assert ((counts - 6000 * probabilities).abs() < 4.5 * error.clamp_min(1)).all()
    assert abs(z.mean()) < 4 / 6000**0.5
    assert abs(z.var() - 1) < 0.08
    again, _ = simulate(model, 6000, seed=0, max_length=3)
    assert again.ids.tolist() == sequences.ids.tolist()


@pytest.fixture(scope="module")
def trained() -> TextVAE:
    """A model with D of 4, trained on all sentences a a b b c c of eight words; its z tells several nats."""
    torch.manual_seed(0)
    words = [[a, a, b, b, c, c] for a, b, c in product(range(4, 12), repeat=3)]
    sizes = {"embedding_dim": 12, "hidden_dim": 24}
    model = TextVAE(
        make("model.posterior", "diagonal", make("model.encoder", "lstm", 12, **sizes), 4),
        make("model.prior", "standard_normal", 4),
        make("model.decoder", "lstm", 12, 4, **sizes, dropout_in=0.0, dropout_out=0.0, inputless=True),
    )
    objective = objective_of(model, weight=0.4)
    update = Joint(objective, lambda: adam(objective.parameters(), lr=0.01))
    stream = BatchStream(sequences_of(words), 64, seed=0)
    generator = torch.Generator().manual_seed(0)
    for step in range(700):
        update(stream, step, generator)
    return model.eval()


@pytest.mark.slow
def test_on_a_trained_text_model_that_uses_z_the_bounds_are_half_a_nat_apart(trained):
    sequences, z = simulate(trained, 120, seed=0, max_length=20)
    rate = Survey.of(trained, sequences, SentenceNoise(0, 4)).rate
    assert rate.mean() >= 3
    found = sandwich(trained, sequences, z, Annealing(temperatures=100), batch_size=120)
    assert -3 * standard_error(found.gap) <= found.gap.mean() <= 0.5
    for samples in (10, 200):
        bound = -importance_curve(trained, sequences, [samples], SentenceNoise(0, 4)).nll[0]
        excess = bound - found.upper
        assert excess.mean() <= 3 * standard_error(excess)


@pytest.mark.parametrize("name", ["temperatures", "leapfrogs", "chains", "pilots"])
def test_bad_settings_are_refused_in_a_sentence(name):
    with pytest.raises(ConfigError, match=f"{name}: an estimate needs at least 1"):
        annealed(alive(1), sequences_of([[4]]), Annealing(**{name: 0}))


def test_what_has_no_likelihood_is_refused_in_a_sentence():
    with pytest.raises(ConfigError, match="autoencoder"):
        annealed(tiny(2, posterior="dirac"), sequences_of([[4]]), QUICK)
    with pytest.raises(ConfigError, match="language model has no z"):
        annealed(tiny(0, encoder=("none", {})), sequences_of([[4]]), QUICK)
    with pytest.raises(ConfigError, match="empty"):
        annealed(alive(2), NO_SENTENCES, QUICK)


def test_the_cost_stated_is_the_cost():
    model, passes = alive(2), []
    model.decoder.register_forward_hook(lambda module, inputs, output: passes.append(inputs[1].shape[0]))
    how = Annealing(temperatures=7, leapfrogs=3, chains=2, pilots=4)
    annealed(model, sequences_of([[4, 5]]), how)
    assert sum(passes) == how.gradients
    assert max(passes) == 4
