"""Each kind of decoder against its formula, computed in another way, and what its kind promises."""

import math

import pytest
import torch
from helpers import SIZES, VOCABULARY, batch_of, deafen, make, members, randomise, silent, tiny
from torch import Tensor, nn
from torch.nn import functional as F

from textvae.data.tokenizers import BOS
from textvae.models.decoders import DECODERS
from textvae.models.text_vae import initialise

WORDS = [4, 2, 6, 5, 4]
D = 2
SMALL = {"embedding_dim": 6, "hidden_dim": 6}


def decoder_of(kind: str, *, vocabulary: int = VOCABULARY, latent_dim: int = D, scale: float = 0.7, **options):
    decoder = make("model.decoder", kind, vocabulary, latent_dim, **{**silent(kind), **options}).double()
    randomise(decoder, scale, seed=0)
    return decoder.eval()


def latent(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@torch.no_grad()
def scored(decoder, rows: list[list[int]], z: Tensor) -> Tensor:
    return decoder(batch_of(*rows), z.expand(1, len(rows), -1))[0]


def log_probs_of(hidden: Tensor, decoder) -> Tensor:
    """Of WORDS and EOS, from hidden states (T, H) one after another."""
    logits = (hidden @ decoder.output.weight.T).log_softmax(-1)
    return torch.stack([row[word - 2] for row, word in zip(logits, [*WORDS, 3], strict=True)]).detach()


def embedded(decoder) -> Tensor:
    return decoder.embedding.weight[torch.tensor([BOS, *WORDS])].detach()


def changed(decoder, position: int) -> list[bool]:
    """Which of the words' scores change with the word at a position, that word's own left out."""
    rows = [[4] * 20, [4] * 20]
    rows[1][position] = 5
    one, other = scored(decoder, rows, latent(D))
    return ((one - other)[position + 1 :].abs() > 1e-12).tolist()


# All kinds.


@pytest.mark.parametrize("latent_dim", [0, D])
@pytest.mark.parametrize(("kind", "options"), members("model.decoder"))
def test_gradients_reach_every_parameter(kind, options, latent_dim):
    decoder = decoder_of(kind, latent_dim=latent_dim, **options)
    decoder(batch_of(WORDS, [5], [6, 2]), latent(3, 3, latent_dim)).sum().backward()
    for name, parameter in decoder.named_parameters():
        if parameter.numel():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("kind", "options"), [p for p in members("model.decoder") if p.values[0] != "injective_lstm"]
)
def test_with_no_weight_on_z_it_says_the_same_under_any_z(kind, options):
    model = tiny(D, decoder=(kind, options))
    rows, one, other = [WORDS, [5]], latent(D), latent(D, seed=1)
    assert not torch.equal(scored(model.decoder, rows, one), scored(model.decoder, rows, other))
    deafen(model)
    assert torch.equal(scored(model.decoder, rows, one), scored(model.decoder, rows, other))


@pytest.mark.parametrize(("kind", "rate"), [(kind, rate) for kind in DECODERS for rate in silent(kind)])
def test_each_dropout_alone_is_training_noise(kind, rate):
    loud, quiet = decoder_of(kind, **{rate: 0.8}), decoder_of(kind)
    z = latent(D)
    assert torch.equal(scored(loud, [WORDS], z), scored(quiet, [WORDS], z))
    loud.train()
    assert not torch.equal(scored(loud, [WORDS], z), scored(loud, [WORDS], z))


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("kind", ["lstm", "injective_lstm"])
def test_dropout_lies_between_layers_too(kind, samples):
    words, z = batch_of(WORDS).inputs, latent(samples, 1, D)
    for layers in (1, 2):
        decoder = decoder_of(kind, **SIZES, layers=layers, dropout_out=0.8).train()
        with torch.no_grad():
            assert torch.equal(decoder.hidden(words, z), decoder.hidden(words, z)) == (layers == 1)


# The bag of words.


def test_a_bag_of_words_is_one_softmax_for_the_whole_sentence():
    decoder, z = decoder_of("bag_of_words", hidden_dim=5), latent(D)
    hidden = (decoder.hear.weight @ z + decoder.hear.bias).tanh()
    expected = log_probs_of(hidden.expand(6, -1), decoder)
    torch.testing.assert_close(scored(decoder, [WORDS], z)[0], expected, atol=1e-12, rtol=0)
    one, other = scored(decoder, [WORDS, WORDS[::-1]], z).sum(-1)
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


# The window.


