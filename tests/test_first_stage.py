"""Two-stage remedies: the first stage is settled before work starts, trained once, and handed on."""

import copy
from pathlib import Path

import pytest
import torch
from command_line import write_corpus
from helpers import SIZES, batch_of, deafen, make, members, objective_of, tiny
from recipes import complaint, complete

from textvae import builder
from textvae.api import load
from textvae.config import Draft
from textvae.config.files import read_mapping
from textvae.config.recipes import resolve
from textvae.errors import ConfigError, RunError
from textvae.models.parts import inherit
from textvae.runs import Run
from textvae.tasks.train import train

QUICK = {
    "model.latent_dim": 3,
    "model.encoder.embedding_dim": 8,
    "model.encoder.hidden_dim": 8,
    "model.decoder.embedding_dim": 8,
    "model.decoder.hidden_dim": 8,
    "first.training.budget": 3,
    "training.budget": 2,
    "training.validate_every": 100,
}


def test_the_first_stage_is_the_recipe_on_the_same_corpus_and_sizes():
    config = complete("grammar", "pretrained_free_bits", model__latent_dim=5, seed=3)
    first = config.first
    assert first is not None
    assert first.model.posterior.kind == "dirac"
    assert first.objective.penalty.kind == "none"
    assert config.objective.penalty.kind == "free_bits_per_dimension"
    assert (first.model.latent_dim, first.seed, first.data) == (5, 3, config.data)
    assert first.model.decoder == config.model.decoder
    assert first.first is None


def test_options_of_the_remedy_and_the_budget_stay_with_the_second_stage():
    config = complete(
        "grammar",
        "pretrained_free_bits",
        objective__penalty__nats_per_dimension=0.5,
        training__budget=7,
        first__training__optimiser__lr=0.5,
    )
    assert config.first is not None
    assert config.training.budget == 7
    assert config.first.training.budget == complete("grammar").training.budget
    assert config.objective.penalty.arguments["nats_per_dimension"] == 0.5
    assert config.first.training.optimiser.arguments["lr"] == 0.5
    assert config.training.optimiser.arguments["lr"] != 0.5


STAGED = ["lm_start", "lm_start_both", "lm_frozen", "unigram_start", "pretrained_free_bits"]


@pytest.mark.parametrize("name", STAGED)
def test_options_never_undo_what_the_first_stage_is(name):
    sizes = {"model__latent_dim": 5, "model__encoder__hidden_dim": 9, "model__decoder__hidden_dim": 9}
    config = complete("grammar", name, **sizes)
    assert config.first is not None
    recipe = complete("grammar", config_of_first(name))
    kinds = ("encoder", "posterior", "decoder")
    assert [getattr(config.first.model, slot).kind for slot in kinds] == [
        getattr(recipe.model, slot).kind for slot in kinds
    ]
    assert (config.first.model.latent_dim == 0) == (recipe.model.latent_dim == 0)


@pytest.mark.parametrize(("name", "pooling"), [("lm_frozen", "mean"), ("unigram_start", "max")])
def test_a_frozen_encoder_pools_as_published(name, pooling):
    assert complete("grammar", name).model.encoder.arguments["pooling"] == pooling


@pytest.mark.parametrize("other", ["aggressive", "iwae", "minimum_rate", "control_vae"])
@pytest.mark.parametrize("staged", ["lm_start", "lm_frozen"])
def test_another_remedy_acts_on_the_last_stage_alone(staged, other):
    config, alone = complete("grammar", staged, other), complete("grammar", staged)
    assert config.first == alone.first
    assert config != alone


def test_of_two_first_stages_the_later_is_used_with_its_own_parts():
    draft = Draft()
    draft.merge_file("lm_start")
    with pytest.warns(UserWarning, match=r"first: lm of .* is replaced by autoencoder of "):
        draft.merge_file("pretrained_free_bits")
    assert draft.values["inherit"] == {"posterior": "posterior"}


def test_what_is_wrong_in_the_first_stage_is_said_to_be():
    sentence = complaint("grammar", "lm_start", first__model__latent_dim=-1)
    assert "model.latent_dim: must be at least 0, not -1" in sentence
    assert sentence.endswith("(in the first stage)")


def test_both_stages_have_the_same_encoder_whatever_its_size():
    config = complete("grammar", "unigram_start", model__encoder__hidden_dim=9)
    assert config.first is not None
    assert config.first.model.encoder == config.model.encoder
    assert (config.model.encoder.arguments["hidden_dim"], config.model.encoder.arguments["pooling"]) == (9, "max")


def config_of_first(name: str) -> str:
    first = read_mapping(resolve(name))["first"]
    return str(first["recipe"] if isinstance(first, dict) else first)


