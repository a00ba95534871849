"""The sweep from checkpoint to run store, resumed and given bad input."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_probe.model_adapters import open_checkpoint
from lm_probe.probes import mean_cosine, singular_entropy, singular_values
from lm_probe.reports import write_report
from lm_probe.sweeps import RunStore, Summary, SweepConfig, UserError, sweep
from tests.conftest import make_model
from tests.loopback_hub import LoopbackHub
from tests.survivors import finished

# lm-eval's dependencies warn of their own use of deprecated things.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def settings(text_file: Path) -> dict[str, Any]:
    return dict(text=str(text_file), tokens=600, context=32, tasks=(), device="cpu", batch_size=4)


def _sweep(source: Path, out: Path, settings: dict[str, Any], **changed: Any) -> Summary:
    return sweep(SweepConfig(sources=(str(source),), out=out, **{**settings, **changed}), silent=True)


def _values(run: Path) -> pd.DataFrame:
    with RunStore(run) as store:
        return store.values()


def test_every_checkpoint_is_measured_and_nothing_twice(series: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    first = _sweep(series, tmp_path, settings)
    assert (first.checkpoints, first.measured, first.finished_before, first.failures) == (3, 9, 0, [])
    values, rows = _values(tmp_path), finished(tmp_path)
    assert values.step.unique().tolist() == [0, 1, 8]
    assert values.model.unique().tolist() == ["tiny"]
    head = load_file(series / "step8" / "model.safetensors")["embed_out.weight"]
    found = values[(values.step == 8) & (values.metric == "singular_entropy") & (values.component == "all_rows")]
    assert found.value.tolist() == pytest.approx([singular_entropy(singular_values(head))], rel=1e-9)
    assert (values[values.metric == "loss"].value.between(4, 9)).all()
    second = _sweep(series, tmp_path, settings)
    assert (second.measured, second.finished_before) == (0, 9)
    assert finished(tmp_path) == rows
    pd.testing.assert_frame_equal(_values(tmp_path), values)


def test_anisotropy_is_that_of_output_hidden_states(series: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    from lm_probe.sweeps import sample_tokens
    from lm_probe.sweeps.text import read_text

    _sweep(series, tmp_path, settings, probes=("anisotropy",))
    opened = open_checkpoint(str(series), "step1", dtype=torch.float32)
    documents = read_text(settings["text"]).documents
    sample = sample_tokens(documents, opened.tokenizer, tokens=600, context=32, seed=1234)
    with torch.no_grad():
        states = [opened.model(torch.tensor([w]), output_hidden_states=True).hidden_states for w in sample.windows]
    values = _values(tmp_path)
    for layer, site in ((0, "embedding"), (1, "block"), (2, "block"), (3, "final_norm")):
        expected = mean_cosine(torch.cat([state[layer][0] for state in states]))
        row = values[(values.step == 1) & (values.layer == layer) & (values.site == site)].iloc[0]
        assert abs(row.value - expected) < 1e-6 and row.n == sample.n_tokens


def test_changed_settings_measure_only_what_they_change(series: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    _sweep(series, tmp_path, settings)
    again = _sweep(series, tmp_path, settings, tokens=500)
    assert (again.measured, again.finished_before) == (9, 0)  # head_spectrum counts the sample's tokens
    assert set(_values(tmp_path)[lambda v: v.metric == "mean_cosine"].n) == {500}
    weights = _sweep(series, tmp_path, settings, tokens=500, probes=("weight_spectra",))
    again = _sweep(series, tmp_path, settings, tokens=700, probes=("weight_spectra",))
    assert (weights.measured, again.measured, again.finished_before) == (3, 0, 3)


def test_weight_probes_are_handed_the_first_checkpoint_and_the_token_counts(
    series: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    probes = ("head_spectrum", "weight_spectra", "condensation")
    assert not _sweep(series, tmp_path, settings, probes=probes).failures
    values = _values(tmp_path)
    moved = values[values.metric == "distance_from_first"]
    assert set(moved.probe) == {"head_spectrum", "weight_spectra"}
    assert (moved[moved.step == 0].value == 0).all() and (moved[moved.step == 8].value > 0).all()
    head = moved[(moved.step == 8) & (moved.probe == "head_spectrum")].value.item()
    first, last = (load_file(series / f"step{step}" / "model.safetensors")["embed_out.weight"] for step in (0, 8))
    assert head == pytest.approx(float((last - first).double().norm() / first.double().norm()), rel=1e-6)
    assert "log_frequency_alignment" in set(values[values.step == 1].metric)
    assert (_sweep(series, tmp_path, settings, probes=probes)).measured == 0
    # Without step 0 among its visits a sweep asks something else.
    alone = _sweep(series / "step8", tmp_path / "alone", settings, probes=probes)
    assert alone.measured == 3 and "distance_from_first" not in set(_values(tmp_path / "alone").metric)


def _spoilt(folder: Path, **changed: Any) -> None:
    """Other tensors, or none for a name, in a checkpoint's file."""
    tensors = load_file(folder / "model.safetensors") | changed
    save_file({name: one for name, one in tensors.items() if one is not None}, folder / "model.safetensors")


