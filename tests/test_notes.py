"""The notes' claims: every page is there, says what its table says, and what it says comes out again."""

import csv
import importlib
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from textvae.data.batches import Sequences
from textvae.data.tokenizers import EOS
from textvae.plots.figure import canvas

ROOT = Path(__file__).parents[1]
NOTES = ROOT / "experiments" / "notes"
CLAIMS = range(1, 14)
ROW = re.compile(r"^\| (\d+) \| .+ \| \*\*(true|false|open)\b.*\*\*: .+ \| .+ \| \[page\]\((.+)\) \|$", re.M)
SAID = re.compile(r"([-+]?\d+\.\d+)(%?) ± (\d+\.\d+)")
POOLED = (3, 6)
"""Claims whose figure has one mean over several rows."""
PARTS = ("**Claim.**", "**Answer: ", "**Figure.**", "## What was done", "## What came out", "## What remains open")


def table_of(page: str) -> list[list[str]]:
    """The cells of the table of a page, its head first and its rule left out, split as Markdown splits them."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    head, _, *rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [[cell.replace("\\|", "|") for cell in cells] for cells in (head, *rows)]


def test_the_overview_answers_all_thirteen_claims_and_links_their_pages() -> None:
    rows = ROW.findall((NOTES / "README.md").read_text("utf-8"))
    assert [int(number) for number, _, _ in rows] == list(CLAIMS)
    for number, _, link in rows:
        assert link == f"claim-{number}.md"
        assert (NOTES / link).is_file()


@pytest.mark.parametrize("number", CLAIMS)
def test_a_page_shows_the_numbers_of_its_table_and_a_small_picture(number: int) -> None:
    page = (NOTES / f"claim-{number}.md").read_text("utf-8")
    assert all(part in page for part in PARTS)
    assert f"![claim {number}](claim-{number}.png)" in page
    assert 1000 < (NOTES / f"claim-{number}.png").stat().st_size <= 60_000
    assert (NOTES / f"claim_{number:02d}.py").is_file()
    with (NOTES / f"claim-{number}.csv").open(newline="", encoding="utf-8") as file:
        names, *kept = csv.reader(file)
    head, *shown = table_of(page)
    assert head == names
    assert len(kept) == len(shown) > 0
    for row, cells in zip(kept, shown, strict=True):
        for value, cell in zip(row, cells, strict=True):
            assert same(value, cell), f"{value} in the table, {cell} on the page"


def same(value: str, cell: str) -> bool:
    """Whether a cell is the value as pages print it: to three digits at least, which is half a hundredth of it."""
    if cell == "—":
        return value in ("", "—")
    try:
        return math.isclose(float(value), float(cell), rel_tol=0.00502)
    except ValueError:
        return value == cell


@pytest.mark.parametrize(
    ("value", "cell"), [("0.000123", "0.000323"), ("0.0049", "0"), ("31.2", "31.4"), ("3", "4")]
)
def test_a_number_on_a_page_is_compared_by_its_own_size(value: str, cell: str) -> None:
    assert not same(value, cell)


@pytest.mark.parametrize("number", [n for n in CLAIMS if n not in (3, 12)])
def test_the_committed_table_shows_what_the_page_says(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At full size, where the quick runs below can show little; 3 and 12 say nothing that those do not."""
    with (NOTES / f"claim-{number}.csv").open(newline="", encoding="utf-8") as file:
        rows = [{name: read(value) for name, value in row.items()} for row in csv.DictReader(file)]
    shown = script(f"claim_{number:02d}", monkeypatch).shown(rows)
    assert shown
    assert [what for what, holds in shown.items() if not holds] == []


@pytest.mark.parametrize("number", CLAIMS)
def test_what_a_page_says_with_an_error_stands_in_its_table(number: int) -> None:
    """Every "mean ± error" of the answer and the figure is found within one row."""
    page = (NOTES / f"claim-{number}.md").read_text("utf-8")
    said = SAID.findall(page[page.index("**Answer") : page.index("## What was done")])
    with (NOTES / f"claim-{number}.csv").open(newline="", encoding="utf-8") as file:
        rows = [[read(value) for value in row] for row in csv.reader(file)]
    missing = [
        each for each in said if not any(all(stands(part, each[1], row) for part in each[::2]) for row in rows)
    ]
    assert len(missing) <= (number in POOLED), missing


def stands(printed: str, percent: str, row: list[float | str]) -> bool:
    """Whether a number, as printed, is one of a row's, rounded."""
    half = 0.5001 * 10.0 ** -len(printed.partition(".")[2])
    scale = 100 if percent else 1
    return any(isinstance(value, float) and abs(scale * value - float(printed)) <= half for value in row)


def read(value: str) -> float | str:
    try:
        return float(value or math.nan)
    except ValueError:
        return value


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(NOTES))
    return importlib.import_module(name)


