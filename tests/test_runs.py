"""The run directory: what is damaged or foreign is one sentence, and nothing is ever half-written."""

import fcntl
import json
import math
import os
import pickle
import subprocess
import sys
import threading

import pytest
import torch
import yaml
from command_line import refused, textvae, worked
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import textvae as package
from textvae.config import Config
from textvae.errors import RunError
from textvae.files import finite, write_atomically
from textvae.runs import Run

USES = (["evaluate"], ["sample"], ["score", "-"], ["reconstruct", "-"], ["interpolate", "a", "b"])


def refused_by_all(run):
    """The sentence with which every command that reads a run refuses it."""
    sentences = {refused(name, run, *rest, code=1, stdin=b"the cat\n") for name, *rest in USES}
    assert len(sentences) == 1, sentences
    return sentences.pop()


# No run


def test_a_directory_that_is_not_there(tmp_path):
    assert refused_by_all(tmp_path / "none") == f"{tmp_path}/none: no such run directory"


def test_a_directory_that_is_no_run(tmp_path):
    assert refused_by_all(tmp_path) == f"{tmp_path}: not a run directory of textvae (it has no config.yaml)"


def test_a_file_is_no_run(own_vae_run):
    assert "no such run directory" in refused_by_all(own_vae_run / "config.yaml")


# Damage


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "damaged: the file is empty"),
        ("model: {latent_dim: ", "not valid YAML"),
        ("- 1", "must be a mapping of sections"),
        ("moodel: {}", "moodel: unknown key"),
        ("model: {latent_dim: many}", "model.latent_dim: must be a whole number"),
        ("model: {encoder: {kind: gru}}", "model.encoder.kind: unknown kind 'gru'"),
        ("model: {decoder: {kind: lstm, heads: 8}}", "model.decoder.heads: unknown key"),
        ("model: {decoder: {kind: 'os:system'}}", "is not a subclass of textvae.models.decoders.decoder.Decoder"),
    ],
)
def test_settings_of_other_code_or_damaged(content, says, own_vae_run):
    (own_vae_run / "config.yaml").write_text(content, "utf-8")
    sentence = refused_by_all(own_vae_run)
    assert sentence.startswith(f"{own_vae_run}/config.yaml")
    assert says in sentence


def test_settings_that_do_not_fit_the_weights(own_vae_run):
    file = own_vae_run / "config.yaml"
    file.write_text(file.read_text("utf-8").replace("hidden_dim: 12", "hidden_dim: 13"), "utf-8")
    assert "best.safetensors: the weights do not fit config.yaml" in refused_by_all(own_vae_run)


def test_settings_with_a_key_fewer_get_the_default(own_vae_run):
    before = worked("sample", own_vae_run).out
    settings = yaml.safe_load((own_vae_run / "config.yaml").read_text("utf-8"))
    del settings["model"]["decoder"]["inputless"]
    del settings["data"]["column"]
    (own_vae_run / "config.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    assert worked("sample", own_vae_run).out == before


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_damaged_weights(damage, own_vae_run):
    file = own_vae_run / "best.safetensors"
    content = file.read_bytes()
    file.write_bytes({"cut": content[:500], "empty": b"", "noise": b"\xff" * len(content)}[damage])
    assert refused_by_all(own_vae_run).startswith(f"{file}: damaged weights; delete its directory")


def test_a_run_is_running_while_a_process_works_on_it_and_interrupted_once_that_is_gone(own_vae_run):
    run = Run(own_vae_run)
    run.status = "running"
    assert run.status == "interrupted"
    with run.lock():
        assert run.status == "running"
        assert Run(own_vae_run).locked
    assert not run.locked
    run.status = "done"
    assert run.status == "done"


def test_who_asks_for_a_moment_does_not_keep_a_run_from_starting(own_vae_run):
    run = Run(own_vae_run)
    asking = (run.path / "lock").open("rb")
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.03, asking.close).start()
    with run.lock():
        assert asking.closed


def test_a_status_and_a_verdict_of_no_meaning_are_none(own_vae_run):
    (own_vae_run / "status").write_bytes(b"\xff\xfe")
    assert Run(own_vae_run).status != "done"
    written = {"valid": {"verdict": 5}}
    (own_vae_run / "evaluation.json").write_text(json.dumps(written), "utf-8")
    worked("sample", own_vae_run)


