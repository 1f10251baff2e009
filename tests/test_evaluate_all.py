"""`textvae evaluate --all`: every part, kept as it is done, skipped when it was, on every kind of run."""

import json
import math
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import TINY, refused, worked
from safetensors.torch import load_file, save

from textvae.errors import ConfigError, RunError
from textvae.evaluation.estimators import REVISION, Survey
from textvae.runs import Run
from textvae.tasks import evaluate_all as module
from textvae.tasks.evaluate import evaluate_run, evaluate_subject, headlines
from textvae.tasks.evaluate_all import evaluate_all, expected_minutes
from textvae.tasks.parts import BRIEF, FULL, likelihood
from textvae.tasks.parts.language import Text
from textvae.tasks.parts.likelihood import BoundCurve, PosteriorGap, PriorCurve, Simulated
from textvae.tasks.parts.trained import Knowledge, Lag
from textvae.tasks.parts.use import Dimensions, Listening, Positions
from textvae.tasks.subject import WARM_UP, subject_of

SMALL = (
    Dimensions(),
    Listening(),
    Positions(),
    PriorCurve(prior_sentences=8, prior_samples=40),
    BoundCurve(gap_sentences=6),
    PosteriorGap(gap_sentences=6, refining_steps=5, mean_samples=30, temperatures=4),
    Simulated(simulated_sentences=6, temperatures=4),
    Lag(lag_steps=3, lag_sentences=10),
    Knowledge(),
    Text(text_samples=12, reconstructions=6, interpolations=3, lm_steps=3),
)

