"""Products by oneDNN against the usual ones: values, gradients of two orders, strides, what goes the usual way."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textvae.models import products
from textvae.models.products import product

SHAPES = [(1, 1, 1), (5, 3, 4), (64, 256, 1000), (33, 1000, 7)]


def pair(shape: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    rows, width, columns = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(columns, width, generator=generator, dtype=torch.float64)
    return x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()


def rounding(exact: Tensor, width: int) -> float:
    """What float32 sums of `width` terms may miss."""
    return 1e-6 * float(exact.abs().max()) * width**0.5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("turned", [False, True], ids=["contiguous", "transposed"])
def test_a_product_is_exact_to_the_rounding_of_float32(shape: tuple[int, int, int], turned: bool) -> None:
    x, weight = (t.detach().T.contiguous().T if turned else t.detach() for t in pair(shape))
    exact = x.double() @ weight.double().T
    found = product(x, weight)
    assert found.dtype == torch.float32
    assert float((found - exact).abs().max()) <= rounding(exact, shape[1])


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_two_orders_are_those_of_the_usual_product(shape: tuple[int, int, int]) -> None:
    def gradients(multiply: object, dtype: torch.dtype) -> list[Tensor]:
        x, weight = pair(shape, dtype)
        first = torch.autograd.grad(multiply(x, weight).pow(3).mean(), (x, weight), create_graph=True)  # type: ignore[operator]
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), (x, weight))
        return [*first, *second]

    for found, exact in zip(gradients(product, torch.float32), gradients(F.linear, torch.float64), strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-4 * float(exact.detach().abs().max()))


def test_only_the_gradient_that_is_wanted_is_made() -> None:
    x, weight = pair((5, 3, 4))
    product(x.detach(), weight).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How often oneDNN was asked."""
    calls: list[int] = []
    fast = products.ONEDNN

    def counted(*arguments: object) -> Tensor:
        calls.append(1)
        found: Tensor = fast(*arguments)
        return found

    monkeypatch.setattr(products, "ONEDNN", counted)
    return calls


def test_float32_goes_to_onednn_and_the_rest_the_usual_way(asked: list[int]) -> None:
    product(*pair((5, 3, 4)))
    assert asked == [1]
    exact = pair((5, 3, 4), torch.float64)
    assert torch.equal(product(*exact), F.linear(*exact))
    for empty in ((0, 3, 4), (5, 0, 4), (5, 3, 0)):
        assert torch.equal(product(*pair(empty)), F.linear(*pair(empty)))
    with torch.backends.mkldnn.flags(enabled=False):
        product(*pair((5, 3, 4)))
    assert asked == [1]


def test_a_torch_without_the_operator_goes_the_usual_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "ONEDNN", None)
    assert torch.equal(product(*pair((5, 3, 4))), F.linear(*pair((5, 3, 4))))