@pytest.mark.slow
@pytest.mark.parametrize("number", CLAIMS)
def test_a_claim_comes_out_again_at_a_small_size(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page refuses to be written when the comparisons that it stands on fail."""
    notes = script("notes", monkeypatch)
    given = notes.Notes(tmp_path / "pages", tmp_path / "runs", quick=True)
    page = script(f"claim_{number:02d}", monkeypatch).claim(given)
    assert [what for what, shown in page.holds.items() if not shown] == []
    notes.publish(page, given, 0.0)
    assert (tmp_path / "pages" / "README.md").read_text("utf-8").count(f"\n| {number} |") == 1


def test_a_page_is_not_written_when_the_run_did_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = script("notes", monkeypatch)
    told = {"text": "", "open": "", "table": [{"a": 1.0}], "picture": None}
    page = notes.Page(1, "t", "c", "true", "a", "f", holds={"the moon is cheese": False}, **told)
    with pytest.raises(AssertionError, match="the moon is cheese"):
        notes.publish(page, notes.Notes(tmp_path, tmp_path), 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_short_page_stands_beside_the_long_one_and_does_not_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = script("notes", monkeypatch)

    def publish(answer: str, *, short: bool) -> str:
        told = {"text": "", "open": "", "table": [{"a": 1.0}], "picture": canvas(1)[0], "holds": {}}
        page = notes.Page(9, "t", "c", "true", answer, "f", short=short, **told)
        notes.publish(page, notes.Notes(tmp_path, tmp_path), 0.0)
        return (tmp_path / "README.md").read_text("utf-8")

    assert "**true**: brief | f | [page](claim-9-short.md)" in publish("brief", short=True)
    assert "**true**: whole | f | [page](claim-9.md)" in publish("whole", short=False)
    overview = publish("brief again", short=True)
    assert overview.count("\n| 9 |") == 1
    assert "whole" in overview


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 1999])
@pytest.mark.parametrize("chance", [0.05, 0.0125, 0.00625])
def test_the_points_of_students_t(degrees: int, chance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    point = script("notes", monkeypatch).student(degrees, chance)
    assert point == pytest.approx(stats.t.isf(chance, degrees), rel=1e-5)


def test_a_bar_within_a_cell_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    page = script("notes", monkeypatch).table([{"E_Q P(X|z)": 1.0, "b": "c|d"}, {"b": 2}])
    assert table_of(page) == [["E_Q P(X|z)", "b"], ["1.00", "c|d"], ["—", "2"]]


@pytest.mark.parametrize(
    ("options", "pages", "runs"),
    [
        ([], NOTES, Path("runs/notes")),
        (["--quick"], Path("runs/notes-quick"), Path("runs/notes-quick")),
        (["--quick", "--out", "a", "--runs", "b"], Path("a"), Path("b")),
    ],
)
def test_a_quick_call_touches_neither_the_pages_nor_the_runs_of_a_whole_one(
    options: list[str], pages: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are kept by name: a whole page would else be made of runs of 40 steps."""
    notes = script("notes", monkeypatch)
    seen: list[Any] = []
    monkeypatch.setattr(sys, "argv", ["claim.py", *options])
    monkeypatch.setattr(notes, "publish", lambda page, given, seconds: seen.append(given))
    monkeypatch.setattr(notes.torch, "set_num_threads", lambda count: None)
    notes.main(lambda given: None)
    assert (seen[0].out, seen[0].runs, seen[0].quick) == (pages, runs, "--quick" in options)


def test_runs_trained_ahead_are_found_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once, in processes of their own; a second call trains nothing."""
    notes, ladder = script("notes", monkeypatch), script("ladder", monkeypatch)
    given = notes.Notes(tmp_path, tmp_path, quick=True, jobs=2)
    wanted = [ladder.wanted(ladder.RUNGS[0], rate, 1, 0) for rate in (0.0, 2.0)]
    given.ahead(wanted)
    monkeypatch.setattr(notes.textvae, "train", None)
    given.ahead(wanted)
    for name, recipes, options in wanted:
        assert given.trained(name, *recipes, **options).latent_dim == (8 if "minimum_rate" in recipes else 0)


def test_the_best_of_a_class_lies_between_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain over two words that keeps the word with one probability and stops with another: all is known."""
    ladder = script("ladder", monkeypatch)
    stay, stop = 0.9, 0.25
    draw = np.random.Generator(np.random.PCG64(0))

    def sentences(count: int) -> Sequences:
        rows = []
        for _ in range(count):
            words = [4 + int(draw.random() < 0.5)]
            while draw.random() > stop:
                words.append(words[-1] if draw.random() < stay else 9 - words[-1])
            rows.append([*words, EOS])
        return Sequences(np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)]))

    seen, test = sentences(20_000), sentences(5_000)
    entropy = -(stay * math.log(stay) + (1 - stay) * math.log(1 - stay))
    steps = (1 - stop) / stop
    exact = math.log(2) + steps * (entropy - math.log(1 - stop)) - math.log(stop)
    for order in (1, 2):
        least, costs = ladder.best_of_class(order, seen, test, 6)
        assert abs(least - exact) < 0.05
        assert abs(costs.mean() - exact) < 4 * costs.std() / len(costs) ** 0.5
    least, costs = ladder.best_of_class(0, seen, test, 6)
    assert exact + 0.5 < least < costs.mean() + 4 * costs.std() / len(costs) ** 0.5
