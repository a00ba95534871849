"""Bars of other packages in a log: a line where one ends, and before that one a minute."""

import re

import pytest
from tqdm import tqdm as class_of_many
from tqdm.auto import tqdm

from lm_probe.sweeps import bars_as_lines


def test_a_log_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with bars_as_lines():
        for _ in tqdm(range(3_000), desc="Tokenizing inputs", mininterval=0):
            pass
        tqdm(range(3), leave=False).close()  # wiped away
        bar = tqdm(total=4, unit="B", unit_scale=True)
        for back in (90.5, 30, 31):  # seconds that pass
            bar.start_t -= back
            bar.update(1)
            bar.refresh()
        bar.close()
    said = capsys.readouterr().err
    assert re.sub(r" in 00:0\d", " in 00:00", said).splitlines() == [
        "Tokenizing inputs: 3,000 of 3,000 in 00:00",
        "1.00B of 4.00B in 01:30, about 04:31 left",
        "3.00B of 4.00B in 02:31, about 00:50 left",
        "3.00B of 4.00B in 02:31",
    ]
    assert "\r" not in said and said.endswith("\n")


def test_afterwards_and_on_a_terminal_a_bar_is_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyError), bars_as_lines():
        raise KeyError
    class_of_many(range(3)).close()
    assert "\r" in capsys.readouterr().err
    monkeypatch.setattr("lm_probe.sweeps._bars_in_logs.takes_bars", lambda: True)
    with bars_as_lines():
        tqdm(range(3)).close()
    assert "\r" in capsys.readouterr().err
