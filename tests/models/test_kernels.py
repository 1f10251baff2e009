"""The GPU kernels compute what torch's operations do, on a card if there is one, else by Triton's interpreter."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("triton", reason="needs Triton")
HERE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ROUNDING = 5e-6 if HERE.type == "cpu" else 2e-3  # on a card products are of TF32

from textvae.models import kernels, output  # noqa: E402
from textvae.models.kernels import recurrence, softmax  # noqa: E402
from textvae.models.lstm import LSTM  # noqa: E402
from textvae.models.modes import exact  # noqa: E402
from textvae.training.precision import switch  # noqa: E402


@pytest.fixture(autouse=True)
def _rounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a card that trains in TF32; torch's own switches are put back."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    switch("tf32")
    monkeypatch.setattr(kernels, "serves", lambda tensor: tensor.dtype != torch.float64)
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def distance(found: Tensor, wanted: Tensor) -> float:
    """Relative to the size of the whole."""
    found, wanted = found.detach().double(), wanted.detach().double()
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-12))


def run(lstm: nn.LSTM, given: list[Tensor], wanted: str, kind: torch.dtype | None = None) -> dict[str, Tensor]:
    """States, last state and cell of an LSTM, and the gradients of a random function of those that are `wanted`."""
    inputs, hidden, cell = (value.detach().to(next(lstm.parameters()).dtype).requires_grad_() for value in given)
    with torch.autocast(HERE.type, kind, enabled=kind is not None):
        states, (last, last_cell) = lstm(inputs, (hidden, cell))
    found = {"states": states, "last": last, "cell": last_cell}
    generator = torch.Generator().manual_seed(1)
    draws = {name: torch.randn(value.shape, generator=generator).to(HERE) for name, value in found.items()}
    total = torch.stack([(found[name].double() * draws[name]).sum() for name in wanted.split()]).sum()
    leaves = {"inputs": inputs, "hidden": hidden, "first cell": cell, **dict(lstm.named_parameters())}
    leaves = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    slopes = torch.autograd.grad(total, list(leaves.values()))
    return {**found, **dict(zip(leaves, slopes, strict=True))}


def pair(sentences: int, length: int, width: int, hidden: int) -> tuple[LSTM, nn.LSTM, list[Tensor]]:
    """An LSTM of ours, torch's of the same weights in float64, and what both are given."""
    torch.manual_seed(0)
    ours = LSTM(width, hidden)
    truth = nn.LSTM(width, hidden, batch_first=True).double()
    truth.load_state_dict(ours.state_dict())
    state = torch.randn(2, 1, sentences, hidden)
    return ours.to(HERE), truth.to(HERE), [torch.randn(sentences, length, width).to(HERE), *state.to(HERE)]


SIZES = [(1, 1, 64), (5, 4, 64), (16, 3, 64), (18, 5, 192)]
WANTED = ["states last cell", "states", "last", "cell"]
CASES = [*((*size, wanted) for size in SIZES for wanted in WANTED), (70, 2, 1024, "states")]


@pytest.mark.parametrize(("sentences", "length", "hidden", "wanted"), CASES)
def test_an_lstm_by_kernels_is_torchs(sentences: int, length: int, hidden: int, wanted: str) -> None:
    ours, truth, given = pair(sentences, length, 7, hidden)
    with torch.backends.cudnn.flags(enabled=False):
        right = run(truth, given, wanted)
    for name, value in run(ours, given, wanted).items():
        assert value.shape == right[name].shape
        assert distance(value, right[name]) < ROUNDING, name


def test_strides_do_not_matter() -> None:
    ours, truth, given = pair(3, 4, 7, 64)
    weights = torch.randn(1, 64, 3).to(HERE)

    def slopes(lstm: nn.LSTM) -> list[Tensor]:
        inputs, hidden, cell = (
            value.detach().to(next(lstm.parameters()).dtype).requires_grad_() for value in given
        )
        states, (_, last) = lstm(inputs.transpose(0, 1).contiguous().transpose(0, 1), (hidden, cell))
        total = (last.transpose(1, 2) * weights).sum() + (states.transpose(1, 2) ** 2).sum()
        return list(torch.autograd.grad(total, [inputs, hidden, cell, *lstm.parameters()]))

    with torch.backends.cudnn.flags(enabled=False):
        right = slopes(truth)
    assert all(distance(a, b) < ROUNDING for a, b in zip(slopes(ours), right, strict=True))
    gates, recurrent, first = (
        torch.randn(3, 5, 256).to(HERE),
        torch.randn(256, 64).to(HERE),
        torch.randn(3, 64).to(HERE),
    )
    wanted = recurrence.forward(gates, recurrent, first, first)
    turned = gates.transpose(0, 1).contiguous().transpose(0, 1), recurrent.T.contiguous().T
    for one, other in zip(recurrence.forward(*turned, first, first), wanted, strict=True):
        assert torch.equal(one, other)


def test_a_frozen_lstm_passes_gradients_on() -> None:
    ours, truth, given = pair(3, 4, 7, 64)
    for lstm in (ours, truth):
        lstm.requires_grad_(False)
    with torch.backends.cudnn.flags(enabled=False):
        right = run(truth, given, "states cell")
    found = run(ours, given, "states cell")
    assert found.keys() == {"states", "last", "cell", "inputs", "hidden", "first cell"}
    assert all(distance(value, right[name]) < ROUNDING for name, value in found.items())


