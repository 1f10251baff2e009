"""The report says what the runs wrote, each number with its estimator's setting, and fetches nothing."""

import base64
import csv
import json
import math
import re
import statistics
import subprocess
import sys
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented import METRICS, TRUTH, probes, write_run, write_study

from textvae import builder
from textvae.config import Config, Draft
from textvae.errors import ConfigError, RunError
from textvae.evaluation.density import saturated
from textvae.plots.diagnosis import ACTIVE
from textvae.runs import Run, Status
from textvae.studies.manifest import Manifest, Record
from textvae.studies.report.columns import number, with_error
from textvae.studies.report.entries import Entry, Row, Summary, read_entries, rows_of
from textvae.studies.report.factors import factors
from textvae.studies.report.marks import MARKERS, OKABE_ITO, Point
from textvae.studies.report.matched import MATCHED, at_rate
from textvae.studies.report.names import name_points
from textvae.studies.report.page import write_report
from textvae.studies.report.panels import SMALLEST, courses, spectra
from textvae.studies.report.pictures import pictures_of
from textvae.studies.report.plane import beyond, crowd, likelihood_by_rate, plane
from textvae.studies.report.provenance import code_of
from textvae.studies.report.published import beside, published, same_setup
from textvae.studies.report.tables import matched_rates, measured, runs
from textvae.studies.study import Study

pytest.importorskip("matplotlib")

REMEDIES = {
    "lm": {"": 0.0},
    "vanilla": {"": 0.0},
    "beta": {"0.4": 1.0, "0.2": 3.0, "0.1": 5.0},
    "free_bits": {"0.25": 2.0},
}


