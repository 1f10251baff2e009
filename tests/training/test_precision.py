"""Precision is a property of training on a CUDA device; elsewhere, and in evaluation, there is float32."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from helpers import batch_of, tiny
from recipes import NAMES, rows, settings_of, trained_by
from torch import nn

from textvae import builder
from textvae.config import Draft
from textvae.data.batches import Batch, BatchStream
from textvae.errors import ConfigError
from textvae.models.decoders import Decoder
from textvae.models.encoders import Encoder
from textvae.models.modes import exact, fixed, inert
from textvae.models.terms import forward_pass
from textvae.objectives.objective import Objective
from textvae.tasks.train import train
from textvae.training.precision import Precision, cast, prepare, refuse, switch

HERE, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _switches() -> Iterator[None]:
    """Torch's own switches are put back."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_processor_has_float32_alone(precision: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"--training.precision: {precision} needs a CUDA device, not cpu"):
        train([], {"training.precision": precision}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_first_stage_is_refused_as_well(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bf16 needs a CUDA device"):
        train([], {"first": {"training": {"precision": "bf16"}}}, tmp_path / "run")


def test_an_unknown_precision_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be 'float32', 'tf32' or 'bf16', not 'half'"):
        train([], {"training.precision": "half"}, tmp_path / "run")


def test_a_cuda_device_is_refused_nothing() -> None:
    for precision in ("float32", "tf32", "bf16"):
        refuse(precision, CUDA)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_lstms_stay_out_of_autocast() -> None:
    """Under autocast, cuDNN's would run in float16."""
    objective = objective_of_recipe("linear")
    cast(objective, "cpu")
    seen: list[tuple[bool, torch.dtype]] = []
    for part in objective.modules():
        if isinstance(part, nn.LSTM):
            part.register_forward_hook(
                lambda lstm, given, found: seen.append((found[0].requires_grad, found[0].dtype))
            )
    objective(batch_of([4, 5, 6], [5, 5]), 0, torch.Generator().manual_seed(0))
    assert seen == [(True, torch.float32)] * 2


def test_float32_is_float32_for_lstms_too() -> None:
    switch("tf32")
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)
    switch("float32")
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("highest", False)


def test_validation_is_exact_whatever_training_rounds() -> None:
    switch("tf32")
    model = tiny()
    for mode in (exact(), inert(model), fixed(model)):
        with mode:
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("highest", False)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)


