"""The training loop, resumable bit for bit.

Selection of the best weights, decay of the learning rate and early stopping all use the validation −ELBO at
weight 1 with fixed noise (the distortion where there is no rate), and none of them acts before the weight
has reached its final value.
"""

import copy
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from textvae.data.batches import BatchStream, Sequences
from textvae.errors import RunError
from textvae.evaluation.collapse import active_units
from textvae.evaluation.density import log_densities, mutual_information
from textvae.evaluation.estimators import Survey, perplexity
from textvae.evaluation.noise import SentenceNoise
from textvae.models.modes import APART, exact
from textvae.objectives.objective import Loss, Objective
from textvae.runs import Run
from textvae.training.checkpoints import (
    load_best,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_best,
    save_checkpoint,
)
from textvae.training.metrics import MetricLog, Totals
from textvae.training.plan import Plan, Progress, Watcher
from textvae.training.processes import Processes
from textvae.training.signals import stopping
from textvae.training.updates import Step, Update

__all__ = ["InterruptedTrainingError", "NonFiniteLossError", "Trainer"]

ALONE = Processes()
CHECKPOINT_SECONDS = 45.0
REFERENCE = 1000
"""Sentences used for the mutual information during training; `evaluate` uses the whole split."""


class InterruptedTrainingError(KeyboardInterrupt):
    """Training was interrupted, and its state is saved.

    No `TextvaeError`: a loop over seeds that goes on after errors must not go on after Ctrl-C.
    """


class NonFiniteLossError(RunError):
    """The loss or a gradient was not a finite number."""


