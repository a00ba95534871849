"""The report: what it reads is what it shows, the same bytes twice, and nothing from outside is taken for markup."""

import csv
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from lm_probe.probes import Reading, VectorReading
from lm_probe.reports import write_report
from lm_probe.reports._data import Checkpoint, Place, RunData, Score, load
from lm_probe.reports._figure_condensation import _square
from lm_probe.reports._findings import findings
from lm_probe.reports._layers import final_place, literature_layers
from lm_probe.reports._markdown import MISSING, escape, number, with_error
from lm_probe.reports._provenance import per_checkpoint, warnings
from lm_probe.reports._statistics import loss_difference, paired_error
from lm_probe.reports._step_axis import step_axis
from lm_probe.reports._style import _COLOURS, GREY
from lm_probe.reports._thin import thinned
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore, UserError

PROBES = ("loss", "anisotropy", "head_spectrum", "lm_eval")
STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 384, 512)
PYTHIA = (0, *(2**power for power in range(10)), *range(1000, 144_000, 1000))
DOCUMENTS = 40


def record(
    run: Path,
    model: str,
    steps: Sequence[int | None] = STEPS,
    *,
    layers: int = 5,
    width: int = 16,
    probes: Sequence[str] = PROBES,
    turn: int | None = None,
    identity: str | None = None,
    sample: str = "f00dfeed12345678",
    text: str = "built-in text",
    extra: Sequence[Reading] = (),
) -> None:
    """A series with plausible numbers; from step `turn` on its loss rises again."""
    rng = np.random.default_rng(len(model) + width)
    hardness = 1 + 0.15 * rng.standard_normal(DOCUMENTS)
    tokens = rng.integers(400, 1024, DOCUMENTS).astype(float)
    with RunStore.create(run) as store:
        for step in steps:
            time = min(1.0, math.log2(1 + (512 if step is None else step)) / 9)
            loss = 8.3 - 2.4 * time - 0.1 * math.log2(width)
            if turn is not None and step is not None and step > turn:
                loss += 0.6 * math.log2(step / turn)
            key = CheckpointKey(
                model,
                None if step is None else f"step{step}",
                step,
                identity or f"sha256:{rng.integers(2**62):032x}",
                f"/somewhere/{model}",
            )
            store.record(
                key, list(_measurements(rng, loss, time, hardness, tokens, layers, width, probes, sample, text, extra))
            )


