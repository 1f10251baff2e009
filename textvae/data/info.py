"""Statistics for `textvae corpus info`: sizes, lengths, unknown words, overlap, exact grammar quantities.

The vocabulary comes from train only. Tokens include one EOS per sentence; lengths and types do not.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from textvae.data.corpus import SPLITS, Corpus
from textvae.data.grammar.grammar import Grammar, mean_and_error
from textvae.data.prepared import prepared_tokenizer
from textvae.data.tokenizers import UNK, Tokenizer

__all__ = ["CorpusInfo", "Estimate", "GrammarInfo", "SplitInfo", "corpus_info"]

FRESH = 5000
FRESH_SEED = 0  # differs from the seed of every split


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error."""

    mean: float
    error: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.error:.3f}"


@dataclass(frozen=True)
class SplitInfo:
    """One split, counted in tokens of the tokenizer."""

    split: str
    sentences: int
    tokens: int
    types: int
    longest: int
    unknown: int
    seen_in_train: float | None

    @property
    def mean_length(self) -> float:
        """Tokens per sentence, without EOS."""
        return self.tokens / self.sentences - 1

    @property
    def unknown_rate(self) -> float:
        """Unknown tokens as a share of all tokens including EOS, which are those a perplexity averages over."""
        return self.unknown / self.tokens


@dataclass(frozen=True)
class GrammarInfo:
    """In nats: entropy from `fresh` new sentences, exact NLL of each split, information on valid."""

    fresh: int
    entropy: Estimate
    nll: Mapping[str, Estimate]
    information: Mapping[str, Estimate]


@dataclass(frozen=True)
class CorpusInfo:
    """All statistics of a corpus; `facts` and `rows` are its two tables, as strings."""

    name: str
    tokenizer: str
    predicted: int
    digest: str
    splits: tuple[SplitInfo, ...]
    grammar: GrammarInfo | None
    remarks: tuple[str, ...]

    def facts(self) -> list[tuple[str, str]]:
        """Label and value of each corpus-wide statistic."""
        tokens = f"{self.tokenizer}, {self.predicted:,} predicted types"
        facts = [("corpus", self.name), ("tokens", tokens), ("sha256", self.digest)]
        return facts + (_grammar_facts(self.grammar) if self.grammar else [])

    def rows(self) -> list[tuple[str, ...]]:
        """The table of splits, header first."""
        return [
            ("", *(info.split for info in self.splits)),
            ("sentences", *(f"{info.sentences:,}" for info in self.splits)),
            ("tokens, with EOS", *(f"{info.tokens:,}" for info in self.splits)),
            ("types, without EOS", *(f"{info.types:,}" for info in self.splits)),
            ("mean length, without EOS", *(f"{info.mean_length:.1f}" for info in self.splits)),
            ("longest, without EOS", *(f"{info.longest:,}" for info in self.splits)),
            ("unknown tokens", *(f"{info.unknown:,}" for info in self.splits)),
            ("unknown rate", *(f"{info.unknown_rate:.2%}" for info in self.splits)),
            ("sentences also in train", *(_share(info.seen_in_train) for info in self.splits)),
        ]


def corpus_info(
    corpus: Corpus,
    tokenizer_kind: str = "word",
    *,
    min_count: int = 1,
    vocabulary_size: int | None = None,
    fresh: int = FRESH,
) -> CorpusInfo:
    """Measure `corpus` with a tokenizer trained on its train split and the entropy on `fresh` sentences."""
    tokenizer = prepared_tokenizer(corpus, tokenizer_kind, min_count=min_count, vocabulary_size=vocabulary_size)
    # Hashes, not sentences, and of train only those found elsewhere: train may be larger than memory.
    wanted = {hash(sentence) for split in SPLITS if split != "train" for sentence in corpus[split]}
    known = wanted.intersection(map(hash, corpus["train"]))
    return CorpusInfo(
        name=corpus.name,
        tokenizer=tokenizer.kind,
        predicted=tokenizer.predicted,
        digest=corpus.digest(),
        splits=tuple(_split_info(split, corpus[split], tokenizer, known) for split in SPLITS),
        grammar=_grammar_info(corpus, corpus.grammar, fresh) if corpus.grammar else None,
        remarks=corpus.remarks,
    )


def _split_info(split: str, sentences: Sequence[str], tokenizer: Tokenizer, known: AbstractSet[int]) -> SplitInfo:
    tokens = longest = unknown = seen = 0
    types: set[int] = set()
    for sentence in sentences:
        ids = tokenizer.encode(sentence)
        tokens += len(ids) + 1
        longest = max(longest, len(ids))
        unknown += ids.count(UNK)
        types.update(ids)
        seen += hash(sentence) in known
    share = None if split == "train" else seen / len(sentences)
    return SplitInfo(split, len(sentences), tokens, len(types), longest, unknown, share)


def _grammar_info(corpus: Corpus, grammar: Grammar, fresh: int) -> GrammarInfo:
    information = grammar.information([grammar.factor_posterior(sentence) for sentence in corpus["valid"]])
    return GrammarInfo(
        fresh=fresh,
        entropy=Estimate(*grammar.entropy(fresh, FRESH_SEED)),
        nll={split: _nll(grammar, corpus[split]) for split in SPLITS},
        information={name: Estimate(*value) for name, value in information.items()},
    )


def _nll(grammar: Grammar, sentences: Sequence[str]) -> Estimate:
    return Estimate(*mean_and_error([-grammar.log_prob(sentence) for sentence in sentences]))


def _grammar_facts(grammar: GrammarInfo) -> list[tuple[str, str]]:
    facts = [(f"entropy ({grammar.fresh:,} fresh sentences)", f"{grammar.entropy} nats")]
    facts += [(f"exact NLL, {split}", f"{nll} nats") for split, nll in grammar.nll.items()]
    facts += [(f"I(x; {name}), valid", f"{value} nats") for name, value in grammar.information.items()]
    return facts


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.2%}"