def test_float32_leaves_an_objective_as_it_is() -> None:
    objective = nn.Linear(2, 2)
    prepare(objective, "float32", HERE)
    assert "forward" not in vars(objective)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_bfloat16_rounds_the_objectives_products_and_neither_weights_nor_evaluation() -> None:
    torch.manual_seed(0)
    model = tiny().float()
    draft = Draft()
    draft.merge({"model": {"latent_dim": 2}}, "test")
    objective = builder.objective(builder.complete(draft), model, 7, 1)
    batch, noise = batch_of([4, 5, 6], [5, 5]), torch.zeros(1, 2, 2)

    def loss() -> torch.Tensor:
        value: torch.Tensor = objective(batch, 0, torch.Generator().manual_seed(0)).value
        return value

    exact = loss()
    evaluated = forward_pass(model, batch, noise).terms.distortion
    cast(objective, "cpu")
    # The processor's own LSTM kernels know no bfloat16 without the instructions for it.
    with torch.backends.mkldnn.flags(enabled=False):
        assert torch.allclose(forward_pass(model, batch, noise).terms.distortion, evaluated, rtol=1e-6)
        objective.train()
        rounded = loss()
        rounded.backward()
    assert rounded.dtype == torch.float32
    assert rounded != exact
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0)
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("name", NAMES)
def test_every_remedy_trains_in_bfloat16(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step casts encoders and decoders, not torch's LSTM; loss near float32's, gradients of float32."""
    objective, exact = (objective_of_recipe(name) for _ in range(2))
    batch = batch_of([4, 5, 6], [5, 5], [6, 4, 4, 5])
    parts, lstms = passes_of(objective, (Encoder, Decoder)), list[bool]()
    own = nn.LSTM.forward

    def counted(lstm: nn.LSTM, *inputs: Any) -> Any:
        lstms.append(torch.is_autocast_enabled("cpu"))
        return own(lstm, *inputs)

    monkeypatch.setattr(nn.LSTM, "forward", counted)
    monkeypatch.setattr("textvae.training.precision.refuse", lambda *asked: None)
    prepare(objective, "bf16", HERE)
    with torch.backends.mkldnn.flags(enabled=False):
        found = objective(batch, 0, torch.Generator().manual_seed(0))
        found.value.backward()
        wanted = exact(batch, 0, torch.Generator().manual_seed(0))
    assert all(Passed(training=True, cast=True) in passes for passes in parts.values())
    assert all(each.cast == each.training for passes in parts.values() for each in passes)
    assert not any(lstms)
    assert bool(lstms) == any(isinstance(part, nn.LSTM) for part in objective.modules())
    assert found.value.dtype == torch.float32
    torch.testing.assert_close(found.terms.elbo, wanted.terms.elbo, rtol=0.05, atol=0.05, equal_nan=True)
    assert {p.grad.dtype for p in objective.parameters() if p.grad is not None} == {torch.float32}


class Listener(Encoder):
    """An encoder from outside, with an RNN of torch's own."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embedding, self.rnn, self.features = nn.Embedding(7, 4), kind(4, 5, batch_first=True), 5
        self.seen: list[tuple[bool, torch.dtype]] = []

    def forward(self, batch: Batch) -> torch.Tensor:
        first = torch.zeros(1, batch.sentences, 5, dtype=torch.bfloat16)
        given = (first, first) if isinstance(self.rnn, nn.LSTM) else first
        states = self.rnn(self.embedding(batch.targets).bfloat16(), hx=given)[0]
        self.seen.append((torch.is_autocast_enabled("cpu"), states.dtype))
        return states[:, -1]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_an_rnn_of_a_class_from_outside_stays_out_of_autocast_too(kind: type[nn.RNNBase]) -> None:
    encoder = Listener(kind)
    cast(encoder, "cpu")
    assert encoder(batch_of([4, 5, 6], [5, 5])).dtype == torch.float32
    assert encoder.seen == [(True, torch.float32)]


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize(("asked", "training"), [("bf16", False), ("tf32", True), ("float32", True)])
def test_nothing_is_cast_in_evaluation_or_for_another_precision(
    asked: Precision, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = objective_of_recipe("linear").train(training)
    parts = passes_of(objective, (Encoder, Decoder))
    monkeypatch.setattr("textvae.training.precision.refuse", lambda *asked: None)
    prepare(objective, asked, HERE)
    assert torch.get_float32_matmul_precision() == ("highest" if asked == "float32" else "high")
    objective(batch_of([4, 5, 6], [5, 5]), 0, torch.Generator().manual_seed(0))
    assert list(parts.values()) == [[Passed(training, cast=False)]] * 2


class Passed(NamedTuple):
    """How a module computed: in which mode, and whether its products were cast to bfloat16."""

    training: bool
    cast: bool


def passes_of(objective: Objective, kinds: type | tuple[type, ...]) -> dict[nn.Module, list[Passed]]:
    """Every module of some kinds, with its forward passes from now on."""
    made: dict[nn.Module, list[Passed]] = {part: [] for part in objective.modules() if isinstance(part, kinds)}
    for part, passes in made.items():
        part.forward = watched(part, passes)
    return made


def watched(part: nn.Module, passes: list[Passed]) -> Callable[..., Any]:
    whole = part.forward

    def forward(*inputs: Any) -> Any:
        cast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        passes.append(Passed(part.training, cast))
        return whole(*inputs)

    return forward


def objective_of_recipe(name: str) -> Objective:
    """Small, without dropout, in training mode."""
    made, _ = trained_by(settings_of(name), BatchStream(rows(), 40, 0))
    for part in made.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return made.train()


@pytest.mark.parametrize("name", NAMES)
def test_all_of_an_objective_goes_to_its_device(name: str) -> None:
    """What stayed behind would be sent for in every step, or refuse to meet what is on the device."""
    made = objective_of_recipe(name).to("meta")
    for part in made.modules():
        kept = {key: value for key, value in vars(part).items() if isinstance(value, torch.Tensor)}
        assert not {key for key, value in kept.items() if value.device.type != "meta"}, type(part)
    assert {value.device.type for value in (*made.parameters(), *made.buffers())} == {"meta"}
