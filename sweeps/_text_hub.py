"""Documents from a dataset on the Hub, streamed."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from lm_probe.model_adapters import UserError

_PART = r"[A-Za-z0-9][\w.-]*"
_NAME = re.compile(rf"(?P<name>{_PART}(?:/{_PART})?)(?::(?P<config>[^:@/\s]+))?(?:@(?P<split>[^:@/\s]+))?", re.ASCII)
_LOCAL_SUFFIXES = (".txt", ".md", ".json", ".jsonl", ".zst", ".gz", ".csv", ".parquet")


class DatasetName(NamedTuple):
    """What `NAME[:CONFIG][@SPLIT]` says."""

    name: str
    config: str | None
    split: str

    @classmethod
    def parse(cls, source: str) -> "DatasetName | None":
        """The name in `source`; None where it looks like a file's or cannot be a dataset's."""
        match = _NAME.fullmatch(source)
        if match is None or match["name"].lower().endswith(_LOCAL_SUFFIXES):
            return None
        return cls(match["name"], match["config"], match["split"] or "train")

    def __str__(self) -> str:
        return self.name + (f":{self.config}" if self.config else "") + f"@{self.split}"


def dataset_documents(dataset: DatasetName) -> Iterator[str]:
    """The column `text` of a dataset, row by row, downloaded only as far as it is read; rows without one are left out.

    Raises:
        UserError: The dataset, its configuration, its split or the column is not there, or the Hub is not.
    """
    for row in _rows(dataset):
        if "text" not in row:
            raise UserError(
                f'--text {dataset}: no column "text", but {", ".join(row)}; write that column to a .jsonl file'
            )
        document = row["text"]
        if document is not None and not isinstance(document, str):
            raise UserError(f'--text {dataset}: column "text" holds a {type(document).__name__}, not a string')
        if document is not None:
            yield document


def _rows(dataset: DatasetName) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        yield from load_dataset(dataset.name, dataset.config, split=dataset.split, streaming=True)
    except DatasetNotFoundError as error:
        raise UserError(
            f"--text {dataset}: no such file here, and the Hub shows no such dataset; check the name, or log in with "
            f"`hf auth login` if it is private ({_one_line(error)})"
        ) from error
    except Exception as error:  # whatever the Hub, the network or the file's reader raised: it is about this dataset
        raise UserError(
            f"--text {dataset}: cannot be read from the Hub ({type(error).__name__}: {_one_line(error)}); "
            "check NAME[:CONFIG][@SPLIT] and the network, or give a local file"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
