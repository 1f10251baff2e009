"""Decoders by invariants: probabilities of all strings sum to one, and belong to the sentence and its z."""

from dataclasses import replace

import pytest
import torch
from helpers import (
    HIDDEN,
    SIZES,
    VOCABULARY,
    batch_of,
    complete_strings,
    make,
    members,
    randomise,
    rows_of,
    silent,
    unfinished,
)
from torch import nn

from textvae.data.batches import collate
from textvae.data.tokenizers import BOS, EOS, PAD, UNK

ROWS = [[4, 5, 6, 2, 4], [], [6], [5, 5, 4], [2, 2, 2, 6, 6]]
K = 3
LOUD = {"dilated_convolution": 0.4, "injective_lstm": 0.5}
"""What the widths of random weights are multiplied by where hidden states have no bound of their own."""


def decoder_of(kind, options, latent_dim=2, scale=1.0, seed=0) -> nn.Module:
    decoder = make("model.decoder", kind, VOCABULARY, latent_dim, **{**silent(kind), **options}).double()
    randomise(decoder, scale * LOUD.get(kind, 1.0), seed)
    return decoder.eval()


def latents(sentences: int, latent_dim: int = 2, samples: int = K, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn((samples, sentences, latent_dim), generator=generator, dtype=torch.float64)


def forgetful(kind, options) -> bool:
    """Whether a decoder does not read what it said: only z and the position tell what comes next."""
    return kind == "bag_of_words" or options.get("order") == 0 or options["inputless"]


def scored(decoder, batch, z) -> torch.Tensor:
    with torch.no_grad():
        return decoder(batch, z)


@pytest.mark.parametrize("latent_dim", [0, 2])
@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_probabilities_of_all_strings_sum_to_one(kind, options, latent_dim):
    decoder = decoder_of(kind, options, latent_dim, scale=1.5)
    batch = collate([*rows_of(*complete_strings(3)), *unfinished(3)])
    z = latents(1, latent_dim).expand(-1, batch.sentences, -1)
    probabilities = scored(decoder, batch, z).sum(-1).exp()
    assert batch.sentences == 1 + 4 + 16 + 64
    torch.testing.assert_close(probabilities.sum(1), torch.ones(K, dtype=torch.float64), atol=1e-9, rtol=0)
    assert probabilities.max() < 0.99
    if latent_dim:
        assert (probabilities[0] - probabilities[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_a_step_gives_padding_and_bos_probability_zero(kind, options):
    decoder = decoder_of(kind, options)
    words = torch.tensor([BOS, UNK, 4, 6])
    with torch.no_grad():
        log_probs, state = decoder.step(words, decoder.start(latents(1, samples=4)[:, 0]))
    assert log_probs.shape == (4, VOCABULARY)
    assert (log_probs[:, [PAD, BOS]] == -torch.inf).all()
    assert log_probs[:, 2:].isfinite().all()
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(4, dtype=torch.float64), atol=1e-12, rtol=0)
    assert all(len(part) == 4 for part in state)


@pytest.mark.parametrize("latent_dim", [0, 2])
@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_step_by_step_is_the_same_as_at_once(kind, options, latent_dim):
    decoder, batch = decoder_of(kind, options, latent_dim), batch_of(*ROWS)
    z = latents(len(ROWS), latent_dim, samples=1)
    with torch.no_grad():
        state, columns = decoder.start(z[0]), []
        for words, following in zip(batch.inputs.T, batch.targets.T, strict=True):
            log_probs, state = decoder.step(words, state)
            columns.append(log_probs.gather(1, following[:, None])[:, 0])
    stepped = torch.stack(columns, 1).where(batch.mask, 0.0)
    torch.testing.assert_close(stepped, scored(decoder, batch, z)[0], atol=1e-10, rtol=0)


@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_scores_belong_to_the_sentence_and_its_z(kind, options):
    decoder, z = decoder_of(kind, options), latents(len(ROWS))
    together = scored(decoder, batch_of(*ROWS), z)
    assert together.shape == (K, len(ROWS), 6)
    longer = scored(decoder, batch_of(*ROWS, [4] * 11), torch.cat([z, z[:, :1]], 1))
    torch.testing.assert_close(longer[:, :-1, :6], together, atol=1e-12, rtol=0)
    single = scored(decoder.float(), batch_of(*ROWS), z.float())
    torch.testing.assert_close(single.double(), together, atol=5e-6, rtol=0)
    decoder.double()
    for i, row in enumerate(ROWS):
        alone = scored(decoder, batch_of(row), z[:, i : i + 1])
        torch.testing.assert_close(alone[:, 0], together[:, i, : len(row) + 1], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_scores_are_the_same_in_any_batch_to_double_precision(kind, options):
    decoder, z = decoder_of(kind, options), latents(len(ROWS))
    together = scored(decoder, batch_of(*ROWS), z)
    for i, row in enumerate(ROWS):
        for k in range(K):
            alone = scored(decoder, batch_of(row), z[k : k + 1, i : i + 1])[0, 0]
            torch.testing.assert_close(alone, together[k, i, : len(row) + 1], atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_padding_scores_exactly_zero_and_is_never_read(kind, options):
    decoder, batch, z = decoder_of(kind, options), batch_of(*ROWS), latents(len(ROWS))
    scores = scored(decoder, batch, z)
    padding = ~batch.mask.expand(K, -1, -1)
    assert (scores[padding] == 0).all()
    assert (scores[~padding] < 0).all()
    scribbled = replace(batch, inputs=batch.inputs.where(batch.inputs != PAD, 5))
    torch.testing.assert_close(scored(decoder, scribbled, z), scores, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_a_word_is_predicted_from_those_before_it_only(kind, options):
    decoder, z = decoder_of(kind, options), latents(1)
    before = scored(decoder, batch_of([4, 5, 6, 4]), z)
    after = scored(decoder, batch_of([4, 5, 2, 4]), z)
    assert torch.equal(before[..., :2], after[..., :2])
    assert (before[..., 2] - after[..., 2]).abs().min() > 1e-6
    assert torch.equal(before[..., 3:], after[..., 3:]) == forgetful(kind, options)


@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_z_is_heard_at_every_position_it_can_reach(kind, options):
    decoder, batch = decoder_of(kind, options), batch_of([4, 5, 6])
    z = latents(1, samples=1).requires_grad_()
    for position in range(4):
        (gradient,) = torch.autograd.grad(decoder(batch, z)[0, 0, position], z)
        assert (gradient.abs() > 1e-8).all()


@pytest.mark.parametrize(
    ("z_to", "at_input", "in_state"), [("state", False, True), ("input", True, False), ("both", True, True)]
)
def test_z_goes_where_it_is_said_to_go(z_to, at_input, in_state):
    decoder = decoder_of("lstm", {**SIZES, "z_to": z_to, "layers": 2})
    z = latents(4)[0]
    h, c, _ = decoder.start(z)
    assert h.shape == c.shape == (4, 2, HIDDEN)
    assert decoder.lstm[0].input_size == HIDDEN + (2 if at_input else 0)
    assert bool(c.abs().sum() > 0) == in_state
    assert torch.equal(h, c.tanh())
    if in_state:
        torch.testing.assert_close(c.flatten(1), z @ decoder.first_state.weight.T, atol=1e-12, rtol=0)


def test_tied_embeddings_share_one_matrix():
    decoder = decoder_of("lstm", {**SIZES, "tied": True})
    assert decoder.output is None
    assert torch.equal(decoder.output_weight, decoder.embedding.weight[2:])
    free = decoder_of("lstm", {**SIZES, "tied": False})
    count = sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in decoder.parameters())
    assert count == (VOCABULARY - 2) * HIDDEN
    with pytest.raises(ValueError, match="embedding_dim equal to hidden_dim, not 4 and 5"):
        make("model.decoder", "lstm", VOCABULARY, 2, embedding_dim=4, hidden_dim=5, tied=True)


def test_an_inputless_decoder_reads_bos_then_the_unknown_word():
    blind = decoder_of("lstm", {**SIZES, "inputless": True})
    seeing = decoder_of("lstm", SIZES)
    batch, z = batch_of([4, 5, 6]), latents(1)
    unknown = replace(batch, inputs=torch.tensor([[BOS, UNK, UNK, UNK]]))
    torch.testing.assert_close(scored(blind, batch, z), scored(seeing, unknown, z), atol=1e-12, rtol=0)
    assert (scored(blind, batch, z) - scored(seeing, batch, z)).abs().max() > 1e-3


def test_dropout_is_training_noise():
    batch, z = batch_of(*ROWS), latents(len(ROWS))
    quiet = decoder_of("lstm", {**SIZES, "layers": 2})
    loud = decoder_of("lstm", {**SIZES, "layers": 2, "dropout_in": 0.9, "dropout_out": 0.9})
    torch.testing.assert_close(scored(loud, batch, z), scored(quiet, batch, z), atol=1e-12, rtol=0)
    loud.train()
    assert (scored(loud, batch, z) - scored(quiet, batch, z)).abs().max() > 1e-3
    # Many words: two draws of so high a rate may well agree on one.
    words, many = torch.tensor([BOS] * 64), z[0, :1].expand(64, -1)
    assert not torch.equal(loud.step(words, loud.start(many))[0], loud.step(words, loud.start(many))[0])


def test_the_likelihood_of_a_string_by_hand():
    """One layer, z at input and in the state, against gates written out."""
    decoder, z = decoder_of("lstm", SIZES), latents(1, samples=1)
    (weights,) = decoder.lstm
    c = z[0, 0] @ decoder.first_state.weight.T
    h, total = c.tanh(), 0.0
    for word, following in zip([BOS, 4, 2], [4, 2, EOS], strict=True):
        x = torch.cat([decoder.embedding.weight[word], z[0, 0]])
        gates = x @ weights.weight_ih_l0.T + weights.bias_ih_l0 + h @ weights.weight_hh_l0.T + weights.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        total += (h @ decoder.output.weight.T).log_softmax(-1)[following - 2]
    torch.testing.assert_close(scored(decoder, batch_of([4, 2]), z).sum(), total.detach(), atol=1e-12, rtol=0)
