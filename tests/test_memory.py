"""Out of memory: smaller batches, the same numbers, and a line where nothing fits. The limits are real ones."""

import gc
import resource
import weakref
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from lm_probe.model_adapters import UserError, architecture_of
from lm_probe.probes import ForwardProbe, find_probes
from lm_probe.sweeps import RunStore, SweepConfig, TokenSample, sample_tokens
from lm_probe.sweeps import _memory as memory
from lm_probe.sweeps._measure import read_forward
from lm_probe.sweeps._memory import Passes
from tests import children
from tests.conftest import VOCABULARY, make_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A model of 5 MB whose feed-forward layer takes 4 MB of memory for each row of 128 tokens."""
    folder = tmp_path_factory.mktemp("wide") / "step1"
    shape = dict(hidden_size=16, intermediate_size=8192, num_hidden_layers=2, num_attention_heads=2)
    GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=VOCABULARY, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _sweep_with(room: int | None, config: SweepConfig, out: Path) -> None:
    """A sweep that may take `room` more bytes of addresses than the process has when it begins."""
    if room is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    children.sweep_in_child(config, out)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, wide: Path, text_file: Path) -> dict[str, Path]:
    """The same sweep with all the memory it wants, with less than its batches need, and with too little for a row."""
    folder = tmp_path_factory.mktemp("runs")
    config = SweepConfig(
        sources=(str(wide),),
        out=folder,
        probes=("loss", "anisotropy"),
        controls=("gaussian",),
        tasks=("count_query_m5",),
        task_documents=16,
        text=str(text_file),
        tokens=2048,
        context=128,
        device="cpu",
        batch_size=16,
    )
    for name, room in (("all", None), ("less", 58_000_000), ("little", 3_000_000)):
        assert children.run(_sweep_with, room, config, folder / name) == 0, (folder / f"{name}.said").read_text()
    return {name: folder / name for name in ("all", "less", "little")}


def _made(run: Path) -> pd.DataFrame:
    with RunStore(run) as store:
        return store.measurements().set_index("probe")


def test_batches_are_halved_and_that_is_recorded(runs: dict[str, Path]) -> None:
    whole, less = _made(runs["all"]), _made(runs["less"])
    assert set(whole.index) == set(less.index) == {"loss", "anisotropy", "anisotropy_gaussian", "lm_eval"}
    for probe in whole.index:
        first = 16 if probe == "lm_eval" else 8  # a CPU takes 1,024 tokens of text at a time, whatever was asked
        assert _rows(whole.details[probe]) == (first, None if first == 16 else 16, None)
        had, asked, failed = _rows(less.details[probe])
        assert (
            asked == 16 and failed == [first >> halvings for halvings in range(len(failed))] and failed[-1] == 2 * had
        )
    said = runs["less"].with_suffix(".said").read_text().splitlines()
    assert said[0] == "memory ran out with 8 rows in a forward pass: trying 4"


def _rows(details: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(details.get(name) for name in ("batch_size", "batch_size_asked", "out_of_memory_at"))


@pytest.mark.parametrize("as_drawn", [False, True])
def test_the_next_attempt_halves_the_pass_that_failed(neox: PreTrainedModel, as_drawn: bool) -> None:
    """Long rows go by two, and short ones by eight: four would be no fewer of the long ones."""
    sample = TokenSample([[1] * length for length in [20] * 8 + [400] * 2], list(range(10)), None, "window", 400, False)
    shapes: list[tuple[int, int]] = []

    def look(passes: Passes) -> None:
        with passes.watched(neox):
            for batch in sample.batches(passes.limit, "cpu", order=range(10) if as_drawn else None):
                shapes.append(tuple(batch.token_ids.shape))
                neox(batch.token_ids)
                if batch.token_ids.numel() > 400:
                    torch.empty(1 << 60, dtype=torch.uint8)

    said: list[str] = []
    assert memory.with_smaller_batches(look, 8, said.append) == (None, memory.Batched(8, 1, (2,)))
    assert shapes.count((2, 400)) == 1 and shapes.count((1, 400)) == 2
    assert said == ["memory ran out with 2 rows in a forward pass: trying 1"]


def test_the_numbers_are_those_of_whole_batches(runs: dict[str, Path]) -> None:
    with RunStore(runs["all"]) as whole, RunStore(runs["less"]) as less:
        expected, found = (store.values()[lambda v: v.probe != "anisotropy_gaussian"] for store in (whole, less))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5, atol=1e-7)


def test_where_no_row_fits_the_checkpoint_fails_with_advice(runs: dict[str, Path]) -> None:
    with RunStore(runs["little"]) as store:
        failures = store.failures()
        assert store.measurements().empty
    assert len(failures)
    for line in failures.error:
        assert "memory ran out (" in line and "--dtype bfloat16" in line and "--context" in line and "--device" in line


def test_a_batch_decides_nothing_beyond_rounding(tokenizer: Any, documents: list[str]) -> None:
    architecture = architecture_of(make_model("opt-350m"))
    sample = sample_tokens(documents, tokenizer, tokens=400, context=64, seed=0)
    probes = [probe for probe in find_probes(["loss", "anisotropy", "geometry"]) if isinstance(probe, ForwardProbe)]
    rows = [read_forward(probes, architecture, sample, size) for size in (Passes(8), Passes(1))]
    for eight, one in zip(*rows, strict=True):
        for a, b in zip(eight.readings, one.readings, strict=True):
            assert a[0] == b[0]
            if hasattr(a, "value"):
                assert a.value == pytest.approx(b.value, rel=2e-4, abs=1e-5), a
                # Of nearest neighbours, whose order rounding may change.
                assert a.stderr is None or a.stderr == pytest.approx(b.stderr, rel=5e-3, abs=1e-5), a


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory of the past"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, is_memory: bool) -> None:
    assert memory.ran_out(error) == is_memory
    wrapped = UserError("does not load")
    wrapped.__cause__ = error
    assert memory.ran_out(wrapped) == is_memory


class _Big:
    pass


def test_a_failed_attempt_is_gone_before_the_next(neox: PreTrainedModel) -> None:
    alive: list[weakref.ref[_Big]] = []
    tried: list[int] = []

    def attempt(passes: Passes) -> int:
        size = passes.limit
        assert not [one for one in alive if one() is not None], "the failed attempt still holds its memory"
        big = _Big()
        alive.append(weakref.ref(big))
        tried.append(size)
        with passes.watched(neox):
            neox(torch.zeros(size, 2, dtype=torch.long))
            if size > 1:
                raise MemoryError
        return size

    gc.disable()
    try:
        assert memory.with_smaller_batches(attempt, 13, print) == (1, memory.Batched(13, 1, (13, 6, 3)))
        assert tried == [13, 6, 3, 1]
    finally:
        gc.enable()


def test_other_errors_pass() -> None:
    tried = []

    def attempt(passes: Passes) -> None:
        tried.append(passes.limit)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        memory.with_smaller_batches(attempt, 8, print)
    assert tried == [8]


def test_a_search_with_beams_ends_too(neox: PreTrainedModel) -> None:
    """Its passes have more rows than it was given: half of those would be no fewer."""
    limits = []

    def run(passes: Passes) -> None:
        limits.append(passes.limit)
        with passes.watched(neox):
            neox.generate(torch.ones(passes.limit, 3, dtype=torch.int64), num_beams=4, max_new_tokens=1)
            raise MemoryError

    with pytest.raises(UserError, match="one row"):
        memory.with_smaller_batches(run, 8, print)
    assert limits == [8, 4, 2, 1]
