"""The LSTM under many z against torch's own, and what it computes once per sentence."""

import pytest
import torch
from helpers import batch_of, make
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from textvae.models.recurrence import Stack

K, B, T, E, H = 3, 4, 6, 5, 7


def case(layers: int, latent_dim: int) -> tuple[Stack, nn.LSTM, tuple[torch.Tensor, ...]]:
    """A stack, torch's stack of the same layers, and words, z, h₀ and c₀."""
    torch.manual_seed(1)
    whole = nn.LSTM(E + latent_dim, H, layers, batch_first=True).double()
    apart = Stack([E + latent_dim, *[H] * (layers - 1)], H).double()
    for layer, lstm in enumerate(apart):
        for own, weight in zip(lstm.all_weights[0], whole.all_weights[layer], strict=True):
            own.data.copy_(weight)
    shapes = ((B, T, E), (K, B, latent_dim), (layers, K * B, H), (layers, K * B, H))
    return apart, whole, tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)


def put_together(words: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    inputs = torch.cat([words.expand(K, -1, -1, -1), z[:, :, None].expand(-1, -1, T, -1)], dim=-1)
    return inputs.flatten(0, 1)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("latent_dim", [0, 2])
def test_values_and_gradients_are_those_of_torch(layers: int, latent_dim: int) -> None:
    apart, whole, (words, z, h, c) = case(layers, latent_dim)
    wanted, _ = whole(put_together(words, z), (h, c))
    upstream = torch.randn_like(wanted)
    sought = [t for t in (words, z, h, c) if t.numel()]
    theirs = torch.autograd.grad(wanted, [*sought, *whole.parameters()], upstream)
    for found in (
        apart.under(words, z, (h, c), nn.Identity()).flatten(0, 1),
        apart(put_together(words, z), (h, c), nn.Identity())[0],
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
        ours = torch.autograd.grad(found, [*sought, *apart.parameters()], upstream, retain_graph=True)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_final_states_are_those_of_torch() -> None:
    apart, whole, (words, z, h, c) = case(3, 2)
    _, last = whole(put_together(words, z), (h, c))
    _, *found = apart(put_together(words, z), (h, c), nn.Identity())
    torch.testing.assert_close(tuple(found), last, rtol=1e-12, atol=1e-12)


def test_what_is_between_layers_is_applied_to_the_input_of_all_but_the_first() -> None:
    apart, _, (words, z, h, c) = case(3, 2)
    shapes = []

    def between(states: torch.Tensor) -> torch.Tensor:
        shapes.append(states.shape[-1])
        return torch.zeros_like(states)

    found = apart.under(words, z, (h, c), between).flatten(0, 1)
    torch.testing.assert_close(found, apart(put_together(words, z), (h, c), between)[0])
    alone, _ = apart[2](torch.zeros(K * B, T, H, dtype=torch.float64), (h[2:], c[2:]))
    torch.testing.assert_close(found, alone)
    assert shapes == [H] * 4


@pytest.mark.parametrize("kind", ["lstm", "injective_lstm"])
def test_dropout_between_layers_repeats_with_torchs_random_stream(kind: str) -> None:
    decoder = make("model.decoder", kind, 50, 2, embedding_dim=E, hidden_dim=H, layers=2, dropout_in=0.0)
    hidden = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        hidden.append(decoder.hidden(torch.tensor([[4, 5, 6]]), torch.zeros(1, 1, 2)))
    assert torch.equal(hidden[0], hidden[1])
    assert not torch.equal(hidden[0], hidden[2])


def products(z_to: str, samples: int) -> int:
    """Floating-point operations in matrix products of a decoder's pass with some samples of z.

    In float64, whose products the counter sees.
    """
    decoder = make("model.decoder", "lstm", 50, 2, embedding_dim=E, hidden_dim=H, z_to=z_to).eval().double()
    batch = batch_of([4, 5, 6], [7, 8, 9], [4, 4, 4])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder(batch, torch.randn(samples, batch.sentences, 2, dtype=torch.float64))
    return int(counter.get_total_flops())


@pytest.mark.parametrize("z_to", ["state", "input", "both"])
def test_a_further_sample_costs_only_what_depends_on_z(z_to: str) -> None:
    tokens, sentences = 12, 3
    recurrent_and_softmax = tokens * (4 * H * H + 48 * H)
    heard = sentences * 2 * (H * (z_to != "input") + 4 * H * (z_to != "state"))
    assert products(z_to, 9) - products(z_to, 4) == 5 * 2 * (recurrent_and_softmax + heard)
