"""Encoders by invariants: features belong to the sentence, never to its batch mates or to padding."""

from dataclasses import replace

import pytest
import torch
from helpers import SIZES, VOCABULARY, batch_of, make, members, randomise
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from textvae.data.batches import collate
from textvae.data.tokenizers import EOS
from textvae.models.encoders.lstm import LSTMEncoder, reverse
from textvae.models.transformer import sinusoids

ROWS = [[4, 5, 6, 2, 4], [], [6], [5, 5, 4], [2, 2, 2, 6, 6]]


def encoder_of(kind, options, seed=0) -> nn.Module:
    encoder = make("model.encoder", kind, VOCABULARY, **options).double()
    randomise(encoder, 1.0, seed)
    return encoder.eval()


@pytest.mark.parametrize(("kind", "options"), members("model.encoder"))
def test_features_belong_to_the_sentence(kind, options):
    encoder = encoder_of(kind, options)
    together = encoder(batch_of(*ROWS))
    assert together.shape == (len(ROWS), encoder.features)
    assert together.isfinite().all()
    for row, features in zip(ROWS, together, strict=True):
        torch.testing.assert_close(encoder(batch_of(row))[0], features, atol=1e-12, rtol=0)
        torch.testing.assert_close(encoder(batch_of(row, [4] * 9))[0], features, atol=1e-12, rtol=0)
    backwards = encoder(batch_of(*ROWS[::-1]))
    torch.testing.assert_close(backwards.flip(0), together, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kind", "options"), members("model.encoder"))
def test_features_belong_to_the_sentence_in_single_precision_too(kind, options):
    encoder = encoder_of(kind, options).float()
    together = encoder(batch_of(*ROWS))
    alone = torch.cat([encoder(batch_of(row)) for row in ROWS])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kind", "options"), members("model.encoder"))
def test_the_content_of_padding_and_of_the_decoders_inputs_is_never_read(kind, options):
    encoder = encoder_of(kind, options)
    batch = batch_of(*ROWS)
    scribbled = replace(
        batch,
        targets=batch.targets.where(batch.mask, 6),
        inputs=torch.full_like(batch.inputs, 2),
    )
    torch.testing.assert_close(encoder(scribbled), encoder(batch), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kind", "options"), members("model.encoder", kinds=["lstm", "transformer"]))
def test_every_word_and_their_order_are_read(kind, options):
    encoder = encoder_of(kind, options)
    before = encoder(batch_of([4, 5, 6]))
    for place in range(3):
        row = [4, 5, 6]
        row[place] = 2
        assert (encoder(batch_of(row)) - before).abs().max() > 1e-4
    assert (encoder(batch_of([4, 6, 5])) - before).abs().max() > 1e-4


@settings(max_examples=30, deadline=None)
@given(row=st.lists(st.integers(4, 6), max_size=6), order=st.randoms(use_true_random=False))
@pytest.mark.parametrize(("kind", "options"), members("model.encoder", kinds=["bag_of_words"]))
def test_a_bag_of_words_knows_no_order(kind, options, row, order):
    encoder, shuffled = encoder_of(kind, options), list(row)
    order.shuffle(shuffled)
    torch.testing.assert_close(encoder(batch_of(shuffled)), encoder(batch_of(row)), atol=1e-12, rtol=0)
    embedded = encoder.embedding.weight[[*row, EOS]]
    expected = embedded.mean(0) if options["pooling"] == "mean" else embedded.amax(0)
    torch.testing.assert_close(encoder(batch_of(row))[0], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kind", "options"), members("model.encoder", kinds=["transformer"]))
@pytest.mark.parametrize("rows", [ROWS, [[4, 5], [6, 6]]], ids=["padded", "unpadded"])
def test_the_features_are_those_of_torchs_own_transformer(kind, options, rows):
    encoder, batch = encoder_of(kind, options), batch_of(*rows)
    states = encoder.read(encoder.embedding(batch.targets))
    states = states + sinusoids(0, states)
    for block in encoder.blocks:
        layer = nn.TransformerEncoderLayer(
            encoder.features,
            options["heads"],
            4 * encoder.features,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        theirs, ours = layer.double().eval().state_dict(), block.state_dict()
        for name, own in {
            "self_attn.in_proj_": "queries_keys_values.",
            "self_attn.out_proj.": "attended.",
            "linear1.": "up.",
            "linear2.": "down.",
            "norm1.": "attention_norm.",
            "norm2.": "perceptron_norm.",
        }.items():
            for what in ("weight", "bias"):
                theirs[f"{name}{what}"] = ours[f"{own}{what}"]
        layer.load_state_dict(theirs)
        states = layer(states, src_key_padding_mask=~batch.mask)
    normed = [row[:n] for row, n in zip(encoder.norm(states), batch.lengths.tolist(), strict=True)]
    expected = torch.stack([row.mean(0) if options["pooling"] == "mean" else row.amax(0) for row in normed])
    torch.testing.assert_close(encoder(batch), expected, atol=1e-12, rtol=0)


def oracle(encoder: LSTMEncoder, batch, layers: int, both: bool, pooling: str) -> torch.Tensor:
    """The same features from torch's own packed, bidirectional nn.LSTM."""
    width = SIZES["hidden_dim"]
    lstm = nn.LSTM(width, width, layers, batch_first=True, bidirectional=both).double()
    for layer in range(layers):
        for suffix, source in (("", encoder.forwards), ("_reverse", encoder.backwards)):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if source else ():
                getattr(lstm, f"{name}_l{layer}{suffix}").data = getattr(source[layer], f"{name}_l0").data
    packed = pack_padded_sequence(
        encoder.embedding(batch.targets), batch.lengths, batch_first=True, enforce_sorted=False
    )
    states, (h, _) = lstm(packed)
    states, _ = pad_packed_sequence(states, batch_first=True)
    if pooling == "last":
        return torch.cat(list(h[-2 if both else -1 :]), dim=-1)
    rows = [row[:length] for row, length in zip(states, batch.lengths, strict=True)]
    return torch.stack([row.mean(0) if pooling == "mean" else row.amax(0) for row in rows])


@pytest.mark.parametrize(("kind", "options"), members("model.encoder", kinds=["lstm"]))
@pytest.mark.parametrize("rows", [ROWS, [[4, 5], [6, 6]]], ids=["padded", "unpadded"])
def test_the_features_are_those_of_a_packed_lstm(kind, options, rows):
    encoder, batch = encoder_of(kind, options), batch_of(*rows)
    expected = oracle(encoder, batch, options["layers"], options["bidirectional"], options["pooling"])
    torch.testing.assert_close(encoder(batch), expected, atol=1e-12, rtol=0)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_a_sentence_is_reversed_within_its_length(lengths):
    batch = collate([torch.arange(4, 4 + n).numpy() for n in lengths])
    states = torch.randn(*batch.targets.shape, 2)
    turned = reverse(states, batch)
    for before, after, n in zip(states, turned, lengths, strict=True):
        assert torch.equal(after[:n], before[:n].flip(0))
        assert torch.equal(after[n:], before[n:])
    assert torch.equal(reverse(turned, batch), states)


@pytest.mark.parametrize(
    ("kind", "options"), members("model.encoder", kinds=["lstm", "bag_of_words", "transformer"])
)
def test_dropout_is_training_noise(kind, options):
    encoder = encoder_of(kind, {**options, "dropout": 0.9})
    batch = batch_of(*ROWS)
    assert torch.equal(encoder(batch), encoder(batch))
    encoder.train()
    assert not torch.equal(encoder(batch), encoder(batch))


def test_no_encoder_means_no_features_in_the_models_precision():
    encoder = make("model.encoder", "none", VOCABULARY)
    assert encoder(batch_of(*ROWS)).shape == (5, 0)
    assert encoder.double()(batch_of(*ROWS)).dtype == torch.float64
    assert not list(encoder.parameters())
    assert not encoder.state_dict()
