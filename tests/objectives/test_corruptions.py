"""What the encoder reads in place of a sentence: words go, change or move; EOS and the decoder's side stay."""

import math

import numpy as np
import pytest
import torch
from helpers import SIZES, batch_of, make, members, objective_of, random_rows, tiny

from textvae.data.batches import Batch, collate
from textvae.data.tokenizers import EOS, PAD, UNK
from textvae.objectives.corruptions.words import Words


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(batch: Batch) -> list[list[int]]:
    """The sentences of a batch, without EOS."""
    return [row[: int(n) - 1].tolist() for row, n in zip(batch.targets, batch.lengths, strict=True)]


@pytest.mark.parametrize(("kind", "options"), members("objective.corruption"))
@pytest.mark.parametrize("seed", range(5))
def test_every_corruption_gives_whole_sentences(kind, options, seed):
    batch = batch_of(*random_rows(12, 9, seed))
    corrupt = make("objective.corruption", kind, **options)
    found = corrupt(batch, generator(seed))
    assert found.sentences == batch.sentences
    ends = found.targets.gather(1, found.lengths[:, None] - 1)
    assert (ends == EOS).all()
    assert ((found.targets == PAD) == ~found.mask).all()
    assert ((found.targets == EOS).sum(1) == 1).all()
    # Inputs belong to the targets as in any batch.
    again = collate([np.array([*row, EOS]) for row in rows(found)])
    width = again.targets.shape[1]
    assert torch.equal(found.targets[:, :width], again.targets)
    assert torch.equal(found.inputs[:, :width], again.inputs)
    assert (found.inputs[:, width:] == PAD).all()
    assert found.padded or not again.padded
    # All noise is the generator's.
    assert torch.equal(corrupt(batch, generator(seed)).targets, found.targets)


@pytest.mark.parametrize(("kind", "options"), members("objective.corruption"))
def test_only_the_encoder_reads_it(kind, options):
    model, batch = tiny(2, scale=1.2), batch_of(*random_rows(8, 6, 3))
    objective = objective_of(model, corruption=(kind, options))
    done = objective._pass(batch, 0, 1.0, generator(4))
    assert done.batch is batch
    noise = generator(4)
    drawn = torch.randn((1, 8, 2), generator=noise)
    read = make("objective.corruption", kind, **options)(batch, noise)
    posterior = model.posterior(read)
    torch.testing.assert_close(done.posterior.mean, posterior.mean)
    torch.testing.assert_close(done.z, posterior.transport(drawn))
    torch.testing.assert_close(done.terms.distortion, -model.decoder(batch, done.z).sum(-1).mean(0))
    changed = not torch.equal(done.posterior.mean, model.posterior(batch).mean)
    assert changed == (kind == "words" and options.get("delete") != 0.0)


def test_nothing_to_do_is_nothing_done():
    batch = batch_of([4, 5], [6])
    assert Words(delete=0.0)(batch, generator()) is batch


LONG = batch_of(*[list(range(4, 4 + n)) for n in (30, 30, 17, 1, 0)] * 40)


def test_deletion_keeps_the_order_and_rebuilds_the_end():
    found = Words(delete=0.4)(LONG, generator(1))
    for before, after in zip(rows(LONG), rows(found), strict=True):
        assert after == sorted(set(after))
        assert set(after) <= set(before)
    everything = Words(delete=1.0)(LONG, generator(1))
    assert rows(everything) == [[]] * LONG.sentences
    assert (everything.lengths == 1).all()


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_an_encoder_reads_what_is_left_as_a_sentence_of_its_own(pooling):
    """Also where no sentence was padded before."""
    model = tiny(2, encoder=("lstm", {**SIZES, "bidirectional": True, "pooling": pooling}))
    found = Words(delete=0.5)(batch_of(*[[4, 5, 6, 4, 6]] * 6), generator(6))
    assert len(set(found.lengths.tolist())) > 1
    again = collate([np.array([*row, EOS]) for row in rows(found)])
    torch.testing.assert_close(model.posterior(found).mean, model.posterior(again).mean)


@pytest.mark.parametrize("chance", [0.1, 0.3, 0.8])
def test_words_are_deleted_and_blanked_as_often_as_they_should(chance):
    words = int(LONG.lengths.sum()) - LONG.sentences
    slack = 4 * math.sqrt(chance * (1 - chance) * words)
    kept = sum(map(len, rows(Words(delete=chance)(LONG, generator(2)))))
    assert abs(words - kept - chance * words) < slack
    blanked = Words(delete=0.0, blank=chance)(LONG, generator(2)).targets
    assert abs(int((blanked == UNK).sum()) - chance * words) < slack
    assert torch.equal(blanked[blanked != UNK], LONG.targets[blanked != UNK])


@pytest.mark.parametrize("distance", [1, 3, 100])
def test_shuffled_words_stay_within_their_distance(distance):
    found = Words(delete=0.0, shuffle=distance)(LONG, generator(3))
    assert torch.equal(found.lengths, LONG.lengths)
    moved = 0
    for before, after in zip(rows(LONG), rows(found), strict=True):
        assert sorted(after) == before
        moves = [abs(before.index(word) - place) for place, word in enumerate(after)]
        moved = max([moved, *moves])
    assert min(distance, 20) <= moved <= distance


def test_two_words_are_shuffled_as_the_sorting_key_says():
    """At distance 1, the keys are i + U(0, 2): neighbours swap with probability P(1 + u < v) = 1/8."""
    batch = batch_of(*[[4, 5]] * 8000)
    swapped = (Words(delete=0.0, shuffle=1)(batch, generator(5)).targets[:, 0] == 5).double().mean().item()
    assert abs(swapped - 1 / 8) < 4 * math.sqrt(1 / 8 * 7 / 8 / 8000)
