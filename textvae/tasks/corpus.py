"""`textvae corpus`: the contents of a corpus as tables, and its download."""

from pathlib import Path

from textvae.config import recipe_files
from textvae.config.files import read_mapping
from textvae.console.output import remark, table
from textvae.data.corpora import open_corpus
from textvae.data.info import corpus_info
from textvae.data.sources.ptb import fetch

__all__ = ["fetch_corpus", "print_info"]


def print_info(source: str, tokenizer: str = "word", column: str | None = None) -> None:
    """Print the facts of a corpus and the table of its splits."""
    recipes = {path.stem: path for path in recipe_files("corpora")}
    if source in recipes:  # a recipe for `train`, which names its corpus
        source = str(read_mapping(recipes[source])["data"]["corpus"])
    info = corpus_info(open_corpus(source, column=column), tokenizer)
    table(source, ["", ""], info.facts())
    print()
    head, *rows = info.rows()
    table("Splits", head, rows, numbers=True)
    for sentence in info.remarks:
        print(sentence)


def fetch_corpus(name: str, root: Path | None = None) -> None:
    """Download a corpus to `root`, and print its location."""
    remark(f"fetching {name} …")
    print(fetch(name, root))
