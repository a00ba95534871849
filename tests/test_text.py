"""Every kind of text source, and every way in which one can be wrong."""

import json
import os
import random
import string
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_probe.model_adapters import UserError
from lm_probe.sweeps import _text_files, builtin_text, text
from lm_probe.sweeps.text import read_text
from tests.loopback_hub import LoopbackHub


def _lines(documents):
    return "".join(json.dumps({"text": document}) + "\n" for document in documents)


def _compressed(content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def _refused(source) -> str:
    with pytest.raises(UserError) as caught:
        read_text(str(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["a.txt", "a.md", "A.TXT"])
def test_a_text_file_is_one_document(tmp_path, name):
    (tmp_path / name).write_bytes("one\r\n\n two \u00e9".encode())
    read = read_text(str(tmp_path / name))
    assert read.documents == ["one\r\n\n two \u00e9"] and (read.name, read.note) == (name, "")


def test_blank_documents_and_blank_lines_are_dropped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one", "id": 1}\n\n{"text": " \\n"}\n{"text": ""}\n{"text": "two"}')
    assert read_text(str(path)).documents == ["one", "two"]


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "two"}\n')
    assert read_text(str(tmp_path)).documents == ["one", "two"]


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.jsonl.zst").write_bytes(_compressed(_lines(["3", "4"]).encode()))
    (tmp_path / "b" / "a.md").write_text("2")
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "c.jsonl").write_text(_lines(["5"]))
    (tmp_path / "picture.png").write_bytes(b"\xff\xfe")
    (tmp_path / "empty.txt").write_text("")
    assert read_text(str(tmp_path)).documents == ["1", "2", "3", "4", "5"]


def test_zstd_of_several_frames_is_read_to_the_end(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(_compressed(_lines(["1", "2"]).encode()) + _compressed(_lines(["3"]).encode()))
    assert read_text(str(path)).documents == ["1", "2", "3"]


# Documents that survive: not blank, no surrogates, no byte order mark in front of a plain text file.
_documents = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff")).filter(str.strip),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(_documents)
def test_documents_come_back_from_every_format(documents):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "a.jsonl").write_text(_lines(documents), newline="")
        (root / "b.jsonl.zst").write_bytes(_compressed(_lines(documents).encode()))
        (root / "c").mkdir()
        for number, document in enumerate(documents):
            (root / "c" / f"{number:03}.txt").write_bytes(document.encode())
        read = [read_text(str(root / source)) for source in ("a.jsonl", "b.jsonl.zst", "c")]
    assert [r.documents for r in read] == [documents] * 3
    assert len({r.sha256 for r in read}) == 1


@settings(max_examples=60, deadline=None)
@given(st.text(string.ascii_letters + "\u00e9\U0001f600", min_size=3, max_size=20), st.data())
def test_the_hash_moves_with_a_boundary(whole, data):
    first, second = data.draw(st.lists(st.integers(1, len(whole) - 1), min_size=2, max_size=2, unique=True))
    hashes = {
        text._collect("t", documents).sha256
        for documents in ([whole], [whole[:first], whole[first:]], [whole[:second], whole[second:]])
    }
    assert len(hashes) == 3


@pytest.fixture
def limit(monkeypatch):
    monkeypatch.setattr(text, "LIMIT_BYTES", 1024)
    return 1024


def test_reading_stops_at_the_limit(tmp_path, limit):
    path = tmp_path / "a.jsonl"
    path.write_text(_lines(["x" * 300] * 3 + ["y" * 300]) + "not JSON, and never reached\n")
    read = read_text(str(path))
    assert [len(document) for document in read.documents] == [300, 300, 300, 124]
    assert read.note == "first 0.000976562 MiB of a.jsonl"


def test_what_just_fits_is_whole(tmp_path, limit):
    (tmp_path / "a.txt").write_text("x" * limit)
    (tmp_path / "b.jsonl").write_text(_lines(["x" * 512] * 2))
    for source in ("a.txt", "b.jsonl"):
        read = read_text(str(tmp_path / source))
        assert sum(map(len, read.documents)) == limit and read.note == ""
    assert read_text(str(tmp_path)).note == f"first 0.000976562 MiB of {tmp_path.name}"


