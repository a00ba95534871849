"""A loopback Hub for the clients in this process, which read its address when they are imported."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download, utils

from lm_probe.model_adapters import _hub as hub_module
from tests.loopback_hub import LoopbackHub


@contextmanager
def hub_in_process(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """An empty cache, a token, and one second until a silence counts as an end."""
    with LoopbackHub() as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {
            "HF_HUB_OFFLINE": False,
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DOWNLOAD_TIMEOUT": 1,
        }.items():
            monkeypatch.setattr(constants, name, value)
        # huggingface_hub 0.34 keeps a copy of its own.
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(hub_module, "HF_HUB_CACHE", str(cache))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        forget = getattr(utils, "reset_sessions", None) or utils.close_session
        forget()
        utils.disable_progress_bars()
        yield server
        utils.enable_progress_bars()
        forget()