FIRSTS = {
    "NaN": lambda folder: _spoilt(folder, **{"embed_out.weight": torch.full((320, 16), torch.nan)}),
    "gone": lambda folder: _spoilt(folder, **{"embed_out.weight": None}),
    "rows": lambda folder: _spoilt(folder, **{"embed_out.weight": torch.ones(300, 16)}),
    "config": lambda folder: (folder / "config.json").write_text('{"model_type": "gpt_neox", "hidden_size": "x"}'),
}


@pytest.mark.parametrize("kind", FIRSTS)
def test_a_first_checkpoint_that_cannot_be_compared_with_costs_the_comparison_alone(
    kind: str, series: Path, tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(shutil.copytree(series, tmp_path / "series"))
    FIRSTS[kind](source / "step0")
    _sweep(source, tmp_path / "run", settings, probes=("head_spectrum", "weight_spectra"), audit=False)
    values = _values(tmp_path / "run")
    sound = values[(values.step > 0) & (values.probe == "head_spectrum")]
    assert set(sound.step) == {1, 8} and "singular_entropy" in set(sound.metric)
    assert "distance_from_first" not in set(sound.metric)
    assert capsys.readouterr().err.count("nothing is compared with step0") == 1


def test_tasks_run_on_the_loaded_model(series: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    done = _sweep(
        series / "step8", tmp_path, settings, tasks=("count_query_m5", "most_frequent_word_m5"), task_documents=6
    )
    assert not done.failures
    values = _values(tmp_path)[lambda v: v.probe == "lm_eval"]
    assert set(values.component) == {"count_query_m5", "most_frequent_word_m5"}
    counting = values[values.component == "count_query_m5"]
    assert {"acc", "acc_binary", "acc_gap", "mae_gap", "floor_constant_mae", "vocabulary_max_cos"} <= set(
        counting.metric
    )
    assert (values.n == 6).all()
    (file,) = (tmp_path / "lm_eval").rglob("results_*.json")
    result = json.loads(file.read_text())
    accuracy = counting[counting.metric == "acc"].value.item()
    assert result["results"]["count_query_m5"]["acc,none"] == accuracy
    assert result["config"]["model_args"]["pretrained"] == "tiny"


def test_a_task_that_cannot_be_asked_takes_no_other_with_it(
    series: Path, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where a tokenizer changes within a series on the Hub: it is not known before.
    monkeypatch.setattr("lm_probe.sweeps._job.unfit_tasks", lambda *_: {})
    done = _sweep(series / "step8", tmp_path, settings, tasks=("word_counting_small",), task_documents=2, probes=())
    failed = {failure.probe for failure in done.failures}
    assert failed == {"count_query_m20", "most_frequent_word_m20", "most_frequent_count_m20"}
    assert all("20 words are needed" in failure.error for failure in done.failures)
    assert "count_query_m5" in set(_values(tmp_path).component)
    with RunStore(tmp_path) as store:
        assert set(store.failures().probe) == failed


def test_a_task_whose_data_are_nowhere_takes_no_other_with_it(
    series: Path, tmp_path: Path, settings: dict[str, Any], hub: LoopbackHub
) -> None:
    asked = dict(tasks=("count_query_m5", "lambada_openai"), task_documents=2, probes=())
    done = _sweep(series / "step8", tmp_path, settings, **asked)
    assert [failure.probe for failure in done.failures] == ["lambada_openai"] and done.measured == 1
    assert "EleutherAI/lambada_openai" in done.failures[0].error


def test_a_failure_that_the_last_sweep_did_not_ask_for_again_is_told_apart(
    series: Path, tmp_path: Path, settings: dict[str, Any], hub: LoopbackHub
) -> None:
    def swept(source: Path, *tasks: str) -> tuple[list[str], list[str], str]:
        _sweep(source, tmp_path, settings, tasks=tasks, task_documents=2, probes=("head_spectrum",))
        with RunStore(tmp_path) as store:
            stands, earlier = store.failures(), store.failures(earlier=True)
        return [*stands.probe], [*earlier.probe], write_report([tmp_path]).read_text(encoding="utf-8")

    stands, earlier, report = swept(series / "step8", "lambada_openai")
    assert (stands, earlier) == (["lambada_openai"], []) and "**1 measurement failed**" in report
    stands, earlier, report = swept(series / "step1")  # another checkpoint: nothing is said of this one
    assert (stands, earlier) == (["lambada_openai"], []) and "**1 measurement failed**" in report
    stands, earlier, report = swept(series / "step8")
    assert (stands, earlier) == ([], ["lambada_openai"]) and "measurement failed" not in report
    assert (
        "1 failed measurement of earlier sweeps, which the last one over the same checkpoints did not ask for again"
        in report
    )
    assert "tiny,step8,8,lambada_openai" in (tmp_path / "tables" / "failures.csv").read_text()
    stands, earlier, report = swept(series / "step8", "lambada_openai")
    assert (stands, earlier) == (["lambada_openai"], []) and "earlier sweeps" not in report


def test_controls_are_measurements_of_their_own(series: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    asked = dict(probes=("anisotropy", "geometry"), controls=("random", "gaussian", "shuffled", "curve"))
    done = _sweep(series, tmp_path, settings, **asked, revisions="step1,step8")
    assert (done.measured, done.failures) == (2 * 2 * 5, [])
    assert _sweep(series, tmp_path, settings, **asked, revisions="step1,step8").finished_before == 20
    values = _values(tmp_path)[lambda v: (v.step == 8) & (v.metric == "mean_cosine") & (v.site == "block")]
    last = values[values.layer == 3].set_index("probe")
    assert last.loc["geometry"].value == pytest.approx(last.loc["anisotropy"].value, abs=1e-12)
    for control in ("random", "gaussian", "shuffled"):
        assert last.loc[f"geometry_{control}"].value == pytest.approx(last.loc[f"anisotropy_{control}"].value, abs=1e-9)
        assert last.loc[f"geometry_{control}"].value != last.loc["geometry"].value
    assert abs(last.loc["geometry_gaussian"].value) < 0.05
    curve = last.loc["anisotropy_curve"]
    # Batches are cut where a sixteenth, an eighth, ... of 600 tokens is reached, and text sorts as the numbers do.
    assert len(curve) == 5 and curve.component.str.fullmatch(r"\d{3} tokens").all()
    assert curve.n.is_monotonic_increasing and curve.component.is_monotonic_increasing
    assert curve.value.iloc[list(curve.n).index(max(curve.n))] == pytest.approx(last.loc["anisotropy"].value, abs=1e-9)
    with pytest.raises(UserError, match="no control frozen: known are random, gaussian, shuffled, curve"):
        _sweep(series, tmp_path, settings, controls=("frozen",))
    with pytest.raises(UserError, match="--controls needs a probe of hidden states"):
        _sweep(series, tmp_path, settings, probes=("loss",), controls=("random",))


def test_geometry_compares_with_a_reference_checkpoint(series: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    asked = dict(probes=("geometry",), reference="step8")
    assert not _sweep(series, tmp_path, settings, **asked).failures
    cka = _values(tmp_path)[lambda v: v.metric == "cka"].set_index(["step", "layer", "site"]).value
    assert cka.loc[8].to_numpy() == pytest.approx(1.0, abs=1e-9)
    assert (cka.loc[0] < 0.99).all() and cka.loc[0].size == cka.loc[8].size == 5
    broken = Path(shutil.copytree(series, tmp_path / "broken"))
    (broken / "step8" / "tokenizer.json").unlink()
    (broken / "step8" / "tokenizer_config.json").unlink()
    done = _sweep(broken, tmp_path / "run", settings, probes=("loss", "geometry"), reference="step8")
    assert {(f.checkpoint, f.probe) for f in done.failures if f.error.startswith("--reference step8: ")} == {
        (f"broken step{step}", "geometry") for step in (0, 1, 8)
    }
    assert set(_values(tmp_path / "run")[lambda v: v.probe == "loss"].step) == {0, 1}
    with pytest.raises(
        UserError, match="--reference step8 is for the probe geometry, and --probes is loss,anisotropy:"
    ):
        _sweep(series, tmp_path, settings, probes=("loss", "anisotropy"), reference="step8")
    with pytest.raises(UserError, match="--reference step9 is not among the checkpoints of"):
        _sweep(series, tmp_path, settings, probes=("geometry",), reference="step9")


def test_options_of_our_tasks_reach_them(series: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    asked = dict(tasks=("count_query_m5",), task_documents=4, probes=())
    assert _sweep(series / "step8", tmp_path, settings, **asked).measured == 1
    assert _sweep(series / "step8", tmp_path, settings, **asked, metadata={"n": 20}).measured == 1
    values = _values(tmp_path)[lambda v: v.component == "count_query_m5"]
    assert set(values.metric) >= {"acc", "acc_gap", "floor_constant_mae", "vocabulary_max_cos"}
    results = sorted((tmp_path / "lm_eval").rglob("results_*.json"))
    assert '"n": 20' in results[-1].read_text()
    with pytest.raises(UserError, match="--metadata: no option seperator, separator is one; known are m, n, num_docs"):
        _sweep(series / "step8", tmp_path, settings, **asked, metadata={"seperator": "comma"})
    with pytest.raises(UserError, match="paraphrase"):
        _sweep(series / "step8", tmp_path, settings, **asked, metadata={"paraphrase": 9})


@pytest.fixture
def damaged(series: Path, tmp_path: Path) -> Path:
    """A series in which one checkpoint is truncated, one holds NaN, one has no weights and one another architecture."""
    copy = Path(shutil.copytree(series, tmp_path / "damaged"))
    for step in (2, 3, 4, 5):
        shutil.copytree(series / "step1", copy / f"step{step}")
    weights = copy / "step2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-200])
    tensors = load_file(copy / "step3" / "model.safetensors")
    tensors["gpt_neox.layers.0.attention.dense.bias"][0] = float("nan")
    save_file(tensors, copy / "step3" / "model.safetensors", metadata={"format": "pt"})
    (copy / "step4" / "model.safetensors").unlink()
    config = json.loads((copy / "step5" / "config.json").read_text())
    (copy / "step5" / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
    return copy


def test_bad_checkpoints_are_recorded_and_the_sweep_goes_on(
    damaged: Path, tmp_path: Path, settings: dict[str, Any], series: Path
) -> None:
    done = _sweep(damaged, tmp_path / "run", settings)
    said = {failure.checkpoint.split()[-1]: failure.error for failure in done.failures}
    assert set(said) == {"step2", "step3", "step4", "step5"}
    assert "damaged or truncated" in said["step2"]
    assert "NaN in gpt_neox.layers.0.attention.dense.bias" in said["step3"]
    assert "no weights" in said["step4"]
    assert "no adapter for model_type 'mamba'" in said["step5"]
    values = _values(tmp_path / "run")
    assert set(values[values.metric == "loss"].step) == {0, 1, 8}
    with RunStore(tmp_path / "run") as store:
        assert set(store.failures().revision) == set(said)
    for step in (2, 3, 4, 5):  # mended, the same command finishes the run and nothing is left on the list
        shutil.copytree(series / "step1", damaged / f"step{step}", dirs_exist_ok=True)
    assert not _sweep(damaged, tmp_path / "run", settings).failures
    with RunStore(tmp_path / "run") as store:
        assert store.failures().empty


def test_nan_in_hidden_states_never_becomes_a_number(tmp_path: Path, settings: dict[str, Any], tokenizer: Any) -> None:
    model = make_model("gpt_neox")
    model.gpt_neox.layers[1].mlp.dense_4h_to_h.weight.data *= 1e30
    model.gpt_neox.layers[1].mlp.dense_h_to_4h.weight.data *= 1e30
    model.save_pretrained(tmp_path / "hot")
    tokenizer.save_pretrained(tmp_path / "hot")
    done = _sweep(tmp_path / "hot", tmp_path / "run", settings)
    assert {failure.probe for failure in done.failures} == {"anisotropy", "loss"}
    assert any("mean_cosine at layer" in failure.error for failure in done.failures)
    values = _values(tmp_path / "run")
    assert set(values.probe) == {"head_spectrum"}


def test_a_tokenizer_that_does_not_fit_is_recorded(series: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    folder = Path(shutil.copytree(series / "step1", tmp_path / "narrow"))
    shape = json.loads((folder / "config.json").read_text())
    GPTNeoXForCausalLM(GPTNeoXConfig(**{**shape, "vocab_size": 64})).save_pretrained(folder)
    done = _sweep(folder, tmp_path / "run", settings)
    assert "the tokens do not fit the model" in done.failures[0].error
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    done = _sweep(folder, tmp_path / "run", settings)
    assert "has no tokenizer" in done.failures[0].error


def test_weights_are_measured_without_a_tokenizer_that_can_be_loaded(
    series: Path, tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same values, whether all of its files are gone or what is left of them is of no use."""
    copy = Path(shutil.copytree(series / "step1", tmp_path / "broken" / "step1"))
    (copy / "tokenizer.json").unlink()
    readers = ("head_spectrum", "weight_spectra", "condensation")
    done = _sweep(copy, tmp_path / "run", settings, probes=("loss", *readers))
    assert done.measured == 3 and done.unmade == 1
    assert [(one.probe, "cannot be loaded" in one.error) for one in done.failures] == [("", True)]
    assert capsys.readouterr().err.count("its weights are measured as those of one without a tokenizer") == 1
    some = _values(tmp_path / "run")
    (copy / "tokenizer_config.json").unlink()
    _sweep(copy, tmp_path / "bare", settings, probes=readers)
    none = _values(tmp_path / "bare")
    assert {*some.probe} == {*readers} and some.value.tolist() == none.value.tolist()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tokens": 0}, "--tokens 0 leaves nothing to predict"),
        ({"context": 1}, "--context 1 leaves nothing"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"dtype": "int8"}, "no dtype int8: known are float32"),
        ({"device": "abacus"}, "device abacus cannot be used"),
        ({"probes": ("loss", "gloss")}, "no probe gloss .near it: loss.: known are loss"),
        ({"probes": ()}, "neither probes nor tasks"),
        ({"revisions": "step3"}, "no checkpoint step3: found step0, step1, step8"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    series: Path, tmp_path: Path, settings: dict[str, Any], changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        _sweep(series, tmp_path / "run", settings, **changed)
    assert not (tmp_path / "run").exists()


def test_a_text_that_cannot_be_used_stops_the_sweep(series: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match="empty"):
        _sweep(series, tmp_path / "run", settings, text=str(tmp_path / "empty.txt"))
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(UserError, match=r"one context is 32: give a longer --text, or --context \d+ or less"):
        _sweep(series, tmp_path / "run", settings, text=str(tmp_path / "short.txt"))


def test_a_context_longer_than_a_models_is_refused(series: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Before anything is made; of a series whose first checkpoint takes it, recorded for the one that does not."""
    shorter = Path(shutil.copytree(series, tmp_path / "shorter"))
    config = shorter / "step8" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 64}))
    with pytest.raises(UserError, match="--context 2048 is more than the 1024 positions of shorter: give --context 10"):
        _sweep(shorter, tmp_path / "run", settings, context=2048)
    sources = (str(series), str(shutil.copytree(shorter / "step8", tmp_path / "narrow" / "step8")))
    both = SweepConfig(sources=sources, out=tmp_path / "run", **{**settings, "context": 128})
    with pytest.raises(UserError, match="64 positions of narrow: give --context 64 or less, or leave it out of the"):
        sweep(both)
    assert not (tmp_path / "run").exists()
    assert _sweep(series, tmp_path / "weights", settings, context=2048, probes=("weight_spectra",)).measured == 3
    done = _sweep(shorter, tmp_path / "run", settings, context=128)
    assert {failure.checkpoint for failure in done.failures} == {"shorter step8"}
    assert "longer than the model's 64: give --context 64" in done.failures[0].error


def test_other_weights_of_the_same_name_are_refused(
    series: Path, tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _sweep(series / "step8", tmp_path / "run", settings, probes=("head_spectrum",))
    other = Path(shutil.copytree(series / "step1", tmp_path / "other" / "tiny" / "step8"))
    done = _sweep(other, tmp_path / "run", settings, probes=("head_spectrum",))
    assert "already holds other weights under the name tiny step8, from" in done.failures[0].error
    monkeypatch.chdir(other.parent)  # a name from another folder is another place
    done = _sweep(Path("step8"), tmp_path / "run", settings, probes=("head_spectrum",))
    assert "already holds other weights" in done.failures[0].error
    moved = Path(shutil.copytree(series / "step8", tmp_path / "moved" / "tiny" / "step8"))
    assert _sweep(moved, tmp_path / "run", settings, probes=("head_spectrum",)).finished_before == 1
