"""ProbeCallback where two processes train one model over gloo."""

import os
import socket
import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from transformers import Trainer, TrainerCallback, TrainingArguments

from lm_probe.sweeps import ProbeCallback, RunStore, UserError, measure
from lm_probe.sweeps import _ranks as ranks
from tests import children
from tests.conftest import make_model

HELD_OUT = torch.arange(60).reshape(4, 15)
PROBES = ["loss", "anisotropy", "head_spectrum"]
STEPS = (0, 2, 4, 5)


class Saver(TrainerCallback):
    """Keeps the weights of every step on the first process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            torch.save(model.state_dict(), self.folder / f"{state.global_step}.pt")


def _trainer(folder: Path, *callbacks: TrainerCallback, seed: int = 0) -> Trainer:
    rows = torch.randint(0, 320, (16, 12), generator=torch.Generator().manual_seed(3))
    settings: dict[str, Any] = dict(max_steps=5, per_device_train_batch_size=2, learning_rate=1e-2, use_cpu=True)
    settings |= dict(report_to="none", save_strategy="no", disable_tqdm=True, ddp_timeout=60)
    return Trainer(
        model=make_model("gpt_neox", seed=seed),
        args=TrainingArguments(output_dir=str(folder / "trainer"), **settings),
        train_dataset=[{"input_ids": row, "labels": row} for row in rows],
        callbacks=list(callbacks),
    )


def _rank(body: Any, rank: int, port: int, folder: Path) -> None:
    """One of two processes, as torchrun and accelerate start them."""
    children.use_one_core()
    children.say_into(folder / f"said.{rank}")
    where = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    os.environ.update({name: str(value) for name, value in where.items()})
    body(folder)
    torch.distributed.destroy_process_group()
    (folder / f"done.{rank}").touch()


def _together(body: Any, folder: Path) -> None:
    """Runs a function in two processes of one group; one that hangs is ended."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    processes = [children.start(_rank, (body, rank, port, folder)) for rank in (0, 1)]
    for process in processes:
        process.join(timeout=90)
        process.kill()
    said = "".join((folder / f"said.{rank}").read_text() for rank in (0, 1))
    assert all((folder / f"done.{rank}").exists() for rank in (0, 1)), said


def _refused(words: str, train: Any) -> None:
    with pytest.raises(UserError, match=words):
        train()


def test_torch_gives_the_store_of_its_processes() -> None:
    public = hasattr(torch.distributed.ProcessGroup, "get_group_store")
    assert public or hasattr(torch.distributed.distributed_c10d, "_get_default_store"), (
        f"torch {torch.__version__} gives the store of a process group under another name: see sweeps/_ranks.py"
    )
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        store = ranks._store()
        store.set("said", "by one")
        assert ranks._store().get("said") == b"by one"
    finally:
        torch.distributed.destroy_process_group()
    assert ranks._store() is None


def _train_and_refuse(folder: Path) -> None:
    probed = partial(ProbeCallback, PROBES, every=2, token_ids=HELD_OUT, batch_size=3)
    trainer = _trainer(folder, probed(out=folder / "run"), Saver(folder))
    trainer.train()
    assert type(trainer.model_wrapped).__name__ == "DistributedDataParallel"
    torch.save(trainer.model.state_dict(), folder / f"end.{os.environ['RANK']}.pt")
    _refused("already holds another training", _trainer(folder, probed(out=folder / "run"), seed=1).train)
    # Added on the first process only, it is waited for by nobody.
    alone = [probed(out=folder / "alone")] if os.environ["RANK"] == "0" else []
    _trainer(folder, *alone).train()


def test_one_of_two_processes_measures_and_both_are_told_what_is_refused(tmp_path: Path) -> None:
    _together(_train_and_refuse, tmp_path)
    ends = [torch.load(tmp_path / f"end.{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    frames = []
    for run in ("run", "alone"):
        with RunStore(tmp_path / run) as store:
            assert len(store.measurements()) == len(STEPS) * len(PROBES) and not len(store.failures())
            frames.append(store.values())
    pd.testing.assert_frame_equal(*frames)
    model = make_model("gpt_neox")
    for step in STEPS:
        if step:
            model.load_state_dict(torch.load(tmp_path / f"{step}.pt", weights_only=True))
        expected = {_address(one): one.value for one in measure(model, PROBES, token_ids=HELD_OUT, batch_size=3)}
        found = {_address(one): one.value for one in frames[0][frames[0].step == step].itertuples()}
        found = {address: value for address, value in found.items() if "first" not in address[1]}
        assert found.keys() == expected.keys()
        assert found == pytest.approx(expected, rel=1e-12)


def _address(one: Any) -> tuple[Any, ...]:
    return (
        one.probe,
        one.metric,
        *(None if pd.isna(part) or part == "" else part for part in (one.layer, one.site, one.component)),
    )


def _mismatch(folder: Path) -> None:
    """What differs between the processes: folders, a turn that one of them has missed, names."""
    first = os.environ["RANK"] == "0"
    probed = partial(ProbeCallback, ["head_spectrum"], every=5)
    _trainer(folder, probed(out=tempfile.mkdtemp(dir=folder))).train()
    _trainer(folder, probed(out=folder / "own" if first else None, log=lambda values: None)).train()
    ranks._PATIENCE = timedelta(seconds=0.1)
    if first:  # refused and heard by nobody; then the same name on both
        begin = _trainer(folder)
        callback = probed(out=folder / "own")
        changed = partial(callback.on_train_begin, begin.args, begin.state, begin.control, model=make_model("llama"))
        _refused("already holds another training", changed)
    torch.distributed.barrier()
    _trainer(folder, probed(out=folder / "later")).train()
    ranks._LONGEST = timedelta(seconds=0.2)
    torch.distributed.barrier()
    if not first:
        for name in ("training", "other"):
            begin = _trainer(folder)
            callback = probed(out=folder / "never", name=name)
            alone = partial(callback.on_train_begin, begin.args, begin.state, begin.control, model=begin.model)
            _refused(f"first process has no ProbeCallback, or another name: add one named '{name}'", alone)
    torch.distributed.barrier()
    _trainer(folder, probed(out=folder / "last")).train()  # the turn that was asked for in vain is not counted


def test_processes_that_differ_train_on_or_end_in_a_line(tmp_path: Path) -> None:
    _together(_mismatch, tmp_path)
    assert sum(folder.name.startswith("tmp") and any(folder.iterdir()) for folder in tmp_path.iterdir()) == 1
    assert all((tmp_path / name).exists() for name in ("own", "later", "last")) and not (tmp_path / "never").exists()


def _shard(folder: Path) -> None:
    trainer = _trainer(folder)
    mesh = init_device_mesh("cpu", (2,))
    for sharded, named in ((_fully(mesh), "gpt_neox.embed_in.weight"), (_fsdp(), "FSDP")):
        callback = ProbeCallback(PROBES, every=1, token_ids=HELD_OUT, out=folder / "run")
        begin = partial(callback.on_train_begin, trainer.args, trainer.state, trainer.control, model=sharded)
        _refused(rf"sharded over processes \({named}\): save checkpoints and sweep them instead", begin)
    assert not (folder / "run").exists()


def _fully(mesh: Any) -> Any:
    model = make_model("gpt_neox")
    for layer in model.gpt_neox.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def _fsdp() -> Any:
    return FullyShardedDataParallel(make_model("gpt_neox"), device_id=torch.device("cpu"), use_orig_params=True)


def test_weights_in_parts_are_refused_on_every_process(tmp_path: Path) -> None:
    _together(_shard, tmp_path)
