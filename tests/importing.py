"""What the tests of imports share: result files of two lm-evals, a table, and an import that is looked at."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from lm_probe.sweeps import RunStore, import_scores

HARNESS_3 = {
    "results": {
        "lambada_openai": {"ppl": 94.3, "ppl_stderr": 3.2, "acc": 0.253, "acc_stderr": 0.006},
        "wikitext": {"word_perplexity": 61.5, "byte_perplexity": 2.1},
    },
    "versions": {"lambada_openai": 0, "wikitext": 1},
    "config": {"model": "hf-causal", "model_args": "pretrained=somebody/tiny,revision=step3000", "num_fewshot": 0},
}
HARNESS_4: dict[str, Any] = {
    "results": {
        "mmlu": {"acc,none": 0.3, "acc_stderr,none": 0.01, "alias": "mmlu", "sample_len": 30},
        "mmlu_law": {"alias": " - law", "name": "mmlu_law", "sample_len": 20, "acc,none": 0.25, "acc_stderr,none": 0.1},
        "mmlu_art": {"alias": " - art", "acc,none": 0.4, "acc_stderr,none": 0.15},
        "gsm8k": {
            "alias": "gsm8k",
            "exact_match,strict-match": 0.02,
            "exact_match_stderr,strict-match": 0.004,
            "exact_match,flexible-extract": 0.03,
            "exact_match_stderr,flexible-extract": "N/A",
        },
        "only_names": {" ": " ", "alias": "only_names"},
    },
    "groups": {"mmlu": {"acc,none": 0.3, "acc_stderr,none": 0.01, "alias": "mmlu"}},
    "group_subtasks": {"mmlu": ["mmlu_law", "mmlu_art"], "only_names": ["gsm8k"]},
    "configs": {"gsm8k": {"num_fewshot": 5, "metadata": {"version": 3.0}}},
    "versions": {"mmlu": 2, "mmlu_law": 1.0, "gsm8k": 3.0, "mmlu_art": 1.0},
    "n-shot": {"mmlu_law": 0, "mmlu_art": 0, "gsm8k": 5},
    "n-samples": {"mmlu_law": {"original": 99, "effective": 20}, "gsm8k": {"original": 1319, "effective": 1319}},
    "config": {
        "model": "hf",
        "model_args": {"pretrained": "somebody/tiny", "revision": "step1000", "dtype": "float16"},
        "model_sha": "0123456789abcdef",
        "model_dtype": "torch.float16",
        "device": "cuda:0",
        "limit": None,
        "fewshot_seed": 7,
    },
    "date": 1_700_000_000.5,
    "lm_eval_version": "0.4.8",
    "transformers_version": "4.46.0",
    "pretty_env_info": "PyTorch version: 2.5.1+cu124\nIs debug build: False",
}
CSV = """suite,variant,model,step,shots,task,metric,value,stderr
s,zero,tiny,0,0,piqa,acc,0.5,0.01
s,zero,tiny,1000,0.0,piqa,acc,0.6,0.01
s,five,tiny,0,5,piqa,acc,0.4,
s,five,tiny,1000,5,piqa,acc,0.7,
s,zero,final,,0,piqa,acc,0.65,0.01
"""
SAMPLE = '{"doc_id": 0, "doc": {}, "target": "1"}\n{"doc_id": 1, "doc": {}, "target": "2"}\n'


def written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def imported(run: Path, *files: Path) -> tuple[list[str], pd.DataFrame]:
    said: list[str] = []
    import_scores(files, run, say=said.append)
    with RunStore(run) as store:
        return said, store.values(provenance=True)


def changed(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(document)), **changes}
