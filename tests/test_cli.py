"""The commands as their contract has them: what goes to stdout, how many rows, which exit code."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import (
    CONTRACT,
    OBJECTS,
    SUBJECTS,
    TIMES,
    TINY,
    VERBS,
    process,
    refused,
    textvae,
    worked,
)

import textvae as package
from textvae.config import recipe_files

LINES = "the cat saw the moon\n\nzebra xylophone\n the  bank\tfears N shares \n"
"""Four sentences: known, empty, unknown, and one with odd spaces."""


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text(LINES, "utf-8")
    return path


def strict(text):
    """JSON without NaN or Infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


# Help and usage


def test_help_lists_every_command_of_the_contract():
    done = worked("--help")
    commands = set(re.findall(r"^│ ([a-z]+) ", done.out, re.MULTILINE))
    assert commands >= {
        "train", "evaluate", "score", "sample", "reconstruct", "interpolate", "encode", "corpus", "remedies",
    }  # fmt: skip
    assert done.err == ""


def test_help_swallows_nothing_in_angle_brackets():
    assert "runs/<corpus>-<remedies>-<hash" in worked("train", "--help").out


def test_the_help_of_study_names_every_study():
    studies = [path.stem for path in recipe_files("studies")]
    named = re.findall(r"by name \(([^)]*)\)", " ".join(worked("study", "--help").out.replace("│", " ").split()))
    assert [sorted(names.split(", ")) for names in named] == [sorted(studies)]


def test_version():
    assert worked("--version").out.strip() == package.__version__


