"""Values in columns are those of the store, in its order, whatever the number of probes and runs."""

from pathlib import Path

import numpy as np

from lm_probe.probes import Reading
from lm_probe.reports._load import load
from lm_probe.reports._numbers import Address, Checkpoint, Numbers, Place, Score
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore

PROBES = [f"probe{number}" for number in range(9)]
SITES = [(None, None), (0, "embedding"), (2, "block"), (1, "block"), (2, "final_norm"), (2, "head_input")]


def write(run: Path, model: str = "demo") -> None:
    generator = np.random.default_rng(0)
    with RunStore.create(run) as store:
        for step in (10, 2, None):
            key = CheckpointKey(model, None if step is None else f"step{step}", step, f"sha256:{step}", model)
            store.record(
                key,
                [
                    Measurement(
                        probe,
                        {},
                        [
                            Reading(
                                f"metric{metric}",
                                float(generator.random()),
                                layer,
                                site,
                                component,
                                stderr=None if metric else 0.5,
                                n=None if metric else 7,
                            )
                            for metric in range(2)
                            for component in (None, "all_rows")
                            for layer, site in SITES
                        ],
                    )
                    for probe in PROBES
                ],
            )


def test_an_error_that_is_rounding_beside_its_value_is_none_to_speak_of(tmp_path: Path) -> None:
    errors = {"equal": 5.5e-16, "small": 1e-9, "lacking": None}
    with RunStore.create(tmp_path) as store:
        readings = [Reading(name, -4.592, stderr=error) for name, error in errors.items()]
        store.record(CheckpointKey("demo", None, None, "sha256:1", "demo"), [Measurement("probe", {}, readings)])
    found = [score for name in errors for score in load([tmp_path]).scores("probe", name).values()]
    assert [score.stderr for score in found] == [0.0, 1e-9, None]


def test_numbers_are_those_of_the_store(tmp_path: Path) -> None:
    write(tmp_path)
    numbers = load([tmp_path]).indexed
    with RunStore(tmp_path) as store:
        values = store.values()
    assert len(numbers) == 2 * 2 * len(PROBES) and set(numbers) == {Address(*address) for address in numbers}
    seen = 0
    rows = values.astype(object).where(values.notna(), None)
    for row in rows.itertuples():
        address = Address(row.probe, row.metric, row.component)
        checkpoint = Checkpoint(row.model, row.revision, row.step)
        place = Place(-1 if row.layer is None else row.layer, row.site or "")
        expected = Score(row.value, row.stderr, row.n)
        assert numbers[address][checkpoint][place] == expected == numbers.profile(address, checkpoint)[place]
        seen += 1
    assert seen == len(values) == 9 * 2 * 2 * 3 * len(SITES)
    address = Address("probe8", "metric1", "all_rows")
    steps = [checkpoint.step for checkpoint in numbers[address]]
    assert steps == [2, 10, None] == [checkpoint.step for checkpoint in numbers.holders(address)]
    from_below = [SITES[at] for at in (0, 1, 3, 2, 4, 5)]
    expected_order = [Place(-1 if layer is None else layer, site or "") for layer, site in from_below]
    assert list(numbers[address][Checkpoint("demo", "step2", 2)]) == expected_order


def test_what_is_looked_at_again_is_kept_within_bounds(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path)
    numbers = load([tmp_path]).indexed
    monkeypatch.setattr("lm_probe.reports._numbers._KEPT", 40)
    found = {address: numbers[address] for address in numbers}
    assert sum(len(places) for one in numbers._cache.values() for places in one.values()) <= 40
    assert all(numbers[address] == one for address, one in found.items())


def test_runs_side_by_side_and_none_at_all(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name)
    data = load([tmp_path / "a", tmp_path / "b"])
    assert data.models == ["demo (run a)", "demo (run b)"]
    assert len(data.indexed["probe0", "metric0", None]) == 6
    assert len(Numbers()) == 0 and list(Numbers()) == [] and Numbers().get(Address("a", "b", None), {}) == {}
