"""Modes: gradients pass as in evaluation, and everything is as before on exit."""

import pytest
import torch
from torch import nn

from textvae.models.modes import fixed, inert, seeded, silent


class Model(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, 2, batch_first=True, dropout=dropout)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.drop(self.lstm(x)[0][:, -1]))


def modes(model: nn.Module) -> list[tuple[bool, ...]]:
    parts = tuple(part.training for part in model.modules())
    return [parts, tuple(p.requires_grad for p in model.parameters())]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("mode", [silent, fixed])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_a_model_in_evaluation_mode(dropout, mode, training):
    model = Model(dropout).double().eval()
    x = torch.randn(5, 6, 3, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(model(x).square().sum(), x)
    model.train(training and mode is silent)
    before = modes(model)
    with mode(model):
        found = torch.autograd.grad(model(x).square().sum(), x)
        torch.testing.assert_close(found, expected)
        # cuDNN passes gradients through an RNN in training mode only.
        assert model.lstm.training == (dropout == 0) or not torch.backends.cudnn.enabled
        assert any(p.requires_grad for p in model.parameters()) == (mode is silent)
    assert modes(model) == before
    assert torch.backends.cudnn.enabled


def test_an_error_restores_them_too():
    model = Model().train()
    before = modes(model)
    for mode in (silent, fixed, inert):
        with pytest.raises(KeyError), mode(model):
            raise KeyError
        assert modes(model) == before


def test_a_seed_for_a_while():
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    with seeded(5):
        first = torch.randn(3)
    with seeded(5):
        assert torch.equal(torch.randn(3), first)
    assert torch.equal(torch.randn(3), expected)