class Cells(HTMLParser):
    """Every table of a page as rows of texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.open = False
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.open = True
        elif tag == "small" and self.open:
            self.tables[-1][-1][-1] += " | "

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("studies") / "mine"
    manifest = write_study(directory, REMEDIES)
    lost = Record("grammar/lost/seed-0", "grammar", "lost", "", 0, state="failed", reason="the <loss> is nan")
    manifest.records[lost.path] = lost
    manifest.remedies["lost"] = "Bowman et al. 2016 — was lost"
    manifest.write(directory)
    write_report(directory)
    return directory


@pytest.fixture(scope="module")
def page(study: Path) -> str:
    return (study / "report" / "report.html").read_text("utf-8")


def rows(directory: Path) -> dict[str, Row]:
    (found,) = rows_of(read_entries(directory, Manifest.read(directory))).values()
    return {row.label: row for row in found}


def tabulated(directory: Path) -> str:
    return measured(list(rows(directory).values()), "valid", METRICS, None)


def column(page: str, heading: str) -> dict[str, str]:
    """{row: cell} of the first table that has the heading."""
    for table in Cells(page).tables:
        places = [place for place, text in enumerate(table[0]) if text.startswith(heading)]
        if places:
            return {line[0]: line[places[0]] for line in table[1:] if len(line) == len(table[0])}
    raise AssertionError(f"no column {heading}")


def test_mean_error_and_deviation_are_those_of_the_seeds() -> None:
    values = (1.0, 2.5, 2.0, 7.0)
    found = Summary(values)
    assert (found.n, found.mean) == (4, pytest.approx(np.mean(values)))
    assert found.deviation == pytest.approx(statistics.stdev(values))
    assert found.error == pytest.approx(np.std(values, ddof=1) / 2)
    assert with_error(found, 2) == "3.12 ± 1.33"


def test_one_seed_has_no_error_and_none_has_no_number() -> None:
    assert with_error(Summary((2.0,)), 2) == "2.00"
    assert with_error(Summary(()), 2) == "—"
    assert math.isnan(Summary((2.0,)).error)


@pytest.mark.parametrize(
    ("value", "text"), [(-1.234, "−1.23"), (-0.001, "0.00"), (1234.5, "1,234.50"), (None, "—"), (math.nan, "—")]
)
def test_a_number_is_printed(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_table_holds_what_the_runs_wrote(study: Path, page: str) -> None:
    for label, row in rows(study).items():
        if label == "lost":
            continue
        nll = [entry.run.evaluation["valid"]["iwae_nll"] for entry in row.entries]
        shown = column(page, "IW NLL")[label]
        error = statistics.stdev(nll) / math.sqrt(3)
        assert shown.startswith(f"{statistics.mean(nll):.2f} ± {error:.2f} | s.d. {statistics.stdev(nll):.2f}")
        elbo = [-entry.run.evaluation["valid"]["elbo"] for entry in row.entries]
        assert column(page, "−ELBO")[label].startswith(f"{statistics.mean(elbo):.2f} ± ")


def test_the_estimators_setting_stands_in_the_heading(page: str) -> None:
    table = next(table for table in Cells(page).tables if "listening G" in table[0])
    assert {"IW NLL | K = 100", "I(x; z) | N = 2,000", "IW NLL above the truth | K = 100"} <= set(table[0])


def test_a_language_models_likelihood_is_exact_and_it_has_no_use_of_z(page: str) -> None:
    assert column(page, "IW NLL")["lm"].endswith("exact")
    assert "exact" not in column(page, "IW NLL")["beta 0.1"]
    for heading in ("active units", "I(x; z)", "listening G"):
        assert column(page, heading)["lm"] == "—"


def test_a_language_model_is_exact_while_its_other_seeds_wait(tmp_path: Path) -> None:
    manifest = write_study(tmp_path, {"lm": {"": 0.0}, "vanilla": {"": 0.0}}, seeds=1)
    later = Record("grammar/lm/seed-1", "grammar", "lm", "", 1)
    manifest.records[later.path] = later
    manifest.write(tmp_path)
    assert column(tabulated(tmp_path), "IW NLL")["lm"].endswith("exact")
    assert "IW NLL | K = 100" in Cells(tabulated(tmp_path)).tables[0][0]


def test_an_estimate_with_z_whose_setting_is_unknown_is_not_said_to_be_exact(tmp_path: Path) -> None:
    write_study(tmp_path, {"lm": {"": 0.0}, "beta": {"1": 1.0}}, seeds=1)
    run = Run(tmp_path / "grammar/beta-1/seed-0")
    run.evaluation = {"valid": {k: v for k, v in run.evaluation["valid"].items() if k != "iwae_samples"}}
    cells = column(tabulated(tmp_path), "IW NLL")
    assert "exact" not in cells["beta 1"]
    assert "exact" in cells["lm"]


def test_a_run_whose_settings_are_damaged_is_one_sentence(tmp_path: Path) -> None:
    write_study(tmp_path, {"beta": {"1": 1.0}}, seeds=1)
    (tmp_path / "grammar/beta-1/seed-0/config.yaml").write_text("model: [", "utf-8")
    with pytest.raises(ConfigError, match=r"seed-0/config.yaml: not valid YAML"):
        write_report(tmp_path)


def test_settings_that_differ_stand_in_the_cells(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"beta": {"1": 1.0}, "vanilla": {"": 0.0}})
    run = Run(tmp_path / "s/grammar/vanilla/seed-0")
    run.evaluation = {"valid": {**run.evaluation["valid"], "iwae_samples": 7}}
    shown = tabulated(tmp_path / "s")
    cells = column(shown, "IW NLL")
    assert cells["beta 1"].endswith("K = 100")
    assert cells["vanilla"].endswith("K = 7, 100")
    assert "IW NLL" in Cells(shown).tables[0][0]


def test_a_number_that_a_run_lacks_is_a_dash_and_counted_out(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"beta": {"1": 1.0}, "vanilla": {"": 0.0}})
    for seed in range(3):
        run = Run(tmp_path / f"s/grammar/vanilla/seed-{seed}")
        run.evaluation = {"valid": {**run.evaluation["valid"], "listening": None}}
    run = Run(tmp_path / "s/grammar/beta-1/seed-2")
    run.evaluation = {"valid": {**run.evaluation["valid"], "listening": None}}
    cells = column(tabulated(tmp_path / "s"), "listening G")
    assert cells["vanilla"] == "—"
    assert cells["beta 1"].endswith("n = 2")


def test_numbers_of_replaced_weights_are_not_shown(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"beta": {"1": 1.0, "2": 2.0}}, seeds=1)
    run = Run(tmp_path / "s/grammar/beta-1/seed-0")
    run.evaluation = {"valid": {**run.evaluation["valid"], "weights_sha256": "of others"}}
    run.best.write_bytes(b"new weights")
    assert list(column(tabulated(tmp_path / "s"), "IW NLL")) == ["beta 2"]


def test_the_difference_from_the_baseline_is_paired_by_seed(study: Path, page: str) -> None:
    found = rows(study)
    theirs = [entry.value("valid", "iwae_nll") for entry in found["lm"].entries]
    ours = [entry.value("valid", "iwae_nll") for entry in found["beta 0.1"].entries]
    differences = [a - b for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    expected = f"{statistics.mean(differences):.2f} ± {statistics.stdev(differences) / math.sqrt(3):.2f}"
    assert column(page, "IW NLL − lm")["beta 0.1"].startswith(expected)
    assert column(page, "IW NLL − lm")["lm"] == "0"


def test_a_seed_that_the_baseline_lacks_is_paired_with_none(tmp_path: Path) -> None:
    manifest = write_study(tmp_path, {"lm": {"": 0.0}, "beta": {"1": 1.0}})
    for path, record in manifest.records.items():
        nll = 10.0 * record.seed + (1.0 if record.remedy == "beta" else 0.0)
        Run(tmp_path / path).evaluation = {"valid": {**Run(tmp_path / path).evaluation["valid"], "iwae_nll": nll}}
    del manifest.records["grammar/lm/seed-0"]
    manifest.write(tmp_path)
    shown = measured(list(rows(tmp_path).values()), "valid", METRICS, "lm")
    assert column(shown, "IW NLL − lm")["beta 1"].startswith("1.00 ± 0.00 | s.d. 0.00, n = 2")


def test_the_difference_names_the_strength_of_the_baseline_and_k(tmp_path: Path) -> None:
    write_study(tmp_path, {"beta": {"0.4": 1.0, "0.2": 3.0}}, seeds=2)
    shown = measured(list(rows(tmp_path).values()), "valid", METRICS, "beta")
    assert "IW NLL − beta 0.4 | paired by seed | K = 100" in Cells(shown).tables[0][0]
    assert column(shown, "IW NLL − beta 0.4")["beta 0.4"] == "0"


def test_a_saturated_information_is_a_lower_bound(tmp_path: Path) -> None:
    write_study(tmp_path, {"beta": {"1": 1.0, "2": 4.0}}, seeds=2)
    run = Run(tmp_path / "grammar/beta-2/seed-1")
    run.evaluation = {"valid": {**run.evaluation["valid"], "mutual_information_saturated": True}}
    assert column(tabulated(tmp_path), "I(x; z)")["beta 2"].startswith("≥ 3.60 ± ")
    assert column(tabulated(tmp_path), "I(x; z)")["beta 1"].startswith("0.90 ± ")
    write_report(tmp_path)
    with (tmp_path / "report/rows.csv").open(encoding="utf-8") as file:
        flags = {(line["strength"], line["metric"]): line["saturated"] for line in csv.DictReader(file)}
    assert (flags["1", "mutual_information"], flags["2", "mutual_information"]) == ("0", "1")
    assert flags["2", "rate"] == ""


def test_the_unknown_rate_stands_beside_every_perplexity(tmp_path: Path) -> None:
    published_study(tmp_path, {"lm": of_recipes("ptb", "lm")})
    cells = column(write_report(tmp_path).read_text("utf-8"), "unknown rate")
    assert [value for name, value in cells.items() if name.startswith("Li et al.")] == ["0.0582"]
    assert "unknown_rate" in Study.model_fields["metrics"].get_default()


def test_the_verdict_of_every_run_is_there(study: Path, page: str) -> None:
    verdicts = column(page, "verdict")
    assert verdicts["vanilla"] == "○ collapsed × 3"
    assert verdicts["beta 0.1"] == "● alive × 3"
    sentences = column(page, "verdict, valid")
    assert len(sentences) == 19
    assert sentences["grammar/beta-0.1/seed-0"].startswith("alive: another sentence's z costs")


def test_failures_are_listed_with_their_log_and_last_words(page: str) -> None:
    assert column(page, "its last line")["✕ failedgrammar/lost/seed-0"] == "the <loss> is nan"
    assert column(page, "log")["✕ failedgrammar/lost/seed-0"] == "grammar/lost/seed-0.log"


def test_the_page_needs_nothing_else(page: str) -> None:
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in Cells(page).sources)
    assert len(Cells(page).sources) == 4
    assert not re.search(r"https?:|@import|<script|<link|url\(", page)


def test_what_a_run_says_is_escaped(page: str) -> None:
    assert "the &lt;unk&gt; &amp; co said profits rose" in page
    assert "<unk>" not in page


def test_matched_rates_are_each_seeds_own_line_between_its_strengths(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"vanilla": {"": 0.0}, "beta": {"0.2": 3.0, "0.1": 5.0}}, probed=True)
    # The strengths of one seed lie elsewhere: its line is its own.
    run = Run(tmp_path / "s/grammar/beta-0.1/seed-2")
    run.evaluation = {"valid": {**run.evaluation["valid"], "rate": 9.0, "listening": 90.0}}
    found = rows(tmp_path / "s")
    matched = at_rate(list(found.values()), "valid")
    assert list(matched) == [4.0, 8.0]
    assert set(matched[4.0]) == {"beta"}  # the only one with two strengths
    values = dict(zip((measure.heading for measure in MATCHED), matched[4.0]["beta"], strict=True))
    low, high = found["beta 0.2"].entries, found["beta 0.1"].entries
    for heading, metric, sign in (
        ("−ELBO", "elbo", -1),
        ("IW NLL", "iwae_nll", 1),
        ("listening G", "listening", 1),
    ):
        between = [
            sign
            * np.interp(
                4.0, *zip(*((e.value("valid", "rate"), e.value("valid", metric)) for e in seed), strict=True)
            )
            for seed in zip(low, high, strict=True)
        ]
        assert values[heading].values == pytest.approx(between)
        assert values[heading].error == pytest.approx(statistics.stdev(between) / math.sqrt(3))
    assert [value.n for value in matched[8.0]["beta"]] == [1] * len(MATCHED)


def test_two_strengths_of_one_rate_have_no_line_between_them(tmp_path: Path) -> None:
    write_study(tmp_path, {"beta": {"0.2": 4.0, "0.1": 4.0}}, seeds=1)
    assert at_rate(list(rows(tmp_path).values()), "valid") == {}


def test_what_z_knows_and_what_training_cost_stand_at_matched_rate(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"beta": {"0.2": 3.0, "0.1": 5.0}}, probed=True)
    shown = matched_rates(list(rows(tmp_path / "s").values()), "valid")
    (table,) = Cells(shown).tables
    assert table[0][:2] == ["remedy", "seeds"]
    assert "IW NLL | K = 100" in table[0]
    assert table[1] == ["R = 4 nats"]
    told = [sum(row["information"] for row in probes(rate)["factors"]) for rate in (3.0, 5.0)]
    assert column(shown, "Σ I(z; f) ≥")["beta"] == f"{statistics.mean(told):.2f} ± 0.00"
    assert column(shown, "encoder updates")["beta"] == "2,000 ± 0"
    assert column(shown, "decoder updates")["beta"] == "1,000 ± 0"
    assert "± 0.0" in column(shown, "−ELBO")["beta"]


def test_updates_are_counted_over_all_steps_and_the_first_stage(tmp_path: Path) -> None:
    manifest = write_study(tmp_path, {"vanilla": {"": 2.0}, "two_stages": {"": 2.0}}, seeds=2)
    for seed in (0, 1):
        stage = Config.model_validate({"seed": seed, "threads": 2})
        run = Run(tmp_path / f"grammar/two_stages/seed-{seed}")
        run.config = run.config.model_copy(update={"first": stage.model_copy(update={"threads": None})})
        record = Record(f"grammar/first/seed-{seed}", "grammar", "first", "", seed, stage=True, state="done")
        manifest.records[f"grammar/two_stages/seed-{seed}"].first = record.path
        write_run(tmp_path / record.path, stage, {}, 0.0)
        manifest.records[record.path] = record
    steps = ((10, 4.0), (50, 2.5), (60, 1.0))  # means over the steps since the row before
    lines = (
        {"step": step, "split": "train", "encoder_updates": mean, "decoder_updates": 1.0} for step, mean in steps
    )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    Run(tmp_path / "grammar/first/seed-0").metrics.write_text(text, "utf-8")
    manifest.write(tmp_path)
    found = rows(tmp_path)
    assert found["vanilla"].entries[0].updates("encoder") == 500 * 3 + 500
    first, second = found["two_stages"].entries
    assert first.updates("encoder") == 2000 + 10 * 4 + 40 * 2.5 + 10
    assert first.updates("decoder") == 1000 + 60
    assert second.updates("encoder") == 2000 + 2000
    assert set(found) == {"vanilla", "two_stages"}  # a stage is no row


def test_a_language_model_has_no_encoder_to_update(study: Path) -> None:
    lm = rows(study)["lm"].entries[0]
    assert (lm.updates("encoder"), lm.updates("decoder")) == (None, 1000)


def of_recipes(*names: str, **settings: Any) -> Config:
    """A whole configuration, as a study writes it; a double underscore stands for the dot."""
    draft = Draft()
    for name in names:
        draft.merge_file(name)
    for key, value in settings.items():
        draft.set(key.replace("__", "."), value)
    return builder.complete(draft)


def beside_which(config: Config) -> set[str]:
    return {f"{line.work}: {line.what}" for line in published() if same_setup(line, config.plain())}


ADAM = {"training__optimiser": {"kind": "adam", "lr": 0.001}}
FU = {**ADAM, "model__init_range": 0.1, "training__decay": None}
TEXAR = {**ADAM, "training__decay": {"factor": 0.5, "patience": 2, "after": 0, "times": 5}}
LR = {"training__optimiser__lr": 0.5}


@pytest.mark.parametrize(
    ("recipe", "settings", "expected"),
    [
        ("lm", {}, {"Li et al. 2019: LSTM language model"}),
        ("linear", {}, {"Li et al. 2019: linear warm-up"}),
        ("cyclical", {}, {"Li et al. 2019: cyclical warm-up"}),
        ("aggressive", {}, {"Li et al. 2019: aggressive encoder of He et al. 2019"}),
        ("pretrained_free_bits", LR, {"Li et al. 2019: autoencoder first, decoder reset, free bits"}),
        ("linear", FU, {"Fu et al. 2019: linear warm-up, Adam", "Fang et al. 2019: linear warm-up, Adam"}),
        (
            "linear",
            TEXAR,
            {
                "Hu et al. 2019: Texar on TensorFlow, linear warm-up, Adam",
                "Hu et al. 2019: Texar on PyTorch, linear warm-up, Adam",
            },
        ),
        (
            "linear",
            {**FU, "objective__weight__end": 0.5, "objective__weight__steps": "4 epochs"},
            {"Fang et al. 2019: β from 0.1 to 0.5, Adam"},
        ),
        ("semi_amortised", FU, {"Fang et al. 2019: semi-amortised, Adam"}),
        (
            "cyclical",
            {**FU, "objective__weight__start": 0.1, "objective__weight__ratio": 0.9},
            {"Fang et al. 2019: cyclical warm-up, Adam"},
        ),
        (
            "cyclical",
            {**FU, "objective__weight__start": 0.1},
            {"Fang et al. 2019: cyclical warm-up, Adam", "Fu et al. 2019: cyclical warm-up, Adam"},
        ),
        ("vanilla", {}, set()),
        ("beta", {**FU, "objective__weight__value": 0.5}, set()),
        ("beta", {"objective__weight__value": 0.5}, set()),
        ("lm", {"training__optimiser__lr": 1e-6}, set()),
        ("lm", {"training__update__clip_norm": 0.1}, set()),
        ("lm", {"model__init_range": 0.1}, set()),
        ("linear", ADAM, set()),  # Adam with the initialisation and the decay of the other set-up
        ("linear", {**FU, "objective__weight__end": 0.3}, set()),
        ("linear", {**FU, "model__encoder__dropout": 0.9}, set()),
        ("linear", {**FU, "training__optimiser__lr": 0.01}, set()),
        ("linear", {"training__update__frozen": ["posterior"]}, set()),
        ("linear", {"training__decay": None}, set()),
        ("linear", {"training__stop_after": 1}, set()),
        ("cyclical", FU, set()),  # starts at 0
        (
            "cyclical",
            {"objective__weight__cycles": 1, "objective__weight__length": 5, "objective__weight__end": 0.1},
            set(),
        ),
        ("semi_amortised", {**FU, "objective__inference__steps": 1}, set()),
        ("pretrained_free_bits", {}, set()),
        ("linear", {"training__optimiser": {"kind": "sgd", "lr": 1.0, "momentum": 0.9}}, set()),
        ("linear", {"objective__weight__steps": "3 epochs"}, set()),
        ("linear", {"model__latent_dim": 16}, set()),
        ("linear", {"model__decoder__z_to": "state"}, set()),
        ("linear", {"model__decoder__dropout_out": 0.0}, set()),
        ("linear", {"model__decoder__layers": 2}, set()),
        ("linear", {"model__encoder__hidden_dim": 128}, set()),
        ("linear", {"objective__word_dropout__value": 0.25}, set()),
        ("linear", {"data__corpus": "grammar"}, set()),
        ("linear", {"data__max_length": 20}, set()),
        ("aggressive", {"training__update__batches": 5}, set()),
        ("pretrained_free_bits", {**LR, "objective__penalty__nats_per_dimension": 0.5}, set()),
    ],
)
def test_a_run_stands_beside_the_published_rows_of_its_very_settings(
    recipe: str, settings: dict[str, Any], expected: set[str]
) -> None:
    assert beside_which(of_recipes("ptb", recipe, **settings)) == expected


def published_study(directory: Path, remedies: dict[str, Config], seeds: int = 1) -> Manifest:
    manifest = write_study(directory, {name: {"": 0.0} for name in remedies}, seeds, corpus="ptb", splits=["test"])
    for record in manifest.records.values():
        Run(directory / record.path).config = remedies[record.remedy]
    return manifest


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    published_study(tmp_path, {"lm": of_recipes("ptb", "lm"), "vanilla": of_recipes("ptb", "vanilla")})
    page = write_report(tmp_path).read_text("utf-8")
    (table,) = [table for table in Cells(page).tables if "grade" in table[0]]
    theirs, ours = table[1:]
    place = {heading: table[0].index(heading) for heading in ("perplexity, IW", "IW NLL")}
    assert theirs[0].startswith("Li et al. 2019: LSTM language model | the released script decays")
    assert theirs[place["perplexity, IW"]] == "100.47 | exact"
    assert theirs[place["IW NLL"]] == "101.04 | exact"
    # The stream is at epoch 4: it runs ahead of the steps where an update takes several batches.
    assert ours[0] == "ours: lm | 1,000 optimiser steps, 1 seed, sgd, learning rate 1"
    assert ours[place["perplexity, IW"]] == "11.50 | exact"
    assert "@inproceedings{li2019," in page
    assert "@inproceedings{fu2019," not in page
    assert "grade M is not verified" in page


def test_ours_of_another_set_up_stand_beside_nothing_and_say_their_own_k(tmp_path: Path) -> None:
    narrow = of_recipes("ptb", "linear", model__latent_dim=16)
    published_study(tmp_path, {"linear": of_recipes("ptb", "linear"), "narrow": narrow})
    (group,) = beside(list(rows(tmp_path).values()))
    assert ([line.what for line in group[0]], [row.label for row in group[1]]) == (["linear warm-up"], ["linear"])
    (table,) = [t for t in Cells(write_report(tmp_path).read_text("utf-8")).tables if "grade" in t[0]]
    place = table[0].index("perplexity, IW")
    assert [line[place] for line in table] == ["perplexity, IW", "101.4 | K = 500", "11.50 | K = 100"]


def test_a_published_row_is_without_its_runs_no_row(tmp_path: Path) -> None:
    published_study(tmp_path, {"narrow": of_recipes("ptb", "linear", model__latent_dim=16)})
    assert "Published figures" not in write_report(tmp_path).read_text("utf-8")


@pytest.mark.parametrize(
    ("budget", "status", "said"),
    [
        ("100 epochs", "done", ""),  # valid had stopped improving
        ("100 epochs", "running", "10 of at most 100 epochs"),
        ("10 epochs", "done", "10 of at most 100 epochs"),
        (1000, "done", "10 of at most 100 epochs"),
        (2000, "done", ""),
    ],
)
def test_a_run_that_is_cut_short_says_so(budget: object, status: Status, said: str, tmp_path: Path) -> None:
    published_study(tmp_path, {"lm": of_recipes("ptb", "lm", training__budget=budget)})
    Run(tmp_path / "ptb/lm/seed-0").status = status
    ours = next(name for name in column(write_report(tmp_path).read_text("utf-8"), "grade") if "ours" in name)
    notes = ("1,000 optimiser steps, 1 seed, sgd, learning rate 1", said)
    assert ours == " | ".join(filter(None, ("ours: lm", *notes)))


def test_seeds_that_are_cut_short_give_the_range(tmp_path: Path) -> None:
    published_study(tmp_path, {"linear": of_recipes("ptb", "linear", training__budget="10 epochs", **FU)}, seeds=2)
    (tmp_path / "ptb/linear/seed-1/metrics.jsonl").write_text(
        '{"step": 600, "split": "train", "epoch": 6.0}\n', "utf-8"
    )
    assert "| 6–10 of at most 40 epochs" in " ".join(column(write_report(tmp_path).read_text("utf-8"), "grade"))


def test_a_published_information_is_saturated_by_the_rule_for_ours() -> None:
    told = [line for line in published() if line.mutual_information is not None]
    assert {line.mutual_information_saturated for line in told} == {True, False}
    for line in told:
        assert line.mutual_information is not None
        assert line.mutual_information_reference is not None
        expected = saturated(line.mutual_information, line.mutual_information_reference)
        assert line.mutual_information_saturated == expected


def test_every_setting_of_a_published_row_is_a_key_of_some_run() -> None:
    recipes = ("lm", "linear", "cyclical", "beta", "semi_amortised", "aggressive", "pretrained_free_bits")
    made = [of_recipes("ptb", recipe, **options) for recipe in recipes for options in ({}, FU)]
    keys = {key for config in made for key in config.flat()}
    assert {key for line in published() for key in line.settings} <= keys | {"first"}


def test_published_sums_agree() -> None:
    for line in published():
        if None not in (line.elbo, line.distortion, line.rate):
            assert line.distortion + line.rate == pytest.approx(-line.elbo, abs=0.011)  # type: ignore[operator]
        if line.elbo is not None and line.perplexity_elbo is not None:
            assert 21.917 * math.log(line.perplexity_elbo) == pytest.approx(-line.elbo, rel=2e-3)
        if line.iwae_nll is not None and line.perplexity_iwae is not None:
            assert 21.917 * math.log(line.perplexity_iwae) == pytest.approx(line.iwae_nll, rel=1e-3)


def test_csv_holds_the_same_numbers(study: Path) -> None:
    with (study / "report/rows.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert {line["metric"] for line in lines} == set(METRICS)
    (line,) = [x for x in lines if (x["remedy"], x["strength"], x["metric"]) == ("beta", "0.2", "iwae_nll")]
    found = rows(study)["beta 0.2"].summary("valid", "iwae_nll")
    assert float(line["mean"]) == found.mean
    assert float(line["se_over_seeds"]) == found.error
    assert (line["seeds"], line["setting"]) == ("3", "K = 100")
    (exact,) = [x for x in lines if (x["remedy"], x["metric"]) == ("lm", "iwae_nll")]
    assert exact["setting"] == "exact"
    with (study / "report/runs.csv").open(encoding="utf-8") as file:
        every = list(csv.DictReader(file))
    assert len(every) == 19
    lm = next(run for run in every if run["remedy"] == "lm")
    assert (lm["active_units"], lm["iwae_samples"], float(lm["exact_nll"])) == ("", "", TRUTH)
    assert next(run for run in every if run["remedy"] == "vanilla")["iwae_samples"] == "100"
    assert next(run for run in every if run["remedy"] == "lost")["reason"] == "the <loss> is nan"
    assert not {"rate_per_dimension", "mean_variances"} & set(every[0])  # lists are not numbers


def test_pictures_lie_beside_the_page(study: Path) -> None:
    names = {path.stem for path in (study / "report").glob("*.png")}
    assert names == {"grammar-valid-plane", "grammar-valid-likelihood", "grammar-valid-spectrum", "grammar-rate"}


def test_the_page_shows_every_picture_under_its_own_caption(study: Path, page: str) -> None:
    figures = re.findall(r"base64,([^']+)'><figcaption>([\w– -]+)", page)
    shown = {caption.split()[0]: base64.b64decode(source) for source, caption in figures}
    names = {"Rate–distortion": "plane", "Importance-weighted": "likelihood", "Active-unit": "spectrum"}
    files = {first: f"grammar-valid-{kind}.png" for first, kind in names.items()} | {"Valid": "grammar-rate.png"}
    assert shown == {first: (study / "report" / name).read_bytes() for first, name in files.items()}


def test_a_study_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    manifest = Manifest("early", METRICS, ["valid"], None, {"lm": "the language model"})
    manifest.records["a/lm/seed-0"] = Record("a/lm/seed-0", "a", "lm", "", 0)
    (tmp_path / "study.yaml").write_text("corpora: [a]\n", "utf-8")
    manifest.write(tmp_path)
    assert "1 waiting" in write_report(tmp_path).read_text("utf-8")


def test_a_run_cut_off_while_it_wrote_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"beta": {"1": 1.0}}, seeds=1)
    run = Run(tmp_path / "s/grammar/beta-1/seed-0")
    with run.metrics.open("a", encoding="utf-8") as file:
        file.write('{"step": 1100, "split": "valid", "ra')
    entry = Entry(Record("", "", "", "", 0), run)
    assert entry.course("valid", "rate")[0] == list(range(100, 1001, 100))


def test_no_study_and_a_damaged_one_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no study and no runs here"):
        write_report(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"records": [{"odd": 1}]}), "utf-8")
    with pytest.raises(RunError, match="damaged, or made by an incompatible version; delete it and run its study"):
        write_report(tmp_path)


def test_an_empty_split_has_no_table(study: Path) -> None:
    assert measured(list(rows(study).values()), "test", METRICS, None) == ""


def test_remedies_stay_told_apart_without_colour() -> None:
    assert math.lcm(len(OKABE_ITO), len(MARKERS)) >= 40


def test_the_report_builds_no_model() -> None:
    code = (
        "import sys, textvae.tasks.report, textvae.studies.report.page\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] == 'torch' or\n"
        "    name.startswith(('textvae.models', 'textvae.training', 'textvae.builder'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_z_knows_is_a_table_where_it_was_probed(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"beta": {"1": 1.0}, "vanilla": {"": 0.0}}, seeds=2)
    for seed, information in enumerate((0.1, 0.3)):
        values = probes(1.0)
        values["factors"] = [{**row, "information": information} for row in values["factors"]]
        settings = {"weights_sha256": None, "seed": 0}
        Run(tmp_path / f"s/grammar/beta-1/seed-{seed}").write_part("valid", "knowledge", settings, values)
    shown = list(rows(tmp_path / "s").values())
    cells = column(factors(shown, "valid"), "tense")
    controls = "untrained 0.03, shuffled −0.01 | accuracy 0.75, majority 0.33"
    assert cells == {"beta 1": f"0.20 ± 0.10 | s.d. 0.14 | {controls}"}
    assert column(factors(shown, "valid"), "Σ over factors")["beta 1"].startswith("0.60 ± 0.30")
    assert factors(shown, "test") == ""  # another split than was probed
    assert "Information in z about the grammar’s factors, valid, 2,000 sentences" in write_report(
        tmp_path / "s"
    ).read_text("utf-8")


def test_a_spectrum_is_that_of_the_posterior_means_on_a_log_axis(tmp_path: Path) -> None:
    write_study(tmp_path, {"beta": {"1": 1.0, "2": 0.0}}, seeds=1)
    alive, collapsed = list(rows(tmp_path).values())
    (axes,) = spectra([alive, collapsed], "valid").axes
    threshold, high, low = axes.lines
    assert set(threshold.get_ydata()) == {ACTIVE} == {0.01}
    assert list(high.get_ydata()) == alive.entries[0].measured("valid")["mean_variances"]
    assert set(low.get_ydata()) == {SMALLEST}
    assert axes.get_yscale() == "log"


def test_every_run_is_inside_the_panels_of_the_rate_over_training(tmp_path: Path) -> None:
    write_study(tmp_path, {"vanilla": {"": 0.01}, "beta": {"1": 1.0, "2": 200.0}}, seeds=1)
    panels = courses(list(rows(tmp_path).values())).axes
    assert [len(axes.lines) for axes in panels] == [1, 2]
    for axes in panels:
        low, high = axes.get_ylim()
        assert low == 0
        assert all(max(line.get_ydata()) < high for line in axes.lines)


def written(directory: Path, remedy: str, split: str, *keys: str) -> list[tuple[float, ...]]:
    """These numbers of every seed of a remedy, as its runs' evaluation.json holds them."""
    found = sorted((directory / "grammar").glob(f"{remedy}/seed-*/evaluation.json"))
    splits = [json.loads(path.read_text("utf-8"))[split] for path in found]
    return [tuple(numbers[key] for key in keys) for numbers in splits]