def _measurements(rng, loss, time, hardness, tokens, layers, width, probes, sample, text, extra):
    nats = tokens * loss * (hardness + 0.01 * rng.standard_normal(len(tokens)))
    sums = float(nats.sum() / tokens.sum())
    error = paired_error(nats, tokens)
    details = {
        "text": text,
        "text_note": "standard library documentation",
        "tokens": 50_000,
        "context": 128,
        "sample": sample,
        "clusters": len(tokens),
        "cluster_unit": "document",
        "starts_with_bos": False,
        "batch_size": 8,
    }
    made = Conditions("float32", "cpu", "sdpa", 1234, 2.5, 10**7, 3 * 2**29, details)
    if "loss" in probes:
        n = int(tokens.sum())
        yield Measurement(
            "loss",
            {"seed": 1234, "text": sample},
            [
                Reading("loss", sums, stderr=error, n=n),
                Reading("bits_per_byte", sums / 2.9, stderr=error / 2.9, n=n),
                VectorReading("nats_by_cluster", nats),
                VectorReading("tokens_by_cluster", tokens),
            ],
            made,
        )
    if "anisotropy" in probes:
        rise = math.exp(-((time - 0.55) ** 2) / 0.05)
        cosines = [0.02 + (0.3 + 0.6 * rise) * (layer / layers) ** 2 for layer in range(layers + 1)]
        places = [("embedding", 0), *(("block", layer) for layer in range(1, layers + 1))]
        readings = [
            Reading("mean_cosine", value, layer, site, stderr=0.004, n=50_000)
            for (site, layer), value in zip(places, cosines, strict=True)
        ]
        readings.append(Reading("mean_cosine", 0.1 + 0.85 * rise, layers, "final_norm", stderr=0.006, n=50_000))
        yield Measurement("anisotropy", {"seed": 1234, "text": sample}, readings, made)
    if "head_spectrum" in probes:
        sigma = np.sort(1 + 0.1 * rng.random(width))[::-1] * np.linspace(1, 0.8, width)
        sigma[0] *= 1 + 20 * time**3
        share = sigma**2 / (sigma**2).sum()
        yield Measurement(
            "head_spectrum",
            {},
            [
                Reading("singular_entropy", float((share * np.log(share * width)).sum()), component="all_rows", n=4096),
                Reading("effective_rank", width * 0.9 - time, component="all_rows", n=4096),
                Reading("singular_entropy", 0.5, component="token_rows", n=4000),
                VectorReading("singular_values", sigma.copy(), component="all_rows"),
                VectorReading("singular_values", sigma[::-1][::-1] / 2, component="token_rows"),
            ],
            Conditions("float16", "cpu", "", 1234, 0.25, 10**6, 2**28, {"token_rows": 4000}),
        )
    if "lm_eval" in probes:
        for kind, m in ((kind, m) for kind in ("count_query", "most_frequent_word") for m in (5, 10, 20)):
            full, binary = (0.2 + 0.3 * time) / math.sqrt(m / 5), 0.25 + 0.5 * time
            scores = {"acc": full, "acc_binary": binary, "acc_gap": binary - full}
            if kind == "count_query":
                scores |= {"mae": 9 - 3 * time, "mae_binary": 7 - 5 * time, "mae_gap": 2 + 2 * time}
                scores |= {"floor_constant_mae": 2.4, "floor_constant_acc": 0.13}
            else:
                scores |= {"floor_chance_acc": 1 / m}
            yield Measurement(
                "lm_eval",
                {"task": f"{kind}_m{m}"},
                [
                    Reading(metric, value, component=f"{kind}_m{m}", stderr=0.3 if "mae" in metric else 0.03, n=200)
                    for metric, value in scores.items()
                ],
                Conditions("float32", "cpu", "sdpa", 1234, 4.0, 0, 2**30, {"tasks_together": 6, "batch_size": 8}),
            )
    for number_, reading in enumerate(extra):
        yield Measurement("lm_eval", {"task": reading.component or str(number_)}, [reading])


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of twelve checkpoints; the narrow one's loss rises from step 128 on. Copy it before changing it."""
    run = tmp_path_factory.mktemp("report") / "two"
    record(run, "demo-d32", width=32)
    record(run, "demo-d16", width=16, turn=128)
    write_report([run])
    return run


