"""The output layer against the plain one: values, gradients, and memory that does not grow with the logits."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from textvae.models import output
from textvae.models.output import word_log_probs


def inputs(tokens: int, vocabulary: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64, requires_grad=True)
    return hidden, weight, torch.randint(vocabulary, (tokens,), generator=generator)


@pytest.fixture(params=[1, 40, 10**9], ids=["a row at a time", "uneven chunks", "all at once"])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "CHUNK_ELEMENTS", request.param)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_values_and_gradients_are_those_of_cross_entropy(uniform: bool, scale: float) -> None:
    hidden, weight, words = inputs(11, 7, 3)
    upstream = torch.full((11,), 0.3, dtype=torch.float64) if uniform else torch.linspace(-1, 2, 11).double()
    found = word_log_probs(hidden * scale, weight, words)
    wanted = -F.cross_entropy(F.linear(hidden * scale, weight), words, reduction="none")
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(found, (hidden, weight), upstream),
        torch.autograd.grad(wanted, (hidden, weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("_chunks")
def test_gradcheck() -> None:
    hidden, weight, words = inputs(6, 5, 3)
    assert gradcheck(lambda h, w: word_log_probs(h, w, words), (hidden, weight))


def test_no_tokens_at_all() -> None:
    hidden, weight, words = inputs(0, 5, 3)
    found = word_log_probs(hidden, weight, words)
    found.sum().backward()
    assert found.shape == (0,)
    assert weight.grad is not None
    assert not weight.grad.any()


def test_one_chunk_of_logits_is_all_that_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    score = output._score

    def watched(*arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        nonlocal largest
        found = score(*arguments)
        largest = max(largest, found[1].numel())
        return found

    monkeypatch.setattr(output, "_score", watched)
    monkeypatch.setattr(output, "CHUNK_ELEMENTS", 5_000)
    hidden, weight, words = inputs(400, 100, 4)
    found = word_log_probs(hidden, weight, words)
    assert largest <= 5_000
    saved = found.grad_fn.saved_tensors  # type: ignore[union-attr]
    assert max(t.numel() for t in saved) < 400 * 100


def test_evaluation_makes_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, words = inputs(6, 5, 3)
    wanted = word_log_probs(hidden, weight, words).detach()
    monkeypatch.setattr(output, "_residual", None)
    with torch.no_grad():
        torch.testing.assert_close(word_log_probs(hidden, weight, words), wanted)
