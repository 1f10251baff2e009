"""The aggressive encoder: who moves when, when it stops, and that its state goes on."""

import math

import pytest
import torch
from helpers import batch_of, make, objective_of, tiny

BATCHES = [batch_of([4, 5, 6], [6]), batch_of([5], [4, 4]), batch_of([6, 6, 5], [])]


class Stream:
    """Batches without end, counted."""

    def __init__(self) -> None:
        self.drawn = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.drawn += 1
        return BATCHES[self.drawn % 3]


def rule_of(model, lr=0.1, kind="aggressive", **options):
    objective = objective_of(model)
    return make(
        "training.update", kind, objective, lambda: torch.optim.SGD(objective.parameters(), lr=lr), **options
    )


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def weights(part) -> list[torch.Tensor]:
    return [p.detach().clone() for p in part.parameters()]


def moved(before, part) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, part.parameters(), strict=True))


def tokens_of(batches: int) -> int:
    stream = Stream()
    return sum(next(stream).tokens for _ in range(batches))


def test_an_aggressive_step_is_encoder_steps_and_one_decoder_step():
    model, stream = tiny(2), Stream()
    rule = rule_of(model, batches=7, window=50)
    done = rule(stream, 0, generator())
    assert (done.encoder_updates, done.decoder_updates, stream.drawn) == (7, 1, 8)
    assert done.encoder_tokens == tokens_of(7)


def test_the_encoder_moves_alone_and_then_everything_else():
    model = tiny(2)
    rule = rule_of(model, batches=3)
    encoder, decoder = weights(model.posterior), weights(model.decoder)
    finite, tokens = rule._train_encoder(Stream(), 0, generator())
    assert finite.tolist() == [True] * 3
    assert tokens == tokens_of(3)
    assert moved(encoder, model.posterior)
    assert not moved(decoder, model.decoder)
    encoder = weights(model.posterior)
    rule.move(next(Stream()), 0, generator(), rule.encoder)
    assert not moved(encoder, model.posterior)
    assert moved(decoder, model.decoder)


@pytest.mark.parametrize("clip_norm", [0.1, 1e9, None])
@pytest.mark.parametrize("alone", [False, True])
def test_a_step_is_clipped_by_the_norm_of_the_whole_gradient_whoever_moves(clip_norm, alone):
    model = tiny(2)
    rule, before = rule_of(model, lr=1.0, clip_norm=clip_norm), weights(model)
    loss = objective_of(model)(next(Stream()), 0, generator()).value
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    norm = torch.cat([slope.flatten() for slope in slopes]).norm().item()
    assert norm > 1
    rule.move(next(Stream()), 0, generator(), rule.others if alone else ())
    scale = min(1.0, (clip_norm or math.inf) / norm)
    still = set(map(id, rule.others)) if alone else set()
    for parameter, old, slope in zip(model.parameters(), before, slopes, strict=True):
        wanted = old if id(parameter) in still else old - scale * slope
        torch.testing.assert_close(parameter.detach(), wanted, rtol=0, atol=1e-6)


def test_one_inner_move_without_a_number_is_told_of_the_whole_step():
    model = tiny(2)
    rule = rule_of(model, batches=2)
    factors = iter([1.0, math.nan, 1.0])
    rule.objective.penalty = lambda done, step: done.terms.rate.mean() * next(factors)
    assert not rule(Stream(), 0, generator()).finite
    assert next(factors, None) is None


def test_the_encoder_stops_once_a_window_gains_nothing():
    rule = rule_of(tiny(2), batches=100, window=3)
    losses = iter([5.0] * 3 + [4.0] * 3 + [4.5] * 3 + [9.0])
    real = rule.move

    def scripted(*args):
        done = real(*args)
        value = torch.tensor(next(losses) * done.batch.tokens / done.batch.sentences)
        return type(done)(**{**vars(done), "loss": type(done.loss)(**{**vars(done.loss), "value": value})})

    rule.move = scripted
    assert rule(Stream(), 0, generator()).encoder_updates == 9
    assert next(losses, None) is None, "losses of the script that were not used"


