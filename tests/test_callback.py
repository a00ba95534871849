"""Probes while transformers' Trainer trains a tiny model."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXForCausalLM, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from lm_probe.probes import AnisotropyProbe
from lm_probe.reports import write_report
from lm_probe.sweeps import ProbeCallback, RunStore, SweepConfig, UserError, measure, sweep
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


def _trainer(folder: Path, steps: int = 5, model: PreTrainedModel | None = None, save: int = 0) -> Trainer:
    torch.manual_seed(1)
    rows = torch.randint(0, 320, (16, 12), generator=torch.Generator().manual_seed(3))
    return Trainer(
        model=make_model("gpt_neox") if model is None else model,
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=4,
            learning_rate=1e-2,
            logging_steps=100,
            save_strategy="steps" if save else "no",
            save_steps=save or 500,
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
    found = values[(values.step == 4) & ~values.metric.str.contains("first")]
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
    assert "sampled from the token ids given to ProbeCallback" in report


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


def test_weights_are_compared_with_step_0_as_a_sweep_over_saved_checkpoints_does(
    tmp_path: Path, tokenizer, documents: list[str]
) -> None:
    probes = ("head_spectrum", "weight_spectra", "condensation")
    text = tmp_path / "text.txt"
    text.write_text(documents[1])
    ids = torch.tensor([tokenizer.encode(documents[1])])
    trainer, saver = _trainer(tmp_path / "trainer", steps=2), Saver()
    saver.weights[0] = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.add_callback(saver)
    trainer.add_callback(
        ProbeCallback(probes, every=1, token_ids=ids, tokenizer=tokenizer, out=tmp_path / "live", name="series")
    )
    trainer.train()
    model = make_model("gpt_neox")
    for step in (0, 2):
        model.load_state_dict(saver.weights[step])
        model.save_pretrained(tmp_path / f"series/step{step}")
        tokenizer.save_pretrained(tmp_path / f"series/step{step}")
    sources, swept = (str(tmp_path / "series"),), tmp_path / "swept"
    sweep(SweepConfig(sources, swept, probes=probes, tasks=(), text=str(text), tokens=ids.numel()), silent=True)
    keys = ["step", "probe", "metric", "layer", "site", "component"]
    frames = []
    for run in ("live", "swept"):
        with RunStore(tmp_path / run) as store:
            values = store.values()
        frames.append(values[values.step != 1].set_index(keys).value.sort_index())
    pd.testing.assert_series_equal(*frames, rtol=1e-9)
    assert frames[0][2, "head_spectrum", "distance_from_first"].item() > 0
    assert {"log_frequency_r2", "distance_from_first"} <= set(frames[0].index.get_level_values("metric"))


def _spoiler(step: int, spoil: Callable[[PreTrainedModel], None]) -> TrainerCallback:
    class Spoiler(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
            if state.global_step == step:
                spoil(model)

    return Spoiler()


def _kill(_: object) -> None:
    raise KeyboardInterrupt


def test_a_collapse_is_seen_while_it_happens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def collapse(model: PreTrainedModel) -> None:
        model.gpt_neox.layers[1].mlp.dense_4h_to_h.bias.data[0] = float("nan")

    probes = ["loss", "anisotropy", "head_spectrum"]
    trainer, run = _trainer(tmp_path / "trainer", steps=2), tmp_path / "run"
    trainer.add_callback(_spoiler(2, collapse))
    trainer.add_callback(ProbeCallback(probes, every=1, token_ids=HELD_OUT, out=run, log=trainer.log))
    trainer.train()
    with RunStore(run) as store:
        values, failures = store.values(), store.failures()
    assert {probe: set(values[values.probe == probe].step) for probe in probes} == {
        "loss": {0, 1},
        "anisotropy": {0, 1},
        "head_spectrum": {0, 1, 2},
    }
    assert failures.step.tolist() == [2, 2] and failures.probe.tolist() == ["anisotropy", "loss"]
    assert failures.error.str.contains("not finite.*measure it in float32").all()
    (logged,) = (entry for entry in trainer.state.log_history if entry["step"] == 2 and len(entry) > 9)
    assert "head_spectrum/stable_rank/all_rows" in logged and "loss/loss" not in logged
    assert "ProbeCallback at step 2: loss: loss is not finite" in caplog.text


class Failing(AnisotropyProbe):
    """Raises what it is told to from its second measurement on."""

    name = "failing"

    def __init__(self, error: BaseException, before: int = 1) -> None:
        self.error, self.left = error, before

    def start(self, architecture, sampled):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().start(architecture, sampled)


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), r"failing: memory ran out \(CUDA out of memory\): give Probe"),
        (ZeroDivisionError("by zero"), "failing: ZeroDivisionError: by zero"),
    ],
)
def test_no_measurement_that_fails_ends_a_training(error: Exception, said: str, before: int, tmp_path: Path) -> None:
    trainer, run = _trainer(tmp_path / "trainer", steps=2), tmp_path / "run"
    trainer.add_callback(ProbeCallback([Failing(error, before), "head_spectrum"], every=1, token_ids=HELD_OUT, out=run))
    trainer.train()
    assert trainer.state.global_step == 2 and trainer.model.training
    with RunStore(run) as store:
        values, failures = store.values(), store.failures()
    assert set(values[values.probe == "head_spectrum"].step) == {0, 1, 2}
    assert failures.step.tolist() == list(range(before, 3)) and set(failures.probe) == {"failing"}
    assert failures.error.str.match(said).all()


def test_whoever_interrupts_a_measurement_interrupts_the_training(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, steps=2)
    trainer.add_callback(ProbeCallback([Failing(KeyboardInterrupt())], every=1, token_ids=HELD_OUT, log=print))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


def test_a_log_or_a_run_that_breaks_ends_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def log(_: object) -> None:
        raise ConnectionError("no service")

    trainer, run = _trainer(tmp_path / "trainer", steps=2), tmp_path / "run"
    trainer.add_callback(_spoiler(2, lambda _: (run / "run.db").write_bytes(b"no database")))
    trainer.add_callback(ProbeCallback(["head_spectrum"], every=1, out=run, log=log))
    trainer.train()
    assert trainer.state.global_step == 2
    assert "at step 1: what was measured is not logged: ConnectionError: no service" in caplog.text
    assert "at step 2: what was measured is not stored: " in caplog.text


# One name in a run is one training


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


def test_a_training_that_begins_again_is_refused(tmp_path: Path) -> None:
    def trainer(*others: TrainerCallback) -> Trainer:
        made = _trainer(tmp_path / "trainer", steps=4)
        for callback in (ProbeCallback(["head_spectrum"], every=2, out=tmp_path / "run"), *others):
            made.add_callback(callback)
        return made

    with pytest.raises(KeyboardInterrupt):
        trainer(_spoiler(1, _kill)).train()
    trainer().train()  # the run held step 0 alone: nothing is spliced
    again = trainer()
    said = "up to step 4, and this one begins again at step 0: give another name= or out=, or go on from a checkpoint"
    with pytest.raises(UserError, match=f"already holds a training under the name training {said}"):
        again.train()
    assert again.state.global_step == 0


def _llama(folder: Path, steps: int, *callbacks: TrainerCallback, seed: int = 0) -> Trainer:
    trainer = _trainer(folder, steps, make_model("llama", seed=seed), save=2)
    for callback in callbacks:
        trainer.add_callback(callback)
    return trainer


@pytest.mark.parametrize("noted", [True, False])
def test_another_training_that_is_resumed_is_refused(noted: bool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _llama(tmp_path / "a", 4, ProbeCallback(["head_spectrum"], every=2, out=run)).train()
    theirs = [ProbeCallback(["head_spectrum"], every=2, out=tmp_path / "other")] if noted else []
    _llama(tmp_path / "b", 2, *theirs, seed=1).train()
    resumed = _llama(tmp_path / "b", 6, ProbeCallback(["head_spectrum"], every=3, out=run), seed=1)
    said = "which began with other weights" if noted else "or one of which step 2 cannot be told to be a part"
    with pytest.raises(
        UserError, match=f"another training under the name training, {said}: give another name= or out="
    ):
        resumed.train(resume_from_checkpoint=str(tmp_path / "b/checkpoint-2"))
    with RunStore(run) as store:
        assert set(store.values().step) == {0, 2, 4}


@pytest.mark.parametrize("every", [2, 3])
def test_a_training_that_was_killed_goes_on_in_its_run(every: int, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    _llama(tmp_path / "a", 6, ProbeCallback(["head_spectrum"], every=every, out=whole)).train()

    killed = _llama(tmp_path / "b", 6, ProbeCallback(["head_spectrum"], every=every, out=run), _spoiler(5, _kill))
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = _llama(tmp_path / "b", 6, ProbeCallback(["head_spectrum"], every=every, out=run))
    resumed.train(resume_from_checkpoint=str(tmp_path / "b/checkpoint-4"))
    frames = []
    for folder in (whole, run):
        with RunStore(folder) as store:
            values = store.values()
        frames.append(values[values.step.isin(range(0, 7, every))].reset_index(drop=True))
    assert len(set(frames[0].step)) > 2 and "distance_from_first" in set(frames[0].metric)
    pd.testing.assert_frame_equal(*frames)


def test_what_an_abandoned_branch_measured_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "run"
    _llama(tmp_path / "a", 6, ProbeCallback(["head_spectrum"], every=1, out=run)).train()
    with RunStore(run) as store:
        before = store.values(provenance=True)
    resumed = _llama(tmp_path / "a", 5, ProbeCallback(["head_spectrum"], every=4, out=run))
    resumed.args.max_grad_norm = 0.1
    resumed.train(resume_from_checkpoint=str(tmp_path / "a/checkpoint-2"))
    assert "holds of 4 steps from 3 to 6 under the name training is set aside" in caplog.text
    with RunStore(run) as store:
        after, everything = store.values(provenance=True), store.values(all_settings=True)
        assert sorted(set(after.step)) == [0, 1, 2, 4, 5]
        assert store.not_shown()
    kept = [0, 1, 2]
    assert set(after[after.step.isin(kept)].identity) == set(before[before.step.isin(kept)].identity)
    assert not set(after[after.step > 2].identity) & set(before[before.step > 2].identity)
    assert set(before.identity) <= set(everything.identity), "nothing is lost"


def test_the_same_weights_measured_again_are_shown_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for checkpoint in (None, str(tmp_path / "a/checkpoint-2")):
        _llama(tmp_path / "a", 6, ProbeCallback(["head_spectrum"], every=2, out=run)).train(checkpoint)
        with RunStore(run) as store:
            assert sorted(set(store.values().step)) == [0, 2, 4, 6] and store.not_shown() == 0


def test_branch_upon_branch_is_set_aside(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for checkpoint, clip in ((None, 1.0), ("a/checkpoint-2", 0.1), ("a/checkpoint-4", 0.01), ("a/checkpoint-2", 0.03)):
        trainer = _llama(tmp_path / "a", 6, ProbeCallback(["head_spectrum"], every=2, out=run))
        trainer.args.max_grad_norm = clip  # no part of what an optimizer saves
        trainer.train(checkpoint and str(tmp_path / checkpoint))
    with RunStore(run) as store:
        assert list(store.measurements().step) == [0, 2, 4, 6]
        held = store.values(all_settings=True)
    assert held.groupby("step").identity.nunique().to_dict() == {0: 1, 2: 1, 4: 3, 6: 4}


def test_a_training_joined_under_way_goes_on_after_a_second_stop(tmp_path: Path) -> None:
    run = tmp_path / "run"
    _llama(tmp_path / "a", 2).train()
    for steps, last in ((4, 2), (6, 4)):
        trainer = _llama(tmp_path / "a", steps, ProbeCallback(["head_spectrum"], every=3, out=run))
        trainer.train(resume_from_checkpoint=str(tmp_path / f"a/checkpoint-{last}"))
    with RunStore(run) as store:
        assert sorted(set(store.values().step)) == [2, 3, 4, 6]


def test_weights_that_a_checkpoint_lost_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "run"
    _llama(tmp_path / "a", 2, ProbeCallback(["head_spectrum"], every=2, out=run)).train()
    file = tmp_path / "a/checkpoint-2/model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"] += 1
    save_file(weights, file, {"format": "pt"})
    resumed = _llama(tmp_path / "a", 4, ProbeCallback(["head_spectrum"], every=2, out=run))
    resumed.train(resume_from_checkpoint=str(file.parent))
    assert "at step 2: these are not the weights that" in caplog.text


def test_the_example_says_what_its_options_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("sys.argv", ["probe_while_training.py", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(Path(__file__).parents[1] / "examples/probe_while_training.py"), run_name="__main__")
    options = [line.split(maxsplit=2) for line in capsys.readouterr().out.partition("options:")[2].splitlines()]
    assert {words[0] for words in options if len(words) > 2} >= {"--steps", "--every", "--out"}


# Adapters


@pytest.mark.parametrize(("family", "target"), [("llama", "q_proj"), ("gpt_neox", "query_key_value")])
def test_a_lora_training_is_measured_with_its_adapters(family: str, target: str, tmp_path: Path) -> None:
    probes = ["loss", "anisotropy", "weight_spectra"]
    model = get_peft_model(make_model(family), LoraConfig(target_modules=[target], r=2, task_type="CAUSAL_LM"))
    trainer, run = _trainer(tmp_path / "trainer", steps=2, model=model), tmp_path / "run"
    trainer.add_callback(ProbeCallback(probes, every=1, token_ids=HELD_OUT, out=run))
    trainer.train()
    assert model.training and model.base_model.model.training
    with RunStore(run) as store:
        values = store.values()
    norms = values[(values.metric == "frobenius_norm") & (values.component == "query") & (values.layer == 1)]
    assert norms.value.nunique() == 3
    merged = measure(model.merge_and_unload(), probes, token_ids=HELD_OUT)
    found = values[(values.step == 2) & ~values.metric.str.contains("first")].set_index(
        ["metric", "layer", "component"]
    )
    expected = pd.DataFrame(merged).set_index(["metric", "layer", "component"])
    pd.testing.assert_series_equal(
        found.value.sort_index(), expected.value.sort_index(), check_index_type=False, check_index=False, rtol=1e-5
    )


def test_nothing_is_stored_where_only_a_log_is_given(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path / "trainer", steps=1)
    seen: list[dict[str, float]] = []
    trainer.add_callback(ProbeCallback(["head_spectrum"], every=10, log=seen.append))
    trainer.train()
    assert len(seen) == 2 and all("head_spectrum/stable_rank/all_rows" in entry for entry in seen)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["trainer"])


def test_of_projections_the_last_block_is_logged(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path / "trainer", steps=1)
    seen: list[dict[str, float]] = []
    trainer.add_callback(ProbeCallback(["condensation"], every=10, log=seen.append))
    trainer.train()
    layers = trainer.model.config.num_hidden_layers
    found = {(r.metric, r.layer, r.component): r.value for r in measure(trainer.model, ["condensation"])}
    assert len(seen) == 2
    assert seen[-1]["condensation/mean_cosine/mlp_in"] == found["mean_cosine", layers, "mlp_in"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"probes": ["gloss"]}, "no probe gloss"),
        ({"probes": []}, "nothing to measure"),
        ({"probes": "loss"}, r"probes is one text: give a list, e.g. probes=\['loss'\]"),
        ({"every": 0}, "every=0 is no interval"),
        ({"every": 1.5}, "every=1.5 is no interval: give a whole number"),
        ({"batch_size": 0}, "batch_size=0 is no batch"),
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
