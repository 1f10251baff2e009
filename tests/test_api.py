"""The Python API of a trained run: shapes, seeds, and that a sentence is the same in any company."""

import math
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from chains import GARDEN, GREEDY, MODE
from command_line import TINY, sentences, worked
from helpers import batch_of, tiny
from torch.distributions import Normal

import textvae
from textvae.api import CollapsedWarning, Vae
from textvae.data.tokenizers import BOS, EOS, UNK, UNPREDICTED, WordTokenizer, train_tokenizer
from textvae.errors import ConfigError, RunError
from textvae.evaluation.noise import SentenceNoise

TEXTS = ["the cat saw the moon today", "", "zebra", "our teacher fears some bread", "a dog", "a dog"]
CROWD = [*TEXTS, *sentences(100, seed=9), "the old man " * 20]


@pytest.fixture(scope="module")
def vae(vae_run):
    return textvae.load(vae_run)


@pytest.fixture(scope="module")
def lm(lm_run):
    return textvae.load(lm_run)


@pytest.fixture(scope="module")
def ae(ae_run):
    return textvae.load(ae_run)


class Deaf(torch.nn.Module):
    """A decoder that says what `word` names, for ever, whatever z is; EOS is impossible."""

    def __init__(self, decoder, word):
        super().__init__()
        self.decoder, self.word = decoder, word

    def start(self, z):
        return (z,)

    def step(self, words, state):
        log_probs = torch.full((len(words), self.decoder.embedding.num_embeddings), -10.0)
        log_probs[:, :2] = -torch.inf
        log_probs[:, EOS] = -torch.inf
        log_probs[:, self.word] = 0.0
        return log_probs.log_softmax(-1), state


def with_decoder(vae, decoder):
    model = type(vae.model)(vae.model.posterior, vae.model.prior, decoder)
    return Vae(model, vae.tokenizer, vae.config)


def test_the_package_offers_what_the_readme_uses():
    assert {"load", "Vae", "train", "evaluate", "Run", "TextvaeError"} <= set(textvae.__all__)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        textvae.laod  # noqa: B018


def test_importing_the_package_imports_no_torch():
    code = "import sys, textvae; assert 'torch' not in sys.modules; textvae.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# encode


def test_encode_gives_posterior_means(vae):
    z = vae.encode(TEXTS)
    assert z.shape == (len(TEXTS), 4)
    assert z.dtype == torch.float32
    assert torch.isfinite(z).all()
    assert torch.equal(z[4], z[5])
    assert not torch.equal(z[0], z[3])
    assert torch.equal(z, vae.encode(tuple(TEXTS)))


@pytest.mark.parametrize("kind", ["vae", "ae"])
def test_z_is_the_same_alone_and_in_a_crowd(kind, request):
    model = request.getfixturevalue(kind)
    crowd = model.encode(CROWD)
    alone = torch.cat([model.encode([text]) for text in CROWD])
    torch.testing.assert_close(crowd, alone, atol=1e-6, rtol=1e-6)


def test_encoding_belongs_to_the_words_not_the_spaces(vae):
    assert torch.equal(vae.encode(["  the\tcat  saw the moon today "]), vae.encode(TEXTS[:1]))


# decode


def test_decode_is_the_inverse_in_shape(vae):
    z = vae.encode(TEXTS)
    for made in (vae.decode(z), vae.decode(z.numpy()), vae.decode(z.double())):
        assert made == vae.reconstruct(TEXTS)
        assert len(made) == len(TEXTS)


@pytest.mark.parametrize(
    "given", [list, np.asarray, lambda z: list(map(np.asarray, z)), lambda z: z.double().tolist()]
)
def test_z_may_come_in_any_usual_form(vae, given):
    z = torch.randn(3, vae.latent_dim)
    assert vae.decode(given(z)) == vae.decode(z)
    assert vae.decode(np.asarray(z)[::-1]) == vae.decode(z)[::-1]


