"""The output layer against the plain one: values, gradients, and memory that does not grow with the logits."""

from typing import Any

import pytest
import torch
from questions import Questions
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
    monkeypatch.setattr(output, "CHUNK_ROWS", 1)


@pytest.fixture(params=["processor", "accelerator"])
def _kinds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to a gradient, on the processor."""
    if request.param == "accelerator":
        monkeypatch.setattr(output, "_Early", output._Late)


@pytest.mark.usefixtures("_chunks", "_kinds")
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


@pytest.mark.usefixtures("_chunks", "_kinds")
def test_gradcheck() -> None:
    hidden, weight, words = inputs(6, 5, 3)
    assert gradcheck(lambda h, w: word_log_probs(h, w, words), (hidden, weight))


@pytest.mark.usefixtures("_kinds")
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
    monkeypatch.setattr(output, "CHUNK_ROWS", 1)
    hidden, weight, words = inputs(400, 100, 4)
    found = word_log_probs(hidden, weight, words)
    assert largest <= 5_000
    saved = found.grad_fn.saved_tensors  # type: ignore[union-attr]
    assert max(t.numel() for t in saved) < 400 * 100


@pytest.mark.parametrize("tokens", [1, 255, 256, 257, 700, 12_345])
@pytest.mark.parametrize("vocabulary", [100, 10_000, 200_000])
def test_chunks_cover_every_row_once_and_large_vocabularies_keep_enough_rows(tokens: int, vocabulary: int) -> None:
    hidden, weight = torch.empty(tokens, 0), torch.empty(vocabulary, 0)
    sizes = [len(hidden[rows]) for rows in output._chunks(hidden, weight)]
    assert sum(sizes) == tokens
    assert max(sizes) <= max(output.CHUNK_ROWS, output.CHUNK_ELEMENTS // vocabulary)
    assert min(sizes) >= min(tokens, output.CHUNK_ROWS // 2)


@pytest.mark.usefixtures("_kinds")
@pytest.mark.parametrize("wanted", ["hidden", "weight"])
def test_only_the_gradient_that_is_wanted_is_made(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, words = inputs(6, 5, 3)
    both = torch.autograd.grad(word_log_probs(hidden, weight, words).sum(), (hidden, weight))
    made: list[list[bool]] = []
    propagate = output._propagate

    def watched(*arguments: Any) -> None:
        made.append([gradient is not None for gradient in arguments[-2:]])
        propagate(*arguments)

    monkeypatch.setattr(output, "_propagate", watched)
    (weight if wanted == "hidden" else hidden).requires_grad_(False)
    word_log_probs(hidden, weight, words).sum().backward()
    assert made == [[wanted == "hidden", wanted == "weight"]]
    if wanted == "hidden":
        torch.testing.assert_close(hidden.grad, both[0])
        assert weight.grad is None
    else:
        torch.testing.assert_close(weight.grad, both[1])
        assert hidden.grad is None


@pytest.mark.parametrize(("way", "asked"), [("_Early", ["is_nonzero", "_local_scalar_dense"]), ("_Late", [])])
def test_an_accelerator_is_asked_nothing(way: str, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_Early", getattr(output, way))
    hidden, weight, words = inputs(6, 5, 3)
    upstream = torch.linspace(-1, 2, 6).double()
    with Questions() as questions:
        torch.autograd.grad(word_log_probs(hidden, weight, words), (hidden, weight), upstream)
    assert questions.asked in (asked, asked[1:])


def test_half_precision_around_the_layer_leaves_it_at_the_weights_precision() -> None:
    hidden, weight, words = (tensor.float() if tensor.is_floating_point() else tensor for tensor in inputs(6, 5, 3))
    hidden = hidden.detach().bfloat16().requires_grad_()
    wanted = word_log_probs(hidden.detach().float(), weight, words)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = word_log_probs(hidden, weight, words)
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)
    found.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16


def test_evaluation_makes_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, words = inputs(6, 5, 3)
    wanted = word_log_probs(hidden, weight, words).detach()
    monkeypatch.setattr(output, "_residual", None)
    with torch.no_grad():
        torch.testing.assert_close(word_log_probs(hidden, weight, words), wanted)