def test_splits_that_are_kept_at_the_same_time_are_both_kept(own_vae_run):
    run = Run(own_vae_run)
    other = threading.Thread(target=Run(own_vae_run).keep_evaluation, args=("test", {"elbo": 2.0}))
    with run.turn():
        before = run.evaluation
        other.start()
        other.join(0.2)
        assert other.is_alive(), "it does not wait for its turn"
        run.evaluation = {**before, "valid": {"elbo": 1.0}}
    other.join()
    assert run.evaluation == {"valid": {"elbo": 1.0}, "test": {"elbo": 2.0}}


def test_weights_of_another_shape(own_vae_run):
    file = own_vae_run / "best.safetensors"
    weights = load_file(file)
    weights["decoder.lstm.0.bias_hh_l0"] = weights["decoder.lstm.0.bias_hh_l0"][:-1].clone()
    save_file(weights, file)
    assert "do not fit config.yaml" in refused_by_all(own_vae_run)


def test_rows_that_are_no_rows(own_vae_run):
    Run(own_vae_run).metrics.write_text("[1]\n", "utf-8")
    with pytest.raises(RunError, match=r"metrics.jsonl: damaged; move it away"):
        Run(own_vae_run).rows()


def test_weights_that_are_not_there(own_vae_run):
    (own_vae_run / "best.safetensors").unlink()
    assert "has lost its trained weights (best.safetensors); delete its directory" in refused_by_all(own_vae_run)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "other"])
def test_a_damaged_checkpoint_does_not_train_on(damage, own_vae_run):
    file = own_vae_run / "last.pt"
    content = file.read_bytes()
    if damage == "other":
        torch.save({"weights": torch.zeros(3)}, file)
    else:
        file.write_bytes({"cut": content[:-200], "empty": b"", "noise": b"\xff" * 1000}[damage])
    sentence = refused("train", own_vae_run / "config.yaml", "--run", own_vae_run, "--steps", 300, code=1)
    assert sentence.startswith(f"{file}: ")
    assert ("does not fit this run" if damage == "other" else "damaged checkpoint") in sentence
    assert len(worked("sample", own_vae_run, "-n", 2).out.splitlines()) == 2


@pytest.mark.parametrize("content", ['{"valid": {', "[]", '{"valid": 3}', "\xff"])
def test_a_damaged_evaluation_says_how_to_mend_it(content, own_vae_run):
    file = own_vae_run / "evaluation.json"
    file.write_text(content, "latin-1")
    sentence = refused("evaluate", own_vae_run, code=1)
    assert sentence.startswith(f"{file}: damaged")
    assert "delete it and run its command again" in sentence
    file.unlink()
    worked("evaluate", own_vae_run, "--samples", 1)


@pytest.mark.parametrize("line", ['{"step": {}', "", "\0\0\0"])
def test_a_damaged_row_of_the_metrics_is_refused_and_a_truncated_last_one_left_out(line, tmp_path):
    run = Run(tmp_path)
    run.metrics.write_text('{"step": 1}\n{"step": 2', encoding="utf-8")
    assert run.rows() == [{"step": 1}]
    run.metrics.write_text(f'{line}\n{{"step": 2}}\n', encoding="utf-8")
    with pytest.raises(RunError, match=r"metrics\.jsonl: damaged; move it away"):
        run.rows()


def test_an_evaluation_with_few_numbers_is_shown_with_dashes(own_vae_run):
    (own_vae_run / "evaluation.json").write_text('{"test": {"distortion": 3.5}}', encoding="utf-8")
    out = worked("show", own_vae_run).out
    assert "3.50" in out
    assert out.count("—") > 10


@pytest.mark.parametrize("name", ["tokenizer.json", "vocabulary.txt"])
def test_a_damaged_tokenizer(name, own_vae_run):
    (own_vae_run / "tokenizer" / name).write_text("{", encoding="utf-8")
    assert str(own_vae_run / "tokenizer") in refused_by_all(own_vae_run)


# Loading executes nothing


