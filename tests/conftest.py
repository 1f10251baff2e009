"""Trained tiny runs that tests read; a test that changes one takes a copy."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from command_line import TINY, TINY_LM, worked, write_corpus

torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same global random numbers, whichever tests ran before it in its process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A directory with train, valid and test: 200, 24 and 20 short sentences."""
    return write_corpus(tmp_path_factory.mktemp("corpora") / "tiny")


@pytest.fixture(scope="session")
def vae_run(tmp_path_factory, corpus) -> Path:
    """A VAE whose decoder listens to z."""
    run = tmp_path_factory.mktemp("runs") / "vae"
    few = ("--steps", 250, "--training.validate_every", 50)
    worked("train", *TINY, *few, "--corpus", corpus, "--run", run, "--objective.weight.value", 0.01)
    return run


@pytest.fixture(scope="session")
def lm_run(tmp_path_factory, corpus) -> Path:
    """A language model."""
    run = tmp_path_factory.mktemp("runs") / "lm"
    worked("train", *TINY_LM, "--corpus", corpus, "--run", run, "--steps", 60)
    return run


@pytest.fixture(scope="session")
def ae_run(tmp_path_factory, corpus) -> Path:
    """A deterministic autoencoder."""
    run = tmp_path_factory.mktemp("runs") / "ae"
    worked("train", "autoencoder", *TINY, "--corpus", corpus, "--run", run, "--steps", 60)
    return run


@pytest.fixture
def own_vae_run(vae_run, tmp_path) -> Path:
    """A copy of the VAE's run, to be changed or damaged."""
    return Path(shutil.copytree(vae_run, tmp_path / "vae"))