@pytest.mark.parametrize("lead", range(4))
def test_a_long_file_is_cut_between_characters(tmp_path, limit, lead):
    content = "x" * lead + "\U0001f600" * 400
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    (document,) = read_text(str(tmp_path / "a.txt")).documents
    assert content.startswith(document) and limit - 4 < len(document.encode()) <= limit


def test_no_more_than_the_limit_is_loaded(tmp_path):
    path = tmp_path / "sparse.txt"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    assert len(_text_files._plain_document(path, 1024)) == 1032


def test_a_name_that_is_nothing(tmp_path):
    for source in (
        tmp_path / "absent.jsonl",
        "absent.jsonl",
        "a/b/c",
        "./corpus",
        "user/cor pus",
        "user/corpus@a@b",
        "",
    ):
        assert "no such file or folder" in _refused(source)


def test_a_name_too_long_for_the_file_system():
    assert "cannot be opened: File name too long" in _refused("a" * 5000)


@pytest.mark.parametrize("content", ["", " \n\t "])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.jsonl.zst"])
def test_an_empty_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(_compressed(content.encode()) if name.endswith(".zst") else content.encode())
    assert "no text in it" in _refused(tmp_path / name)


def test_a_folder_without_text(tmp_path):
    (tmp_path / "a.csv").write_text("text\nx")
    assert "no .txt, .md, .jsonl or .jsonl.zst file below this folder" in _refused(tmp_path)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "a.csv").write_text("text\nx")
    assert "not a .txt, .md, .jsonl or .jsonl.zst file" in _refused(tmp_path / "a.csv")
    os.mkfifo(tmp_path / "pipe.txt")  # must not be waited for
    assert "not a .txt" in _refused(tmp_path / "pipe.txt")


