"""What lm-eval's log-likelihood tasks cost beside the bare forward passes, on random weights of Pythia-70m's shape.

    python benchmarks/lm_eval_speed.py [--threads 1] [--documents 64] [--batch-size 16] [--repeats 5]

Arms are interleaved within one process and the medians of their CPU seconds compared, because machines are shared and
noisy. The bare passes run the same batches (body, and head at the last position), already tokenised. An evaluation is
the whole of lm-eval's `simple_evaluate` on a loaded model: requests, tokens, passes, scores; the report on the machine
that lm-eval adds to each call is left out of every arm.
"""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from _timing import interleaved
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from lm_probe.eval_tasks import task_manager
from lm_probe.studies._demo_tokenizer import train_tokenizer
from lm_probe.sweeps._lm_eval_quiet import quiet, system_report_once
from lm_probe.sweeps.hf_probe import HFProbe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="count_query_m5")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--documents", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for line in compare(args.task, args.documents, args.batch_size, args.repeats):
        print(line, flush=True)


def compare(task: str, documents: int, batch_size: int, repeats: int) -> list[str]:
    with quiet():
        loaded = task_manager({"num_docs": documents}).load([task])["tasks"][task]
    tokenizer = train_tokenizer([doc["full_prompt"] for doc in loaded.eval_docs], vocabulary=4096, positions=2048)
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPTNeoXForCausalLM(config).eval().requires_grad_(False)
    batches = Batches(model)

    def evaluated(make: Callable[..., HFLM], **keywords: Any) -> Callable[[], Any]:
        def run() -> Any:
            with quiet(), system_report_once():
                lm = make(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, **keywords)
                manager = task_manager({"num_docs": documents})
                return simple_evaluate(model=lm, tasks=[task], task_manager=manager, bootstrap_iters=0)

        return run

    arms: dict[str, Callable[[], Any]] = {
        "hf": evaluated(HFLM),
        "hf-probe": evaluated(HFProbe),
        "hf-probe, probes=anisotropy": evaluated(HFProbe, probes="anisotropy"),
    }
    responses, rows = {}, {}
    for name, run in arms.items():
        with batches.recorded():
            samples = run()["samples"][task]
        responses[name] = [sample["resps"] for sample in samples]
        rows[name] = sum(map(len, batches.seen))
    times = interleaved({"bare": batches.run_again, **arms}, repeats)
    same = all(found == responses["hf"] for found in responses.values())
    requests = sum(map(len, responses["hf"]))
    return [
        f"{task}: {documents} documents, {requests} requests, {rows['hf-probe']} rows of up to "
        f"{max(batch.shape[1] for batch in batches.seen)} tokens, {rows['hf-probe'] / documents / 2:.2f} a document "
        f"and arm of the task; batches of {batch_size}, {torch.get_num_threads()} thread(s)",
        f"bare forward passes {times['bare']:.2f} s",
        *(f"{name}: {times[name]:.2f} s, {times[name] / times['bare']:.2f}x the bare passes" for name in arms),
        f"hf-probe is {times['hf'] / times['hf-probe']:.2f}x faster than hf",
        f"log-likelihoods {'the same to the last bit' if same else 'DIFFER'} in all arms",
    ]


class Batches:
    """The token ids that a model was run on, to run it on them again without lm-eval."""

    def __init__(self, model: GPTNeoXForCausalLM) -> None:
        self._model = model
        self.seen: list[torch.Tensor] = []

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Notes the batches that run inside the context, and forgets those before."""
        self.seen.clear()
        handle = self._model.register_forward_pre_hook(lambda _, inputs: self.seen.append(inputs[0]))
        try:
            yield
        finally:
            handle.remove()

    def run_again(self) -> None:
        """The body on each batch, and the head at the last position."""
        with torch.no_grad():
            for token_ids in self.seen:
                hidden = self._model.gpt_neox(token_ids, use_cache=False).last_hidden_state
                self._model.lm_head(hidden[:, -1])


if __name__ == "__main__":
    main()
