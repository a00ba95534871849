"""The demo series: two small GPT-NeoX models, trained here on real text and saved along the way.

They give `lm-probe demo` something to sweep without a download: Pythia's architecture in two widths, one byte-level
BPE tokenizer, a checkpoint at step 0 and at every power of two. It is real training on real text, and what the
checkpoints show is reported as it is.

Both models are trained at once, each on one core, on the same batches. On two idle cores that takes about 90 seconds;
on one, half as long again.

```python
from pathlib import Path
from lm_probe.studies.demo_series import train_demo_series
from lm_probe.sweeps.builtin_text import builtin_documents

train_demo_series(builtin_documents(), Path("demo-models"))
# demo-models/demo-w16/step0 ... demo-models/demo-w64/step1024
```
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from lm_probe.studies._demo_folder import SeriesFolder, digest
from lm_probe.studies._demo_tokenizer import NUMBERS, rows_of_tokens, train_tokenizer
from lm_probe.studies._demo_training import Recipe, build_model, train

__all__ = ["SIZES", "STEPS", "Split", "rows_of_tokens", "split_documents", "train_demo_series", "train_tokenizer"]

SIZES = (16, 64)
STEPS = (0, *(2**power for power in range(11)))

_HELD_OUT_SHARE = 0.05


class Split(NamedTuple):
    """Documents to train on and documents that no demo model (nor its tokenizer) has seen."""

    train: list[str]
    held_out: list[str]


def split_documents(documents: Sequence[str]) -> Split:
    """Hold out the last twentieth of the documents, one at least.

    The built-in text is in a mixed order, so its end is a sample of the whole.
    """
    if len(documents) < 2:
        raise ValueError(f"{len(documents)} document(s) were given; training and held-out text need two at least")
    held_out = max(1, round(len(documents) * _HELD_OUT_SHARE))
    return Split(list(documents[:-held_out]), list(documents[-held_out:]))


def train_demo_series(
    documents: Sequence[str],
    out: Path,
    *,
    sizes: Sequence[int] = SIZES,
    steps: Sequence[int] = STEPS,
    seed: int = 0,
    extra_tokens_text: Sequence[str] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Path]:
    """Train one small model per size and save its checkpoints, or find them already there.

    A series is complete when its folder holds `series.json`, which is written last. It is then left as it is, if it
    was made from the same text, sizes, steps and seed; otherwise its checkpoints are removed and made again. Equal
    arguments give equal weights, byte for byte, on one kind of CPU and one version of torch. The recipe is described
    at `Recipe`; no global random state is touched.

    Args:
        documents: The text. The last twentieth is not trained on: see `split_documents`.
        out: The folder for the series. Other things in it are left alone.
        sizes: Hidden sizes, one model each, named `demo-w<size>`.
        steps: The steps that are saved, as `step<N>`; the largest ends the training.
        seed: Of the weights and of the order of the text.
        extra_tokens_text: Text whose words are to be single tokens, each with its space before it (`" apple pear"`);
            the numbers 0 to 255 always are. It is not trained on.
        progress: Called with model, step and last step after each step, by the training threads but never by two at
            once; what it raises ends the training.

    Returns:
        The folders of the series, in the order of `sizes`: `out/demo-w<size>`, with `step<N>` inside.

    Raises:
        ValueError: If the text is too short, or sizes or steps cannot be used.
    """
    recipe = Recipe()
    wanted = sorted(set(steps))
    if not wanted or wanted[0] < 0 or not sizes or min(sizes) < 8:
        raise ValueError(f"sizes of 8 or more and steps of 0 or more are needed, got sizes {sizes} and steps {steps}")
    text = {
        "documents": len(documents),
        "sha256": digest(documents),
        "extra_sha256": digest([*NUMBERS, *extra_tokens_text]),
    }
    plans = [
        SeriesFolder(out / f"demo-w{size}", {"width": size, "steps": wanted, "seed": seed, **asdict(recipe)}, text)
        for size in sizes
    ]
    missing = [plan for plan in plans if not plan.is_complete()]
    if missing:
        parts = split_documents(documents)
        tokenizer = train_tokenizer(
            parts.train,
            vocabulary=recipe.vocabulary,
            positions=recipe.positions,
            extra_tokens_text=extra_tokens_text,
        )
        rows = rows_of_tokens(tokenizer, parts.train, recipe.context + 1)
        if len(rows) < recipe.rows_per_step:
            raise ValueError(
                f"the text gives {len(rows)} rows of {recipe.context + 1} tokens and a step takes "
                f"{recipe.rows_per_step}; give more text"
            )
        _train_together(missing, recipe, tokenizer, rows, progress)
    return [plan.folder for plan in plans]


def _train_together(
    plans: Sequence[SeriesFolder],
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    rows: Int[Tensor, "rows length"],
    progress: Callable[[str, int, int], None] | None,
) -> None:
    """Train each series in a thread of its own: models this small gain little from a second core, two gain double."""
    stop, lock = threading.Event(), threading.Lock()
    threads, bars = torch.get_num_threads(), transformers_logging.is_progress_bar_enabled()

    def reached(plan: SeriesFolder, step: int) -> None:
        if stop.is_set():
            raise RuntimeError(f"training of {plan.folder.name} was stopped at step {step}")
        if progress is not None:
            with lock:
                progress(plan.folder.name, step, plan.settings["steps"][-1])

    # Built here, one after the other: building borrows torch's global generator.
    models = [
        build_model(recipe, width=plan.settings["width"], vocabulary=len(tokenizer), seed=plan.settings["seed"])
        for plan in plans
    ]
    try:
        transformers_logging.disable_progress_bar()  # one per checkpoint that is saved
        with ThreadPoolExecutor(len(plans)) as pool:
            futures = [
                pool.submit(_train_one, plan, recipe, tokenizer, rows, model, reached)
                for plan, model in zip(plans, models, strict=True)
            ]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            except BaseException:
                stop.set()  # else leaving the pool would wait for the other model's whole training
                raise
    finally:
        torch.set_num_threads(threads)
        if bars:
            transformers_logging.enable_progress_bar()


def _train_one(
    plan: SeriesFolder,
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    rows: Int[Tensor, "rows length"],
    model: GPTNeoXForCausalLM,
    reached: Callable[[SeriesFolder, int], None],
) -> None:
    started = time.perf_counter()
    checkpoints: list[dict[str, float]] = []
    plan.clear()

    def save(step: int, loss: float) -> None:
        partial = plan.folder / f".step{step}"
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(plan.folder / f"step{step}")
        tokens = step * recipe.rows_per_step * recipe.context
        checkpoints.append({"step": step, "tokens": tokens, "training_loss": loss})

    train(
        model,
        rows,
        recipe,
        steps=plan.settings["steps"],
        seed=plan.settings["seed"],
        at_step=lambda step: reached(plan, step),
        at_checkpoint=save,
    )
    plan.complete(seconds=time.perf_counter() - started, checkpoints=checkpoints)
