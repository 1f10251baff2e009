"""The notes' claims: every page is there, says what its table says, and what it says comes out again."""

import csv
import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTES = ROOT / "experiments" / "notes"
CLAIMS = range(1, 14)
ROW = re.compile(r"^\| (\d+) \| .+ \| \*\*(true|false|open)\b.*\*\*: .+ \| .+ \| \[page\]\((.+)\) \|$", re.M)
PARTS = ("**Claim.**", "**Answer: ", "**Figure.**", "## What was done", "## What came out", "## What remains open")


def table_of(page: str) -> list[list[str]]:
    """The cells of the first table of a page, its head and rule left out."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\) \| ", line[2:-2]) for line in lines[2:]]


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
    with (NOTES / f"claim-{number}.csv").open(newline="") as file:
        kept = [list(row.values()) for row in csv.DictReader(file)]
    shown = table_of(page)
    assert len(kept) == len(shown) > 0
    for row, cells in zip(kept, shown, strict=True):
        for value, cell in zip(row, cells, strict=True):
            assert same(value, cell), f"{value} in the table, {cell} on the page"


def same(value: str, cell: str) -> bool:
    if cell == "—":
        return value in ("", "—")
    try:
        return abs(float(value) - float(cell)) <= max(0.00501, 0.006 * abs(float(value)))
    except ValueError:
        return value == cell


@pytest.mark.slow
@pytest.mark.parametrize("number", CLAIMS)
def test_a_claim_comes_out_again_at_a_small_size(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page refuses to be written when the comparisons that it stands on fail."""
    monkeypatch.syspath_prepend(str(NOTES))
    notes = importlib.import_module("notes")
    given = notes.Notes(tmp_path / "pages", tmp_path / "runs", quick=True)
    page = importlib.import_module(f"claim_{number:02d}").claim(given)
    assert [what for what, shown in page.holds.items() if not shown] == []
    notes.publish(page, given, 0.0)
    assert (tmp_path / "pages" / "README.md").read_text("utf-8").count(f"\n| {number} |") == 1


def test_a_page_is_not_written_when_the_run_did_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(NOTES))
    notes = importlib.import_module("notes")
    told = {"text": "", "open": "", "table": [{"a": 1.0}], "picture": None}
    page = notes.Page(1, "t", "c", "true", "a", "f", holds={"the moon is cheese": False}, **told)
    with pytest.raises(AssertionError, match="the moon is cheese"):
        notes.publish(page, notes.Notes(tmp_path, tmp_path), 0.0)
    assert list(tmp_path.iterdir()) == []
    sys.modules.pop("notes")
