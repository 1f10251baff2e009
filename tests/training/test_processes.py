"""Two processes equal one on the same batches, whatever couples their sentences; nothing is counted twice."""

import copy
import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import batch_of, random_rows, sequences_of, tiny
from patience import PATIENCE
from torch import distributed, nn

from textvae import builder
from textvae.config import Draft, recipe_files
from textvae.data.batches import Batch
from textvae.data.tokenizers import UNK
from textvae.errors import ConfigError, LostProcessError
from textvae.evaluation.estimators import Survey, importance_weighted_nll
from textvae.evaluation.noise import SentenceNoise
from textvae.training.processes import Processes
from textvae.training.updates import Update

Work = Callable[[Processes], Any]
REMEDIES = sorted(path.stem for path in recipe_files("remedies"))
COUPLED = [
    *("free_bits", "capacity", "wae_mmd", "info_vae", "mutual_divergence", "bn_vae", "scale_vae", "du_vae"),
    *("control_vae", "soft_free_bits", "minimum_rate", "geco", "vanilla", "coupled", "lm", "iwae"),
]
"""Remedies that couple the sentences of a batch in every way there is, and some that do not; the rest are slow."""

BATCHES = [batch_of(*random_rows(size, 6, seed)) for seed, size in enumerate((5, 4, 1, 3))]
"""Neither 5 nor 3 nor 1 sentence can be halved; of one, a process has none."""


def together(size: int, folder: Path, work: Work) -> list[Any]:
    """What `work` returns in each of `size` processes that meet."""

    def run(rank: int) -> None:
        try:
            distributed.init_process_group(
                "gloo",
                init_method=f"file://{folder}/meeting",
                rank=rank,
                world_size=size,
                timeout=timedelta(seconds=60),
            )
            torch.save(work(Processes(rank, size)), folder / f"result-{rank}")
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    running = [get_context("fork").Process(target=run, args=(rank,)) for rank in range(size)]
    for process in running:
        process.start()
    for process in running:
        process.join(PATIENCE)
    assert [process.exitcode for process in running] == [0] * size
    return [torch.load(folder / f"result-{rank}", weights_only=False) for rank in range(size)]


def silence(module: nn.Module) -> None:
    """No dropout: its masks depend on the process."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0


def rule_of(remedy: str) -> Update:
    """A remedy's update rule over a random float64 model."""
    draft = Draft()
    for name in ("grammar", remedy):
        draft.merge_file(name)
    draft.set("objective.word_dropout", {"kind": "constant", "value": 0.2})
    draft.set("objective.samples", 2 if "iwae" in remedy else 1)
    config = builder.complete(draft)
    torch.manual_seed(0)
    model = builder.model(config, 12)
    objective = builder.objective(config, model, 12, steps_per_epoch=2).double()
    silence(objective)
    for parameter in objective.parameters():
        parameter.data.mul_(3)
    rule = builder.update(config, objective, steps_per_epoch=2)
    rule.optimiser = torch.optim.SGD(objective.parameters(), lr=0.05)
    return rule


def trained(remedy: str, processes: Processes) -> dict[str, Any]:
    """What a few steps come to."""
    rule = rule_of(remedy)
    rule.processes = processes
    objective = rule.objective  # type: ignore[attr-defined]
    generator, stream = torch.Generator().manual_seed(1), iter(BATCHES * 60)
    found: dict[str, Any] = {"loss": [], "distortion": [], "rate": []}
    with processes.splitting(objective):
        for step in range(3):
            done = rule(stream, step, generator)
            objective.observe(done.loss.terms)
            found["loss"].append(done.loss.value.detach())
            found["distortion"].append(done.loss.terms.distortion.detach())
            found["rate"].append(done.loss.terms.rate.detach())
            if step == 0:
                found["gradients"] = {
                    name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None
                }
    found["state"] = copy.deepcopy(objective.state_dict())
    return found