def test_the_resolved_settings_read_back_as_themselves():
    config = complete("grammar", "pretrained_free_bits")
    draft = Draft()
    draft.merge(config.plain(), "config.yaml")
    assert builder.complete(draft) == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inherit": {"decoder": "posterior"}}, "inherit: decoder cannot be copied from posterior: encoder"),
        (
            {"inherit": {"posterior": "encoder"}},
            "inherit: 'encoder' is not a part of the model; choose from posterior",
        ),
        ({"first__recipe": "autoencodr"}, "did you mean"),
        (
            {"first__model__latent_dim": 4},
            "inherit: posterior cannot be copied from posterior: mean.weight is of shape",
        ),
        ({"first__nonsense": 4}, "nonsense: unknown key"),
    ],
)
def test_what_cannot_be_handed_on_is_refused_before_work_starts(options, message):
    with pytest.raises(ConfigError) as refused:
        complete("grammar", "pretrained_free_bits", **options)
    assert message.lower() in str(refused.value).lower()


def test_a_stage_cannot_come_before_itself(tmp_path: Path):
    file = tmp_path / "ring.yaml"
    file.write_text(f"first: {file}\n")
    with pytest.raises(ConfigError, match=r"ring.yaml: first.recipe: must not be its own first stage"):
        complete("grammar", str(file))


def test_inheriting_copies_what_there_is_and_leaves_the_rest():
    encoder = ("lstm", SIZES)
    heir, source = tiny(2, encoder=encoder, seed=1), tiny(2, encoder=encoder, posterior="dirac", seed=2)
    before = {name: value.clone() for name, value in heir.state_dict().items()}
    inherit(heir, source, {"posterior": "posterior"})
    for name, value in heir.state_dict().items():
        own = name.startswith("posterior") and "log_variance" not in name
        assert torch.equal(value, (source.state_dict() if own else before)[name]), name


def test_a_language_models_weights_start_an_encoder():
    lm = tiny(0, encoder=("none", {}), seed=5)
    heir = tiny(2, seed=6)
    inherit(heir, lm, {"posterior.encoder.forwards": "decoder.lstm"})
    encoder, decoder = heir.posterior.encoder, lm.decoder
    assert torch.equal(encoder.forwards[0].weight_hh_l0, decoder.lstm[0].weight_hh_l0)


@pytest.mark.parametrize(
    ("kind", "options"), [p for p in members("model.decoder") if p.values[0] != "injective_lstm"]
)
def test_a_language_model_starts_a_decoder_that_reads_z_too(kind, options):
    lm = tiny(0, encoder=("none", {}), decoder=(kind, options), seed=5)
    heir = tiny(2, decoder=(kind, options), seed=6)
    before, batch = copy.deepcopy(heir.decoder), batch_of([4, 5, 6], [6])
    inherit(heir, lm, {"decoder": "decoder"})
    for name, value in heir.decoder.state_dict().items():
        theirs, own = lm.decoder.state_dict()[name], before.state_dict()[name]
        width = theirs.shape[-1]
        assert torch.equal(value[..., :width], theirs), name
        assert torch.equal(value[..., width:], own[..., width:]), name
    z = torch.randn(1, 2, 2, dtype=torch.float64)
    alone = lm.decoder(batch, z[..., :0])
    assert not torch.allclose(heir.decoder(batch, z), alone, rtol=1e-3)
    torch.testing.assert_close(deafen(heir).decoder(batch, z), alone)


def test_only_what_reads_z_may_be_wider():
    wide = ("lstm", {**SIZES, "embedding_dim": 6})
    lm, heir = tiny(0, encoder=("none", {})), tiny(2, decoder=wide)
    with pytest.raises(ValueError, match=r"decoder cannot be copied from decoder: embedding.weight is of shape"):
        inherit(heir, lm, {"decoder": "decoder"})
    with pytest.raises(ValueError, match=r"posterior cannot be copied from posterior: mean.weight is of shape"):
        inherit(tiny(4), tiny(2), {"posterior": "posterior"})
    with pytest.raises(ValueError, match=r"decoder cannot be copied from decoder: lstm.0.weight_ih_l0 is of shape"):
        inherit(lm, tiny(2), {"decoder": "decoder"})


def test_a_first_stage_is_trained_once_and_can_be_shared(tmp_path: Path):
    own = train(["grammar", "pretrained_free_bits"], QUICK, tmp_path / "own")
    first = Run(own.path / "first")
    assert first.status == own.status == "done"
    assert load(first.path).model.posterior.__class__.__name__ == "DiracPosterior"
    shared = train(["grammar", "pretrained_free_bits"], QUICK, tmp_path / "shared", init=first.path)
    assert not (shared.path / "first").exists()
    assert all(
        torch.equal(a, b)
        for a, b in zip(load(own.path).model.parameters(), load(shared.path).model.parameters(), strict=True)
    )
    further = {**QUICK, "training.budget": 4}
    assert train(["grammar", "pretrained_free_bits"], further, own.path).status == "done"


