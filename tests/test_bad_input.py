"""Odd input is accepted, cut with a count, or refused in one sentence that names file and line."""

import codecs
import gzip
import json

import pytest
from command_line import TINY, refused, sentences, textvae, worked, write_corpus

from textvae.runs import Run

TEXT = "".join(f"{sentence}\n" for sentence in sentences(60, seed=3)).encode()
TRAIN = ("train", *TINY, "--steps", 2)


def folder(tmp_path, **contents):
    """A corpus whose splits have these bytes; the others have ordinary sentences."""
    made = write_corpus(tmp_path / "corpus", train=60)
    for split, content in contents.items():
        (made / f"{split}.txt").write_bytes(content)
    return made


def trained(source, tmp_path, *more):
    """Train on it; the settings, and what was said."""
    done = worked(*TRAIN, "--corpus", source, "--run", tmp_path / "run", *more)
    return Run(tmp_path / "run"), done.err


def vocabulary(run):
    return set((run.tokenizer / "vocabulary.txt").read_text("utf-8").split("\n")[:-1])


def figures(run, *more):
    return json.loads(worked("evaluate", run.path, "--samples", 1, "--json", *more).out)


# Accepted


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + TEXT,
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.replace(b" ", b"\t"),
        TEXT.replace(b" ", b"  "),
        TEXT.replace(b"\n", b"\n\n"),
        TEXT.replace(b"\n", b"  \n \t\r\n"),
        TEXT.rstrip(b"\n"),
    ],
    ids=["BOM", "CRLF", "tabs", "spaces", "blank lines", "blank-looking lines", "no last line feed"],
)
def test_the_same_words_train_the_same_model(content, tmp_path):
    plain, _ = trained(folder(tmp_path / "plain", train=TEXT), tmp_path / "plain")
    odd, err = trained(folder(tmp_path / "odd", train=content), tmp_path / "odd")
    assert vocabulary(odd) == vocabulary(plain)
    assert odd.best.read_bytes() == plain.best.read_bytes()
    blank = content.count(b"\n\n") or content.count(b"\n \t\r\n")
    assert ("train: 60 blank lines skipped" in err) == bool(blank)


def test_gzipped_files_and_one_file_alone(tmp_path):
    file = tmp_path / "poems.txt.gz"
    file.write_bytes(gzip.compress(TEXT))
    run, err = trained(file, tmp_path)
    assert "set aside" in err
    splits = {split: figures(run, "--split", split)[split]["sentences"] for split in ("train", "valid", "test")}
    assert splits == {"train": 54, "valid": 3, "test": 3}


def test_sentences_of_unknown_words_only(tmp_path):
    run, _ = trained(folder(tmp_path, valid=b"zebra xylophone\nquagga\n"), tmp_path)
    values = figures(run)["valid"]
    assert (values["sentences"], values["tokens"]) == (2, 5)
    assert values["unknown_rate"] == pytest.approx(3 / 5)
    rows = worked("score", run.path, "-", stdin=b"zebra\nquagga\n").out.splitlines()
    assert rows[0].split("\t")[0] == rows[1].split("\t")[0]


def test_the_empty_sentence(vae_run):
    row, blank = worked("score", vae_run, "-", stdin=b"\n   \t\n").out.splitlines()
    assert row == blank
    assert row.split("\t")[1:] == ["1", ""]
    assert len(worked("reconstruct", vae_run, "-", stdin=b"\n").out.split("\n")) == 2
    assert len(worked("interpolate", vae_run, "", "").out.split("\n")) == 8


@pytest.mark.parametrize(
    "content", [codecs.BOM_UTF8 + b"a dog\nthe cat\n", b"a dog\r\nthe cat\r\n", b"a\tdog\nthe\tcat"]
)
def test_odd_lines_score_like_plain_ones(content, vae_run):
    assert worked("score", vae_run, "-", stdin=content) == worked("score", vae_run, "-", stdin=b"a dog\nthe cat\n")