def test_a_window_is_a_perceptron_over_the_last_words_and_z():
    decoder, z = decoder_of("window", order=3, **SIZES), latent(D)
    words = torch.tensor([BOS, BOS, BOS, *WORDS])
    states = []
    for t in range(len(WORDS) + 1):
        context = torch.cat([decoder.embedding.weight[w] for w in words[t : t + 3]])
        states.append((decoder.read.weight @ context + decoder.read.bias + decoder.hear.weight @ z).tanh())
    expected = log_probs_of(torch.stack(states), decoder)
    torch.testing.assert_close(scored(decoder, [WORDS], z)[0], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_a_window_sees_as_many_words_as_its_order(order):
    heard = changed(decoder_of("window", order=order, **SIZES), 3)
    assert heard == [t < order for t in range(len(heard))]


def test_a_window_of_order_0_is_the_bag_of_words():
    window, bag = decoder_of("window", order=0, **SIZES), decoder_of("bag_of_words", hidden_dim=5)
    bag.hear.weight, bag.hear.bias, bag.output.weight = window.hear.weight, window.read.bias, window.output.weight
    for rows in ([[]], [WORDS, [5], []]):
        z = latent(D)
        torch.testing.assert_close(scored(window, rows, z), scored(bag, rows, z), atol=1e-12, rtol=0)
    assert window.embedding.weight.numel() == 0


# Dilated convolutions.


@pytest.mark.parametrize(("kernel", "dilations"), [(1, (1, 1)), (2, (1, 2)), (3, (1, 2, 4)), (2, (4, 3))])
def test_a_convolution_is_a_sum_over_taps_in_the_past(kernel, dilations):
    options = {"kernel": kernel, "dilations": dilations, "inner_dim": 4, **SIZES}
    decoder, z = decoder_of("dilated_convolution", **options), latent(D)
    x = list(embedded(decoder) @ decoder.read.weight.T + decoder.read.bias + decoder.hear.weight @ z)
    for block, dilation in zip(decoder.blocks, dilations, strict=True):
        inner = [(block.down.weight @ state + block.down.bias).clamp_min(0) for state in x]
        for t in reversed(range(len(x))):
            total = block.conv.bias
            for tap in range(kernel):
                past = t - (kernel - 1 - tap) * dilation
                if past >= 0:
                    total = total + block.conv.weight[:, :, tap] @ inner[past]
            x[t] = x[t] + block.up.weight @ total.clamp_min(0) + block.up.bias
    expected = log_probs_of(torch.stack(x), decoder)
    torch.testing.assert_close(scored(decoder, [WORDS], z)[0], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("kernel", "dilations", "context"), [(1, (1,), 1), (2, (1, 2), 4), (3, (1, 2), 7), (3, (1, 2, 4), 15)]
)
def test_a_convolution_sees_as_far_as_its_dilations_reach(kernel, dilations, context):
    # Many inner units, so that no path dies in a relu.
    options = {"kernel": kernel, "dilations": dilations, "inner_dim": 32, **SIZES}
    heard = changed(decoder_of("dilated_convolution", **options, scale=0.3), 2)
    assert heard == [t < context for t in range(len(heard))]


# The LSTM that hears z everywhere.


def test_z_goes_to_every_layer_and_to_the_softmax():
    decoder, z = decoder_of("lstm", z_to="everywhere", layers=2, **SIZES), latent(D)
    cells = (decoder.first_state.weight @ z).view(2, -1)
    c, h = list(cells), list(cells.tanh())
    states = []
    for word in embedded(decoder):
        x = word
        for layer, lstm in enumerate(decoder.lstm):
            heard = torch.cat([x, z])
            gates = lstm.weight_ih_l0 @ heard + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h[layer] + lstm.bias_hh_l0
            i, f, g, o = gates.chunk(4)
            c[layer] = f.sigmoid() * c[layer] + i.sigmoid() * g.tanh()
            x = h[layer] = o.sigmoid() * c[layer].tanh()
        states.append(torch.cat([x, z]))
    expected = log_probs_of(torch.stack(states), decoder)
    torch.testing.assert_close(scored(decoder, [WORDS], z)[0], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("kind", "options"), [("lstm", {"z_to": "everywhere", "layers": 2}), ("injective_lstm", {"convex_dim": 4})]
)
def test_dropout_spares_the_z_beside_the_hidden_state(kind, options):
    decoder, z = decoder_of(kind, **options, **SIZES, dropout_out=1.0).train(), latent(D)
    given = torch.cat([torch.zeros(5, dtype=torch.float64), z]).expand(6, -1)
    if kind == "injective_lstm":
        given = decoder.map(given)
    torch.testing.assert_close(scored(decoder, [WORDS], z)[0], log_probs_of(given, decoder), atol=1e-12, rtol=0)


def test_tied_embeddings_leave_no_room_for_z_at_the_softmax():
    with pytest.raises(ValueError, match="leave no room for z"):
        decoder_of("lstm", z_to="everywhere", tied=True, **SIZES)


# The Transformer.


def test_a_transformer_is_that_of_torch():
    decoder, z = decoder_of("transformer", layers=2, heads=3, **SMALL), latent(D)
    x = embedded(decoder) @ decoder.read.weight.T + decoder.read.bias + decoder.hear.weight @ z
    angles = [[t / 10_000 ** (i / 3) for i in range(3)] for t in range(6)]
    x = x + torch.tensor([[*map(math.sin, row), *map(math.cos, row)] for row in angles], dtype=torch.float64)
    layer = nn.TransformerEncoderLayer(6, 3, 24, 0.0, "gelu", batch_first=True, norm_first=True)
    torchs = nn.TransformerEncoder(layer, 2, decoder.norm, enable_nested_tensor=False).double().eval()
    names = {
        "self_attn.in_proj_": "queries_keys_values.", "self_attn.out_proj.": "attended.", "linear1.": "up.",
        "linear2.": "down.", "norm1.": "attention_norm.", "norm2.": "perceptron_norm.",
    }  # fmt: skip
    for mine, theirs in zip(decoder.blocks, torchs.layers, strict=True):
        own = mine.state_dict()
        theirs.load_state_dict({a + end: own[b + end] for a, b in names.items() for end in ("weight", "bias")})
    with torch.no_grad():
        hidden = torchs(x[None], nn.Transformer.generate_square_subsequent_mask(6, dtype=torch.float64))[0]
    expected = log_probs_of(hidden, decoder)
    torch.testing.assert_close(scored(decoder, [WORDS], z)[0], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("place", ["attention weights", "attended", "down"])
def test_a_transformers_dropout_acts_in_three_places(place, monkeypatch):
    decoder, z = decoder_of("transformer", layers=1, heads=2, dropout=0.8, **SMALL).train(), latent(D)
    (block,) = decoder.blocks
    if place == "attention weights":
        monkeypatch.setattr(block.dropout, "forward", lambda x: x)
    else:
        attend = F.scaled_dot_product_attention
        monkeypatch.setattr(F, attend.__name__, lambda *given, **how: attend(*given, **how | {"dropout_p": 0.0}))
        for parameter in (block.down if place == "attended" else block.attended).parameters():
            parameter.data.zero_()
    assert not torch.equal(scored(decoder, [WORDS], z), scored(decoder, [WORDS], z))


def test_no_sentence_is_too_long_for_a_transformer():
    decoder = decoder_of("transformer", layers=1, heads=2, **SMALL)
    row, z = [4, 5] * 600, latent(D)
    at_once = scored(decoder, [row], z)[0]
    state = decoder.start(z[None])
    with torch.no_grad():
        for word in [BOS, *row]:
            log_probs, state = decoder.step(torch.tensor([word]), state)
    torch.testing.assert_close(log_probs[0, 3], at_once[-1], atol=1e-10, rtol=0)


def test_a_transformer_refuses_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="4 heads do not divide a hidden_dim of 6"):
        decoder_of("transformer", heads=4, **SMALL)
    with pytest.raises(ValueError, match="embedding_dim equal to hidden_dim, not 3 and 6"):
        decoder_of("transformer", heads=2, embedding_dim=3, hidden_dim=6, tied=True)


def test_a_range_of_initial_weights_leaves_normalisation_as_it_is():
    model = tiny(D, decoder=("transformer", {"heads": 2, "layers": 1, **SMALL}))
    norm = model.decoder.blocks[0].attention_norm
    norm.reset_parameters()
    initialise(model, 0.01, 0.1)
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()
    assert model.decoder.read.weight.abs().max() <= 0.01
    assert 0.01 < model.decoder.embedding.weight.abs().max() <= 0.1


# The decoder that cannot ignore z.

WIDE = {"vocabulary": 30, "convex_dim": 6, "strength": 0.3, **SIZES}


@pytest.mark.parametrize("convex_layers", [1, 3])
def test_what_the_softmax_reads_keeps_any_two_z_apart(convex_layers):
    """‖u(z) − u(z′)‖ ≥ c ‖z − z′‖ after any words: hidden states are the same for both."""
    decoder, batch = decoder_of("injective_lstm", convex_layers=convex_layers, **WIDE), batch_of(WORDS)
    z = latent(200, 1, D)
    with torch.no_grad():
        read = decoder.readout(decoder.hidden(batch.inputs, z).flatten(0, 2)).view(200, 6, -1)
    distance = (z - z[:, 0]).norm(dim=-1)
    for states in read.unbind(1):
        apart = (states - states[:, None]).norm(dim=-1)
        assert (apart >= 0.3 * distance - 1e-9).all()


def test_z_can_be_read_back_from_the_probabilities_of_any_word():
    """Undo the softmax by least squares and the map by Newton's method: what is injective can be undone."""
    decoder, z = decoder_of("injective_lstm", scale=1.0, **WIDE), latent(D)
    state = decoder.start(z[None])
    with torch.no_grad():
        for word in [BOS, *WORDS]:
            log_probs, state = decoder.step(torch.tensor([word]), state)
            weight = torch.cat([decoder.output.weight, torch.ones(28, 1, dtype=torch.float64)], dim=1)
            wanted = torch.linalg.lstsq(weight, log_probs[0, 2:, None]).solution[:-1, 0]
            x = torch.zeros(5 + D, dtype=torch.float64)
            for _ in range(50):
                jacobian = torch.autograd.functional.jacobian(decoder.map, x)
                x = x - torch.linalg.solve(jacobian, decoder.map(x) - wanted)
            torch.testing.assert_close(x[-D:], z, atol=1e-6, rtol=0)