def test_a_first_stage_trained_on_another_device_is_taken_as_it_is(tmp_path: Path):
    rounded = {**QUICK, "training.precision": "float32", "first.training.precision": "tf32"}
    with pytest.raises(ConfigError, match=r"first\.training\.precision: tf32 needs a CUDA device"):
        train(["grammar", "pretrained_free_bits"], rounded, tmp_path / "run")
    own = train(["grammar", "pretrained_free_bits"], QUICK, tmp_path / "own")
    first = Run(own.path / "first")
    text = first.path / "config.yaml"
    text.write_text(text.read_text("utf-8").replace("precision: float32", "precision: tf32"), "utf-8")
    run = train(["grammar", "pretrained_free_bits"], rounded, tmp_path / "run", init=first.path)
    assert run.status == "done"
    assert train(run.path / "config.yaml", {"training.budget": 4}, run.path).status == "done"


def test_another_first_stage_is_refused(tmp_path: Path):
    lm = train(["grammar", "lm"], {"training.budget": 1}, tmp_path / "lm")
    with pytest.raises(RunError, match=r"--init: not the first stage of these settings: .*penalty.* differ"):
        train(["grammar", "pretrained_free_bits"], QUICK, tmp_path / "run", init=lm.path)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="no first stage to replace; leave --init out"):
        train(["grammar", "free_bits"], {"training.budget": 1}, tmp_path / "other", init=lm.path)


def test_a_first_stage_of_another_length_is_refused_and_its_weights_are_named(tmp_path: Path):
    own = train(["grammar", "pretrained_free_bits"], QUICK, tmp_path / "own")
    first = Run(own.path / "first")
    assert own.environment["first_weights_sha256"] == first.weights_sha256
    longer = {**QUICK, "first.training.budget": 7}
    with pytest.raises(RunError, match=r"--init: not the first stage of these settings: training.budget differ"):
        train(["grammar", "pretrained_free_bits"], longer, tmp_path / "run", init=first.path)


def test_a_first_stage_that_is_not_finished_is_refused(tmp_path: Path):
    settings = {**QUICK, "data.corpus": str(write_corpus(tmp_path / "corpus"))}
    first = Run(train(["pretrained_free_bits"], settings, tmp_path / "own").path / "first")
    for status in ("interrupted", "running", "failed"):
        first.status = status
        with pytest.raises(
            RunError, match="first: --init: not finished yet; resume it with the command that started"
        ):
            train(["pretrained_free_bits"], settings, tmp_path / "run", init=first.path)
    assert not (tmp_path / "run").exists()


def test_a_first_stage_with_another_vocabulary_is_refused(tmp_path: Path):
    """Its settings are the same: the sentences of the corpus have changed since."""
    settings = {**QUICK, "data.corpus": str(write_corpus(tmp_path / "corpus"))}
    own = train(["pretrained_free_bits"], settings, tmp_path / "own")
    train_file = tmp_path / "corpus" / "train.txt"
    train_file.write_text(f"{train_file.read_text('utf-8')}an unheard-of word\n", "utf-8")
    with pytest.raises(RunError, match="run: the first stage was trained with another vocabulary"):
        train(["pretrained_free_bits"], settings, tmp_path / "run", init=own.path / "first")
    as_many = settings | {"data.vocabulary_size": 5, "data.corpus": str(write_corpus(tmp_path / "many"))}
    own = train(["pretrained_free_bits"], as_many, tmp_path / "other")
    for file in (tmp_path / "many").iterdir():
        file.write_text("unheard of\nwords unheard\nof words\n", "utf-8")
    with pytest.raises(RunError, match="again: the first stage was trained with another vocabulary"):
        train(["pretrained_free_bits"], as_many, tmp_path / "again", init=own.path / "first")


def test_a_frozen_part_stays_and_thaws():
    model = tiny(2)
    objective = objective_of(model)
    rule = make(
        "training.update",
        "joint",
        objective,
        lambda: torch.optim.SGD(objective.parameters(), lr=0.1),
        frozen=["posterior.encoder"],
        frozen_until=2,
    )
    before = [p.clone() for p in model.posterior.encoder.parameters()]
    stream = iter([batch_of([4, 5], [6])] * 3)

    def same() -> bool:
        return all(torch.equal(a, b) for a, b in zip(before, model.posterior.encoder.parameters(), strict=True))

    seen = []
    for step in range(3):
        rule(stream, step, torch.Generator().manual_seed(step))
        seen.append(same())
    assert seen == [True, True, False]
