"""The coupled path: its distortion by hand, its target without gradients, the VAE's own terms untouched."""

import pytest
import torch
from helpers import SIZES, VOCABULARY, batch_of, make, objective_of, tiny

from textvae.models.terms import forward_pass

BATCH = batch_of([4, 5, 6], [6], [])


def coupled(model, **options):
    return make("objective.auxiliary", "coupled", model, VOCABULARY, **options).double()


def done_of(model):
    noise = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return forward_pass(model, BATCH, noise)


def test_it_is_the_distortion_of_the_code_and_the_distance_of_the_first_states():
    model = tiny(2, scale=1.3)
    term, done = coupled(model, weight=0.7, match=0.4), done_of(model)
    code = term.code(model.posterior.encoder(BATCH))
    distortion = -term.decoder(BATCH, code[None]).sum(-1).mean()
    distance = 0.0
    for sample in range(2):
        for sentence in range(3):
            own = model.decoder.start(done.z[sample, sentence][None])
            led = term.decoder.start(code[sentence][None])
            distance += sum((a - b).square().sum() for a, b in zip(own[:2], led[:2], strict=True)).item() / 6
    expected = 0.7 * (distortion.item() + 0.4 * distance)
    assert term(done, 0).item() == pytest.approx(expected, rel=1e-10)


def test_the_distance_moves_the_decoder_of_the_vae_alone():
    model = tiny(2, scale=1.3)
    near, far = coupled(model, match=0.0), coupled(model, match=1.0)
    far.load_state_dict(near.state_dict())
    gaps = []
    for term in (near, far):
        slopes = torch.autograd.grad(
            term(done_of(model), 0), [*term.parameters(), model.decoder.first_state.weight], allow_unused=True
        )
        gaps.append(slopes)
    for a, b in zip(gaps[0][:-1], gaps[1][:-1], strict=True):
        torch.testing.assert_close(a, b)
    assert gaps[0][-1].abs().sum() == 0
    assert gaps[1][-1].abs().sum() > 0


def test_the_encoder_hears_the_deterministic_path():
    model = tiny(2)
    objective = objective_of(model, auxiliary="coupled", penalty="none", distortion_weight=0.0).double()
    objective(BATCH, 0, torch.Generator().manual_seed(0)).value.backward()
    assert model.posterior.encoder.embedding.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("options", [{}, {"layers": 2, "z_to": "everywhere"}, {"tied": True}])
def test_it_starts_with_weights_of_its_own_and_is_trained_along(options):
    model = tiny(2, decoder=("lstm", {**SIZES, **options}))
    objective = objective_of(model, auxiliary="coupled")
    own = {name for name, _ in objective.named_parameters() if name.startswith("auxiliary")}
    assert "auxiliary.decoder.lstm.0.weight_hh_l0" in own
    theirs = dict(model.decoder.named_parameters())
    copied = [name for name, p in objective.auxiliary.decoder.named_parameters() if (p == theirs[name]).any()]
    assert not copied
    assert not any("auxiliary" in name for name in model.state_dict())


def test_it_wants_an_lstm():
    model = tiny(2, decoder=("bag_of_words", {"hidden_dim": SIZES["hidden_dim"]}))
    with pytest.raises(ValueError, match="choose the decoder lstm"):
        coupled(model)
