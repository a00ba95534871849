"""Probes while transformers' Trainer trains a tiny model."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import GPTNeoXForCausalLM, Trainer, TrainerCallback, TrainingArguments

from lm_probe.reports import write_report
from lm_probe.sweeps import ProbeCallback, RunStore, UserError, measure
from tests.conftest import make_model

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]
HELD_OUT = torch.arange(60).reshape(4, 15)
PROBES = ["loss", "anisotropy", "head_spectrum"]


class Saver(TrainerCallback):
    """Keeps the weights of every step, to be measured afterwards."""

    def __init__(self) -> None:
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        assert model.training, "the callback before left the model in another mode"
        self.weights[state.global_step] = {name: value.clone() for name, value in model.state_dict().items()}


def _trainer(folder: Path, steps: int = 5) -> Trainer:
    torch.manual_seed(1)
    rows = torch.randint(0, 320, (16, 12), generator=torch.Generator().manual_seed(3))
    return Trainer(
        model=make_model("gpt_neox"),
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            logging_steps=100,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=[{"input_ids": row, "labels": row} for row in rows],
    )


def test_what_it_stores_is_what_measure_gives_and_training_does_not_notice(tmp_path: Path) -> None:
    plain = _trainer(tmp_path / "plain")
    plain.train()
    trainer, saver = _trainer(tmp_path / "probed"), Saver()
    run = tmp_path / "run"
    trainer.add_callback(
        ProbeCallback(PROBES, every=2, token_ids=HELD_OUT, out=run, name="tiny", log=trainer.log, batch_size=3)
    )
    trainer.add_callback(saver)
    trainer.train()
    for left, right in zip(plain.model.parameters(), trainer.model.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)
    with RunStore(run) as store:
        values, made = store.values(), store.measurements()
    assert sorted(set(values.step)) == [0, 2, 4, 5]
    assert set(values.model) == {"tiny"} and made.identity.nunique() == 4
    model = make_model("gpt_neox")
    model.load_state_dict(saver.weights[4])
    expected = measure(model, PROBES, token_ids=HELD_OUT, batch_size=3)
    found = values[values.step == 4]
    keys = ["probe", "metric", "layer", "site", "component", "value", "stderr", "n"]
    order = ["probe", "metric", "layer", "site", "component"]
    frame = pd.DataFrame(expected)[keys].astype(found[keys].dtypes.to_dict())
    pd.testing.assert_frame_equal(
        found[keys].sort_values(order, ignore_index=True), frame.sort_values(order, ignore_index=True), check_exact=True
    )
    logged = {entry["step"]: entry for entry in trainer.state.log_history if "loss/loss" in entry}
    assert sorted(logged) == [0, 2, 4, 5]
    last = found[(found.metric == "mean_cosine") & (found.site == "final_norm")].value.item()
    assert logged[4]["anisotropy/mean_cosine"] == last
    assert "head_spectrum/singular_entropy/all_rows" in logged[4]
    report = write_report([run]).read_text(encoding="utf-8")
    assert "4 checkpoints of 1 model: tiny (4 checkpoints, steps 0 to 5)" in report


def test_the_trainers_own_losses_are_logged_as_without_it(tmp_path: Path) -> None:
    def losses(*callbacks: TrainerCallback) -> list[tuple[int, float]]:
        trainer = _trainer(tmp_path / "trainer", steps=6)
        trainer.args.logging_steps = 2
        trainer.state.logging_steps = 2
        for callback in callbacks:
            trainer.add_callback(callback)
            if isinstance(callback, ProbeCallback):
                callback._log = trainer.log
        trainer.train()
        return [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]

    plain = losses()
    assert len(plain) == 3
    assert losses(ProbeCallback(["loss"], every=2, token_ids=HELD_OUT, log=print)) == plain


def test_a_collapse_is_recorded_and_ends_no_training(tmp_path: Path) -> None:
    class Spoil(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
            if state.global_step == 1:
                model.get_output_embeddings().weight.data[:] = float("nan")

    trainer, run = _trainer(tmp_path / "trainer", steps=3), tmp_path / "run"
    trainer.add_callback(Spoil())
    trainer.add_callback(ProbeCallback(["loss"], every=1, token_ids=HELD_OUT, out=run))
    trainer.train()
    assert trainer.state.global_step == 3
    with RunStore(run) as store:
        assert set(store.values().step) == {0}
        failures = store.failures()
    assert failures.step.tolist() == [1, 2, 3] and failures.error.str.contains("not finite").all()


def test_two_trainings_do_not_share_a_name(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = _trainer(tmp_path / "trainer", steps=1)
    first.add_callback(ProbeCallback(["head_spectrum"], every=1, out=run))
    first.train()
    second = _trainer(tmp_path / "trainer", steps=1)
    second.model.get_output_embeddings().weight.data += 1
    second.add_callback(ProbeCallback(["head_spectrum"], every=1, out=run))
    with pytest.raises(UserError, match="already holds another training under the name training"):
        second.train()


def test_nothing_is_stored_where_only_a_log_is_given(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path / "trainer", steps=1)
    seen: list[dict[str, float]] = []
    trainer.add_callback(ProbeCallback(["head_spectrum"], every=10, log=seen.append))
    trainer.train()
    assert len(seen) == 2 and all("head_spectrum/stable_rank/all_rows" in entry for entry in seen)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["trainer"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"probes": ["gloss"]}, "no probe gloss"),
        ({"every": 0}, "every=0 is no interval"),
        ({"log": None}, "nowhere to write"),
        ({"token_ids": None}, "either token_ids or text"),
        ({"text": "both"}, "either token_ids or text"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(settings: dict[str, object], said: str) -> None:
    given = {"probes": ["loss"], "every": 1, "token_ids": HELD_OUT, "log": print, **settings}
    with pytest.raises(UserError, match=said):
        ProbeCallback(**given)


def test_sharded_weights_are_refused(tmp_path: Path) -> None:
    model = make_model("gpt_neox")
    assert isinstance(model, GPTNeoXForCausalLM)
    model.gpt_neox.embed_in.weight = torch.nn.Parameter(torch.empty(0))  # what ZeRO-3 leaves on each process
    trainer = _trainer(tmp_path)
    callback = ProbeCallback(["loss"], every=1, token_ids=HELD_OUT, log=print)
    with pytest.raises(UserError, match="sharded over processes"):
        callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=model)