def test_line_separators_of_unicode_end_no_line(vae_run, tmp_path):
    line = "the cat\u2028saw\u0085the\x0bmoon\x0c".encode()
    assert worked("reconstruct", vae_run, "-", stdin=line).out.count("\n") == 1
    run, _ = trained(folder(tmp_path, test=line), tmp_path)
    assert figures(run, "--split", "test")["test"]["sentences"] == 1


def test_a_batch_larger_than_the_corpus(tmp_path):
    run, _ = trained(folder(tmp_path), tmp_path, "--data.batch_size", 10_000, "--training.log_every", 1)
    rows = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    assert [row["epoch"] for row in rows if row["split"] == "train"] == [1.0, 2.0]


def test_a_literal_unk_is_the_unknown_word(tmp_path):
    run, _ = trained(folder(tmp_path, train=TEXT + b"the <unk> saw <unk>\n"), tmp_path)
    assert "<unk>" not in vocabulary(run)
    rows = [row.split("\t") for row in worked("score", run.path, "-", stdin=b"<unk>\nzebra\n").out.splitlines()]
    assert rows[0][0] == rows[1][0]


def test_text_that_looks_like_markup_is_printed_as_it_is(tmp_path):
    name = tmp_path / "[bold]red[/bold] :smile:"
    folder(name)
    out = worked("corpus", "info", name / "corpus").out
    assert "[bold]red[/bold] :smile:" in out.replace("\n", "")


# Cut with a count


LONG = b"the cat " * 50_000


def test_a_line_of_100000_words_is_cut_with_a_count_in_training(tmp_path):
    run, err = trained(folder(tmp_path, train=TEXT + LONG + b"\n", valid=TEXT + LONG + b"\n"), tmp_path)
    assert [line for line in err.splitlines() if "cut" in line] == [
        f"corpus: {split}: 1 sentence cut to 200 tokens (data.max_length)" for split in ("train", "valid")
    ]
    done = worked("evaluate", run.path, "--samples", 1, "--json")
    assert "1 sentence cut to 200 tokens" in done.err
    values = json.loads(done.out)["valid"]
    assert (values["sentences"], values["cut"]) == (61, 1)
    assert values["tokens"] < 61 * 12 + 201


def test_a_line_of_100000_words_is_cut_with_a_count_in_use(vae_run, tmp_path):
    lines = b"a dog\n" + LONG + b"\n"
    for command in (["score", vae_run, "-"], ["reconstruct", vae_run, "-"]):
        done = worked(*command, stdin=lines)
        assert len(done.out.splitlines()) == 2
        assert [line for line in done.err.splitlines() if "cut" in line] == [
            "note: 1 sentence cut to 200 tokens (data.max_length of this run)"
        ]
    score = worked("score", vae_run, "-", stdin=lines).out.splitlines()[1].split("\t")
    assert score[1] == "201"
    first = worked("score", vae_run, "-", stdin=b"the cat " * 100).out.split("\t")
    assert float(score[0]) == pytest.approx(float(first[0]), rel=1e-6)
    worked("encode", vae_run, "-", "--out", tmp_path / "z.npy", stdin=lines)


# Refused, naming file and line


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a dog\nthe \xff cat\n", "{file}, line 2: "),
        (b"a dog\nthe cat\nthe \0 cat\n", "{file}, line 3: holds a NUL byte"),
        (b"", "{file} holds no sentence"),
        (b"\n \n\t\n", "{file} holds no sentence"),
        ("a dog\n".encode("utf-16"), "{file}, line 1: this is UTF-16"),
    ],
    ids=["invalid UTF-8", "NUL", "empty", "blank", "UTF-16"],
)
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_split_that_cannot_be_read(content, says, split, tmp_path):
    source = folder(tmp_path, **{split: content})
    file = source / f"{split}.txt"
    for command in ((*TRAIN, "--corpus", source, "--run", tmp_path / "run"), ("corpus", "info", source)):
        assert refused(*command, code=1).startswith(says.format(file=file))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a dog\nthe \xff cat\n", ", line 2: is not valid UTF-8"),
        (b"the \0 cat\n", ", line 1: holds a NUL byte"),
        (b"", ": has no lines"),
    ],
)
def test_lines_that_cannot_be_read(content, says, vae_run, tmp_path):
    file = tmp_path / "lines.txt"
    file.write_bytes(content)
    for command in (["score"], ["reconstruct"], ["encode", "--out", tmp_path / "z.npy"]):
        name, *rest = command
        assert refused(name, vae_run, file, *rest, code=1).startswith(f"{file}{says}")
        assert refused(name, vae_run, "-", *rest, code=1, stdin=content).startswith(f"standard input{says}")
    assert not (tmp_path / "z.npy").exists()


