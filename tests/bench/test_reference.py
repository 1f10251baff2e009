"""The plain reference is the same model: from the same weights, under the same noise, it finds the same loss."""

import pytest
import torch
from helpers import batch_of, random_rows, sequences_of

from textvae.bench.cell import Cell, Workload
from textvae.bench.reference import PlainStep, PlainVAE
from textvae.data.batches import collate
from textvae.models.terms import forward_pass
from textvae.models.text_vae import TextVAE

SMALL = Cell(embedding_dim=5, hidden_dim=6, latent_dim=3, vocabulary=9, batch_size=4)
NAMES = {
    "read.weight": "posterior.encoder.embedding.weight",
    "encoder.": "posterior.encoder.forwards.0.",
    "first.weight": "decoder.first_state.weight",
    "say.weight": "decoder.embedding.weight",
    "decoder.": "decoder.lstm.0.",
    "output.weight": "decoder.output.weight",
}
"""Where the reference's weights lie in ours; the posterior's two maps are one there."""


def copy_weights(plain: PlainVAE, ours: TextVAE) -> None:
    theirs = dict(ours.named_parameters())
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if name == "posterior.weight":
                halves = [theirs["posterior.mean.weight"], theirs["posterior.log_variance.weight"]]
                parameter.copy_(torch.cat(halves))
                continue
            (old,) = (prefix for prefix in NAMES if name.startswith(prefix))
            parameter.copy_(theirs[name.replace(old, NAMES[old])])


@pytest.mark.parametrize("packed", [True, False])
def test_it_finds_our_loss_and_our_gradients(packed: bool) -> None:
    ours = Workload(SMALL).model.double().eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter)
    plain = PlainVAE(SMALL.tokens, 5, 6, 3, dropout=0.0, packed=packed).double()
    copy_weights(plain, ours)
    batch = batch_of([4, 5, 6, 7], [], [8, 3], [10, 9, 4, 5, 6])
    noise = torch.randn(4, 3, dtype=torch.float64)
    loss, wanted = plain(batch, noise), -forward_pass(ours, batch, noise[None]).terms.elbo.mean()
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    wanted.backward()
    for mine, his in (
        (plain.output, ours.decoder.output),
        (plain.read, ours.posterior.encoder.embedding),
        (plain.first, ours.decoder.first_state),
    ):
        torch.testing.assert_close(mine.weight.grad, his.weight.grad)


def test_its_step_learns_and_counts_no_padding() -> None:
    rows = random_rows(4, 9)
    sentences = sequences_of(rows)
    plain = PlainVAE(7, 5, 6, 3, dropout=0.0)
    step = PlainStep(plain, sentences, 4, torch.device("cpu"))
    batch = collate([sentences[i] for i in range(4)])
    with torch.no_grad():
        before = plain(batch, torch.zeros(4, 3))
    assert {step() for _ in range(30)} == {batch.tokens}
    with torch.no_grad():
        assert plain(batch, torch.zeros(4, 3)) < 0.9 * before