@pytest.mark.parametrize("bad", ["abc", None, 3, [[1.0], [1.0, 2.0]], [object()], np.ones((2, 2)) * 1j])
def test_what_is_no_z_is_one_sentence(vae, bad):
    with pytest.raises(ConfigError, match=r"decode: z must (be real numbers of|have the) shape"):
        vae.decode(bad)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"beam": 2.5}, "beam must be a whole number of at least 1, not 2.5"),
        ({"beam": True}, "beam must be a whole number"),
        ({"max_length": 0}, "max_length must be a whole number of at least 1, not 0"),
        ({"temperature": "1"}, "temperature must be a number, not '1'"),
        ({"top_p": "a"}, "top_p must be a number, not 'a'"),
        ({"top_p": None}, "top_p must be a number, not None"),
        ({"beam": 1001}, "beam must be a whole number of at most 1,000, not 1001"),
        ({"max_length": 2**63}, "max_length must be a whole number of at most 9,223,372,036,854,775,807, not"),
    ],
)
def test_how_to_decode_is_checked(vae, how, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        vae.sample(1, **{"temperature": None, **how})


@pytest.mark.parametrize("how", [{}, {"temperature": 1.0}, {"beam": 2}])
def test_no_z_is_no_sentence(vae, how):
    assert vae.decode(torch.zeros(0, 4), **how) == []


def test_a_decoded_sentence_is_the_same_alone_and_in_a_crowd(vae):
    z = vae.encode(CROWD)
    for how in ({}, {"beam": 3}):
        together = vae.decode(z[:30], **how)
        assert together == [vae.decode(row[None], **how)[0] for row in z[:30]]


def test_beam_search_finds_sentences_at_least_as_likely(vae):
    z = vae.encode(sentences(20, seed=4))

    def log_p(texts):
        from textvae.data.batches import collate, encode

        sequences = encode(texts, vae.tokenizer)
        batch = collate([sequences[i] for i in range(len(texts))])
        with torch.no_grad():
            return vae.model.decoder(batch, z[None])[0].sum(-1)

    gain = log_p(vae.decode(z, beam=8)) - log_p(vae.decode(z))
    assert gain.mean() >= 0
    assert (gain > -1e-4).double().mean() >= 0.9


def test_a_beam_reaches_the_mode_that_greedy_decoding_misses(vae: Vae) -> None:
    garden, z = with_decoder(vae, GARDEN), torch.randn(2, 4)
    greedy, mode = vae.tokenizer.decode(GREEDY), vae.tokenizer.decode(MODE)
    assert greedy != mode
    assert garden.decode(z) == garden.decode(z, beam=1) == [greedy, greedy]
    assert garden.decode(z, beam=2) == garden.decode(z, beam=5) == [mode, mode]
    assert garden.reconstruct(["a dog", ""]) == garden.sample(2, temperature=None) == [greedy, greedy]
    assert garden.reconstruct(["a dog", ""], beam=2) == [mode, mode]
    assert garden.sample(2, temperature=None, beam=2) == [mode, mode]


def test_drawn_words_belong_to_the_seed(vae):
    z = vae.encode(sentences(20, seed=4))
    drawn = [vae.decode(z, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert vae.decode(z, temperature=1e-4) == vae.decode(z)
    assert vae.decode(z, temperature=1.0, top_p=1e-6) == vae.decode(z)


def test_global_random_streams_are_neither_used_nor_moved(vae_run):
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    vae = textvae.load(vae_run)
    first = vae.sample(5), vae.score(TEXTS, samples=3).tolist()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    torch.manual_seed(6)
    assert (vae.sample(5), vae.score(TEXTS, samples=3).tolist()) == first


@pytest.mark.parametrize("how", [{}, {"temperature": 1.0}, {"beam": 3}])
def test_decoding_ends_where_the_end_never_comes(vae, how):
    endless = with_decoder(vae, Deaf(vae.model.decoder, word=5))
    rows = endless.decode(torch.zeros(2, 4), max_length=17, **how)
    assert [len(row.split()) for row in rows] == [17, 17]
    assert len(endless.decode(torch.zeros(1, 4), **how)[0].split()) == 100


@pytest.mark.parametrize("how", [{}, {"temperature": 1.0}, {"beam": 3}])
def test_the_unknown_word_can_be_forbidden(vae, how):
    fond = with_decoder(vae, Deaf(vae.model.decoder, word=UNK))
    z = torch.zeros(3, 4)
    assert all(set(row.split()) == {"<unk>"} for row in fond.decode(z, max_length=5)), "the bait does not work"
    rows = fond.decode(z, max_length=5, forbid_unknown=True, **how)
    assert not any("<unk>" in row for row in rows)
    assert [len(row.split()) for row in rows] == [5, 5, 5]


def test_every_spelling_of_the_unknown_word_can_be_forbidden(vae):
    subwords = train_tokenizer("unigram", ["<unk> the cat", "the <unk> sat"] * 20, vocabulary_size=20)
    (piece,) = subwords.encode("<unk>")
    assert piece != UNK
    deaf = Vae(with_decoder(vae, Deaf(vae.model.decoder, word=piece)).model, subwords, vae.config)
    z = torch.zeros(3, 4)
    assert set(deaf.decode(z, max_length=2)) == {"<unk> <unk>"}
    assert not any("<unk>" in row for row in deaf.decode(z, max_length=2, forbid_unknown=True))


# survey, sample, interpolate


def test_a_survey_holds_the_terms_of_each_sentence(vae):
    found, alone = vae.survey(TEXTS), vae.survey(TEXTS[1:2])
    assert found.distortion.shape == found.rate.shape == (len(TEXTS),)
    torch.testing.assert_close(found.elbo[1:2], alone.elbo)
    torch.testing.assert_close(found.mean, vae.encode(TEXTS))
    assert found.tokens.tolist() == vae.lengths(TEXTS)
    assert not torch.equal(found.z, vae.survey(TEXTS, seed=1).z)
    with pytest.raises(ConfigError, match="seed"):
        vae.survey(TEXTS, seed=-1)


def test_draws_are_those_of_the_posterior(vae):
    z, found = vae.draw(TEXTS, 400), vae.survey(TEXTS)
    assert z.shape == (400, len(TEXTS), 4)
    torch.testing.assert_close(z[0], found.z)
    torch.testing.assert_close(vae.draw(TEXTS[1:2], 3), z[:3, 1:2])
    assert ((z.mean(0) - vae.encode(TEXTS)).abs() < 5 * z.std(0) / 400**0.5).all()
    with pytest.raises(ConfigError, match="samples"):
        vae.draw(TEXTS, 0)


def test_samples_belong_to_the_seed(vae):
    assert len(vae.sample()) == 5
    assert vae.sample(8, seed=1) == vae.sample(8, seed=1) != vae.sample(8, seed=2)
    assert len(set(vae.sample(50))) > 10


def test_z_and_words_are_drawn_from_one_generator(vae, monkeypatch):
    make, made = Vae._generator, []
    monkeypatch.setattr(Vae, "_generator", lambda self, seed: made.append(make(self, seed)) or made[-1])
    vae.sample(2)
    assert len(made) == 1


def test_a_language_model_samples(lm):
    assert len(set(lm.sample(20, seed=1))) > 5
    assert len(set(lm.sample(5, temperature=None))) == 1


def test_interpolation_has_both_ends(vae):
    a, b = sentences(2, seed=8)
    for how in ({}, {"slerp": True}):
        path = vae.interpolate(a, b, steps=6, **how)
        assert len(path) == 6
        assert [path[0], path[-1]] == vae.reconstruct([a, b])
    assert len(vae.interpolate(a, b)) == 7


def path_of(vae: Vae, a: str, b: str, monkeypatch: pytest.MonkeyPatch, **how: bool) -> torch.Tensor:
    """The points (5, D) that an interpolation decodes."""
    seen: list[torch.Tensor] = []
    with monkeypatch.context() as patch:
        patch.setattr(vae, "_decode", lambda z, *how: seen.append(z))
        vae.interpolate(a, b, steps=5, **how)
    (path,) = seen
    return path


def test_a_straight_path_has_its_middle_on_the_chord_and_a_great_circle_on_the_arc(
    vae: Vae, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = "the cat saw the moon today", "our teacher fears some bread"
    first, last = vae.encode([a, b])
    angle = torch.acos(torch.nn.functional.cosine_similarity(first, last, dim=0))
    assert 0.1 < angle < 3
    for slerp, stretched in ((False, 1.0), (True, 1 / torch.cos(angle / 2))):
        path = path_of(vae, a, b, monkeypatch, slerp=slerp)
        torch.testing.assert_close(path[[0, 4]], torch.stack([first, last]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(path[2], stretched * (first + last) / 2, atol=1e-5, rtol=1e-5)


def test_a_z_on_a_sphere_stays_there_on_its_way(vae: Vae, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(3, posterior="vmf", prior="uniform_sphere").float()
    round_one = Vae(model, WordTokenizer(["a", "b", "c"]), vae.config)
    path = path_of(round_one, "a b", "c c a", monkeypatch)
    assert torch.nn.functional.cosine_similarity(path[0], path[4], dim=0) < 0.99
    torch.testing.assert_close(path.norm(dim=1), torch.ones(5))


# score


@torch.no_grad()
def spoken(vae: Vae, ids: list[int], z: torch.Tensor) -> torch.Tensor:
    """log p(x|z) (N,) of a sentence with its EOS under every z (N, D), one step of the decoder after another."""
    state, words = vae.model.decoder.start(z), torch.full((len(z),), BOS)
    total = torch.zeros(len(z), dtype=torch.float64)
    for word in ids:
        log_probs, state = vae.model.decoder.step(words, state)
        total += log_probs[:, word]
        words = torch.full_like(words, word)
    return total


@torch.no_grad()
def test_a_score_is_the_logarithm_of_the_mean_importance_weight(vae: Vae) -> None:
    """log 1/K Σ p(x|zₖ) p(zₖ) / q(zₖ|x), by torch's own densities."""
    posterior, expected = vae.model.posterior, []
    for text in TEXTS:
        words = vae.tokenizer.encode(text)
        batch = batch_of(words)
        features = posterior.encoder(batch)
        q = Normal(posterior.mean(features)[0], (posterior.log_variance(features)[0] / 2).exp())
        z = q.mean + q.stddev * SentenceNoise(3, 4)(batch, 0, 20)[:, 0]
        weights = spoken(vae, [*words, EOS], z) + (Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)).sum(-1)
        expected.append(float(weights.logsumexp(0)) - math.log(20))
    torch.testing.assert_close(vae.score(TEXTS, 20, seed=3), torch.tensor(expected), atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_a_language_models_score_is_the_sum_of_the_log_probabilities_of_its_words(lm: Vae) -> None:
    decoder, expected = lm.model.decoder, []
    for text in TEXTS:
        ids = [*lm.tokenizer.encode(text), EOS]
        hidden, _ = decoder.lstm[0](decoder.embedding(torch.tensor([BOS, *ids[:-1]])))
        log_probs = (hidden @ decoder.output.weight.T).log_softmax(-1)
        expected.append(sum(float(row[word - UNPREDICTED]) for row, word in zip(log_probs, ids, strict=True)))
    torch.testing.assert_close(lm.score(TEXTS), torch.tensor(expected), atol=1e-4, rtol=1e-5)


def test_scores_are_log_probabilities(vae):
    scores = vae.score(TEXTS, samples=20)
    assert scores.shape == (len(TEXTS),)
    assert (scores < 0).all()
    assert scores[4] == scores[5]
    usual, odd = vae.score(["the cat saw the moon", "moon the saw cat the"], samples=50)
    assert usual > odd + 5


@pytest.mark.parametrize("kind", ["vae", "lm"])
def test_a_score_is_the_same_alone_and_in_a_crowd(kind, request):
    model = request.getfixturevalue(kind)
    crowd = model.score(CROWD, samples=5, seed=3)
    alone = torch.cat([model.score([text], samples=5, seed=3) for text in CROWD[:20] + CROWD[-1:]])
    torch.testing.assert_close(torch.cat([crowd[:20], crowd[-1:]]), alone, atol=1e-6, rtol=1e-6)


def test_scores_belong_to_the_seed(vae):
    assert torch.equal(vae.score(TEXTS, 4, seed=1), vae.score(TEXTS, 4, seed=1))
    assert not torch.equal(vae.score(TEXTS, 4, seed=1), vae.score(TEXTS, 4, seed=2))


def test_more_samples_raise_the_bound(vae):
    texts = sentences(100, seed=5)
    means = [vae.score(texts, k).mean() for k in (1, 10, 200)]
    assert means[0] < means[1] < means[2]


def test_a_language_model_scores_exactly(lm):
    assert torch.equal(lm.score(TEXTS, 1), lm.score(TEXTS, 7, seed=3))


def test_lengths_count_the_end(vae):
    assert vae.lengths(TEXTS) == [7, 1, 2, 6, 3, 3]


# What is refused


def test_what_a_model_does_not_have(lm, ae):
    for call in (lambda: lm.encode(["a"]), lambda: lm.reconstruct(["a"]), lambda: lm.interpolate("a", "b")):
        with pytest.raises(RunError, match="language model"):
            call()
    with pytest.raises(RunError, match="no likelihood"):
        ae.score(["a"])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda v: v.encode("the cat"), "a list of sentences, not one string"),
        (lambda v: v.score("the cat"), "a list of sentences, not one string"),
        (lambda v: v.encode([]), "no sentences"),
        (lambda v: v.score([]), "no sentences"),
        (lambda v: v.score(["a"], samples=0), "samples must be a whole number of at least 1, not 0"),
        (lambda v: v.sample(0), "n must be a whole number of at least 1, not 0"),
        (lambda v: v.sample(3, temperature=0), "temperature must lie between"),
        (lambda v: v.sample(3, temperature=float("nan")), "temperature must lie between"),
        (lambda v: v.sample(3, top_p=0), "top-p must lie in"),
        (lambda v: v.decode(torch.zeros(3)), r"shape \(B, 4\), not \(3,\)"),
        (lambda v: v.decode(torch.zeros(2, 3)), r"shape \(B, 4\), not \(2, 3\)"),
        (lambda v: v.decode(torch.zeros(2, 4), beam=0), "at least 1"),
        (lambda v: v.decode(torch.zeros(2, 4), top_p=0.5), "give a temperature with it"),
        (lambda v: v.decode(torch.zeros(2, 4), temperature=1.0, beam=3), "temperature=None"),
        (lambda v: v.sample(2, beam=3), "temperature=None"),
        (lambda v: v.decode(torch.zeros(2, 4), max_length=0), "at least 1"),
        (lambda v: v.encode([None]), "sentence 0 must be text, not NoneType"),
        (lambda v: v.encode(["a", b"b"]), "sentence 1 must be text, not bytes"),
        (lambda v: v.encode(["a", "caf\udce9"]), "sentence 1 holds half a surrogate pair"),
        (lambda v: v.encode({"a": 1}), "a list of sentences, not dict"),
        (lambda v: v.encode(None), "a list of sentences, not NoneType"),
        (lambda v: v.interpolate(["a"], ["b"]), "sentence 0 must be text, not list"),
        (lambda v: v.decode(torch.full((1, 4), torch.nan)), "z must be finite"),
        (lambda v: v.sample(1.5), "n must be a whole number"),
        (lambda v: v.sample(True), "n must be a whole number"),
        (lambda v: v.sample(1, seed=2**70), "seed must be a whole number"),
        (lambda v: v.sample(1, temperature=1e-40), "temperature must lie between"),
        (lambda v: v.score(["a"], samples="3"), "samples must be a whole number"),
        (lambda v: v.score(["a"], seed=-1), "seed must be a whole number"),
        (lambda v: v.interpolate("a", "b", steps=1), "steps must be a whole number of at least 2"),
    ],
)
def test_what_cannot_be_asked_for(vae, call, says):
    with pytest.raises(ConfigError, match=says):
        call(vae)


def test_what_an_evaluation_cannot_be_asked_for(vae_run):
    for wrong in ({"samples": 0}, {"samples": 1.5}, {"samples": "3"}, {"seed": -1}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be a whole number"):
            textvae.evaluate(vae_run, **wrong)


def test_loading_leaves_torchs_precision_alone(vae_run):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        textvae.load(vae_run).sample(1)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_public_names_are_listed_for_completion():
    assert dir(textvae) == sorted(textvae.__all__)


def test_a_device_that_is_not_there(vae_run):
    with pytest.raises(ConfigError, match="abacus is not available"):
        textvae.load(vae_run, device="abacus")


def test_distortion_is_that_of_the_survey_under_its_own_z(vae):
    found = vae.survey(CROWD)
    torch.testing.assert_close(vae.distortion(CROWD, found.z), found.distortion)
    shifted = vae.distortion(CROWD, found.z.numpy() + 3.0)
    assert not torch.allclose(shifted, found.distortion)
    with pytest.raises(ConfigError, match="one z a sentence, not 1 for 2"):
        vae.distortion(TEXTS[:2], found.z[:1])
    with pytest.raises(ConfigError, match=r"distortion: z must have the shape \(B, 4\), not \(2, 3\)"):
        vae.distortion(TEXTS[:2], found.z[:2, :3])
    with pytest.raises(ConfigError, match=r"give draws as z.flatten\(0, 1\)"):
        vae.decode(vae.draw(TEXTS[:2], 3))
    assert len(vae.decode(vae.draw(TEXTS[:2], 3).flatten(0, 1))) == 6
    assert vae.decode(found.z[:0].numpy()) == []


def test_another_default_type_changes_nothing(vae):
    before = vae.sample(3), vae.decode(torch.ones(1, 4))
    torch.set_default_dtype(torch.float64)
    try:
        assert (vae.sample(3), vae.decode(torch.ones(1, 4))) == before
    finally:
        torch.set_default_dtype(torch.float32)


# What is remarked


def collapsed(vae):
    return Vae(vae.model, vae.tokenizer, vae.config, "collapsed")


def test_greedy_decoding_of_a_collapsed_model_warns(vae):
    for call in (
        lambda v: v.reconstruct(["a dog"]),
        lambda v: v.interpolate("a", "b"),
        lambda v: v.sample(2, temperature=None),
    ):
        with pytest.warns(CollapsedWarning, match="does not listen to z .as `evaluate` found on valid") as seen:
            call(collapsed(vae))
        (told,) = [each for each in seen if each.category is CollapsedWarning]
        assert told.filename == __file__


def test_the_same_sentence_for_every_z_warns_without_an_evaluation(vae):
    deaf = with_decoder(vae, Deaf(vae.model.decoder, word=5))
    with pytest.warns(textvae.CollapsedWarning, match="the 5 z given here all decode to one sentence"):
        deaf.decode(torch.randn(5, 4), max_length=3)


def test_a_model_that_was_found_alive_is_not_said_to_be_collapsed(vae):
    deaf = with_decoder(vae, Deaf(vae.model.decoder, word=5))
    deaf.verdict = "alive"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deaf.decode(torch.randn(5, 4), max_length=3)


def test_a_few_neighbours_with_one_sentence_do_not_warn(vae):
    deaf = with_decoder(vae, Deaf(vae.model.decoder, word=5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deaf.decode(torch.randn(2, 4), max_length=3)


def test_nothing_is_remarked_where_there_is_nothing_to_remark(vae, lm):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collapsed(vae).sample(5)
        vae.reconstruct(["the cat saw the moon", "our teacher fears N shares again"])
        vae.decode(torch.zeros(1, 4))
        lm.sample(4, temperature=None)


def test_a_cut_sentence_is_counted(vae_run):
    vae = textvae.load(vae_run)
    vae.config = replace_limit(vae.config, 3)
    with pytest.warns(UserWarning, match="2 sentences cut to 3 tokens"):
        z = vae.encode(["a dog", "the cat saw the moon", "the cat saw the sea"])
    assert torch.equal(z[1], z[2])
    with pytest.warns(UserWarning, match="1 sentence cut"):
        assert vae.lengths(["the cat saw the moon"]) == [4]


def test_sentences_of_unknown_words_are_counted(vae):
    known, half, most = "the cat saw the moon", "the cat frobs quuxly", "the frobs quuxly"
    with pytest.warns(textvae.UnknownWarning, match="most words of 2 sentences are not in this run's vocabulary"):
        vae.encode([known, most, "", half, "Zyx"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae.score([known, half, ""], 2)


def replace_limit(config, limit):
    return config.model_copy(update={"data": config.data.model_copy(update={"max_length": limit})})


# From Python alone


def test_train_load_and_evaluate_from_python(corpus, tmp_path):
    sizes = {"model.latent_dim": 2, "model.encoder.hidden_dim": 8, "model.decoder.hidden_dim": 8}
    options = {"corpus": str(corpus), "steps": 5, "threads": 1, **sizes}
    run = textvae.train(["free_bits"], options, tmp_path / "run")
    assert textvae.load(run).encode(["the cat"]).shape == (1, 2)
    assert textvae.evaluate(run, samples=2)["iwae_samples"] == 2


def test_an_evaluation_with_another_seed_is_measured_anew(own_vae_run):
    first, second = (textvae.evaluate(own_vae_run, samples=2, seed=seed) for seed in (0, 1))
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["iwae_nll"] != second["iwae_nll"]


def test_a_run_is_used_while_it_trains(own_vae_run):
    (own_vae_run / "status").write_text("running\n", encoding="utf-8")
    assert len(textvae.load(own_vae_run).sample(2)) == 2


def test_a_model_without_options_is_loaded_from_its_directory_alone(corpus, tmp_path, monkeypatch):
    worked("train", *TINY, "--corpus", corpus, "--run", tmp_path / "a", "--steps", 2)
    (tmp_path / "a").rename(tmp_path / "b")
    monkeypatch.chdir("/")
    assert len(textvae.load(tmp_path / "b").sample(2)) == 2