def test_a_table_is_not_read_as_lines(vae_run, tmp_path):
    table = tmp_path / "reviews.CSV"
    table.write_text("stars,text\n5,the cat saw the moon\n", "utf-8")
    for command in (["score"], ["reconstruct"], ["encode", "--out", tmp_path / "z.npy"]):
        name, *rest = command
        assert refused(name, vae_run, table, *rest, code=1).startswith(f"{table}: is a table; ")


def test_a_file_that_is_not_there(vae_run, tmp_path):
    assert (
        refused("score", vae_run, tmp_path / "none", code=1)
        == f"{tmp_path}/none: cannot be read: No such file or directory"
    )
    assert refused("score", vae_run, tmp_path, code=1) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_corpus_that_is_not_there(own_vae_run, tmp_path):
    for command in (
        (*TRAIN, "--run", tmp_path / "run", "--corpus"),
        ("evaluate", own_vae_run, "--corpus"),
        ("corpus", "info"),
    ):
        sentence = refused(*command, tmp_path / "none", code=1)
        assert f"{tmp_path}/none" in sentence
        assert "grammar" in sentence
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_no_utf8(tmp_path):
    file = tmp_path / "caf\udce9.txt"
    file.write_bytes(TEXT)
    assert refused(*TRAIN, "--corpus", file, code=2).startswith("--corpus: must be UTF-8 text")


def test_a_corpus_without_a_split(tmp_path):
    source = folder(tmp_path)
    (source / "valid.txt").unlink()
    assert "has no valid split" in refused(*TRAIN, "--corpus", source, code=1)


def test_a_corpus_with_nothing_in_it(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "has no train" in refused(*TRAIN, "--corpus", tmp_path / "empty", code=1)
    (tmp_path / "one.txt").write_text("a dog\n", encoding="utf-8")
    assert "holds only 1 sentence" in refused(*TRAIN, "--corpus", tmp_path / "one.txt", code=1)


@pytest.mark.parametrize("more", [(), ("--data.min_count", 61), ("--data.vocabulary_size", 2)])
def test_a_vocabulary_of_one_word(more, tmp_path):
    content = TEXT if more else b"hm hm hm\n" * 60
    sentence = refused(
        *TRAIN, "--corpus", folder(tmp_path, train=content), "--run", tmp_path / "run", *more, code=1
    )
    assert sentence.startswith("the vocabulary has ")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_text_without_spaces_is_noticed(tmp_path):
    content = "".join(sentence.replace(" ", "") * 3 + "\n" for sentence in sentences(60, seed=1)).encode()
    _, err = trained(folder(tmp_path, train=content, valid=content, test=content), tmp_path)
    assert "--tokenizer unigram" in err


def test_a_loss_that_is_no_number_stops_before_anything_is_written(corpus, tmp_path):
    wild = ("--training.optimiser", "{kind: sgd, lr: 1e30}", "--training.update.clip_norm", "null")
    done = textvae("train", *TINY, "--corpus", corpus, "--run", tmp_path / "run", "--steps", 50, *wild)
    assert done.code == 1
    assert "of the steps 0 to " in done.err.splitlines()[-1]
    assert "try a smaller learning rate" in done.err.splitlines()[-1]
    assert (tmp_path / "run" / "status").read_text(encoding="utf-8") == "failed\n"
