"""BibTeX of the works a study used: a recipe's first line, `# Author Year — what it does`, names its source.

The key of an entry is the first author's surname in ASCII letters and the year: Sønderby et al. 2016 is
`sonderby2016`.
"""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

__all__ = ["bibliography", "keys_in"]

FILE = Path(__file__).with_name("remedies.bib")
CITATION = re.compile(r"([^\W\d_][^\d;,&]*?)(?: et al\.?| &[^\d;]*)?,? (\d{4})\b")
LETTERS = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ß": "ss"})


def keys_in(line: str) -> list[str]:
    """The keys of the works that a recipe's first line cites before its dash."""
    cited, dash, _ = line.partition(" — ")
    return [_key(*found.groups()) for found in CITATION.finditer(cited)] if dash else []


def bibliography(lines: Iterable[str]) -> str:
    """The entries for all works cited in these lines, each once, by key."""
    wanted = {key for line in lines for key in keys_in(line)}
    entries = FILE.read_text("utf-8").split("\n\n")
    return "\n\n".join(entry.strip() for entry in entries if _key_of(entry) in wanted) + "\n" if wanted else ""


def _key(author: str, year: str) -> str:
    folded = unicodedata.normalize("NFKD", author.translate(LETTERS))
    return "".join(letter for letter in folded if letter.isascii() and letter.isalpha()).lower() + year


def _key_of(entry: str) -> str:
    return entry.strip().split("{", 1)[-1].split(",", 1)[0]
