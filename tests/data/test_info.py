"""What `textvae corpus info` tells, against figures counted by hand or published."""

import math
from pathlib import Path

import pytest
from penn_treebank import needs_ptb

from textvae.data.corpora import Corpus, open_corpus
from textvae.data.info import CorpusInfo, Estimate, corpus_info

SMALL = Corpus(
    "small",
    {
        "train": ["a b c", "a b", "a <unk>"],
        "valid": ["a b", "a d", "d e f g"],
        "test": ["a b", "a b"],
    },
    remarks=("A remark.",),
)


def test_counted_by_hand() -> None:
    info = corpus_info(SMALL)
    train, valid, test = info.splits
    assert (train.sentences, train.tokens, train.types, train.longest, train.unknown) == (3, 10, 4, 3, 1)
    assert (valid.sentences, valid.tokens, valid.types, valid.longest, valid.unknown) == (3, 11, 3, 4, 5)
    assert (train.mean_length, valid.unknown_rate) == (pytest.approx(7 / 3), 5 / 11)
    assert (train.seen_in_train, valid.seen_in_train, test.seen_in_train) == (None, pytest.approx(1 / 3), 1.0)
    assert info.predicted == 5
    assert info.digest == SMALL.digest()
    assert info.remarks == ("A remark.",)
    assert info.grammar is None


def test_the_tables_are_plain_strings() -> None:
    info = corpus_info(SMALL)
    rows = info.rows()
    assert rows[0] == ("", "train", "valid", "test")
    assert ("tokens, with EOS", "10", "11", "6") in rows
    assert ("unknown rate", "10.00%", "45.45%", "0.00%") in rows
    assert ("sentences also in train", "—", "33.33%", "100.00%") in rows
    assert {len(row) for row in rows} == {4}
    assert ("tokens", "word, 5 predicted types") in info.facts()


def test_other_tokenizers_and_bounds() -> None:
    assert corpus_info(SMALL, "char").splits[0].unknown == 0
    assert corpus_info(SMALL, min_count=2).splits[0].unknown == 2
    assert corpus_info(SMALL, vocabulary_size=4).predicted == 4


@pytest.fixture(scope="module")
def grammar() -> CorpusInfo:
    corpus = open_corpus("grammar")
    few = {split: corpus[split][:400] for split in corpus.splits}
    return corpus_info(Corpus("grammar", few, grammar=corpus.grammar), fresh=400)


def test_the_grammars_entropy_is_what_its_splits_show(grammar: CorpusInfo) -> None:
    exact = grammar.grammar
    assert exact is not None
    for nll in exact.nll.values():
        error = math.hypot(nll.error, exact.entropy.error)
        assert 0 < error < 1
        assert abs(nll.mean - exact.entropy.mean) < 4 * error


def test_every_factor_is_informative(grammar: CorpusInfo) -> None:
    exact = grammar.grammar
    assert exact is not None
    assert exact.information
    assert all(value.mean > 0 for value in exact.information.values())
    labels = [label for label, _ in grammar.facts()]
    assert "entropy (400 fresh sentences)" in labels
    assert "exact NLL, test" in labels
    assert all(f"I(x; {name}), valid" in labels for name in exact.information)


def test_the_readme_has_the_embedded_corpus_right() -> None:
    readme = (Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    corpus = open_corpus("grammar")
    assert corpus.digest() in readme
    assert " / ".join(f"{len(corpus[split]):,}" for split in corpus.splits) in readme


def test_an_estimate_reads_with_its_error() -> None:
    assert str(Estimate(1.23456, 0.01)) == "1.235 ± 0.010"


@needs_ptb
def test_the_published_figures_of_ptb() -> None:
    info = corpus_info(open_corpus("ptb"))
    assert [split.sentences for split in info.splits] == [42_068, 3_370, 3_761]
    assert [split.tokens for split in info.splits] == [929_589, 73_760, 82_430]
    assert [split.unknown for split in info.splits] == [45_020, 3_485, 4_794]
    assert (info.splits[0].types, info.predicted) == (9_999, 10_000)