@pytest.mark.parametrize(
    ("posterior", "dim"), [("diagonal", 0), ("dirac", 2)], ids=["language model", "autoencoder"]
)
def test_without_a_rate_nothing_is_aggressive(posterior, dim):
    with pytest.raises(ValueError, match="needs a z with a rate"):
        rule_of(tiny(dim, posterior=posterior))


def test_frozen_parts_are_not_counted_as_updated():
    for part, updates in (("decoder", (1, 0)), ("posterior", (0, 1))):
        rule = rule_of(tiny(2), kind="joint", frozen=[part])
        done = rule(Stream(), 0, generator())
        assert (done.encoder_updates, done.decoder_updates) == updates


@pytest.mark.parametrize("kind", ["joint", "aggressive"])
@pytest.mark.parametrize("optimiser", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("fused", [True, False])
def test_no_weight_moves_where_the_loss_is_no_number(kind, optimiser, fused):
    """A fused optimiser is told on the device; any other is not asked to step. Afterwards both go on."""
    model = tiny(2)
    objective = objective_of(model)
    rule = make("training.update", kind, objective, lambda: optimiser(objective.parameters(), lr=0.1, fused=fused))
    real, before = objective.penalty, weights(objective)
    objective.penalty = lambda done, step: done.terms.rate.mean() * math.nan
    done = rule(Stream(), 0, generator())
    assert not done.finite
    assert not moved(before, objective)
    assert not any(value.any() for state in rule.optimiser.state.values() for value in state.values())
    objective.penalty = real
    done = rule(Stream(), 1, generator())
    assert done.finite
    assert moved(before, objective)


@pytest.mark.parametrize(
    ("seen", "still"), [([0.1, 0.2, 0.2], True), ([0.1, 0.2, 0.1], False), ([math.nan], False)]
)
def test_it_stays_aggressive_until_the_information_falls(seen, still):
    rule = rule_of(tiny(2))
    for information in seen:
        rule.observe({"mutual_information": information})
    assert rule.aggressive is still


def test_it_never_turns_aggressive_again_and_then_is_joint():
    model, stream = tiny(2), Stream()
    rule = rule_of(model)
    for information in (0.5, 0.4, 0.9):
        rule.observe({"mutual_information": information})
    before = weights(model.posterior), weights(model.decoder)
    done = rule(stream, 0, generator())
    assert (done.encoder_updates, stream.drawn) == (1, 1)
    assert moved(before[0], model.posterior)
    assert moved(before[1], model.decoder)


def test_its_state_goes_on():
    one, other = rule_of(tiny(2)), rule_of(tiny(2))
    for information in (0.5, 0.4):
        one.observe({"mutual_information": information})
    other.load_state_dict(one.state_dict())
    assert (other.aggressive, other.information) == (False, 0.4)


@pytest.mark.parametrize("until", [None, 10])
@pytest.mark.parametrize(
    "frozen",
    [["posterior", "decoder"], ["posterior.encoder", "posterior.mean", "posterior.log_variance", "decoder"]],
)
def test_something_is_left_to_train(frozen, until):
    with pytest.raises(ValueError, match="nothing is left to train beside posterior"):
        rule_of(tiny(2), kind="joint", frozen=frozen, frozen_until=until)


def test_no_name_is_no_part():
    with pytest.raises(ValueError, match="'' is not a part of the model; choose from posterior"):
        rule_of(tiny(2), kind="joint", frozen=[""])


@pytest.mark.parametrize(("frozen", "updates"), [([], 1), (["posterior.encoder"], 1), (["posterior"], 0)])
def test_a_frozen_posterior_is_not_updated(frozen, updates):
    assert rule_of(tiny(2), kind="joint", frozen=frozen)(Stream(), 0, generator()).encoder_updates == updates


def test_a_thawed_posterior_is_updated():
    rule = rule_of(tiny(2), kind="joint", frozen=["posterior"], frozen_until=1)
    assert [rule(Stream(), step, generator()).encoder_updates for step in range(3)] == [0, 1, 1]