def test_help_does_not_import_torch():
    code = (
        "import sys\nfrom textvae.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'datasets', 'sentencepiece'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], 'Did you mean "train"'),
        (["train", "--stpes", "3"], "Did you mean --steps"),
        (["train", "--latent-dim", "3"], "Unknown option: --latent-dim. Did you mean --model.latent_dim?"),
        (["train", "--lr=0.1"], "Unknown option: --lr. Did you mean --training.optimiser.lr?"),
        (["train", "--epochs", "3"], 'Did you mean --training.budget "N epochs"?'),
        (["train", "--steps", "many"], "--steps: 'many' is not a whole number"),
        (["train", "--steps", "1.5"], "--steps: '1.5' is not a whole number"),
        (["train", "--steps", "-3"], "--steps: must be a number of steps, at least 0"),
        (["train", "--seed", "-1"], "--seed: must be at least 0, not -1"),
        (["train", "--threads", "0"], "--threads: must be at least 1, not 0"),
        (["train", "--tokenizer", "wrod"], '"word", "unigram", "bpe", "char"'),
        (["train", "--device", "abacus"], "--device: abacus is not available"),
        (["train", "--model.latent_dim"], "--model.latent_dim: a value must follow"),
        (["train", "--model.latent_dim", "--seed", "1"], "--model.latent_dim: a value must follow"),
        (["train", "--model.latent_dim", "[1"], "--model.latent_dim: '[1' is not valid YAML"),
        (["evaluate"], "RUN requires an argument"),
        (["evaluate", "RUN", "--split", "dev"], '"valid", "test", "train"'),
        (["evaluate", "RUN", "--samples", "0"], "--samples"),
        (["evaluate", "RUN", "--samples", "-1"], "--samples"),
        (["evaluate", "RUN", "--model.latent_dim", "3"], "Unknown option: --model.latent_dim"),
        (["evaluate", "RUN", "--device", "abacus"], "abacus is not available"),
        (["score", "RUN"], "FILE requires an argument"),
        (["score", "RUN", "--sample"], "no such option"),
        (["score", "RUN", "-", "--samples", "0"], "--samples"),
        (["score", "RUN", "-", "--seed", "-1"], "--seed"),
        (["sample", "RUN", "-n", "0"], "Must be >= 1"),
        (["sample", "RUN", "-n", "-1"], "Must be >= 1"),
        (["sample", "RUN", "--seed", "-1"], "--seed"),
        (["sample", "RUN", "--seed", "99999999999999999999"], "--seed"),
        (["sample", "RUN", "--temperature", "0"], "temperature must lie between 1e-6 and 1e6, not 0.0"),
        (["sample", "RUN", "--temperature", "-1"], "temperature must lie between"),
        (["sample", "RUN", "--temperature", "nan"], "temperature must lie between"),
        (["sample", "RUN", "--temperature", "inf"], "temperature must lie between"),
        (["sample", "RUN", "--top-p", "0"], "top-p must lie in (0, 1], not 0.0"),
        (["sample", "RUN", "--top-p", "1.1"], "top-p must lie in (0, 1], not 1.1"),
        (["sample", "RUN", "--beam", "0"], "--beam"),
        (["sample", "RUN", "--beam", "3", "--greedy"], "leave one of them out"),
        (["sample", "RUN", "--max-length", "0"], "--max-length"),
        (["sample", "RUN", "--greedy", "--temperature", "2"], "leave them out with --greedy"),
        (["interpolate", "RUN", "one"], "B requires an argument"),
        (["interpolate", "RUN", "one", "two", "--steps", "1"], "steps must be a whole number of at least 2"),
        (["encode", "RUN", "-"], "--out requires an argument"),
        (["corpus", "info"], "SOURCE requires an argument"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(arguments, says, vae_run):
    assert says in refused(*[vae_run if a == "RUN" else a for a in arguments], code=2, stdin=b"the cat\n")


# evaluate


def test_evaluation_holds_what_the_contract_names(own_vae_run):
    shown = strict(worked("evaluate", own_vae_run, "--samples", 7, "--json").out)
    assert set(shown) == {"valid"}
    values = shown["valid"]
    assert set(values) >= CONTRACT
    assert (values["sentences"], values["iwae_samples"]) == (24, 7)
    assert values["elbo"] == pytest.approx(-values["distortion"] - values["rate"])
    assert sum(values["rate_per_dimension"]) == pytest.approx(values["rate"], rel=1e-4)
    assert len(values["rate_per_dimension"]) == 4
    assert values["perplexity_elbo"] == pytest.approx(np.exp(-values["elbo"] * 24 / values["tokens"]))
    assert values["exact_nll"] is None
    assert strict((own_vae_run / "evaluation.json").read_text("utf-8")) == shown


def test_evaluating_again_says_so_and_computes_nothing(own_vae_run, monkeypatch):
    first = worked("evaluate", own_vae_run, "--samples", 3, "--json")
    monkeypatch.setattr("textvae.tasks.evaluate.evaluate", None)
    again = worked("evaluate", own_vae_run, "--samples", 3, "--json")
    assert again.out == first.out
    assert "already evaluated" in again.err
    assert "already evaluated" not in first.err


def test_other_settings_are_computed_anew(own_vae_run):
    few = strict(worked("evaluate", own_vae_run, "--samples", 1, "--json").out)["valid"]
    many = strict(worked("evaluate", own_vae_run, "--samples", 50, "--json").out)["valid"]
    assert (few["iwae_samples"], many["iwae_samples"]) == (1, 50)
    assert few["iwae_nll"] != many["iwae_nll"]
    assert few["elbo"] == many["elbo"]


def test_splits_stand_side_by_side(own_vae_run):
    for split in ("valid", "test", "train"):
        worked("evaluate", own_vae_run, "--samples", 1, "--split", split)
    kept = strict((own_vae_run / "evaluation.json").read_text("utf-8"))
    assert {split: values["sentences"] for split, values in kept.items()} == {"valid": 24, "test": 20, "train": 200}


def test_another_corpus_is_shown_and_not_kept(own_vae_run, tmp_path):
    worked("evaluate", own_vae_run, "--samples", 1)
    before = (own_vae_run / "evaluation.json").read_bytes()
    other = tmp_path / "other.txt"
    other.write_text("the cat saw the moon\n" * 40, "utf-8")
    done = worked("evaluate", own_vae_run, "--samples", 1, "--corpus", other, "--json")
    shown = strict(done.out)["valid"]
    assert shown["sentences"] == 40
    assert "of its own" not in done.err
    table = tmp_path / "other.csv"
    table.write_text("stars,review\n" + "5,the cat saw the moon\n" * 40, "utf-8")
    asked = ("evaluate", own_vae_run, "--samples", 1, "--corpus", table, "--column", "review", "--json")
    assert strict(worked(*asked).out)["valid"] == shown
    assert (own_vae_run / "evaluation.json").read_bytes() == before
    assert "--column only applies with --corpus" in refused("evaluate", own_vae_run, "--column", "review", code=2)


def test_a_corpus_that_has_changed_is_refused(tmp_path, corpus):
    own = shutil.copytree(corpus, tmp_path / "own")
    run = tmp_path / "run"
    worked("train", *TINY, "--corpus", own, "--run", run, "--steps", 2)
    with (own / "valid.txt").open("a") as file:
        file.write("the cat saw the cat\n")
    assert "have changed since training" in refused("evaluate", run, code=1)
    again = ("train", *TINY, "--corpus", own, "--run", run, "--steps", 4)
    assert "have changed since training" in refused(*again, code=1)
    assert strict(worked("evaluate", run, "--corpus", own, "--json").out)["valid"]["sentences"] == 25


def test_numbers_of_replaced_weights_are_forgotten(corpus, tmp_path):
    run = tmp_path / "run"
    train = ("train", *TINY, "--corpus", corpus, "--run", run, "--steps")
    worked(*train, 5)
    worked("evaluate", run, "--samples", 1, "--split", "test")
    worked(*train, 40)
    worked("evaluate", run, "--samples", 1)
    assert set(strict((run / "evaluation.json").read_text("utf-8"))) == {"valid"}


def test_a_language_model_has_no_latent_numbers(lm_run, tmp_path):
    run = shutil.copytree(lm_run, tmp_path / "lm")
    values = strict(worked("evaluate", run, "--json").out)["valid"]
    for key in ("active_units", "mutual_information", "mutual_information_reference", "listening", "listening_se"):
        assert values[key] is None, key
    assert values["rate"] == 0
    assert values["iwae_nll"] == pytest.approx(values["distortion"], rel=1e-6)
    assert values["verdict"].startswith("language model")


def test_an_autoencoder_has_no_likelihood(ae_run, tmp_path):
    run = shutil.copytree(ae_run, tmp_path / "ae")
    values = strict(worked("evaluate", run, "--json").out)["valid"]
    for key in ("rate", "rate_per_dimension", "elbo", "elbo_se", "iwae_nll", "iwae_samples", "perplexity_elbo",
                "perplexity_iwae"):  # fmt: skip
        assert values[key] is None, key
    assert values["distortion"] > 0
    assert values["listening"] is not None
    assert "nan" not in worked("evaluate", run).out.lower()


def test_the_table_is_on_stdout_and_ends_in_the_verdict(own_vae_run):
    done = worked("evaluate", own_vae_run, "--samples", 2)
    assert done.err == ""
    assert re.search(r"−ELBO +│ +[\d.]+ ± [\d.]+", done.out)
    assert re.match(r"valid: (collapsed|partly|alive): ", done.out.splitlines()[-1])


# score, reconstruct, encode: a row for every line


def test_score_is_a_table_with_a_row_for_every_line(vae_run, lines):
    done = worked("score", vae_run, lines, "--samples", 5)
    rows = [row.split("\t") for row in done.out.splitlines()]
    assert [row[2] for row in rows] == ["the cat saw the moon", "", "zebra xylophone", "the  bank fears N shares"]
    assert [int(row[1]) for row in rows] == [6, 1, 3, 6]
    assert all(float(row[0]) < 0 for row in rows)
    assert done.err == ("note: most words of 1 sentence are not in this run's vocabulary, and are read as <unk>\n")


def test_score_prints_what_the_api_computes(vae_run: Path, lm_run: Path, lines: Path) -> None:
    texts = ["the cat saw the moon", "", "zebra xylophone", "the  bank fears N shares"]
    for run in (vae_run, lm_run):
        scores = package.load(run).score(texts, 5, seed=3)
        out = worked("score", run, lines, "--samples", 5, "--seed", 3).out
        assert [row.split("\t")[0] for row in out.splitlines()] == [f"{value:.4f}" for value in scores.tolist()]


def test_score_reads_standard_input(vae_run, lines):
    assert worked("score", vae_run, "-", stdin=LINES.encode()) == worked("score", vae_run, lines)


def test_score_is_a_function_of_its_seed(vae_run, lines):
    first, again, other = (worked("score", vae_run, lines, "--samples", 2, "--seed", s).out for s in (1, 1, 2))
    assert first == again != other


def test_reconstruct_gives_one_row_a_line(vae_run, lines):
    rows = worked("reconstruct", vae_run, lines).out.split("\n")
    assert len(rows) == 5
    assert rows[-1] == ""
    assert rows == worked("reconstruct", vae_run, "-", stdin=LINES.encode()).out.split("\n")
    words = {word for part in (SUBJECTS, VERBS, OBJECTS, TIMES) for text in part for word in text.split()}
    assert set(rows[0].split()) <= words


def test_a_last_line_without_its_end_is_a_line(vae_run):
    assert len(worked("score", vae_run, "-", stdin=b"the cat\na dog").out.splitlines()) == 2
    assert len(worked("score", vae_run, "-", stdin=b"the cat\na dog\n\n").out.splitlines()) == 3


def test_encode_writes_a_row_of_z_a_line(vae_run, lines, tmp_path):
    out = tmp_path / "z.npy"
    done = worked("encode", vae_run, lines, "--out", out)
    z = np.load(out)
    assert (z.shape, z.dtype) == ((4, 4), np.float32)
    assert done.out == ""
    assert str(out) in done.err
    np.testing.assert_array_equal(z, package.load(vae_run).encode(LINES.split("\n")[:-1]).numpy())
    worked("encode", vae_run, "-", "--out", tmp_path / "again.npy", stdin=LINES.encode())
    assert (tmp_path / "again.npy").read_bytes() == out.read_bytes()


def test_encode_leaves_nothing_where_it_cannot_write(vae_run, lines, tmp_path):
    sentence = refused("encode", vae_run, lines, "--out", tmp_path / "nowhere" / "z.npy", code=1)
    assert sentence == f"{tmp_path}/nowhere/z.npy: cannot be written: No such file or directory"
    (tmp_path / "file").write_text("mine")
    refused("encode", vae_run, lines, "--out", tmp_path / "file" / "z.npy", code=1)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "lines.txt"]


# sample, interpolate


def test_sample_prints_n_sentences_that_belong_to_the_seed(vae_run):
    first, again, other = (worked("sample", vae_run, "-n", 6, "--seed", s) for s in (3, 3, 4))
    assert len(first.out.splitlines()) == 6
    assert first == again
    assert first.out != other.out
    assert first.err == ""


@pytest.mark.parametrize("how", [["--greedy"], ["--beam", "3"], ["--temperature", "0.3"], ["--top-p", "0.5"]])
def test_ways_to_choose_words(vae_run, how):
    rows = worked("sample", vae_run, "-n", 3, "--seed", 1, *how).out.splitlines()
    assert len(rows) == 3
    assert rows != worked("sample", vae_run, "-n", 3, "--seed", 1).out.splitlines()


def test_a_sentence_ends_at_the_length_limit(vae_run):
    rows = worked("sample", vae_run, "-n", 8, "--max-length", 2).out.splitlines()
    assert max(len(row.split()) for row in rows) == 2


def test_a_language_model_samples_and_scores_but_has_no_z(lm_run, lines, tmp_path):
    assert len(worked("sample", lm_run, "-n", 3).out.splitlines()) == 3
    assert len(worked("score", lm_run, lines).out.splitlines()) == 4
    for command in (["encode", lm_run, lines, "--out", tmp_path / "z.npy"], ["reconstruct", lm_run, lines],
                    ["interpolate", lm_run, "the cat", "a dog"]):  # fmt: skip
        assert "language model" in refused(*command, code=1)
    assert not (tmp_path / "z.npy").exists()


def test_an_autoencoder_does_not_score(ae_run, lines):
    assert "no likelihood" in refused("score", ae_run, lines, code=1)
    assert len(worked("reconstruct", ae_run, lines).out.splitlines()) == 4


def test_interpolate_starts_and_ends_at_the_reconstructions(vae_run):
    a, b = "the cat saw the moon today", "our teacher fears some bread"
    ends = worked("reconstruct", vae_run, "-", stdin=f"{a}\n{b}\n".encode()).out.splitlines()
    for how in ([], ["--slerp"]):
        rows = worked("interpolate", vae_run, a, b, "--steps", 5, *how).out.splitlines()
        assert len(rows) == 5
        assert [rows[0], rows[-1]] == ends
    assert len(worked("interpolate", vae_run, a, b).out.splitlines()) == 7


def test_a_sentence_may_begin_with_a_hyphen(vae_run):
    assert len(worked("interpolate", vae_run, "-- the cat", "-n", "--steps", 2).out.splitlines()) == 2


# corpus, remedies, show


def test_corpus_list_names_the_corpora():
    out = worked("corpus", "list").out
    assert {"grammar", "ptb", "torchtext:PennTreebank"} <= set(re.findall(r"[\w:]+", out))


def test_corpus_info_counts(corpus):
    done = worked("corpus", "info", corpus)
    assert re.search(r"sentences +│ +200 │ +24 │ +20", done.out)
    assert re.search(r"unknown tokens +│ +0 │ +0 │ +0", done.out)
    assert done.err == ""


def test_corpus_info_takes_a_tokenizer(corpus):
    assert "char, " in worked("corpus", "info", corpus, "--tokenizer", "char").out


def test_a_corpus_that_cannot_be_fetched_is_refused():
    assert "nothing to fetch" in refused("corpus", "fetch", "gutenberg", code=1)


def test_remedies_are_listed_with_what_they_do():
    out = worked("remedies").out
    for name, says in (("free_bits", "Kingma et al. 2016"), ("lm", "language model"), ("ptb", "Penn Treebank")):
        assert re.search(rf"{name} +│ [^\n]*{says}", out), name


def test_show_says_that_a_run_is_not_trained_to_its_end(own_vae_run):
    (own_vae_run / "status").write_text("failed\n", encoding="utf-8")
    assert "not evaluated yet; its training is failed" in worked("show", own_vae_run).out


def test_show_reads_a_run(own_vae_run):
    before = worked("show", own_vae_run).out
    assert "not evaluated yet" in before
    assert (own_vae_run / "samples.txt").read_text("utf-8").splitlines()[0] in before
    worked("evaluate", own_vae_run, "--samples", 1)
    after = worked("show", own_vae_run).out
    assert "listening  G" in after
    assert f"tensorboard --logdir {own_vae_run}" in after


# Processes


def test_nobody_reading_is_no_traceback(vae_run):
    command = f"{sys.executable} -m textvae.cli sample {vae_run} -n 5000 --max-length 30 | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_a_full_disk_behind_stdout_is_one_sentence(vae_run):
    command = f"{sys.executable} -m textvae.cli sample {vae_run} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


def test_a_remark_of_the_library_is_a_note_on_stderr_said_once(own_vae_run):
    evaluation = {"valid": {"verdict": "collapsed: by decree"}}
    (own_vae_run / "evaluation.json").write_text(json.dumps(evaluation), "utf-8")
    done = textvae("interpolate", own_vae_run, "the cat", "a dog")
    notes = [line for line in done.err.splitlines() if line.startswith("note: ")]
    assert done.code == 0
    assert len(notes) == 1
    assert "collapsed" in notes[0]


def test_the_process_returns_the_exit_code(tmp_path):
    done = process("evaluate", tmp_path / "nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"textvae: {tmp_path}/nothing: no such run directory\n"