class Malicious:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def test_loading_executes_nothing(own_vae_run, tmp_path):
    target = tmp_path / "executed"
    torch.save({"progress": Malicious(target)}, own_vae_run / "last.pt")
    (own_vae_run / "best.pt").write_bytes(pickle.dumps(Malicious(target)))
    sentence = refused("train", own_vae_run / "config.yaml", "--run", own_vae_run, "--steps", 300, code=1)
    assert "last.pt: damaged checkpoint" in sentence
    (own_vae_run / "best.safetensors").write_bytes(pickle.dumps(Malicious(target)))
    assert "damaged" in refused_by_all(own_vae_run)
    (own_vae_run / "config.yaml").write_text(
        f"seed: !!python/object/apply:os.system ['touch {target}']", encoding="utf-8"
    )
    assert "not valid YAML" in refused_by_all(own_vae_run)
    assert not target.exists()
    pickle.loads(pickle.dumps(Malicious(target)))
    assert target.exists(), "the bait does not work"


def test_a_configuration_cannot_have_a_function_called(own_vae_run, tmp_path):
    file = own_vae_run / "config.yaml"
    settings = yaml.safe_load(file.read_text("utf-8"))
    for kind in ("os:system", "subprocess:Popen", "builtins:eval", "timeit:timeit"):
        settings["model"]["prior"] = {"kind": kind, "setup": f"open({str(tmp_path / 'executed')!r}, 'w')"}
        file.write_text(yaml.safe_dump(settings), "utf-8")
        with pytest.raises(RunError, match="is not a subclass of"):
            package.load(own_vae_run)
    assert not (tmp_path / "executed").exists()


# Whole files only


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fails(target):
        target.write(b"half of")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="file: cannot be written: No space left on device"):
        write_atomically(path, fails)
    assert path.read_text(encoding="utf-8") == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    write_atomically(path, lambda target: target.write(b"new"))
    assert path.read_text(encoding="utf-8") == "new"


def test_a_reader_never_sees_a_part(tmp_path):
    """A process writes two large files in turn over each other; every reading is one of them, whole."""
    path = tmp_path / "file"
    code = (
        "import sys\nfrom pathlib import Path\nfrom textvae.files import write_atomically\n"
        "for i in range(200): write_atomically(Path(sys.argv[1]), 'ab'[i % 2] * 200_000)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as writer:
        seen = set()
        while writer.poll() is None:
            if path.exists():
                content = path.read_bytes()
                assert len(content) == 200_000
                assert len(set(content)) == 1
                seen.add(content[:1])
    assert writer.returncode == 0
    assert seen == {b"a", b"b"}


@given(
    st.recursive(
        st.one_of(st.floats(), st.integers(), st.text(), st.none(), st.booleans()),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    )
)
def test_whatever_is_written_is_strict_json(value):
    text = json.dumps(finite({"value": value}), allow_nan=False)
    assert finite(json.loads(text)["value"]) == finite(value)


def test_undefined_is_null():
    assert finite({"a": [math.nan, math.inf, (1.5, -math.inf)], "b": 0}) == {"a": [None, None, [1.5, None]], "b": 0}


def test_settings_are_read_back(tmp_path):
    run = Run(tmp_path / "run")
    run.create()
    config = Config.model_validate(
        {"seed": 3, "data": {"corpus": "Ödipus: # 'x'"}, "training": {"budget": "2 epochs"}}
    )
    run.config = config
    assert run.config == config


def test_a_run_without_files_has_no_numbers(tmp_path):
    run = Run(tmp_path)
    assert (run.evaluation, run.environment, run.status, run.weights_sha256) == ({}, {}, None, None)
    assert run.read_text("samples.txt") == []


def test_lines_are_kept_as_they_are(tmp_path):
    run = Run(tmp_path)
    lines = ["a b", "", "\u2028\u0085 c", "d\te"]
    run.write_text("samples.txt", lines)
    assert run.read_text("samples.txt") == lines


def test_numbers_belong_to_the_weights_they_were_made_with(own_vae_run):
    run = Run(own_vae_run)
    run.evaluation = {"valid": {"elbo": 1.0, "weights_sha256": run.weights_sha256}, "test": {"weights_sha256": "0"}}
    assert set(run.evaluation) == {"valid"}


def test_the_collapse_note_rests_on_the_present_weights(own_vae_run):
    for digest, notes in ((Run(own_vae_run).weights_sha256, 1), ("of others", 0)):
        values = {"valid": {"verdict": "collapsed: it is", "weights_sha256": digest}}
        (own_vae_run / "evaluation.json").write_text(json.dumps(values), encoding="utf-8")
        done = textvae("interpolate", own_vae_run, "the cat saw the moon", "our teacher fears N shares again")
        assert done.err.count("note: ") == notes
