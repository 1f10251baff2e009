"""The LSTM under many z against torch's own, and what it computes once per sentence."""

import pytest
import torch
from helpers import batch_of, make
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from textvae.models.recurrence import states_under

K, B, T, E, H = 3, 4, 6, 5, 7


def case(layers: int, latent_dim: int, dropout: float = 0.0) -> tuple[nn.LSTM, tuple[torch.Tensor, ...]]:
    torch.manual_seed(1)
    lstm = nn.LSTM(E + latent_dim, H, layers, batch_first=True, dropout=dropout).double()
    shapes = ((B, T, E), (K, B, latent_dim), (layers, K * B, H), (layers, K * B, H))
    return lstm, tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)


def put_together(
    lstm: nn.LSTM, words: torch.Tensor, z: torch.Tensor, h: torch.Tensor, c: torch.Tensor
) -> torch.Tensor:
    inputs = torch.cat([words.expand(K, -1, -1, -1), z[:, :, None].expand(-1, -1, T, -1)], dim=-1)
    states, _ = lstm(inputs.flatten(0, 1), (h, c))
    return states.unflatten(0, (K, B))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("latent_dim", [0, 2])
def test_values_and_gradients_are_those_of_torch(layers: int, latent_dim: int) -> None:
    lstm, (words, z, h, c) = case(layers, latent_dim)
    wanted = put_together(lstm, words, z, h, c)
    found = states_under(lstm, words, z, (h, c))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    sought = [t for t in (words, z, h, c, *lstm.parameters()) if t.numel()]
    upstream = torch.randn_like(wanted)
    for a, b in zip(
        torch.autograd.grad(found, sought, upstream), torch.autograd.grad(wanted, sought, upstream), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_between_layers_is_that_of_torch(training: bool) -> None:
    # At a rate of 1 dropout is not random.
    lstm, (words, z, h, c) = case(2, 2, dropout=1.0)
    lstm.train(training)
    torch.testing.assert_close(states_under(lstm, words, z, (h, c)), put_together(lstm, words, z, h, c))


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
