"""One series on disk: its checkpoints, and a marker written last that says they are all there and what made them."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
import torch
import transformers

MARKER = "series.json"

_FORMAT = 1  # counts up when what a series folder holds changes: older ones are made again


class SeriesFolder(NamedTuple):
    """Where one series goes, and what makes it the same series: its settings and its text."""

    folder: Path
    settings: dict[str, Any]  # with `width`, `steps` (ascending) and `seed`
    text: dict[str, Any]

    def is_complete(self) -> bool:
        """Whether the marker is there, of these settings and this text, and no checkpoint has been taken away."""
        try:
            marker = json.loads((self.folder / MARKER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        same = isinstance(marker, dict) and all(marker.get(name) == value for name, value in self._identity().items())
        return same and all((self.folder / f"step{step}").is_dir() for step in self.settings["steps"])

    def clear(self) -> None:
        """Remove what an earlier training left; the marker first, for it says that the rest is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MARKER).unlink(missing_ok=True)
        for pattern in ("step[0-9]*", ".step[0-9]*"):
            for path in self.folder.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path)

    def complete(self, *, seconds: float, checkpoints: list[dict[str, float]]) -> None:
        """Write the marker.

        Args:
            seconds: What the training took.
            checkpoints: One record for each checkpoint.
        """
        marker = {
            **self._identity(),
            "model": self.folder.name,
            "seconds": round(seconds, 3),
            "checkpoints": checkpoints,
            "versions": {module.__name__: str(module.__version__) for module in (torch, transformers, tokenizers)},
        }
        partial = self.folder / f".{MARKER}"
        partial.write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        partial.replace(self.folder / MARKER)

    def _identity(self) -> dict[str, Any]:
        return {"format": _FORMAT, "settings": self.settings, "text": self.text}


def digest(documents: Sequence[str]) -> str:
    """The sha256 of documents and of where each of them ends."""
    sha = hashlib.sha256()
    for document in documents:
        content = document.encode("utf-8", "surrogatepass")
        sha.update(len(content).to_bytes(8, "little"))
        sha.update(content)
    return sha.hexdigest()