def shift(directory: Path, split: str, by: float) -> None:
    """Let every number that is drawn differ between splits and between seeds."""
    for path in directory.glob("grammar/*/*/evaluation.json"):
        splits = json.loads(path.read_text("utf-8"))
        more = by + 0.1 * int(path.parent.name.removeprefix("seed-"))
        for key in ("rate", "distortion", "iwae_nll", "elbo"):
            splits[split][key] += -more if key == "elbo" else more
        splits[split]["mean_variances"] = [v / (2 + by) for v in splits[split]["mean_variances"] or []] or None
        path.write_text(json.dumps(splits), "utf-8")


def drawn(line: Any) -> list[tuple[float, ...]]:
    """The points of a line."""
    return [tuple(point) for point in line.get_xydata().tolist()]


def test_every_picture_shows_the_numbers_of_its_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = ["valid", "test"]
    remedies = {"lm": {"": 0.0}, "beta": {"0.4": 1.0, "0.2": 3.0}, "single": {"": 2.0}}
    write_study(tmp_path, remedies, splits=splits)
    shift(tmp_path, "valid", 0.0)
    shift(tmp_path, "test", 1.5)
    monkeypatch.setattr("textvae.studies.report.pictures.png", lambda figure: figure)
    made: dict[str, Any] = {
        picture.name: picture.png for picture in pictures_of("g", list(rows(tmp_path).values()), splits, "lm")
    }
    assert set(made) == {*(f"g-{s}-{k}" for s in splits for k in ("plane", "likelihood", "spectrum")), "g-rate"}
    for split, kind in product(splits, ("plane", "likelihood")):
        metric = {"plane": "distortion", "likelihood": "iwae_nll"}[kind]
        found = {name: written(tmp_path, name, split, "rate", metric) for name in ("lm", "beta-0.4", "beta-0.2")}
        (axes,) = made[f"g-{split}-{kind}"].axes
        shown = {line.get_label(): drawn(line) for line in axes.lines}
        assert shown["beta"] == [*found["beta-0.4"], *found["beta-0.2"]] or shown["beta"] == [
            *found["beta-0.2"],
            *found["beta-0.4"],
        ]
        means = [np.mean(found[name], axis=0) for name in ("lm", "beta-0.4", "beta-0.2")]
        assert shown["lm"] == [pytest.approx(tuple(means[0]))]
        every = [drawn(line) for line in axes.lines]
        assert [pytest.approx(tuple(mean)) for mean in means[1:]] in every
        assert written(tmp_path, "single", split, "rate", metric) in every
        assert found["lm"] in every
    for split in splits:
        panels = {axes.get_title(loc="left"): axes for axes in made[f"g-{split}-spectrum"].axes}
        for place, name in enumerate(("beta-0.4", "beta-0.2", "single")):
            wanted = [list(enumerate(v, 1)) for (v,) in written(tmp_path, name, split, "mean_variances")]
            lines = [drawn(line) for line in panels[name.partition("-")[0]].lines[1:]]
            assert all(line in lines for line in wanted), (split, place)


