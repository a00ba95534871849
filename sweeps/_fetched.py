"""What a run has fetched from the Hub, so that it can give back that and nothing else."""

import json
import os
from pathlib import Path

from lm_probe.model_adapters import Checkpoint, give_back, has_weights

_GIGABYTE = 1e9


class Fetched:
    """The commits that a run has brought into the Hub cache, the one used last at the end; noted in the run's folder.

    A commit of which the cache held weights before belongs to somebody else. What is going to be fetched is noted
    before its first byte, so that a kill at any moment leaves nothing that a later sweep of the run does not know.
    """

    def __init__(self, folder: Path, gigabytes: float | None) -> None:
        """Reads the note of earlier sweeps.

        Args:
            folder: of the run.
            gigabytes: what the commits may take; None is any amount.
        """
        self._path = folder / "fetched.json"
        self._limit = None if gigabytes is None else gigabytes * _GIGABYTE
        self._commits = {sha: repository for sha, repository in self._noted().items() if has_weights(repository, sha)}

    def using(self, checkpoint: Checkpoint) -> None:
        """Says that a checkpoint is going to be read, before anything of it is fetched."""
        sha, repository = checkpoint.identity, checkpoint.source
        if checkpoint.folder is None and (sha in self._commits or not has_weights(repository, sha)):
            self._commits.pop(sha, None)
            self._commits[sha] = repository
            self._write()

    def give_back(self, keep: Checkpoint | None = None) -> list[str]:
        """Deletes what was used longest ago until the rest fits; no download may be running.

        Returns:
            The commits that were deleted.
        """
        if self._limit is None or not self._commits:
            return []
        gone = give_back(list(self._commits), self._limit, None if keep is None else keep.identity)
        for sha in gone:
            del self._commits[sha]
        if gone:
            self._write()
        return gone

    def _noted(self) -> dict[str, str]:
        try:
            noted = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # without a readable note nothing is ours
            return {}
        return noted if isinstance(noted, dict) else {}

    def _write(self) -> None:
        beside = self._path.with_suffix(".new")
        with beside.open("w", encoding="utf-8") as file:
            json.dump(self._commits, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
