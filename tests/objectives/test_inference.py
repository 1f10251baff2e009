"""Semi-amortised inference: descends, and its gradients are those of the unrolled steps."""

import pytest
import torch
from helpers import batch_of, make, objective_of, tiny

from textvae.models.distributions import DiagonalGaussian
from textvae.models.terms import pass_under

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
def test_every_step_lowers_the_cost_on_its_own_noise_at_the_steps_weight(weight):
    model = tiny(2, scale=1.5)
    noise = torch.randn(3, 2, generator=generator(), dtype=torch.float64)[None]

    def cost(q: DiagonalGaussian) -> float:
        terms = pass_under(model, BATCH, q, q.transport(noise)).terms
        return (terms.distortion + weight * terms.rate).sum().item()

    costs = [cost(model.posterior(BATCH))] + [cost(refined(model, k, weight)) for k in (1, 5, 20)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] - costs[-1] > 1e-3


@pytest.mark.parametrize(("steps", "momentum"), [(1, 0.0), (4, 0.0), (4, 0.5)])
def test_gradients_are_those_of_the_whole_path(steps, momentum):
    """Against finite differences of the loss itself, refinement and all, along random directions."""
    model = tiny(2, scale=1.5)
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
        assert (ends[0] - ends[1]) / 2e-4 == pytest.approx(expected, rel=2e-3, abs=1e-4)


def test_a_sentence_is_refined_the_same_in_any_batch():
    """Up to its noise, which the generator deals out by position: the first sentence keeps its own."""
    model = tiny(2, scale=1.5)
    rule = make("objective.inference", "semi_amortised", steps=5)
    alone = batch_of([4, 5, 6])
    one = rule(model, model.posterior(alone), alone, 1.0, generator())
    many = rule(model, model.posterior(BATCH), BATCH, 1.0, generator())
    torch.testing.assert_close(many.mean[0], one.mean[0], atol=1e-10, rtol=0)


def test_dropout_is_off_while_refining_and_back_on_afterwards():
    model = tiny(2, decoder=("lstm", {"embedding_dim": 5, "hidden_dim": 5, "dropout_in": 0.9})).train()
    assert torch.equal(refined(model, 3).mean, refined(model, 3).mean)
    assert all(module.training for module in model.modules())


def test_only_a_diagonal_gaussian_can_be_refined():
    with pytest.raises(ValueError, match="choose the posterior diagonal"):
        refined(tiny(2, posterior="dirac"), 1)