class Trainer:
    """Trains a run from its last checkpoint to the end of its budget."""

    def __init__(
        self,
        run: Run,
        objective: Objective,
        update: Update,
        stream: BatchStream,
        valid: Sequences,
        plan: Plan,
        *,
        seed: int,
        show: Callable[[MetricLog, int], None] = lambda log, step: None,
        processes: Processes = ALONE,
    ) -> None:
        self.run = run
        self.objective = objective
        self.update = update
        self.stream = stream
        self.valid = valid
        self.plan = plan
        self.device = device = processes.device
        self.show = show
        self.processes = self.update.processes = processes
        self.noise = SentenceNoise(seed, objective.model.latent_dim)
        # On CUDA `torch.manual_seed` starts the generator of dropout at the same numbers.
        self.generator = torch.Generator(device).manual_seed(seed + (APART if device.type == "cuda" else 0))
        self.progress = Progress()
        self.best_auxiliary: Mapping[str, Tensor] = {}  # `best.safetensors` holds the model alone
        self.totals = Totals()
        self.saved_at = self.counted_at = time.monotonic()
        if run.checkpoint.exists():
            self.restore()

    def fit(self, watcher: Watcher) -> Progress:
        """Train until the budget is spent or validation has stopped improving.

        Raises
        ------
        InterruptedTrainingError
            On Ctrl-C or SIGTERM, after saving.
        NonFiniteLossError
            If the loss or a gradient is not finite; the last checkpoint is kept.
        """
        self.watcher = watcher
        log = MetricLog(self.run, self.progress.step)
        self.run.status = "running"
        try:
            with stopping() as stop:
                self._loop(log, stop)
            self._finish()
        except InterruptedTrainingError:
            self.run.status = "interrupted"
            raise
        except BaseException:
            self.run.status = "failed"
            raise
        finally:
            log.close()
        return self.progress

    def _loop(self, log: MetricLog, stop: threading.Event) -> None:
        progress, plan = self.progress, self.plan
        self.saved_at = self.counted_at = time.monotonic()
        while progress.step < plan.budget and not progress.stopped:
            done = self._step()
            self.objective.observe(done.loss.terms)
            self.totals = self.totals + Totals.of(done)
            progress.step += 1
            if progress.step % plan.log_every == 0 or progress.step == plan.budget:
                self._log(log, done.loss)
            if progress.step % plan.validate_every == 0 or progress.step == plan.budget:
                self._validate(log)
                self.save()
            elif self._checkpoint_due():
                self.save()
            if self.processes.any(stop.is_set()):
                self.save()
                raise InterruptedTrainingError(
                    f"{self.run.path}: stopped at step {progress.step} and saved; the same command continues"
                )

    def _step(self) -> Step:
        with self.processes.splitting(self.objective):
            return self.update(self.stream, self.progress.step, self.generator)

    def _refuse_broken(self) -> None:
        """Raise if any step since the last row had a non-finite loss or gradient.

        Checked only before writing, so that steps need no device synchronisation.
        """
        if broken := int(self.totals.broken):
            step, steps = self.progress.step, self.totals.steps
            kept = "the last checkpoint is kept" if self.run.checkpoint.exists() else "nothing was saved yet"
            raise NonFiniteLossError(
                f"{self.run.path}: the loss or its gradient was not a finite number in {broken} of the steps"
                f" {step - steps} to {step - 1}; {kept}; try a smaller learning rate"
            )

    def _log(self, log: MetricLog, loss: Loss) -> None:
        self._refuse_broken()
        self._count_seconds()
        step = self.progress.step
        values = {
            **self.totals.means(),
            "weight": float(loss.weight),
            "distortion_weight": float(loss.distortion_weight),
            "word_dropout": self.objective.word_dropout(step - 1),
            "teacher_forcing": self.objective.teacher_forcing(step - 1),
            "learning_rate": self.update.learning_rate,
            "epoch": self.stream.epoch + self.stream.position / self.stream.batches_per_epoch,
            "tokens_per_second": (self.totals.tokens + self.totals.encoder_tokens) / self.progress.row_seconds,
            "elapsed_seconds": self.progress.seconds,
        }
        log.row(step, "train", values)
        self.watcher.step(step, values)
        self.totals, self.progress.row_seconds = Totals(), 0.0

    def _count_seconds(self) -> None:
        """Add the seconds since the last count; `_validate` excludes its own."""
        now = time.monotonic()
        self.progress.seconds += now - self.counted_at
        self.progress.row_seconds += now - self.counted_at
        self.counted_at = now

    def _validate(self, log: MetricLog) -> None:
        self._refuse_broken()
        began, step = time.monotonic(), self.progress.step
        survey, values = self._measured()
        values["validation_seconds"] = time.monotonic() - began
        self.update.observe(values)
        log.row(step, "valid", values)
        per_dimension = survey.rate_per_dimension
        if per_dimension is not None and per_dimension.numel():
            log.board.add_histogram("valid/rate_per_dimension", per_dimension.mean(0), step)
        self.show(log, step)
        shown = ("distortion", "rate", "elbo", "active_units", "mutual_information")
        known = {name: values[name] for name in shown if values[name] is not None and math.isfinite(values[name])}
        said = (f"{name.replace('_', ' ')} {value:.4g}" for name, value in known.items())
        self.watcher.remark(f"step {step}: valid {', '.join(said)}")
        if step >= self.objective.settles_at:
            cost = -values["elbo"] if self.objective.model.has_likelihood else values["distortion"]
            self._select(self.processes.agreed(cost))
        self.counted_at += time.monotonic() - began

    def _measured(self) -> tuple[Survey, dict[str, Any]]:
        """The survey of valid, and its numbers, those without an estimate None."""
        model = self.objective.model
        with self.processes.splitting(self.objective):
            survey = Survey.of(model, self.valid, self.noise)
        with exact():  # a flow's densities are products, too
            told = mutual_information(*log_densities(survey, REFERENCE)) if model.has_z else {}
        return survey, {
            **survey.means(),
            "perplexity_elbo": perplexity(-float(survey.elbo.double().sum()), int(survey.tokens.sum())),
            "active_units": active_units(survey.mean),
            "mutual_information": told.get("mutual_information"),
            "mutual_information_reference": told.get("mutual_information_reference"),
        }

    def _select(self, cost: float) -> None:
        """Keep these weights if they are the best yet; else decay the learning rate, or stop, if that is due."""
        progress, plan = self.progress, self.plan
        if progress.improved(cost):
            self._save_best(f"best on valid, at step {progress.step}")
            return
        if plan.decay and progress.decay_due(plan.decay):
            if progress.best_step is not None:
                load_best(self.run, self.objective.model)
                self.objective.auxiliary.load_state_dict(self.best_auxiliary)
            self.update.scale_learning_rate(plan.decay.factor)
            self.watcher.remark(f"step {progress.step}: learning rate now {self.update.learning_rate:g}")
        if plan.stop_after and progress.waited >= plan.stop_after:
            progress.stopped = True

    def _checkpoint_due(self) -> bool:
        every = self.plan.checkpoint_every
        due = every is not None and self.progress.step % every == 0
        return due or time.monotonic() - self.saved_at > CHECKPOINT_SECONDS

    def _finish(self) -> None:
        """Mark the run as done; if no best weights were selected, save the last ones, labelled as such."""
        if self.progress.unselected:
            self._save_best(f"none, {self.progress.unselected}: the last, at step {self.progress.step}")
        self.run.status = "done"

    def _save_best(self, selection: str) -> None:
        save_best(self.run, self.objective.model, selection)
        self.best_auxiliary = copy.deepcopy(self.objective.auxiliary.state_dict())

    def save(self) -> None:
        """Write `last.pt`."""
        self._refuse_broken()
        self._count_seconds()
        state = {
            "device": self.device.type,
            "progress": asdict(self.progress),
            "totals": asdict(self.totals),
            "objective": self.objective.state_dict(),
            "best_auxiliary": self.best_auxiliary,
            "update": self.update.state_dict(),
            "stream": self.stream.state_dict(),
            "noise": self.generator.get_state(),
            "random": random_state(self.device),
        }
        save_checkpoint(self.run, state)
        self.saved_at = time.monotonic()

    def restore(self) -> None:
        """Restore the state saved in `last.pt`."""
        state = load_checkpoint(self.run)
        made_on = state.get("device", self.device.type)
        if made_on != self.device.type:
            raise RunError(
                f"{self.run.path}: was started on {made_on}, whose random numbers {self.device.type} cannot"
                f" reproduce; continue with --device {made_on}, or start another run"
            )
        try:
            self.progress = Progress(**state["progress"])
            self.totals = Totals(**state["totals"])
            self.objective.load_state_dict(state["objective"])
            # Without them, in a checkpoint of an earlier version, a decay leaves the auxiliary as it is.
            self.best_auxiliary = state.get("best_auxiliary", self.objective.auxiliary.state_dict())
            self.update.load_state_dict(state["update"])
            self.stream.load_state_dict(state["stream"])
            self.generator.set_state(state["noise"].cpu())
            restore_random_state(state["random"], self.device)
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise RunError(
                f"{self.run.checkpoint}: does not fit this run; if another version of textvae made it,"
                " train into another --run"
            ) from None