def tables_of(report: str, title: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    after = report.split(f"{title}\n", 1)[1]
    lines = [line for line in after.split("\n## ")[0].split("\n### ")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("run.db")
    }


def score_of(run: Path, model: str, step: int, probe: str, metric: str, component: str | None = None) -> float:
    with RunStore(run) as store:
        values = store.values()
    rows = values[(values.model == model) & (values.step == step) & (values.probe == probe) & (values.metric == metric)]
    if component is not None:
        rows = rows[rows.component == component]
    (value,) = rows.value
    return float(value)


def test_rendering_again_gives_the_same_bytes(two_models: Path, tmp_path: Path) -> None:
    once = everything(two_models)
    assert len([name for name in once if name.endswith(".svg")]) == 8
    with matplotlib.rc_context({"xtick.direction": "in", "axes.titleweight": "bold", "lines.marker": "x"}):
        write_report([two_models])
        assert matplotlib.rcParams["xtick.direction"] == "in"  # the user's own settings stay
    assert everything(two_models) == once
    # Elsewhere, in another process, with a settings file.
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: black\nxtick.direction: in\nsvg.fonttype: none\n")
    code = "import sys; from pathlib import Path; from lm_probe.reports import write_report; " + (
        "write_report([Path(sys.argv[1])], out=Path(sys.argv[2])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(two_models), str(tmp_path / "out")],
        check=True,
        env={"PATH": "", "MATPLOTLIBRC": str(tmp_path), "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)},
    )
    assert everything(tmp_path / "out") == once


def test_figures_are_drawings_on_any_page(two_models: Path) -> None:
    for path in sorted((two_models / "figures").iterdir()):
        root = ElementTree.fromstring(path.read_bytes())
        assert root.tag.endswith("svg")
        said = path.read_text(encoding="utf-8")
        assert GREY in said
        assert "<dc:date>" not in said
        # Nothing is filled over the page: no rectangle of the figure's size in white.
        assert not re.search(r"fill: ?(#ffffff|white)", said), path.name


@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
def test_colours_stand_out_from_the_page(page: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    def contrast(one: str, other: str) -> float:
        dark, light = sorted((luminance(one), luminance(other)))
        return (light + 0.05) / (dark + 0.05)

    assert contrast(GREY, page) > 4
    assert min(contrast(colour, page) for colour in _COLOURS) > 3


def test_the_table_shows_what_the_store_holds(two_models: Path) -> None:
    report = (two_models / "report.md").read_text(encoding="utf-8")
    header, _, *rows = tables_of(report, "### demo-d16")
    assert [row[0].strip("*") for row in rows] == [str(step) for step in STEPS]
    assert [row[0] for row in rows if row[0].startswith("*")] == ["**128**"]
    columns = {
        "loss (nats/token)": ("loss", "loss", None),
        "bits per byte": ("loss", "bits_per_byte", None),
        "singular entropy (nats)": ("head_spectrum", "singular_entropy", "all_rows"),
        "effective rank": ("head_spectrum", "effective_rank", "all_rows"),
        "counting m=10, full": ("lm_eval", "acc", "count_query_m10"),
        "counting m=10, binary": ("lm_eval", "acc_binary", "count_query_m10"),
    }
    for title, address in columns.items():
        for step, row in zip(STEPS, rows, strict=True):
            shown = float(re.split(r" ± | \[", row[header.index(title)])[0])
            assert shown == pytest.approx(score_of(two_models, "demo-d16", step, *address), rel=5e-3), title
    profile = load([two_models]).profiles("anisotropy", "mean_cosine")[Checkpoint("demo-d16", "step32", 32)]
    row = rows[STEPS.index(32)]
    assert row[header.index("mean cosine, last site")].startswith(
        f"{profile[Place(5, 'final_norm')].value:.4f} ± 0.006"
    )
    assert row[header.index("mean cosine, block L")].startswith(f"{profile[Place(5, 'block')].value:.4f} ± 0.004")


def test_csv_tables_hold_every_checkpoint_at_full_precision(two_models: Path) -> None:
    with (two_models / "tables" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["step"]) for row in rows] == [
        (model, str(step)) for model in ("demo-d16", "demo-d32") for step in STEPS
    ]
    for row in rows:
        assert float(row["loss"]) == score_of(two_models, row["model"], int(row["step"]), "loss", "loss")
    with (two_models / "tables" / "anisotropy.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * len(STEPS) * 7


def test_links_of_the_report_lead_somewhere(two_models: Path) -> None:
    report = (two_models / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", report)
    headings = {re.sub(r"[^a-z0-9 -]", "", line[3:].lower()) for line in report.splitlines() if line.startswith("## ")}
    files = {link for link in links if not link.startswith("#")}
    assert len(files) >= 10
    assert [link for link in files if not (two_models / link).is_file()] == []
    assert {link[1:] for link in links if link.startswith("#")} <= headings
    shown = {path.name for path in (two_models / "figures").iterdir()}
    assert {Path(link).name for link in files if link.startswith("figures/")} == shown


def test_a_rise_from_the_best_loss_is_told_with_its_paired_error(two_models: Path) -> None:
    data = load([two_models])
    last, best = (Checkpoint("demo-d16", f"step{step}", step) for step in (512, 128))
    gap = loss_difference(data, last, best)
    assert gap.paired and gap.clusters == DOCUMENTS
    losses = data.scores("loss", "loss")
    assert gap.value == pytest.approx(losses[last].value - losses[best].value)
    # Both see the same documents: the difference is known far better than either loss.
    assert gap.stderr is not None and losses[last].stderr is not None
    assert gap.stderr < losses[last].stderr / 5
    narrow, wide = findings(data)
    assert "lowest at step 128" in narrow and "paired over 40 pieces of text): more than two standard errors" in narrow
    assert "lowest at step 512" in wide and "the last one measured" in wide and "paired" not in wide
    assert "saturated" not in (two_models / "report.md").read_text(encoding="utf-8")


def test_what_was_asked_otherwise_stands_on_no_curve(tmp_path: Path) -> None:
    record(tmp_path, "demo", (1, 2, 8), probes=("loss",), sample="one")
    record(tmp_path, "demo", (4, 16), probes=("loss", "head_spectrum"), sample="two", width=20)
    data = load([tmp_path])
    assert [one.step for one in data.scores("loss", "loss")] == [1, 2, 8]
    assert [one.step for one in data.vectors["nats_by_cluster"]] == [1, 2, 8]
    assert [one.step for one in data.vectors["singular_values"]] == [4, 16]
    (line,) = warnings(data)
    assert "demo: loss at step 4 and step 16 was measured with text two instead of one and is left out" in line
    assert line in write_report([tmp_path]).read_text(encoding="utf-8")
    with RunStore(tmp_path) as store:
        losses = store.values(provenance=True)[lambda v: v.metric == "loss"]
    assert losses.step.tolist() == [1, 2, 4, 8, 16] and losses.settings.nunique() == 2


def test_models_that_were_asked_different_things_are_pointed_out(tmp_path: Path) -> None:
    record(tmp_path, "narrow", (1, 2), probes=("loss", "anisotropy"), sample="one")
    record(tmp_path, "wider", (1, 2), probes=("loss", "anisotropy"), sample="two", width=20)
    found = warnings(load([tmp_path]))
    assert [line.partition(":")[0] for line in found] == ["anisotropy", "loss"]
    assert all("different settings (text)" in line for line in found)


def test_paired_error_is_that_of_the_mean_for_documents_of_one_length() -> None:
    differences = np.array([1.0, 3.0, 2.0, 6.0])
    expected = differences.std(ddof=1) / 10 / math.sqrt(4)
    assert paired_error(differences, np.full(4, 10.0)) == pytest.approx(expected)
    assert paired_error(2 * np.arange(1.0, 5.0), np.arange(1.0, 5.0)) == pytest.approx(0)


# First what matplotlib could not typeset: figures cut long names.
EVIL = "$\\frac$ x|y `code` <script>alert(1)</script> ![p](http://e.example/p.png) *b*\n\n# head\u202e \\"


def test_text_from_outside_is_no_markup(tmp_path: Path) -> None:
    record(tmp_path, f"_{EVIL}", (0, 1), text=EVIL, extra=[Reading("m|e", 0.5, component=EVIL, stderr=0.1, n=9)])
    with RunStore.create(tmp_path) as store:
        store.record_failure(f"_{EVIL}", "step2", 2, EVIL, EVIL)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    for markup in ("<script", "`code`", "![p]", "http://e.", "\n# head", "\u202e", "x|y", "m|e", "$"):
        assert markup not in report, markup
    for block in re.split(r"\n\n", report):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, block
    # The figures carry it as drawn letters, in valid XML.
    for path in (tmp_path / "figures").iterdir():
        assert b"<script" not in path.read_bytes()
        ElementTree.fromstring(path.read_bytes())
    assert "alert(1)" in report


@pytest.mark.parametrize(
    ("said", "safe"),
    [
        ("count_query_m10", "count_query_m10"),
        ("_a_ b__c", "\\_a\\_ b\\_\\_c"),
        ("a|b", "a&#124;b"),
        ("1 < 2 & 3", "1 &lt; 2 &amp; 3"),
        ("two\nlines\tand\x1b[0m", "two lines and\\[0m"),
        ("see www.e.example", "see www&#46;e.example"),
    ],
)
def test_escape(said: str, safe: str) -> None:
    assert escape(said) == safe


@pytest.mark.parametrize(
    ("score", "shown"),
    [
        (None, MISSING),
        (Score(6.18123, 0.1612, 1), "6.181 ± 0.161"),
        (Score(0.5, 0.0, 1), "0.5000 ± 0"),
        (Score(123456.7, 12.0, 1), "123,457 ± 12"),
        (Score(-0.25, None, 1), "−0.2500"),  # noqa: RUF001
        (Score(5.0, 0.00012, 1), "5.0000 ± 0.0001"),
        (Score(9.9999, 1.0, 1), "10.00 ± 1.00"),
    ],
)
def test_numbers_with_errors(score: Score | None, shown: str) -> None:
    assert with_error(score) == shown


def test_numbers_of_any_size() -> None:
    assert [number(value, 3) for value in (0.0, 1.0, 0.000012, 12345678.0, 999.96)] == [
        *("0", "1.00", "1.20e−05", "1.23e+07", "1,000"),  # noqa: RUF001
    ]


def test_one_checkpoint_without_a_step(tmp_path: Path) -> None:
    record(tmp_path, "gpt2", [None], layers=12, width=64)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "1 checkpoint of 1 model: gpt2 (1 checkpoint)" in report
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"loss", "anisotropy_depth", "head_spectrum"} <= names
    assert "anisotropy_heat_map" not in names  # one column is no map
    _, _, row = tables_of(report, "### gpt2")
    assert row[0] == "only checkpoint"


def test_series_and_single_checkpoints_of_different_depth(tmp_path: Path) -> None:
    record(tmp_path, "series", STEPS[:4], layers=3)
    record(tmp_path, "opt", [None], layers=7, width=64)
    record(tmp_path, "zero", [0], layers=1)
    write_report([tmp_path])
    assert (tmp_path / "figures" / "anisotropy_heat_map.svg").is_file()


def test_a_run_with_one_probe_only(tmp_path: Path) -> None:
    record(tmp_path, "demo", probes=("head_spectrum",))
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"head_spectrum.svg", "singular_entropy.svg"}
    assert "## Loss" not in report and "## Counting" not in report
    header, *_ = tables_of(report, "### demo")
    assert header == ["step", "singular entropy (nats)", "effective rank"]


def test_figures_that_no_longer_belong_are_removed_and_others_stay(tmp_path: Path) -> None:
    record(tmp_path / "all", "demo", STEPS[:3])
    record(tmp_path / "head", "demo", STEPS[:3], probes=("head_spectrum",))
    out = tmp_path / "out"
    write_report([tmp_path / "all"], out=out)
    (out / "figures" / "mine.svg").write_text("mine")
    write_report([tmp_path / "head"], out=out)
    assert {path.name for path in (out / "figures").iterdir()} == {
        "head_spectrum.svg",
        "mine.svg",
        "singular_entropy.svg",
    }
    assert {path.name for path in (out / "tables").iterdir()} == {"provenance.csv", "summary.csv"}


def test_failures_are_listed_and_leave_a_gap(two_models: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(two_models, run)
    with RunStore.create(run) as store:
        store.record_failure("demo-d16", "step1024", 1024, "", "the file is cut short")
        store.record_failure("demo-d16", "step512", 512, "count_query_m5", "the answers do not fit")
    report = write_report([run]).read_text(encoding="utf-8")
    assert "**2 measurements failed**" in report and "24 checkpoints of 2 models" in report
    _, _, *rows = tables_of(report, "## Failures")
    assert rows == [
        ["demo-d16", "512", "count_query_m5", "the answers do not fit"],
        ["demo-d16", "1,024", "(opening)", "the file is cut short"],
    ]
    assert tables_of(report, "### demo-d16")[-1] == ["1,024", *[MISSING] * 8]


def test_a_run_of_failures_only(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        store.record_failure("demo", None, None, "", "no such file")
    assert "no such file" in write_report([tmp_path]).read_text(encoding="utf-8")


def test_an_empty_run(tmp_path: Path) -> None:
    RunStore.create(tmp_path).close()
    assert "no values yet" in write_report([tmp_path]).read_text(encoding="utf-8")


def test_a_long_series_is_thinned_and_complete_in_its_table(tmp_path: Path) -> None:
    record(tmp_path, "pythia", PYTHIA, layers=24, width=96, turn=37_000)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    _, _, *rows = tables_of(report, "### pythia")
    assert "30 of 154 checkpoints are shown" in report and len(rows) == 30
    shown = [row[0] for row in rows]
    assert shown[0] == "0" and shown[-1] == "143,000"
    losses = {one.step: score.value for one, score in load([tmp_path]).scores("loss", "loss").items()}
    assert f"**{min(losses, key=losses.__getitem__):,}**" in shown
    with (tmp_path / "tables" / "summary.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(PYTHIA)


@pytest.mark.parametrize("limit", [2, 5, 30, 153])
def test_thinning_keeps_order_ends_and_what_it_is_told(limit: int) -> None:
    series = [Checkpoint("m", f"step{step}", step) for step in PYTHIA]
    kept = thinned(series, limit, {series[77]} if limit > 2 else ())
    assert kept == sorted(set(kept), key=lambda one: one.step or 0) and len(kept) == limit
    assert kept[0] == series[0] and kept[-1] == series[-1]
    assert limit == 2 or series[77] in kept
    same = [Checkpoint("m", f"v{number}", None) for number in range(40)]
    assert len(thinned(same, 6)) == 6


def test_several_runs_tell_models_of_one_name_apart(tmp_path: Path) -> None:
    for name in ("first", "second"):
        record(tmp_path / name, "demo", STEPS[:3], probes=("loss",), identity=None)
    record(tmp_path / "second", "other", STEPS[:3], probes=("loss",))
    runs = [tmp_path / "first", tmp_path / "second", tmp_path / "first"]
    data = load(runs)
    assert data.models == ["first: demo", "other", "second: demo"]
    assert write_report(runs, out=tmp_path / "out") == tmp_path / "out" / "report.md"
    assert not (tmp_path / "first" / "report.md").exists()


def test_equal_weights_are_pointed_out(tmp_path: Path) -> None:
    record(tmp_path, "demo", (1, 2), probes=("loss",), identity="sha256:" + "ab" * 32)
    (line,) = warnings(load([tmp_path]))
    assert (
        line == "demo step 1 and demo step 2 are the same weights (sha256:abababababab): take them for one checkpoint."
    )


def test_cost_counts_a_shared_forward_pass_once(two_models: Path) -> None:
    first, *_ = per_checkpoint(load([two_models]))
    assert first.seconds == pytest.approx(2.5 + 4.0 + 0.25)
    assert first.peak_memory == 3 * 2**29


def test_the_last_site_follows_the_literature() -> None:
    def profile(*sites: tuple[int, str]) -> dict[Place, Score]:
        return {Place(*site): Score(float(place), None, None) for place, site in enumerate(sites)}

    normal = profile((0, "embedding"), (1, "block"), (2, "block"), (2, "final_norm"))
    assert [(layer.name, layer.depth) for layer in literature_layers(normal)] == [
        ("embedding", 0.0),
        ("1", 0.5),
        ("final norm", 1.0),
    ]
    assert final_place(profile((0, "embedding"), (1, "block"), (1, "head_input"))) == Place(1, "head_input")
    assert final_place(profile((0, "embedding"), (1, "block"))) == Place(1, "block")


def test_step_zero_stands_at_half_of_the_first_step() -> None:
    axis = step_axis([0, 1000, 2000, 143_000])
    assert axis.place(0) == 500 and axis.place(2000) == 2000
    assert axis.ticks() == [0, 1000, 10_000, 100_000]
    assert step_axis([64, 128]).ticks() == [64, 128]
    assert step_axis([0]).ticks()[0] == 0


def test_only_a_width_that_is_known_is_compared_with_m(two_models: Path, tmp_path: Path) -> None:
    report = (two_models / "report.md").read_text(encoding="utf-8")
    assert "demo-d16 (width 16: m = 20). Elsewhere m stays within the width." in report
    record(tmp_path, "demo", (1,), probes=("lm_eval",))
    assert "How m compares with the models' width is not known" in write_report([tmp_path]).read_text(encoding="utf-8")


def test_the_counting_section_says_what_the_gap_shows(two_models: Path) -> None:
    report = (two_models / "report.md").read_text(encoding="utf-8")
    # The control's error at the last step is 2 ± 0.3 and a constant's 2.4: no interval lies below it.
    assert "**demo-d16, count query.** At no m is the control better than always giving the best constant" in report
    # Its accuracy is 0.75 of 200, above half; the full list's is 0.5 / sqrt(m / 5).
    assert "**demo-d16, most frequent word.** The control is better than a blind answer at m = 5, 10 and 20." in report
    assert "At m = 20 the full list is harder by 0.500 [0.44, 0.55]: more different words cost more" in report
    _, _, *rows = tables_of(report, "## Counting")
    (first,) = [row for row in rows if row[0] == "demo-d16" and row[2:5] == ["most frequent word", "accuracy", "5"]]
    assert first[5:] == [MISSING, "0.500 [0.43, 0.57]", "0.750 [0.69, 0.80]", "0.250 [0.19, 0.31]", "0.200", "200"]


def test_the_report_takes_m_from_the_lists_and_not_from_a_tasks_name(tmp_path: Path) -> None:
    extra = [
        Reading(metric, value, component="count_query_m5", stderr=0.1, n=9)
        for metric, value in {
            "mae": 3.0,
            "mae_binary": 2.0,
            "mae_gap": 1.0,
            "different_words": 40.0,
            "list_words": 200.0,
            "answers_one_token": 0.5,
            "vocabulary_max_cos": 0.75,
            "vocabulary_mean_cos": 0.1,
            "vocabulary_effective_rank": 30.5,
            "acc": 0.5,
            "acc_binary": 0.5,
            "acc_gap": 0.0,
        }.items()
    ]
    with RunStore.create(tmp_path) as store:
        asked = {"task": "count_query_m5", "options": {"m": 40, "n": 200}}
        store.record(CheckpointKey("demo", None, None, "sha256:1", "demo"), [Measurement("lm_eval", asked, extra)])
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    row = tables_of(report, "## Counting")[2]
    assert row[3:7] == ["mean absolute error", "40", "200.0", "3.00 [2.8, 3.2]"]
    assert "Options of the tasks: \\[('m', 40), ('n', 200)\\]." in report
    assert "| demo | 40 | 0.750 | 0.100 | 30.5 |" in report
    assert "Answers of several tokens" in report and "in count_query_m5." in report


def test_other_tasks_are_listed(tmp_path: Path) -> None:
    extra = [Reading("acc", 0.625, component="lambada_openai", stderr=0.01, n=5153)]
    record(tmp_path, "demo", (1, 2), probes=(), extra=extra)
    _, _, row = tables_of(write_report([tmp_path]).read_text(encoding="utf-8"), "## Other tasks")
    assert row == ["lambada_openai", "acc", "demo", "0.6250 ± 0.0100", "1", "0.6250 ± 0.0100", "2", "5,153"]


def test_measures_without_a_section_are_folded_tables_and_condensation_is_drawn(tmp_path: Path) -> None:
    neurons = 6
    pairs = np.linspace(-1, 1, neurons * (neurons - 1) // 2)
    with RunStore.create(tmp_path) as store:
        for step in (0, 8):
            store.record(
                CheckpointKey("demo", f"step{step}", step, f"sha256:{step}", "demo"),
                [
                    Measurement(
                        "condensation",
                        {},
                        [
                            *(Reading("groups", layer + step, layer, "block", "query", n=9) for layer in (1, 2)),
                            VectorReading("heat_map_cosines", pairs + step / 100, 1, "block", "query"),
                        ],
                    ),
                    Measurement(
                        "geometry",
                        {},
                        [
                            Reading("isoscore", 0.25, 0, "embedding", stderr=0.01, n=50),
                            Reading("isoscore", 0.5, 2, "final_norm", stderr=0.02, n=50),
                        ],
                    ),
                ],
            )
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "<summary>condensation: 1 measure, mean over blocks (every block is in the export)</summary>" in report
    assert "| groups | query | demo | 0 | 1.500 | 8 | 9.500 |" in report
    assert "<summary>geometry: 1 measure, at the last site</summary>" in report
    assert f"| isoscore | {MISSING} | demo | 0 | 0.5000 ± 0.0200 | 8 | 0.5000 ± 0.0200 |" in report
    (drawn,) = load([tmp_path]).heat_maps
    assert (drawn.checkpoint.step, drawn.layer, drawn.role) == (8, 1, "query")
    assert np.array_equal(drawn.cosines, pairs + 0.08)
    square = _square(drawn)
    assert square.shape == (neurons, neurons) and np.array_equal(square, square.T)
    assert square[0, 1] == drawn.cosines[0] and square[1, 2] == drawn.cosines[neurons - 1]
    assert (tmp_path / "figures" / "condensation.svg").exists()


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to report"):
        write_report([])
    with pytest.raises(UserError, match="holds no run"):
        write_report([tmp_path])
    record(tmp_path / "run", "demo", (1,), probes=("loss",))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another --out"):
        write_report([tmp_path / "run"], out=tmp_path / "file")


def test_a_run_without_data_is_not_indexed() -> None:
    assert RunData({}, {"singular_values": {}}, [], []).models == []
