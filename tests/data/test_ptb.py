"""Finding the Penn Treebank, and fetching from servers that misbehave. All text here is invented."""

import hashlib
import socket
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from penn_treebank import needs_ptb

from textvae.data.corpora import SPLITS, open_corpus
from textvae.data.sources.downloads import HubCopy, WebCopy, download
from textvae.data.sources.ptb import MD5, Fetched, fetch, find_ptb, is_standard, standard_sources
from textvae.errors import DataError

TEXT = {split: f" an invented {split} sentence \n a second <unk> one \n" * 4000 for split in SPLITS}
DIGESTS = {split: hashlib.md5(text.encode()).hexdigest() for split, text in TEXT.items()}


class Misbehaving(BaseHTTPRequestHandler):
    """/MODE/SPLIT serves the split in the manner of MODE."""

    def do_GET(self) -> None:
        _, mode, split = self.path.split("/")
        body = TEXT[split].encode()
        if mode == "missing":
            return self.send_error(404)
        if mode == "redirect":
            return self.answer(b"", code=302, Location=f"/good/{split}")
        if mode == "loop":
            return self.answer(b"", code=302, Location=self.path)
        if mode == "wrong":
            return self.answer(b"<html>moved</html>")
        if mode == "late" and split == "test":
            return self.send_error(503)
        if mode == "short":
            return self.answer(body[: len(body) // 2], length=len(body))
        if mode == "reset":
            self.answer(body[: len(body) // 2], length=len(body))
            return self.connection.shutdown(socket.SHUT_RDWR)
        if mode == "silent":
            self.rfile.read(1)  # until the client gives up
            return None
        return self.answer(body)

    def answer(self, body: bytes, code: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def web(server: str, mode: str) -> WebCopy:
    """A source that is given up soon only if it never answers: a busy machine answers late."""
    timeout = 0.3 if mode == "silent" else 60
    return WebCopy(f"the {mode} one", {split: f"{server}/{mode}/{split}" for split in SPLITS}, timeout)


def content(root: Path) -> Mapping[str, str]:
    return {path.stem: path.read_bytes().decode() for path in (root / "ptb").iterdir()}


def refusal(root: Path, *sources: WebCopy | HubCopy) -> str:
    with pytest.raises(DataError) as caught:
        fetch("ptb", root, sources=sources, md5=DIGESTS)
    message = str(caught.value)
    assert not message.endswith(".")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("mode", ["good", "redirect"])
def test_a_good_source(tmp_path: Path, server: str, mode: str) -> None:
    done = fetch("ptb", tmp_path / "new", sources=[web(server, mode)], md5=DIGESTS)
    assert done == Fetched(tmp_path / "new" / "ptb", (f"the {mode} one",))
    assert content(tmp_path / "new") == TEXT
    assert [path.name for path in (tmp_path).iterdir()] == ["new"]
    again = fetch("ptb", tmp_path / "new", sources=[], md5=DIGESTS)
    assert "already holds the standard files" in str(again)


BAD = {
    "missing": "returned HTTP 404",
    "loop": "returned HTTP 302",
    "wrong": "has MD5",
    "short": "could not be downloaded",
    "reset": "could not be downloaded",
    "silent": "0.3 s",
    "late": "returned HTTP 503",
}


@pytest.mark.parametrize("mode", BAD)
def test_a_bad_source_is_told_and_leaves_nothing(tmp_path: Path, server: str, mode: str) -> None:
    message = refusal(tmp_path / "new", web(server, mode))
    assert f"the {mode} one: " in message
    assert BAD[mode] in message
    assert list(tmp_path.iterdir()) == []


def test_all_sources_that_were_tried_are_named(tmp_path: Path, server: str) -> None:
    nowhere = WebCopy("the closed one", dict.fromkeys(SPLITS, "http://127.0.0.1:9/x"))
    nonsense = WebCopy("the odd one", dict.fromkeys(SPLITS, "no address"))
    message = refusal(tmp_path, web(server, "short"), web(server, "wrong"), nowhere, nonsense)
    assert all(f"the {kind} one: " in message for kind in ("short", "wrong", "closed", "odd"))
    assert list(tmp_path.iterdir()) == []


def test_the_next_good_source_is_used(tmp_path: Path, server: str) -> None:
    done = fetch("ptb", tmp_path, sources=[web(server, "late"), web(server, "good")], md5=DIGESTS)
    assert done.sources == ("the late one", "the good one")
    assert content(tmp_path) == TEXT


def test_only_what_is_missing_is_fetched(tmp_path: Path, server: str) -> None:
    folder = tmp_path / "ptb"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"ptb.{split}.txt").write_text(TEXT[split], newline="", encoding="utf-8")
    fetch("ptb", tmp_path, sources=[web(server, "good")], md5=DIGESTS)
    assert sorted(path.name for path in folder.iterdir()) == ["ptb.test.txt", "ptb.train.txt", "valid.txt"]


def test_a_file_of_the_users_is_never_replaced(tmp_path: Path, server: str) -> None:
    (tmp_path / "ptb").mkdir()
    (tmp_path / "ptb" / "valid.txt").write_text("mine\n", encoding="utf-8")
    assert "valid.txt is not the standard file" in refusal(tmp_path, web(server, "good"))
    assert content(tmp_path) == {"valid": "mine\n"}


def test_an_interruption_leaves_nothing(tmp_path: Path, server: str) -> None:
    def interrupted(copy: HubCopy, split: str, cache: Path) -> Iterator[str]:
        yield "half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("ptb", tmp_path, sources=[HubCopy("a/b", "sentence", " {} \n", interrupted)], md5=DIGESTS)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_fails_removes_its_file(tmp_path: Path, server: str) -> None:
    with pytest.raises(DataError, match="could not be downloaded"):
        download(f"{server}/short/train", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def stripped(copy: HubCopy, split: str, cache: Path) -> Iterator[str]:
    return (line.strip() for line in TEXT[split].splitlines())


def test_the_hubs_rows_are_rebuilt_to_the_original_bytes(tmp_path: Path) -> None:
    done = fetch("ptb", tmp_path, sources=[HubCopy("a/b", "sentence", " {} \n", stripped)], md5=DIGESTS)
    assert done.sources == ("the hub's a/b",)
    assert content(tmp_path) == TEXT


def test_the_hub_is_asked_for_its_own_names_of_the_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load_dataset(name: str, *, revision: str, split: str, cache_dir: str) -> list[dict[str, str]]:
        assert (name, revision) == ("a/b", "refs/convert/parquet")
        asked.append(split)
        Path(cache_dir).mkdir(exist_ok=True)
        ours = {"validation": "valid"}.get(split, split)
        return [{"sentence": line.strip(), "other": "not this"} for line in TEXT[ours].splitlines()]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    fetch("ptb", tmp_path, sources=[HubCopy("a/b", "sentence", " {} \n")], md5=DIGESTS)
    assert asked == ["train", "validation", "test"]
    assert content(tmp_path) == TEXT
    assert files_in(tmp_path) == ["ptb"]  # the hub's own copy is gone


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_fetched_to_where_it_is_looked_for_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hub = HubCopy("a/b", "sentence", " {} \n", stripped)
    monkeypatch.delenv("TEXTVAE_DATA", raising=False)
    assert fetch("ptb", sources=[hub], md5=DIGESTS).folder == Path("data/ptb")
    assert content(tmp_path / "data") == TEXT
    monkeypatch.setenv("TEXTVAE_DATA", str(tmp_path / "named"))
    assert fetch("ptb", sources=[hub], md5=DIGESTS).folder == tmp_path / "named/ptb"
    assert fetch("ptb", tmp_path / "told", sources=[hub], md5=DIGESTS).folder == tmp_path / "told/ptb"
    assert content(tmp_path / "named") == content(tmp_path / "told") == TEXT


def test_a_hub_that_fails_is_one_source_among_others(tmp_path: Path, server: str) -> None:
    def broken(copy: HubCopy, split: str, cache: Path) -> Iterator[str]:
        raise ConnectionError("no route\nto the hub")

    hub = HubCopy("a/b", "sentence", " {} \n", broken)
    assert "the hub's a/b: it cannot be read (no route)" in refusal(tmp_path / "bad", hub)
    assert fetch("ptb", tmp_path, sources=[hub, web(server, "good")], md5=DIGESTS).sources == ("the good one",)


def test_only_ptb_is_fetched_and_its_sources_are_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to fetch for `wikitext`; choose ptb"):
        fetch("wikitext", tmp_path)
    hub, torchtext = standard_sources()
    assert (hub.name, torchtext.name) == ("the hub's ptb-text-only/ptb_text_only", "torchtext's address")


def test_a_folder_that_cannot_be_written(tmp_path: Path, server: str) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert "cannot be written" in refusal(tmp_path / "file", web(server, "good"))


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEXTVAE_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match=r"TEXTVAE_DATA/ptb .* data/ptb; run `textvae corpus fetch ptb`"):
        find_ptb()
    for root, names in ((tmp_path / "data", "ptb.{}.txt"), (tmp_path / "elsewhere", "{}.txt")):
        (root / "ptb").mkdir(parents=True)
        for split, text in TEXT.items():
            (root / "ptb" / names.format(split)).write_text(text, newline="", encoding="utf-8")
        assert find_ptb()["valid"].parent.resolve() == root / "ptb"
    assert is_standard(find_ptb(), DIGESTS)
    assert not is_standard(find_ptb())
    corpus = open_corpus("ptb")
    assert corpus.name == "ptb"
    assert "not the standard Penn Treebank (train, valid, test differ by MD5)" in corpus.remarks[0]
    assert list(corpus["valid"][:2]) == ["an invented valid sentence", "a second <unk> one"]


@needs_ptb
def test_the_real_files() -> None:
    corpus = open_corpus("ptb")
    assert is_standard(find_ptb(), MD5)
    assert "are the standard Penn Treebank" in corpus.remarks[0]
    assert len(corpus.remarks) == 1
    assert [len(corpus[split]) for split in SPLITS] == [42_068, 3_370, 3_761]
    read = open_corpus("torchtext:PennTreebank")
    assert read.digest() == corpus.digest()
