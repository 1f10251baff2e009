"""Semi-amortised inference: descends, and its gradients are those of the unrolled steps."""

import pytest
import torch
from helpers import batch_of, make, objective_of, tiny

from textvae.models.distributions import DiagonalGaussian
from textvae.models.terms import pass_under
from textvae.objectives.inference import semi_amortised

BATCH = batch_of([4, 5, 6], [6], [])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_amortised_inference_changes_nothing():
    q = tiny(2).posterior(BATCH)
    assert make("objective.inference", "amortised")(tiny(2), q, BATCH, 1.0, generator()) is q


def refined(model, steps: int, weight: float = 1.0, **options) -> DiagonalGaussian:
    rule = make("objective.inference", "semi_amortised", steps=steps, **options)
    return rule(model, model.posterior(BATCH), BATCH, weight, generator())


@pytest.mark.parametrize("weight", [1.0, 0.1, 0.0])
def test_every_step_lowers_the_cost_at_the_steps_weight(weight, monkeypatch):
    """Under one draw of noise for all steps, which is then what the cost is measured on."""
    model = tiny(2, scale=1.5)
    noise = torch.randn(1, 3, 2, generator=generator(), dtype=torch.float64)
    monkeypatch.setattr(torch, "randn", lambda shape, **options: noise.expand(shape))

    def cost(q: DiagonalGaussian) -> float:
        terms = pass_under(model, BATCH, q, q.transport(noise)).terms
        return (terms.distortion + weight * terms.rate).sum().item()

    costs = [cost(model.posterior(BATCH))] + [cost(refined(model, k, weight)) for k in (1, 5, 20)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] - costs[-1] > 1e-3


@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_one_step_descends_the_distortion_and_the_weighted_rate(weight):
    """The rate's slopes by hand: μ, and (σ² − 1) / 2 for log σ²."""
    model = tiny(2, scale=1.5)
    q, noise = model.posterior(BATCH), torch.randn(1, 3, 2, generator=generator(), dtype=torch.float64)
    distortion = pass_under(model, BATCH, q, q.transport(noise)).terms.distortion.sum()
    slopes = torch.autograd.grad(distortion, [q.mean, q.log_variance])
    better = refined(model, 1, weight, lr=0.2)
    torch.testing.assert_close(better.mean, q.mean - 0.2 * (slopes[0] + weight * q.mean))
    spread = (q.log_variance.exp() - 1) / 2
    torch.testing.assert_close(better.log_variance, q.log_variance - 0.2 * (slopes[1] + weight * spread))


@pytest.mark.parametrize(("steps", "momentum"), [(1, 0.0), (4, 0.0), (4, 0.5)])
@pytest.mark.parametrize("prior", ["standard_normal", "mixture", "vamp"])
def test_gradients_are_those_of_the_whole_path(steps, momentum, prior, monkeypatch):
    """Against finite differences of the loss itself, refinement and all, along random directions.

    In float64 the differences that stand for the Hessian may reach less far, and be as good as those here.
    """
    monkeypatch.setattr(semi_amortised, "REACH", 1e-4)
    model = tiny(2, prior=prior, scale=1.5)
    objective = objective_of(model, inference=("semi_amortised", {"steps": steps, "momentum": momentum, "lr": 0.3}))
    value = objective(BATCH, 0, generator()).value
    parameters = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    for seed in range(3):
        random = torch.Generator().manual_seed(seed)
        directions = [torch.randn(p.shape, generator=random, dtype=p.dtype) for p in parameters]
        ends = []
        for sign in (1, -1):
            for p, direction in zip(parameters, directions, strict=True):
                p.data += sign * 1e-4 * direction
            ends.append(objective(BATCH, 0, generator()).value.item())
            for p, direction in zip(parameters, directions, strict=True):
                p.data -= sign * 1e-4 * direction
        expected = sum((s * d).sum().item() for s, d in zip(slopes, directions, strict=True))
        assert (ends[0] - ends[1]) / 2e-4 == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_products_with_the_hessian_reach_as_far_as_float32_allows(monkeypatch):
    """At the reach that float32 needs, gradients are within a few per cent of those at a hundredth of it."""
    model = tiny(2, scale=1.5)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def slopes() -> torch.Tensor:
        objective = objective_of(model, inference=("semi_amortised", {"steps": 4, "lr": 0.3}))
        value = objective(BATCH, 0, generator()).value
        found = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([slope.flatten() for slope in found])

    there = slopes()
    monkeypatch.setattr(semi_amortised, "REACH", 1e-4)
    exact = slopes()
    assert float((there - exact).norm() / exact.norm()) < 0.03


def test_refinement_gains_on_noise_that_it_did_not_see():
    """Many sentences, so that the mean gain stands out of its noise: fitted to one draw, it would be lost."""
    model = tiny(2, scale=2.5)
    rows = [[4, 5, 6][: 1 + i % 3] for i in range(60)]
    batch = batch_of(*rows)
    rule = make("objective.inference", "semi_amortised", steps=20, lr=0.1)
    q = model.posterior(batch)
    better = rule(model, q, batch, 1.0, generator())
    noise = torch.randn((200, len(rows), 2), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    gain = [pass_under(model, batch, each, each.transport(noise)).terms.elbo for each in (better, q)]
    assert float((gain[0] - gain[1]).detach().mean()) > 0.01


def test_a_sentence_is_refined_the_same_in_any_batch():
    """Up to its noise, which the generator deals out by position: here with other mates, at its own place."""
    model = tiny(2, scale=1.5)
    rule = make("objective.inference", "semi_amortised", steps=5)
    other = batch_of([4, 5, 6], [5, 5, 4, 6], [4])
    one, two = (rule(model, model.posterior(batch), batch, 1.0, generator()) for batch in (BATCH, other))
    torch.testing.assert_close(two.mean[0], one.mean[0], atol=1e-10, rtol=0)
    assert not torch.allclose(two.mean[1], one.mean[1])


def test_dropout_is_off_while_refining_and_back_on_afterwards():
    model = tiny(2, decoder=("lstm", {"embedding_dim": 5, "hidden_dim": 5, "dropout_in": 0.9})).train()
    assert torch.equal(refined(model, 3).mean, refined(model, 3).mean)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("posterior", ["dirac", "full", "scale"])
def test_only_a_diagonal_gaussian_can_be_refined(posterior):
    with pytest.raises(ValueError, match="choose the posterior diagonal"):
        refined(tiny(2, posterior=posterior), 1)