def check_equal(remedies: list[str], folder: Path) -> None:
    alone = {remedy: trained(remedy, Processes()) for remedy in remedies}
    for found in together(2, folder, lambda processes: {r: trained(r, processes) for r in remedies}):
        for remedy in remedies:
            # Products with a Hessian are differences of gradients, which magnify rounding.
            tolerance = 1e-5 if remedy == "semi_amortised" else 1e-9
            torch.testing.assert_close(
                found[remedy],
                alone[remedy],
                rtol=tolerance,
                atol=tolerance,
                equal_nan=True,
                msg=lambda text, remedy=remedy: f"{remedy}: {text}",
            )


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Losses, terms and gradients of every step, and all weights, statistics and controllers after the last."""
    check_equal(COUPLED, tmp_path)


@pytest.mark.slow
def test_two_processes_equal_one_for_every_remedy(tmp_path: Path) -> None:
    check_equal([remedy for remedy in REMEDIES if remedy not in COUPLED], tmp_path)


def test_more_processes_than_sentences(tmp_path: Path) -> None:
    expected = trained("free_bits", Processes())["gradients"]
    for found in together(7, tmp_path, lambda processes: trained("free_bits", processes)["gradients"]):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_averaging_without_gathering_is_something_else(tmp_path: Path) -> None:
    """Free bits of each half's own mean are not those of the whole batch's."""

    def apart(processes: Processes) -> dict[str, torch.Tensor]:
        rule = rule_of("free_bits")
        objective = rule.objective  # type: ignore[attr-defined]
        share = BATCHES[0].part(slice(0, 3) if processes.is_main else slice(3, 5))
        objective(share, 0, torch.Generator().manual_seed(1)).value.backward()
        processes.average(objective.parameters())
        return {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}

    expected = trained("free_bits", Processes())["gradients"]
    found, _ = together(2, tmp_path, apart)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 11])
def test_evaluation_counts_every_sentence_once(tmp_path: Path, count: int) -> None:
    model, sequences = tiny(2), sequences_of(random_rows(count, 7))
    noise = SentenceNoise(0, 2)

    def measured(processes: Processes) -> dict[str, Any]:
        before = torch.get_rng_state()
        with processes.splitting(model):
            found = Survey.of(model, sequences, noise, batch_size=4)
            nll = importance_weighted_nll(model, sequences, 5, noise, batch_size=4)
        assert torch.equal(torch.get_rng_state(), before)
        assert "forward" not in vars(model.decoder)
        return {"tokens": found.tokens, "elbo": found.elbo, "mean": found.mean, "z": found.z, "nll": nll}

    expected = measured(Processes())
    assert len(expected["elbo"]) == count
    for found in together(2, tmp_path, measured):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_each_process_computes_its_own_sentences_alone(tmp_path: Path) -> None:
    model, batch = tiny(2), BATCHES[0]

    def seen(processes: Processes) -> list[Batch]:
        read: list[Batch] = []
        model.posterior.encoder.forwards[0].register_forward_pre_hook(  # type: ignore[index, union-attr]
            lambda module, given: read.append(len(given[0]))
        )
        with processes.splitting(model):
            assert model.posterior(batch).mean.shape == (5, 2)
        return read

    assert together(2, tmp_path, seen) == [[2], [3]]


def test_dropout_differs_between_processes_and_nothing_else_does(tmp_path: Path) -> None:
    model = tiny(2)
    model.decoder.dropout_out = nn.Dropout(0.5)  # type: ignore[assignment]
    batch = batch_of([UNK, 4, 5], [UNK, 4, 5])

    def drawn(processes: Processes) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(3)
        model.train()
        with processes.splitting(model):
            scores = model.decoder(batch, torch.zeros((1, 2, 2), dtype=torch.float64))
        return scores[0], torch.rand(4)

    (scores, after), (again, after_too) = together(2, tmp_path, drawn)
    assert torch.equal(scores, again)
    assert not torch.equal(scores[0], scores[1])
    assert torch.equal(after, after_too)


def test_what_processes_agree_on(tmp_path: Path) -> None:
    def told(processes: Processes) -> list[Any]:
        last = processes.rank == 2
        return [processes.any(last), processes.any(False), processes.agreed(1.5 + processes.rank)]

    assert together(3, tmp_path, told) == [[True, False, 1.5]] * 3
    alone = Processes()
    assert [alone.any(True), alone.any(False), alone.agreed(2.5)] == [True, False, 2.5]


def test_a_lost_process_is_one_sentence(tmp_path: Path) -> None:
    def work(processes: Processes) -> str:
        if not processes.is_main:
            return ""
        try:
            while True:
                processes.any(False)
        except LostProcessError as error:
            return str(error)

    said, _ = together(2, tmp_path, work)
    assert "another process of this job has died; the same command resumes" in said


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    with pytest.raises(ConfigError, match="torchrun: 2 processes on 1 CUDA devices; start one per device"):
        Processes.join(torch.device("cuda"))


def test_a_device_out_of_memory_is_no_lost_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.distributed, "all_reduce", full)
    with pytest.raises(torch.OutOfMemoryError):
        Processes(0, 2).any(False)
