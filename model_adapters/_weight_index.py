"""Which files of a checkpoint hold its weights, and in which shard a tensor is."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from lm_probe.model_adapters._config import read_config
from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._weight_files import damage_named


class WeightIndex(NamedTuple):
    """The weight files by name, and the shard of each tensor where there are several."""

    files: list[str]
    shards: Mapping[str, str] | None


def weight_index(folder: Path, present: Collection[str], source: str) -> WeightIndex:
    """Chooses safetensors before `.bin`, and a single file before what an index names, as `from_pretrained` does.

    Args:
        folder: holds `config.json` and the index.
        present: names of the checkpoint's files, wherever they are.
        source: what messages call the checkpoint.

    Raises:
        UserError: there are no weights, `config.json` names others, or the index is damaged or names files that are
            not there.
    """
    named = read_config(folder).get("transformers_weights") if "config.json" in present else None
    if named is not None:  # from_pretrained would load those
        raise UserError(
            f"{source} names weights of its own in config.json (transformers_weights: {named}), which are not read "
            f"here: rename them to model.safetensors and take that line out"
        )
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        if f"{stem}{suffix}" in present:
            return WeightIndex([f"{stem}{suffix}"], None)
        index = folder / f"{stem}{suffix}.index.json"
        if index.name in present:
            with damage_named(index):
                shards = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
                files = sorted(set(shards.values()))
                if not files or not all(isinstance(name, str) for name in files):
                    raise ValueError("it names no files")
                missing = [name for name in files if name not in present]
            if missing:
                raise UserError(f"{source} lacks {', '.join(missing)}, which {index.name} names: copy it again")
            return WeightIndex(files, shards)
    read_config(folder)
    found = ", ".join(sorted(present)) or "nothing"
    raise UserError(f"{source} has no weights (model.safetensors or pytorch_model.bin): found {found}")