@pytest.mark.skipif(
    HERE.type == "cpu",
    reason="Triton's interpreter knows no product of bfloat16, and torch on a CPU none into float32",
)
@pytest.mark.parametrize(("sentences", "hidden"), [(5, 64), (32, 256), (128, 1024)])
def test_under_autocast_an_lstm_differs_by_its_rounding_alone(sentences: int, hidden: int) -> None:
    ours, truth, given = pair(sentences, 6, 32, hidden)
    with torch.backends.cudnn.flags(enabled=False):
        right = run(truth, given, "states last cell")
    found = run(ours, given, "states last cell", torch.bfloat16)
    assert (found["states"].dtype, found["cell"].dtype) == (torch.bfloat16, torch.float32)
    assert all(distance(value, right[name]) < 0.02 for name, value in found.items())
    assert found["weight_hh_l0"].dtype == torch.float32


def test_without_a_first_state_it_is_zero() -> None:
    ours, _, (inputs, hidden, _) = pair(3, 4, 7, 64)
    states, (last, cell) = ours(inputs)
    again, (_, same) = ours(inputs, (torch.zeros_like(hidden), torch.zeros_like(hidden)))
    assert torch.equal(states, again)
    assert torch.equal(cell, same)
    assert torch.equal(last[0], states[:, -1])


def test_kernels_round_where_products_may_be_rounded_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    whole = recurrence.forward
    monkeypatch.setattr(
        recurrence, "forward", lambda *given: asked.append(given[0].shape[-1] // 4) or whole(*given)
    )
    for hidden in (64, 32):
        LSTM(7, hidden).to(HERE)(torch.randn(2, 3, 7, device=HERE))
    assert asked == [64]  # tiles of 64 do not divide the other
    with exact():
        LSTM(7, 64).to(HERE)(torch.randn(2, 3, 7, device=HERE))
    switch("float32")
    LSTM(7, 64).to(HERE)(torch.randn(2, 3, 7, device=HERE))
    assert asked == [64]
    switch("tf32")
    LSTM(7, 64).double().to(HERE)(torch.randn(2, 3, 7, device=HERE).double())
    assert asked == [64]


def test_on_a_processor_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not kernels.serves(torch.zeros(1))
    assert kernels.serves(torch.zeros(1, device=HERE)) == (HERE.type == "cuda")
    assert not kernels.serves(torch.zeros(1, device=HERE, dtype=torch.float64))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 7), (5, 2048), (4, 5001)])
def test_log_probabilities_and_their_gradient(rows: int, width: int, scale: float, kind: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn(rows, width, generator=generator)).to(HERE, kind)
    words = torch.randint(width, (rows,), generator=generator).to(HERE)
    upstream = torch.randn(rows, generator=generator).to(HERE)
    truth = logits.double().requires_grad_()
    wanted = truth.log_softmax(-1).gather(1, words[:, None])[:, 0]
    (slope,) = torch.autograd.grad((wanted * upstream).sum(), truth)
    found, total = softmax.forward(logits, words)
    assert found.dtype == torch.float32  # also of logits in bfloat16
    torch.testing.assert_close(found.double(), wanted.detach(), rtol=1e-5, atol=2e-4)
    gradient = softmax.backward(logits, words, total, upstream)
    assert gradient.dtype == kind
    torch.testing.assert_close(gradient.double(), slope, rtol=0.01 if kind == torch.bfloat16 else 1e-4, atol=2e-4)


def test_a_word_that_is_impossible_has_no_weight_in_the_sum() -> None:
    logits = torch.full((2, 3000), -torch.inf, device=HERE)
    logits[:, 2999] = 1.0
    logits[1, 5] = 1.0
    found, _ = softmax.forward(logits, torch.tensor([2999, 5], device=HERE))
    torch.testing.assert_close(found.cpu(), torch.tensor([0.0, 0.5]).where(torch.tensor([True, False]), -0.693147))


def test_a_word_outside_the_logits_is_no_number() -> None:
    found, _ = softmax.forward(torch.zeros(3, 10, device=HERE), torch.tensor([-2, 9, 10], device=HERE))
    assert found.isnan().tolist() == [True, False, True]


@pytest.mark.parametrize("frozen", [True, False])
def test_the_output_layer_keeps_its_logits_and_is_the_plain_one(frozen: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(6, 16, generator=generator).to(HERE).requires_grad_()
    weight = torch.randn(40, 16, generator=generator).to(HERE).requires_grad_(not frozen)
    words = torch.randint(40, (6,), generator=generator).to(HERE)
    leaves = [leaf for leaf in (hidden, weight) if leaf.requires_grad]

    def all_of(log_probs: Tensor) -> list[Any]:
        upstream = torch.linspace(-1, 2, 6).to(HERE)
        return [log_probs, *torch.autograd.grad((log_probs * upstream).sum(), leaves)]

    plain = (hidden.double() @ weight.double().T).log_softmax(-1).gather(1, words[:, None])[:, 0]
    for found, wanted in zip(all_of(output._kept(hidden, weight, words)), all_of(plain), strict=True):
        assert distance(found, wanted) < ROUNDING


def fails(*given: Tensor) -> None:
    raise RuntimeError("no C compiler")


def test_where_kernels_cannot_be_built_training_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda card: (9, 0))
    kernels._usable.cache_clear()
    assert kernels._usable(HERE)
    with monkeypatch.context() as patched:
        patched.setattr(softmax, "forward", fails)
        kernels._usable.cache_clear()
        with pytest.warns(UserWarning, match="Triton cannot build GPU kernels here.*: no C compiler"):
            assert not kernels._usable(HERE)
    monkeypatch.setattr(softmax, "forward", fails)
    for name, value in (
        ("torch.__version__", "2.7.1+cu126"),
        ("textvae.models.kernels.find_spec", lambda name: None),
        ("torch.cuda.get_device_capability", lambda card: (7, 5)),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(name, value)
            kernels._usable.cache_clear()
            assert not kernels._usable(HERE)  # and says nothing: it is not asked for
    kernels._usable.cache_clear()