PROMISED = {
    "prior_nll", "prior_nll_se", "ais_lower", "ais_lower_se", "ais_upper", "ais_upper_se", "posterior_gap",
    "posterior_gap_se", "amortisation_gap", "amortisation_gap_se", "family_gap", "family_gap_se", "refined_elbo",
    "refined_elbo_se", "marginal_kl", "marginal_kl_se", "ais_nll", "refined_iwae_nll", "distortion_prior_z",
    "distortion_shuffled_z", "word_accuracy_gap", "gradient_norm", "lm_gain_net_of_rate", "fresh_encoder_gain",
    "samples_distinct_2", "samples_self_bleu", "samples_novelty", "forward_perplexity", "reverse_perplexity",
    "reconstructions_bleu", "mmd",
    # The settings of the estimators beside them.
    "prior_nll_samples", "prior_nll_sentences", "gap_sentences", "refined_elbo_passes", "ais_temperatures",
    "ais_chains", "refined_iwae_samples", "marginal_kl_reference", "lag_steps", "lm_steps", "mmd_samples",
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(vae_run, lm_run, tmp_path_factory):
    """A copy of the VAE's run, evaluated whole, and what came back."""
    run = Run(shutil.copytree(vae_run, tmp_path_factory.mktemp("whole") / "vae"))
    return run, evaluate_all(run, samples=4, lm=lm_run, parts=SMALL)


def test_every_number_stands_in_evaluation_json_with_its_settings(whole):
    run, values = whole
    assert set(values) >= PROMISED, PROMISED - set(values)
    assert run.evaluation["valid"] == values
    assert values["iwae_samples_asked"] == 4
    assert values["ais_lower"] <= values["ais_upper"] + 3 * values["ais_gap_se"]
    assert values["posterior_gap"] == pytest.approx(values["amortisation_gap"] + values["family_gap"])
    assert values["refined_elbo"] - values["amortised_elbo"] == pytest.approx(values["amortisation_gap"])
    assert values["distortion_own_z"] == pytest.approx(values["distortion"])
    net = values["lm_gain"] - values["rate"]
    assert values["lm_gain_net_of_rate"] == pytest.approx(net)


def swap_weights(run: Run) -> None:
    """What a training in another process does."""
    weights = {name: 1.1 * value for name, value in load_file(run.best).items()}
    run.best.write_bytes(save(weights, {"selection": "swapped"}))


def test_what_is_measured_is_kept_under_the_weights_that_were_loaded(own_vae_run):
    run = Run(own_vae_run)
    before = run.weights_sha256
    subject = subject_of(run, "valid")
    swap_weights(run)
    old = Listening().numbers(subject)
    assert Listening().settings(subject)["weights_sha256"] == before != run.weights_sha256
    new = Listening().numbers(subject_of(run, "valid"))
    assert new["distortion_own_z"] != old["distortion_own_z"]
    assert evaluate_subject(subject, 2)["weights_sha256"] == before
    assert run.evaluation == {}, "numbers of other weights"


def test_what_older_estimators_measured_is_measured_again(own_vae_run, monkeypatch):
    subject = subject_of(Run(own_vae_run), "valid")
    with monkeypatch.context() as patch:
        patch.setattr("textvae.tasks.parts.part.REVISION", 0)
        Listening().numbers(subject)
    assert Listening().known(subject) is None


def test_a_run_that_trains_on_while_it_is_measured_is_said_to(own_vae_run, monkeypatch, capsys):
    run = Run(own_vae_run)
    before = run.weights_sha256
    measure = Listening.measure

    def meanwhile(self, subject):
        swap_weights(run)
        return measure(self, subject)

    monkeypatch.setattr(Listening, "measure", meanwhile)
    values = evaluate_all(run, samples=2, parts=[Listening(), Dimensions()])
    assert values["weights_sha256"] == before
    assert "listening_seconds" in values
    assert "was trained further meanwhile" in capsys.readouterr().err


def test_a_part_with_another_seed_replaces_nothing(own_vae_run):
    run = Run(own_vae_run)
    first, second = (subject_of(run, "valid", seed) for seed in (0, 1))
    own, other = Listening().numbers(first), Listening().numbers(second)
    assert own["distortion_prior_z"] != other["distortion_prior_z"]
    assert [Listening().known(subject) for subject in (first, second)] == [own, other]
    assert [run.parts("valid", run.weights_sha256, seed) for seed in (0, 1)] == [
        {"listening": own},
        {"listening": other},
    ]


def test_numbers_that_cannot_be_kept_are_printed(own_vae_run, monkeypatch):
    def full(*_):
        raise RunError("evaluation.json: cannot be written: Permission denied")

    monkeypatch.setattr(Run, "write_json", full)
    done = worked("evaluate", own_vae_run, "--samples", 2, "--json")
    assert json.loads(done.out)["valid"]["sentences"] > 0
    assert "cannot be written: Permission denied; the numbers are printed but not kept" in done.err


def test_a_directory_that_cannot_be_written_is_refused_before_the_work(own_vae_run, monkeypatch):
    def full(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("textvae.files.tempfile.TemporaryFile", full)
    for command in (["evaluate", "--all"], ["diagnose"], ["probe"]):
        name, *rest = command
        assert "cannot be written to: Permission denied" in refused(name, own_vae_run, *rest, code=1)


def test_text_is_not_generated_for_a_bleu_that_is_not_installed(own_vae_run, monkeypatch):
    assert Text().refusal(subject_of(Run(own_vae_run), "valid")) is None
    monkeypatch.setattr("textvae.evaluation.text.find_spec", lambda name: None)
    assert (
        Text().refusal(subject_of(Run(own_vae_run), "valid"))
        == "BLEU needs sacrebleu: pip install 'textvae[metrics]'"
    )


def test_a_single_sentence_has_no_probes_and_no_variance(own_vae_run, recwarn):
    subject = subject_of(Run(own_vae_run), "valid")
    splits = {split: ["the cat"] for split in subject.corpus.splits}
    one = replace(subject, corpus=replace(subject.corpus, splits=splits))
    with pytest.raises(ConfigError, match="probes need at least 2 sentences of train and of valid"):
        Knowledge().measure(one)
    values = Dimensions().measure(one)
    assert math.isnan(values["aggregate_variance"][0])
    assert not [warning for warning in recwarn if "degrees of freedom" in str(warning.message)]


def test_each_part_has_a_file_with_curves_and_settings(whole):
    run, _ = whole
    files = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in (run.path / "evaluation" / "valid").glob("*.json")
    }
    assert set(files) == {part.name for part in FULL}
    for content in files.values():
        assert content["settings"]["weights_sha256"] == run.weights_sha256
    assert len(files["positions"]["values"]["lm_gain_by_position"]) > 2
    assert len(files["dimensions"]["values"]["mean_variances"]) == 4
    labels = [row["factor"] for row in files["knowledge"]["values"]["labels"]]
    assert labels == ["length", "first word", "a word, mean of 25"]
    assert files["prior"]["settings"] == {
        "weights_sha256": run.weights_sha256, "seed": 0, "estimators": REVISION,
        "prior_sentences": 8, "prior_samples": 40,
    }  # fmt: skip


def test_the_parts_are_those_of_a_full_evaluation_and_a_diagnosis_takes_some_of_them():
    names = [part.name for part in FULL]
    assert [part.name for part in SMALL] == names
    assert [name for name in names if name in {part.name for part in BRIEF}] == [part.name for part in BRIEF]


def test_a_second_call_measures_nothing_and_changes_nothing(whole, lm_run, monkeypatch, capsys):
    run, values = whole
    monkeypatch.setattr(module, "measure", lambda *given: pytest.fail("measured again"))
    assert evaluate_all(run, samples=4, lm=lm_run, parts=SMALL) == values
    assert f"0 of {len(FULL)} parts are to be measured" in capsys.readouterr().err


def test_the_split_is_surveyed_once(own_vae_run, monkeypatch):
    real, surveyed = Survey.of, []

    def counted(model, sequences, *given, **more):
        surveyed.append(len(sequences))
        return real(model, sequences, *given, **more)

    monkeypatch.setattr(Survey, "of", counted)
    values = evaluate_all(Run(own_vae_run), samples=2, parts=(Dimensions(),))
    assert surveyed == [WARM_UP, values["sentences"]]
    assert values["iwae_samples_asked"] == 2
    assert "mmd" in values


def test_a_plain_evaluation_keeps_the_parts_numbers(whole):
    run, values = whole
    worked("evaluate", run.path, "--samples", 3)
    again = run.evaluation["valid"]
    assert again["iwae_samples"] == 3
    assert {name: again[name] for name in PROMISED} == {name: values[name] for name in PROMISED}
    table = worked("show", run.path).out
    assert "gap between log p(x) and ELBO" in table


def test_an_interrupted_evaluation_goes_on_behind_the_last_part(own_vae_run, monkeypatch, capsys):
    run = Run(own_vae_run)
    done: list[str] = []
    measure = module.measure

    def stop_at_the_third(part, subject):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(part.name)
        return measure(part, subject)

    monkeypatch.setattr(module, "measure", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate_all(run, samples=2, parts=SMALL)
    assert {path.stem for path in (run.path / "evaluation" / "valid").glob("*.json")} == set(done)
    assert "mmd" in run.evaluation["valid"]
    monkeypatch.setattr(module, "measure", measure)
    capsys.readouterr()
    values = evaluate_all(run, samples=2, parts=SMALL)
    said = capsys.readouterr().err
    assert f"{len(FULL) - 3} of {len(FULL) - 1} parts are to be measured" in said
    assert "positions (gain over a language model, by position) is left out" in said
    assert "lm_gain" not in values
    assert "ais_upper" in values


def test_a_part_stored_just_before_a_kill_is_taken_by_the_next_call(own_vae_run):
    run = Run(own_vae_run)
    parts = (Dimensions(), Listening())
    evaluate_all(run, samples=2, parts=parts[:1])
    kept = Listening().numbers(subject_of(run, "valid"))  # stored, but killed before `evaluation.json` was written
    values = evaluate_all(run, samples=2, parts=parts)
    assert run.evaluation["valid"] == values
    assert values["gradient_norm"] == kept["gradient_norm"]


def test_parts_of_other_weights_or_settings_are_not_taken(own_vae_run):
    run = Run(own_vae_run)
    settings = {"weights_sha256": run.weights_sha256, "seed": 0, "estimators": REVISION}
    numbers = {"number": 1.0, "curve": [1, 2]}
    run.write_part("valid", "x", settings, numbers)
    run.write_part("valid", "y", {**settings, "weights_sha256": "other"}, {"stale": 1.0})
    run.write_part("valid", "z", {**settings, "estimators": REVISION - 1}, {"older": 1.0})
    assert run.read_part("valid", "x", settings) == numbers
    assert run.read_part("valid", "x", {**settings, "seed": 1}) is None
    assert run.read_part("test", "x", settings) is None
    assert run.parts("valid", run.weights_sha256, estimators=REVISION) == {"x": numbers}
    assert run.parts("valid", run.weights_sha256, seed=1) == {}
    assert headlines(subject_of(run, "valid")) == {"number": 1.0}


def test_evaluation_is_inert(own_vae_run):
    before = {path.name: path.read_bytes() for path in own_vae_run.iterdir() if path.is_file()}
    stream = torch.get_rng_state()
    one = evaluate_all(Run(own_vae_run), samples=2, parts=SMALL)
    assert torch.equal(stream, torch.get_rng_state())
    after = {path.name: path.read_bytes() for path in own_vae_run.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before
    (own_vae_run / "evaluation.json").unlink()
    for path in (own_vae_run / "evaluation" / "valid").iterdir():
        path.unlink()
    two = evaluate_all(Run(own_vae_run), samples=2, parts=SMALL)
    assert without_clocks(one) == without_clocks(two)


def without_clocks(values):
    return {name: value for name, value in values.items() if not name.endswith("_seconds")}


def test_an_autoencoder_and_a_language_model_are_told_what_they_lack(ae_run, lm_run, tmp_path, capsys):
    ae = evaluate_all(Run(shutil.copytree(ae_run, tmp_path / "ae")), samples=2, lm=lm_run, parts=SMALL)
    said = capsys.readouterr().err
    assert "a deterministic autoencoder has no rate" in said
    assert ae["distortion_shuffled_z"] > 0
    assert ae["lm_gain_net_of_rate"] is None
    assert "posterior_gap" not in ae
    lm = evaluate_all(Run(shutil.copytree(lm_run, tmp_path / "lm")), samples=2, parts=SMALL)
    assert "a language model has no z" in capsys.readouterr().err
    assert lm["samples_novelty"] >= 0
    assert "reconstructions_bleu" not in lm


@pytest.mark.parametrize("name", ["vae_run", "lm_run", "ae_run"])
def test_progress_ends_at_its_total(name, request, tmp_path, monkeypatch):
    """A language model is scored once more, by its one sample; an autoencoder has no importance weights."""
    counts = []

    @contextmanager
    def counting(what, total):
        done: list[int] = []
        yield done.append
        counts.append((total, sum(done)))

    monkeypatch.setattr("textvae.tasks.evaluate.counting", counting)
    evaluate_run(shutil.copytree(request.getfixturevalue(name), tmp_path / "run"), samples=2)
    ((total, done),) = counts
    assert total == done


def test_time_is_expected_only_for_samples_that_are_drawn(vae_run, lm_run, ae_run):
    for run, drawn in ((vae_run, True), (lm_run, False), (ae_run, False)):
        subject = subject_of(Run(run), "valid")
        assert (expected_minutes(subject, [], 100) > 0) is drawn


@pytest.fixture
def few_steps(corpus, tmp_path):
    """Train a few steps with further settings."""

    def train(*settings: object) -> Run:
        worked("train", *TINY, "--corpus", corpus, "--run", tmp_path / "run", "--steps", 20, *settings)
        return Run(tmp_path / "run")

    return train


def test_two_dimensions_are_integrated(few_steps):
    values = evaluate_all(few_steps("--model.latent_dim", 2), samples=4, parts=SMALL)
    assert values["quadrature_error"] <= 1e-6
    assert values["posterior_gap"] == pytest.approx(-values["quadrature_nll"] - values["amortised_elbo"], abs=1e-6)
    assert "ais_nll" not in values
    assert values["posterior_mean_sentences"] == 6


def test_what_refined_q_does_not_weigh_it(vae_run, monkeypatch):
    seeds = []

    def watched(real):
        def watching(model, sequences, noise, *given, **more):
            seeds.append(noise.seed)
            return real(model, sequences, noise, *given, **more)

        return watching

    for name in ("refinement", "posterior_means"):
        monkeypatch.setattr(likelihood, name, watched(getattr(likelihood, name)))
    part = PosteriorGap(gap_sentences=2, refining_steps=1, mean_samples=2, temperatures=0)
    assert part.measure(subject_of(Run(vae_run), "valid"))["evidence"] == "refined_iwae"
    refining, weighing = seeds
    assert refining != weighing


def test_few_effective_samples_have_no_standard_error(vae_run):
    values = PriorCurve(prior_sentences=4, prior_samples=9).measure(subject_of(Run(vae_run), "valid"))
    assert math.isfinite(values["prior_nll"])
    assert math.isnan(values["prior_nll_se"])
    assert all(map(math.isnan, values["prior_curve_nll_se"]))


def test_on_a_sphere_the_gap_is_whole_and_no_chain_moves(few_steps, capsys):
    sphere = ("--model.posterior.kind", "vmf", "--model.prior.kind", "uniform_sphere")
    values = evaluate_all(few_steps(*sphere), samples=4, parts=SMALL)
    assert "z lies on a sphere" in capsys.readouterr().err
    assert values["posterior_gap"] > -0.5
    assert "refined_elbo" not in values
    assert "ais_upper" not in values
    assert values["fresh_encoder_gain"] is not None
    assert values["samples_novelty"] >= 0


@pytest.mark.slow
def test_the_command_at_full_size(own_vae_run, lm_run):
    done = worked("evaluate", own_vae_run, "--all", "--lm", lm_run, "--samples", 5, "--json")
    values = json.loads(done.out)["valid"]
    assert set(values) >= PROMISED
    assert "parts are to be measured on valid, about" in done.err
    assert values["ais_lower"] <= values["ais_upper"] + 3 * values["ais_gap_se"]
    again = worked("evaluate", own_vae_run, "--all", "--lm", lm_run, "--samples", 5)
    assert f"0 of {len(FULL)} parts" in again.err
    assert "simulated log p, upper bound" in again.out


def test_usage_is_checked_in_one_sentence(vae_run: Path, lm_run: Path, corpus: Path):
    assert "is not a language model" in refused("evaluate", vae_run, "--all", "--lm", vae_run, code=2)
    assert "add --all" in refused("evaluate", vae_run, "--lm", lm_run, code=2)
    assert "run's own sentences" in refused("evaluate", vae_run, "--all", "--corpus", corpus, code=2)
    assert "no such run" in refused("evaluate", vae_run, "--all", "--lm", vae_run / "none", code=1)
