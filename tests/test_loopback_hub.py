"""The loopback Hub answers the real clients, each in a subprocess of its own."""

import hashlib
import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from tests.loopback_hub import LoopbackHub

_REVISIONS = {"main": "step8", "step0": "step0", "step8": "step8", "v1": "step0"}


def _run(hub, home, code, *arguments):
    """What `code` prints as JSON, run against the hub."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=hub.environment(home), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _names(hub):
    return [(request.method, request.path.rsplit("/", 1)[-1]) for request in hub.requests]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("series")
    config = GPTNeoXConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<unk>": 2}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    for step in (0, 8):
        GPTNeoXForCausalLM(config).save_pretrained(root / f"step{step}")
        tokenizer.save_pretrained(root / f"step{step}")
    (root / "step8" / "notes").mkdir()
    (root / "step8" / "notes" / "a b.txt").write_text("nested, with a space")
    return root


@pytest.fixture
def hub(folders):
    with LoopbackHub() as server:
        server.add_model(
            "user/tiny",
            {
                "main": folders / "step8",
                "step0": folders / "step0",
                "step8": folders / "step8",
                "v1": folders / "step0",
            },
            tags=["v1"],
        )
        yield server


_CLIENT = """
import hashlib, json, sys
from pathlib import Path
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

api = HfApi()
answer = {}
refs = api.list_repo_refs("user/tiny")
answer["branches"] = {r.name: r.target_commit for r in refs.branches}
answer["tags"] = {r.name: r.target_commit for r in refs.tags}
info = api.repo_info("user/tiny", revision="step8", files_metadata=True)
answer["sha"] = info.sha
answer["siblings"] = {s.rfilename: [s.size, s.lfs.sha256 if s.lfs else None] for s in info.siblings}
answer["top"] = sorted(e.path for e in api.list_repo_tree("user/tiny", revision="step8"))
answer["deep"] = sorted(e.path for e in api.list_repo_tree("user/tiny", revision="step8", recursive=True))
answer["below"] = [e.path for e in api.list_repo_tree("user/tiny", "notes", revision="step8")]
answer["paths"] = [e.path for e in api.get_paths_info("user/tiny", ["notes", "config.json", "absent"])]
folder = Path(snapshot_download("user/tiny", revision="step8"))
files = [p for p in folder.rglob("*") if p.is_file()]
answer["files"] = {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
answer["snapshot"] = folder.name
blob = Path(hf_hub_download("user/tiny", "model.safetensors", revision="step0", cache_dir=sys.argv[1])).resolve()
answer["blob"] = [blob.name, hashlib.sha256(blob.read_bytes()).hexdigest()]
small = Path(hf_hub_download("user/tiny", "config.json", revision="v1", cache_dir=sys.argv[1])).resolve()
content = small.read_bytes()
answer["small"] = [small.name, hashlib.sha1(b"blob %d\\0" % len(content) + content).hexdigest()]

def name_of(call):
    try:
        call()
    except (RevisionNotFoundError, RepositoryNotFoundError, EntryNotFoundError) as error:
        return type(error).__name__

answer["errors"] = [
    name_of(call)
    for call in (
        lambda: api.repo_info("user/tiny", revision="step9"),
        lambda: snapshot_download("user/tiny", revision="step9"),
        lambda: hf_hub_download("user/tiny", "config.json", revision="step9"),
        lambda: api.repo_info("user/absent"),
        lambda: api.list_repo_refs("user/absent"),
        lambda: hf_hub_download("user/absent", "config.json"),
        lambda: hf_hub_download("user/tiny", "absent.json"),
        lambda: list(api.list_repo_tree("user/tiny", "absent")),
    )
]
print(json.dumps(answer))
"""


def test_the_hub_client(hub, folders, tmp_path):
    answer = _run(hub, tmp_path / "home", _CLIENT, tmp_path / "cache")
    on_disk = {
        path.relative_to(folders / "step8").as_posix(): path.read_bytes()
        for path in (folders / "step8").rglob("*")
        if path.is_file()
    }
    assert set(answer["branches"]) == {"main", "step0", "step8"} and set(answer["tags"]) == {"v1"}
    assert answer["branches"]["main"] == answer["branches"]["step8"] == answer["sha"] == answer["snapshot"]
    assert answer["branches"]["step0"] == answer["tags"]["v1"] != answer["sha"]
    assert {name: size for name, (size, _) in answer["siblings"].items()} == {n: len(c) for n, c in on_disk.items()}
    assert answer["siblings"]["model.safetensors"][1] == hashlib.sha256(on_disk["model.safetensors"]).hexdigest()
    assert answer["deep"] == sorted([*on_disk, "notes"])
    assert answer["top"] == sorted([name for name in on_disk if "/" not in name] + ["notes"])
    assert answer["below"] == ["notes/a b.txt"]
    assert sorted(answer["paths"]) == ["config.json", "notes"]
    assert answer["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in on_disk.items()}
    assert answer["blob"][0] == answer["blob"][1]
    assert answer["small"][0] == answer["small"][1]
    revision, repository = "RevisionNotFoundError", "RepositoryNotFoundError"
    assert answer["errors"][:6] == [revision] * 3 + [repository] * 3
    # huggingface_hub 1.0 gave the missing file on the Hub a name of its own.
    assert {name.removeprefix("Remote") for name in answer["errors"][6:8]} == {"EntryNotFoundError"}
    sent = sum(request.bytes_sent for request in hub.requests if request.path.endswith("/model.safetensors"))
    assert sent == 2 * len(on_disk["model.safetensors"])  # step8 in the snapshot, step0 alone; same size


_MODEL = """
import json, sys
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

config = AutoConfig.from_pretrained("user/tiny", revision="step8")
model = AutoModelForCausalLM.from_pretrained("user/tiny", revision="step8")
tokenizer = AutoTokenizer.from_pretrained("user/tiny", revision="step8")
weight = model.get_output_embeddings().weight[0, :4].tolist()
print(json.dumps([config.hidden_size, weight, tokenizer("a b a")["input_ids"]]))
"""


def test_transformers_load_a_revision(hub, folders, tmp_path):
    width, weight, ids = _run(hub, tmp_path / "home", _MODEL)
    stored = GPTNeoXForCausalLM.from_pretrained(folders / "step8").get_output_embeddings().weight
    assert (width, weight, ids) == (16, stored[0, :4].tolist(), [0, 1, 0])
    assert _names(hub).count(("GET", "model.safetensors")) == 1


_DATASET = """
import json
from datasets import load_dataset

answer = [
    [row["text"] for row in load_dataset(name, split="train", streaming=True)] for name in ("user/corpus", "user/other")
]
print(json.dumps(answer))
"""


def test_datasets_stream(hub, tmp_path):
    documents = [f"document {i}" for i in range(200)]
    for name, file in (("user/corpus", "data.jsonl"), ("user/other", "train.jsonl")):
        folder = tmp_path / file
        folder.mkdir()
        (folder / file).write_text("\n".join(json.dumps({"text": document}) for document in documents))
        hub.add_dataset(name, folder)
    assert _run(hub, tmp_path / "home", _DATASET) == [documents, documents]


def _get(url, span=None, method="GET"):
    request = urllib.request.Request(url, headers={"Range": span} if span else {}, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as response:
        return response.status, response.headers, response.read()


@pytest.mark.parametrize("span, part", [("bytes=8-107", slice(8, 108)), ("bytes=100-", slice(100, None))])
def test_a_range_is_the_slice_of_the_file(hub, folders, span, part):
    content = (folders / "step8" / "model.safetensors").read_bytes()
    status, headers, body = _get(f"{hub.url}/user/tiny/resolve/step8/model.safetensors", span)
    assert (status, body) == (206, content[part])
    start, stop, _ = part.indices(len(content))
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert headers["Accept-Ranges"] == "bytes"
    assert hub.requests[-1] == ("GET", "/user/tiny/resolve/step8/model.safetensors", span, len(body))


def test_the_last_bytes_and_a_range_behind_the_end(hub, folders):
    content = (folders / "step8" / "config.json").read_bytes()
    url = f"{hub.url}/user/tiny/resolve/main/config.json"
    assert _get(url, "bytes=-9")[2] == content[-9:]
    assert _get(url, f"bytes=0-{len(content) + 99}")[2] == content
    with pytest.raises(urllib.error.HTTPError) as refused:
        _get(url, f"bytes={len(content)}-")
    assert refused.value.code == 416 and refused.value.headers["Content-Range"] == f"bytes */{len(content)}"
    refused.value.close()


def test_head_sends_no_body_and_the_headers_of_the_hub(hub, folders):
    content = (folders / "step0" / "model.safetensors").read_bytes()
    status, headers, body = _get(f"{hub.url}/user/tiny/resolve/step0/model.safetensors", method="HEAD")
    assert (status, body) == (200, b"") and hub.requests[-1].bytes_sent == 0
    assert headers["X-Linked-Size"] == headers["Content-Length"] == str(len(content))
    assert headers["X-Linked-ETag"] == headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert len(headers["X-Repo-Commit"]) == 40


def test_a_commit_is_a_function_of_the_contents(folders, tmp_path):
    (tmp_path / "copy").mkdir()
    for name in ("b.txt", "a.txt"):
        (tmp_path / "copy" / name).write_text(name)
    with LoopbackHub() as hub:
        first = hub.add_dataset("corpus", tmp_path / "copy")
        assert hub.add_dataset("user/other", tmp_path / "copy") == first
        (tmp_path / "copy" / "a.txt").write_text("changed")
        assert hub.add_dataset("corpus", tmp_path / "copy") != first


def test_nothing_answers_after_the_end(folders):
    with LoopbackHub() as hub:
        hub.add_model("user/tiny", {"main": folders / "step0"})
        url = urllib.parse.urlsplit(f"{hub.url}/api/models/user/tiny/refs")
        kept_alive = http.client.HTTPConnection(url.netloc, timeout=5)
        kept_alive.request("GET", url.path)
        assert kept_alive.getresponse().read()
        assert len(hub.requests) == 1
        hub.forget_requests()
        assert hub.requests == ()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        kept_alive.request("GET", url.path)
        kept_alive.getresponse()
    kept_alive.close()
    with pytest.raises(urllib.error.URLError):
        _get(url.geturl())
