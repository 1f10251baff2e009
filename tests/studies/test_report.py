"""The report says what the runs wrote, each number with its estimator's setting, and fetches nothing."""

import csv
import json
import math
import re
import statistics
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented import METRICS, TRUTH, write_study

from textvae.errors import RunError
from textvae.runs import Run
from textvae.studies.manifest import Manifest, Record
from textvae.studies.report.columns import number, with_error
from textvae.studies.report.entries import Entry, Row, Summary, read_entries, rows_of
from textvae.studies.report.matched import at_rate
from textvae.studies.report.page import write_report
from textvae.studies.report.plots import MARKERS, OKABE_ITO
from textvae.studies.report.published import comparable, published
from textvae.studies.report.tables import factors, measured

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
            return {line[0]: line[places[0]] for line in table[1:]}
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
    (table,) = [table for table in Cells(page).tables if "listening G" in table[0]]
    assert {"IW NLL | K = 100", "I(x; z) | N = 2,000", "IW NLL above the truth | K = 100"} <= set(table[0])


def test_a_language_models_likelihood_is_exact_and_it_has_no_use_of_z(page: str) -> None:
    assert column(page, "IW NLL")["lm"].endswith("exact")
    assert "exact" not in column(page, "IW NLL")["beta 0.1"]
    for heading in ("active units", "I(x; z)", "listening G"):
        assert column(page, heading)["lm"] == "—"


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
    (tmp_path / "s/grammar/beta-1/seed-2/evaluation.json").unlink()
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


def test_matched_rates_lie_between_the_strengths_on_either_side(study: Path) -> None:
    found = rows(study)
    matched = at_rate(list(found.values()), "valid")
    assert set(matched) == {"beta"}  # the only one with two strengths
    assert set(matched["beta"]) == {1.0, 2.0, 4.0}
    low, high = found["beta 0.2"], found["beta 0.1"]
    for place, (metric, sign) in enumerate((("elbo", -1), ("iwae_nll", 1), ("listening", 1))):
        between = np.interp(4.0, [3.0, 5.0], [sign * row.summary("valid", metric).mean for row in (low, high)])
        assert matched["beta"][4.0][place] == pytest.approx(between)


@pytest.mark.parametrize(
    ("corpus", "latent_dim", "remedies", "shown"),
    [
        ("ptb", 32, REMEDIES, True),
        ("ptb", 16, REMEDIES, True),  # for its language model, which has no z
        ("ptb", 16, {"vanilla": {"": 0.0}}, False),
        ("grammar", 32, REMEDIES, False),
    ],
)
def test_published_figures_are_for_the_same_set_up_alone(
    corpus: str, latent_dim: int, remedies: dict[str, dict[str, float]], shown: bool, tmp_path: Path
) -> None:
    write_study(tmp_path, remedies, corpus=corpus, latent_dim=latent_dim, splits=["test"], seeds=1)
    assert comparable(list(rows(tmp_path).values())) == shown


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    write_study(tmp_path, {"lm": {"": 0.0}}, corpus="ptb", splits=["valid", "test"], seeds=1)
    beside = write_report(tmp_path).read_text("utf-8")
    (table,) = [table for table in Cells(beside).tables if "grade" in table[0]]
    place = table[0].index("perplexity, IW")
    theirs, ours = table[1:3]
    assert (theirs[0], theirs[place]) == ("Li et al. 2019: LSTM language model", "100.47")
    assert ours[0].startswith("ours: lm | 4 epochs")
    assert ours[place].startswith("11.50")
    assert "@inproceedings{li2019," in beside


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
    assert (line["seeds"], line["setting"]) == ("3", "K=100")
    with (study / "report/runs.csv").open(encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 19
    lm = next(run for run in runs if run["remedy"] == "lm")
    assert (lm["active_units"], float(lm["exact_nll"])) == ("", TRUTH)
    assert next(run for run in runs if run["remedy"] == "lost")["reason"] == "the <loss> is nan"


def test_pictures_lie_beside_the_page(study: Path) -> None:
    names = {path.stem for path in (study / "report").glob("*.png")}
    assert names == {"grammar-valid-plane", "grammar-valid-likelihood", "grammar-valid-spectrum", "grammar-rate"}


def test_a_study_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    manifest = Manifest("early", METRICS, ["valid"], None, {"lm": "the language model"})
    manifest.records["a/lm/seed-0"] = Record("a/lm/seed-0", "a", "lm", "", 0)
    (tmp_path / "study.yaml").write_text("corpora: [a]\n")
    manifest.write(tmp_path)
    assert "1 waiting" in write_report(tmp_path).read_text("utf-8")


def test_a_run_cut_off_while_it_wrote_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"beta": {"1": 1.0}}, seeds=1)
    run = Run(tmp_path / "s/grammar/beta-1/seed-0")
    with run.metrics.open("a") as file:
        file.write('{"step": 1100, "split": "valid", "ra')
    entry = Entry(Record("", "", "", "", 0), run)
    assert entry.course("valid", "rate")[0] == list(range(100, 1001, 100))


def test_no_study_and_a_damaged_one_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no study here \(it has no manifest.json\)"):
        write_report(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"records": [{"odd": 1}]}))
    with pytest.raises(RunError, match="damaged, or made by other code"):
        write_report(tmp_path)


def test_an_empty_split_has_no_table(study: Path) -> None:
    assert measured(list(rows(study).values()), "test", METRICS, None) == ""


def test_remedies_stay_told_apart_without_colour() -> None:
    assert math.lcm(len(OKABE_ITO), len(MARKERS)) >= 40


def test_the_report_builds_no_model() -> None:
    code = (
        "import sys, textvae.tasks.report, textvae.studies.report.page\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] == 'torch' or\n"
        "    name.startswith(('textvae.models', 'textvae.training', 'textvae.build'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def probed(path: Path, information: float) -> None:
    factor: dict[str, Any] = {"factor": "tense", "entropy": 1.034, "ceiling": 1.033, "information": information}
    Run(path).write_json("probes.json", {"factors": [factor]})


def test_what_z_knows_is_a_table_where_it_was_probed(tmp_path: Path) -> None:
    write_study(tmp_path / "s", {"beta": {"1": 1.0}, "vanilla": {"": 0.0}}, seeds=2)
    for seed, information in enumerate((0.1, 0.3)):
        probed(tmp_path / f"s/grammar/beta-1/seed-{seed}", information)
    cells = column(factors(list(rows(tmp_path / "s").values())), "tense")
    assert cells == {"beta 1": "0.200 ± 0.100 | s.d. 0.141"}
