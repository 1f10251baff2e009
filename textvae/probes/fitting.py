"""The training loop of all probes: the unweighted ELBO is maximised over some parameters, the rest frozen."""

from collections.abc import Iterable

import torch
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_

from textvae.data.batches import BatchStream, Sequences
from textvae.evaluation.estimators import Tick
from textvae.models.modes import APART
from textvae.models.terms import forward_pass
from textvae.models.text_vae import TextVAE

__all__ = ["maximise_elbo"]

BATCH, CLIP = 64, 5.0


def maximise_elbo(
    model: TextVAE,
    parameters: Iterable[Parameter],
    train: Sequences,
    steps: int,
    *,
    seed: int = 0,
    lr: float = 3e-3,
    tick: Tick = lambda n: None,
) -> None:
    """Adam on −elbo (nats per sentence) of the given parameters, its learning rate falling linearly to 0.

    The caller sets the modules' training mode; noise comes from a separate generator.
    """
    changed = list(parameters)
    device, dtype = next((p.device, p.dtype) for p in model.parameters())
    stream = BatchStream(train, BATCH, seed)
    generator = torch.Generator(device).manual_seed(seed + APART)
    optimiser = torch.optim.Adam(changed, lr)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    for _ in range(steps):
        batch = next(stream).to(device)
        shape = (1, batch.sentences, model.latent_dim)
        noise = torch.randn(shape, generator=generator, device=device, dtype=dtype)
        optimiser.zero_grad()
        (-forward_pass(model, batch, noise).terms.elbo.mean()).backward()
        clip_grad_norm_(changed, CLIP)
        optimiser.step()
        falling.step()
        tick(1)
