"""Every work that a recipe cites has its BibTeX."""

import re
from collections import Counter

import pytest

from textvae.config.recipes import recipe_files
from textvae.studies.report.bibliography import FILE, bibliography, keys_in
from textvae.studies.report.page import MEASURES
from textvae.studies.report.published import published

ENTRIES = re.findall(r"^@(\w+)\{(\w+),\n(.*?)^\}$", FILE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
KEYS = [key for _, key, _ in ENTRIES]


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("Bowman et al. 2016 — the VAE without a remedy", ["bowman2016"]),
        ("Sønderby et al. 2016 — the weight warms up", ["sonderby2016"]),
        ("Bosc & Vincent 2020 — PreLM", ["bosc2020"]),
        ("De Cao & Aziz 2020 — a sphere", ["decao2020"]),
        ("Kingma et al. 2016, one group — λ nats", ["kingma2016"]),
        ("Burda et al. 2016; Tucker et al. 2019 — DReG", ["burda2016", "tucker2019"]),
        ("Burgess et al. 2018, Prokhorov et al. 2019 — |KL − C|", ["burgess2018", "prokhorov2019"]),
        ("the plain language model: no z at all, known since 2003", []),
    ],
)
def test_a_first_line_names_its_works(line: str, keys: list[str]) -> None:
    assert keys_in(line) == keys


@pytest.mark.parametrize("file", recipe_files("remedies"), ids=lambda file: file.stem)
def test_every_work_a_remedy_cites_is_in_the_bibliography(file: object) -> None:
    line = file.read_text("utf-8").split("\n")[0]  # type: ignore[attr-defined]
    assert set(keys_in(line.lstrip("# "))) <= set(KEYS)
    assert (" — " in line) == bool(keys_in(line.lstrip("# ")))


def test_what_the_report_itself_cites_is_there_too() -> None:
    works = [MEASURES, *(f"{line.work} — published" for line in published())]
    assert {key for line in works for key in keys_in(line)} <= set(KEYS)


def test_entries_are_whole_and_their_keys_are_author_and_year() -> None:
    assert len(ENTRIES) == FILE.read_text("utf-8").count("@")
    assert Counter(KEYS).most_common(1)[0][1] == 1
    for kind, key, body in ENTRIES:
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", body, re.MULTILINE))
        assert {"author", "title", "year", "journal" if kind == "article" else "booktitle"} <= fields.keys(), key
        assert body.count("{") == body.count("}"), key
        author = re.sub(r"\\.", "", fields["author"].split(",")[0].replace("\\o", "o"))
        assert re.sub("[^a-z]", "", author.lower()) + fields["year"] == key


def test_each_work_is_printed_once() -> None:
    printed = bibliography(["Kingma et al. 2016 — a", "Kingma et al. 2016, one group — b", "no source"])
    assert printed.count("@") == 1
    assert bibliography(["no source"]) == ""
