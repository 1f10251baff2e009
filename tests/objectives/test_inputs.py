"""Scheduled sampling: what the decoder reads of its own, drawn from itself, following what it really read."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from helpers import SIZES, VOCABULARY, WORDS, batch_of, members, objective_of, random_rows, tiny

from textvae.data.batches import Batch
from textvae.data.tokenizers import BOS, EOS, PAD
from textvae.objectives.inputs import own_words

BATCH = batch_of(*random_rows(8, 6, seed=3))
TYPES = (*WORDS, EOS)
"""All that can be predicted."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(model, batch: Batch, forcing: float, seed: int = 0) -> Batch:
    z = torch.randn(batch.sentences, model.latent_dim, generator=generator(9), dtype=torch.float64)
    return own_words(model.decoder, batch, z, forcing, generator(seed))


def test_full_forcing_is_the_same_batch():
    assert draws(tiny(2), BATCH, 1.0) is BATCH


def test_full_forcing_is_the_same_loss_to_the_bit():
    model = tiny(2)
    plain = objective_of(model)(BATCH, 0, generator(1))
    forced = objective_of(model, teacher_forcing=("linear", {"steps": 5, "start": 0.5, "end": 1.0}))
    assert torch.equal(forced(BATCH, 5, generator(1)).value, plain.value)
    assert not torch.equal(forced(BATCH, 0, generator(1)).value, plain.value)


@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
@pytest.mark.parametrize("forcing", [0.0, 0.5])
def test_targets_padding_and_the_beginning_stay(kind, options, forcing):
    found = draws(tiny(2, decoder=(kind, options)), BATCH, forcing)
    assert torch.equal(found.targets, BATCH.targets)
    assert torch.equal(found.lengths, BATCH.lengths)
    assert torch.equal(found.inputs == PAD, BATCH.inputs == PAD)
    assert torch.equal(found.inputs == BOS, BATCH.inputs == BOS)
    assert set(found.inputs.unique().tolist()) <= {PAD, BOS, *TYPES}


def test_every_word_is_drawn_given_what_was_really_read():
    """Against enumeration: two own words in a row have the probabilities of the chain that the decoder is."""
    model = tiny(2, scale=1.5)
    count = 40_000
    z = torch.tensor([[0.4, -1.1]], dtype=torch.float64)
    batch = batch_of(*[[4, 6]] * count)
    found = own_words(model.decoder, batch, z.expand(count, -1), 0.0, generator(4)).inputs[:, 1:]
    pairs = torch.tensor(list(product(TYPES, repeat=2)))
    # log p(v w | z) from the decoder's own forward pass, whatever v is, EOS too.
    reading = torch.cat([torch.full((len(pairs), 1), BOS), pairs[:, :1]], 1)
    rows = replace(batch_of(*[[4]] * len(pairs)), inputs=reading, targets=pairs)
    with torch.no_grad():
        expected = model.decoder(rows, z.expand(1, len(pairs), 2)).sum(-1)[0].exp()
    assert expected.sum().item() == pytest.approx(1)
    seen = torch.stack([(found == pair).all(1).double().mean() for pair in pairs])
    error = (expected * (1 - expected) / count).sqrt()
    assert ((seen - expected).abs() < 4.5 * error + 1e-4).all()
    # Had the second been drawn after the true first word, it would not depend on the drawn one.
    table = expected.view(len(TYPES), len(TYPES))
    assert (table - table.sum(1, keepdim=True) * table.sum(0)).abs().max() > 10 * error.max()


@pytest.mark.parametrize("forcing", [0.2, 0.75])
def test_words_are_its_own_as_often_as_they_should(forcing):
    """A decoder that never says word 4 must have read it where it was told to."""
    model = tiny(2, decoder=("lstm", SIZES))
    output = model.decoder.output
    output.weight.data *= 0
    batch = batch_of(*[[4] * 20] * 200)
    said = own_words(model.decoder, batch, torch.zeros(200, 2).double(), forcing, generator(2)).inputs[:, 1:]
    # Uniform over five types: an own word is a 4 once in five.
    assert output.weight.shape[0] == VOCABULARY - 2 == 5
    told = forcing + (1 - forcing) / 5
    assert abs((said == 4).double().mean().item() - told) < 4 * math.sqrt(told * (1 - told) / said.numel())


def test_no_gradient_runs_through_the_drawn_words():
    model = tiny(2)
    z = torch.zeros(BATCH.sentences, 2, dtype=torch.float64, requires_grad=True)
    found = own_words(model.decoder, BATCH, z, 0.0, generator())
    assert not found.inputs.requires_grad