def test_the_rate_over_training_is_that_of_the_valid_rows(tmp_path: Path) -> None:
    write_study(tmp_path, {"beta": {"1": 1.0, "2": 3.0}}, seeds=2)
    path = tmp_path / "grammar/beta-2/seed-1/metrics.jsonl"
    rewritten = [{"step": 7, "split": "valid", "rate": 0.5}, {"step": 9, "split": "valid", "rate": 4.5}]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rewritten, {"step": 9, "split": "train"}]), "utf-8")
    (axes,) = courses(list(rows(tmp_path).values())).axes
    wanted = []
    for strength, seed in product((1, 2), (0, 1)):
        text = (tmp_path / f"grammar/beta-{strength}/seed-{seed}/metrics.jsonl").read_text("utf-8")
        found = [json.loads(line) for line in text.splitlines()]
        wanted.append([(row["step"], row["rate"]) for row in found if row["split"] == "valid"])
    assert [drawn(line) for line in axes.lines] == wanted
    assert wanted[3] == [(7, 0.5), (9, 4.5)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["1", "2"]
    colours = [line.get_color() for line in axes.lines]
    assert colours == [OKABE_ITO[0]] * 2 + [OKABE_ITO[1]] * 2


def test_a_run_without_a_spectrum_has_none_drawn(tmp_path: Path) -> None:
    write_study(tmp_path, {"beta": {"1": 1.0}, "lm": {"": 0.0}}, seeds=1)
    run = Run(tmp_path / "grammar/beta-1/seed-0")
    run.evaluation = {"valid": {**run.evaluation["valid"], "mean_variances": None}}
    assert "spectrum" not in {
        picture.kind for picture in pictures_of("g", list(rows(tmp_path).values()), ["valid"], None)
    }


@pytest.mark.parametrize("rate", [0.0, 0.5, 12.0])
def test_the_entropy_line_is_inside_the_frame(rate: float, tmp_path: Path) -> None:
    write_study(tmp_path, {"vanilla": {"": rate}, "lm": {"": 0.0}})
    (axes,) = plane(list(rows(tmp_path).values()), "valid").axes
    (line,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert line.get_label() == f"mean exact NLL of the split, {TRUTH}"
    bottom, top = axes.get_ylim()
    assert all(bottom < end < top for end in line.get_ydata())
    assert list(line.get_ydata() + line.get_xdata()) == pytest.approx([TRUTH, TRUTH])


def test_colours_are_for_remedies_of_several_strengths_and_names_for_the_others(tmp_path: Path) -> None:
    from matplotlib.text import Text

    singles = {f"remedy_{place}": {"": 2.0 + place / 50} for place in range(25)}
    write_study(
        tmp_path, {"beta": {"1": 1.0, "2": 4.0}, "lm": {"": 0.0}, "vanilla": {"": 0.01}, **singles}, seeds=1
    )
    shown = list(rows(tmp_path).values())
    for draw, metric in ((plane, "distortion"), (likelihood_by_rate, "iwae_nll")):
        figure = draw(shown, "valid", "lm")
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        truth = f"mean exact NLL of the split, {TRUTH}" + ("" if draw is plane else ", below the frame")
        assert legend == ["beta", truth, "lm"]
        names = [text for text in figure.axes[0].texts if text.get_text().startswith("remedy")]
        assert {text.get_text() for text in names} == set(singles)
        figure.draw_without_rendering()
        boxes = [Text.get_window_extent(text) for text in names]
        assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
        assert crowd(shown, "valid", metric, "lm") == ["vanilla"]


def test_a_name_that_finds_no_room_stays_by_its_point() -> None:
    figure = plane([], "valid")
    (axes,) = figure.axes
    name_points(axes, [("x" * 400, 0.5, 0.5)], [])
    assert len(axes.texts) == 1


def test_a_run_far_from_all_others_is_named_in_the_caption(tmp_path: Path) -> None:
    write_study(tmp_path, {"beta": {"1": 1.0, "2": 4.0}, "lm": {"": 0.0}, "wild": {"": 200.0}}, seeds=1)
    shown = list(rows(tmp_path).values())
    ((label, point),) = beyond(shown, "valid", "distortion")
    assert (label, point) == ("wild", Point(200.0, pytest.approx(-150, abs=1)))
    (axes,) = plane(shown, "valid").axes
    assert axes.get_xlim()[1] < 5
    captions = [picture.caption for picture in pictures_of("g", shown, ["valid"], "lm")]
    assert "Outside the frame: wild (rate 200.0, distortion −150" in captions[0]
    assert captions[1].startswith("Importance-weighted NLL, K = 100, over the rate")
    assert re.search(r"Outside the frame: wild \(rate 200.0, IW NLL [\d.]+, K = 100\)", captions[1])
    (axes,) = likelihood_by_rate(shown, "valid").axes
    assert axes.get_ylabel() == "importance-weighted NLL (K = 100), nats per sentence"


def test_the_head_counts_runs_and_first_stages_apart(tmp_path: Path) -> None:
    manifest = write_study(tmp_path, {"beta": {"1": 1.0}, "lm": {"": 0.0}})
    stage = Record("grammar/first/seed-0", "grammar", "first", "", 0, stage=True, state="running")
    manifest.records[stage.path] = stage
    manifest.write(tmp_path)
    page = write_report(tmp_path).read_text("utf-8")
    assert "6 runs: 6 done; 1 first stage: 1 running;" in page
    assert "Every run (6)" in page


def test_seeds_that_are_still_to_come_are_said_once(tmp_path: Path) -> None:
    write_study(tmp_path, {"beta": {"1": 1.0}})
    for seed in (1, 2):
        (tmp_path / f"grammar/beta-1/seed-{seed}/evaluation.json").unlink()
    shown = tabulated(tmp_path)
    assert column(shown, "seeds")["beta 1"] == "1 of 3"
    assert "n = " not in shown


def test_runs_by_different_code_are_said_to_be(tmp_path: Path) -> None:
    write_study(tmp_path, {"beta": {"1": 1.0}})
    assert "Made by commit 0123456789." in write_report(tmp_path).read_text("utf-8")
    run = Run(tmp_path / "grammar/beta-1/seed-1")
    run.environment = {**run.environment, "diff_sha256": "fedcba9876543210"}
    said = "The runs were made by different code, first stages counted: "
    counts = "2 by commit 0123456789; 1 by commit 0123456789 with changes fedcba98."
    assert said + counts in write_report(tmp_path).read_text("utf-8")
    assert code_of([{"commit": None}, {}]) == ""


def test_every_run_says_what_it_cost(study: Path) -> None:
    shown = runs([entry for row in rows(study).values() for entry in row.entries], ["valid"])
    assert column(shown, "optimiser steps")["grammar/vanilla/seed-0"] == "1,000"
    assert column(shown, "encoder updates")["grammar/vanilla/seed-0"] == "2,000"
    assert column(shown, "encoder updates")["grammar/lm/seed-0"] == "—"
