"""Imported by the server that children are forked from: one small sweep, so that no child waits for an import."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads would be lost in the children

import torch

from lm_probe.cli import main
from tests.word_level import tiny_model, word_level_tokenizer

torch.set_num_threads(1)
with TemporaryDirectory() as _name:
    _folder = Path(_name)
    _tokenizer = word_level_tokenizer()
    tiny_model("pythia", len(_tokenizer)).save_pretrained(_folder / "step1")
    _tokenizer.save_pretrained(_folder / "step1")
    (_folder / "text.txt").write_text("how many words are in the list " * 40)
    _asked = [
        "--probes",
        "loss,anisotropy,head_spectrum",
        "--controls",
        "gaussian",
        "--tasks",
        "count_query_m5",
        "--task-documents",
        "1",
    ]
    _asked += [
        "--task-documents",
        "1",
        "--tokens",
        "64",
        "--context",
        "16",
        "--text",
        str(_folder / "text.txt"),
        "--no-report",
    ]
    assert main(["sweep", str(_folder / "step1"), "--out", str(_folder / "run"), *_asked]) == 0
    assert main(["export", str(_folder / "run"), "--out", str(_folder / "values.csv")]) == 0