def test_text_that_is_not_utf8(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"abc\xff")
    assert "not UTF-8 at byte 3;" in _refused(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes(b"abc\xe2\x82")  # the file ends inside a character
    assert "not UTF-8 at byte 3;" in _refused(tmp_path / "b.txt")
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
    message = _refused(tmp_path / "c.jsonl")
    assert "not UTF-8 at byte 24;" in message and message.endswith("(line 2)")


@pytest.mark.parametrize(
    "line, found",
    [
        ('{"text": "b"', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"content": "b", "id": 2}', 'no field "text", but fields content, id'),
        ("{}", 'no field "text", but fields '),
        ('["b"]', 'no field "text", but a list'),
        ('{"text": 3}', 'field "text" is a int'),
        ('{"text": null}', 'field "text" is a NoneType'),
        ('{"text": "\\ud83d"}', "half of a surrogate pair"),
    ],
)
def test_a_line_that_is_no_document(tmp_path, line, found):
    (tmp_path / "a.jsonl").write_text(_lines(["a"]) + "\n" + line + "\n")
    message = _refused(tmp_path / "a.jsonl")
    assert "a.jsonl, line 3: " in message and found in message


def test_a_line_longer_than_the_limit(tmp_path, limit):
    (tmp_path / "a.jsonl").write_text("[" + "1, " * limit)
    assert "a line is longer than 1024 bytes" in _refused(tmp_path / "a.jsonl")


def test_damaged_zstd(tmp_path):
    noise = random.Random(0).choices(string.ascii_letters, k=50_000)
    content = _compressed(_lines(["".join(noise)] * 3).encode())
    path = tmp_path / "a.jsonl.zst"
    for damaged in (content[:-10], content[: len(content) // 2], b"plain", content + b"garbage"):
        path.write_bytes(damaged)
        assert "damaged or truncated zstd" in _refused(path)


def test_no_permission(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("x")

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        assert "no permission to read" in _refused(tmp_path / "a.txt")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        assert "no permission to read" in _refused(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", refuse)
        assert "cannot be opened: Permission denied" in _refused(tmp_path / "a.txt")


def test_an_unreadable_folder_inside_is_not_passed_over(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.txt").write_text("x")
    (tmp_path / "shut").mkdir(mode=0)
    if os.access(tmp_path / "shut", os.R_OK):
        pytest.skip("this user may read everything")
    assert "no permission to read" in _refused(tmp_path)


def test_the_builtin_text():
    first, again = read_text(None), read_text(None)
    assert first == again and first.note == "" and first.name.startswith("built-in text of Python 3.")
    sizes = [len(document.encode()) for document in first.documents]
    assert len(sizes) > 300 and 6e6 < sum(sizes) <= builtin_text.LIMIT_BYTES
    topics = set(builtin_text._topics().values())
    for quarter in range(4):  # any stretch is a mix of prose and code
        part = first.documents[quarter * len(sizes) // 4 : (quarter + 1) * len(sizes) // 4]
        assert 0.05 < sum(document in topics for document in part) / len(part) < 0.5


def test_the_builtin_text_leaves_out_what_is_not_the_library():
    names = set(builtin_text._sources())
    assert {"ast.py", "json/decoder.py", "unittest/case.py"} <= names
    assert not [name for name in names if {"test", "tests", "site-packages", "__pycache__"} & set(name.split("/"))]


def test_a_python_without_its_library(tmp_path, monkeypatch):
    (tmp_path / "ast.py").write_text("x = 1")
    (tmp_path / "re.py").write_bytes(b"# -*- coding: latin-1 -*-\n# \xe9")
    monkeypatch.setattr(builtin_text.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(UserError, match=r"holds only 1 readable documents .* --text FILE"):
        read_text(None)


_HUB = """
import json, sys, time
time.sleep = lambda seconds: None  # the client waits 23 seconds in all before it gives a Hub up
from lm_probe.model_adapters import UserError
from lm_probe.sweeps import text

text.LIMIT_BYTES = int(sys.argv[1])
answers = []
for source in sys.argv[2:]:
    try:
        answers.append(list(text.read_text(source)))
    except UserError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def _from_hub(environment, *sources, limit=4096):
    done = subprocess.run(
        [sys.executable, "-c", _HUB, str(limit), *sources], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


_CARD = """---
configs:
- {config_name: first, data_files: [{split: train, path: one.jsonl}]}
- {config_name: second, data_files: [{split: train, path: one.jsonl}, {split: test, path: two.jsonl}]}
---
"""


def test_a_hub_dataset(tmp_path):
    plain, named, other = (tmp_path / name for name in ("plain", "named", "other"))
    for folder in (plain, named, other):
        folder.mkdir()
    documents = [f"document {i}" for i in range(100)]
    (plain / "train.jsonl").write_text(_lines([*documents, "", " "]))
    (named / "README.md").write_text(_CARD)
    (named / "one.jsonl").write_text(_lines(["one"]))
    (named / "two.jsonl").write_text(_lines(["two"] * 900))
    (other / "train.jsonl").write_text('{"content": "x", "id": 1}\n')
    with LoopbackHub() as hub:
        for name, folder in (("plain", plain), ("named", named), ("other", other)):
            hub.add_dataset(f"user/{name}", folder)
        answers = _from_hub(
            hub.environment(tmp_path / "home"),
            "user/plain",
            "user/named:first",
            "user/named:second@test",
            "user/named",
            "user/plain:absent",
            "user/plain@absent",
            "user/other",
            "user/absent",
            limit=2048,
        )
    (tmp_path / "same.jsonl").write_text(_lines(documents))
    assert answers[0] == ["user/plain", documents, read_text(str(tmp_path / "same.jsonl")).sha256, ""]
    assert answers[1][:2] == ["user/named:first", ["one"]]
    assert answers[2][1] == ["two"] * 682 + ["tw"]
    assert answers[2][3] == "first 0.00195312 MiB of user/named:second@test"
    for message, found in zip(
        answers[3:],
        [
            "['first', 'second']",  # datasets lists the configurations to choose from
            "BuilderConfig 'absent' not found",
            "Bad split: absent. Available splits: ['train']",
            'no column "text", but content, id',
            "the Hub shows no such dataset",
        ],
        strict=True,
    ):
        assert found in message and "\n" not in message


def test_a_hub_that_is_not_there(tmp_path):
    with LoopbackHub() as hub:
        environment = hub.environment(tmp_path / "home")
    for shut in ({}, {"HF_HUB_OFFLINE": "1"}):
        (message,) = _from_hub(environment | shut, "user/plain")
        assert message.startswith(
            "--text user/plain@train: cannot be read from the Hub (ConnectionError: Couldn't reach"
        )
        assert "\n" not in message
