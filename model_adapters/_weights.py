"""Reads tensors out of a checkpoint's weight files, without building the model."""

import hashlib
import json
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PretrainedConfig

from lm_probe.model_adapters._config import load_config, read_config
from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._family import Family, Role, head_size_of, max_context_of
from lm_probe.model_adapters._table import family_of

_SAYS_NOTHING = {"transformers_version", "_name_or_path"}  # of who saved it, and from where
_DAMAGE = (
    *(SafetensorError, RuntimeError, OSError, EOFError, pickle.UnpicklingError),
    *(ValueError, KeyError, TypeError, AttributeError),  # of an index that is no index
)


class Weights:
    """The tensors of one local checkpoint: safetensors or `.bin`, in one file or sharded. Memory-mapped."""

    def __init__(self, folder: Path) -> None:
        """Opens a folder that holds `config.json` and weights.

        Raises:
            UserError: there are no weights, or their index is damaged.
        """
        self.folder = folder
        self.bytes_read = 0
        """Bytes of tensors and headers that were asked for so far."""
        self._files = _find_files(folder)
        self._bins: dict[Path, dict[str, Tensor]] = {}
        self._where: dict[str, Path] | None = None
        self._open: tuple[str, Tensor] | None = None

    def names(self) -> list[str]:
        """The names of all tensors, sorted."""
        return sorted(self._locations())

    def read(self, name: str) -> Tensor:
        """One tensor as stored in the file.

        Raises:
            UserError: there is no such tensor, or its file is damaged.
        """
        where = self._locations().get(name)
        if where is None:
            raise UserError(f"{self.folder} has no tensor {name}: it has {len(self._locations())} others")
        with _damage_named(where):
            if where.suffix == ".safetensors":
                with safe_open(where, framework="pt") as file:
                    tensor: Tensor = file.get_tensor(name)
            else:
                tensor = self._bin(where)[name]
        self.bytes_read += tensor.nbytes
        return tensor

    def head(self) -> Float[Tensor, "V d"]:
        """The output head as stored in the file, V x d: its own tensor, or the input embedding of a tied model.

        Raises:
            UserError: no adapter covers the architecture, or the files lack the head.
        """
        return self.read(self.head_name())

    def head_name(self) -> str:
        """The name under which the files hold the output head.

        Raises:
            UserError: no adapter covers the architecture, or the files lack the head, or hold one beside the embedding
                that config.json ties it to: which of the two counts depends on who loads them.
        """
        own, shared = self._family.head_keys, self._family.embedding_keys
        if not self.tied:
            return self._first_of(own, "output head")
        both = [next((name for name in keys if name in self._locations()), None) for keys in (own, shared)]
        if both[0] and both[1] and not torch.equal(self._peek(both[0]), self._peek(both[1])):
            raise UserError(
                f"{self.folder} holds {both[0]} and another {both[1]}, though config.json ties the head to the input "
                f"embedding: set tie_word_embeddings to false, or take the wrong tensor out"
            )
        return self._first_of((*shared, *own), "output head")

    def embedding(self) -> Float[Tensor, "V e"]:
        """The input embedding as stored in the file.

        Raises:
            UserError: no adapter covers the architecture, or the files lack the embedding.
        """
        wanted = self._family.embedding_keys
        name = self._first_of((*wanted, *self._family.head_keys) if self.tied else wanted, "input embedding")
        return self.read(name)

    def projection(self, role: Role, block: int) -> Float[Tensor, "out in"]:
        """The weight of one projection of a block (counted from 0), out x in, in the file's dtype.

        Only the tensor that holds it is read. A fused tensor (query, key and value in one) stays open until another
        is asked for, so that reading its parts in turn reads it once.

        Raises:
            KeyError: the family has no such projection.
            UserError: no adapter covers the architecture, or the files lack the tensor.
        """
        projection = self._family.projections[role]
        path = f"{self._family.blocks}.{block}.{projection.parameter}"
        # A checkpoint of the trunk alone (the Hub's GPT-2) leaves out the name under which the model holds its trunk.
        name = self._first_of((path, path.partition(".")[2]), f"{role} projection in block {block}")
        if self._open is None or self._open[0] != name:
            self._open = name, self.read(name)
        return projection.cut(self._open[1], self.head_size)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles for which `projection` has an answer."""
        return tuple(self._family.projections)

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return int(self._config.num_hidden_layers)

    @property
    def max_context(self) -> int | None:
        """The longest sequence that the model's positions cover, where the config says so."""
        return max_context_of(self._config)

    @property
    def head_size(self) -> int:
        """Rows of one attention head in query, key and value."""
        return head_size_of(self._config)

    @property
    def tied(self) -> bool:
        """Whether the output head is the input embedding."""
        return bool(getattr(self._config, "tie_word_embeddings", False))

    @cached_property
    def _family(self) -> Family:
        return family_of(read_config(self.folder).get("model_type"))

    @cached_property
    def _config(self) -> PretrainedConfig:
        return load_config(self.folder)

    def _peek(self, name: str) -> Tensor:
        """Reads without counting: a check that no probe asked for."""
        before = self.bytes_read
        tensor = self.read(name)
        self.bytes_read = before
        return tensor

    def _first_of(self, wanted: Sequence[str], what: str) -> str:
        names = self._locations()
        for name in wanted:
            if name in names:
                return name
        raise UserError(f"{self.folder} has no {what}: looked for {', '.join(wanted)} in {self._files[0].name}")

    def digest(self) -> str:
        """sha256 over `config.json` (less what changes no number) and every byte of the weight files, in hex.

        Raises:
            UserError: a file is damaged or truncated, or there is no readable `config.json`.
        """
        self.names()  # a truncated file must not get an identity
        config = {key: value for key, value in read_config(self.folder).items() if key not in _SAYS_NOTHING}
        sha = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
        for file in self._files:
            with _damage_named(file), file.open("rb") as opened:
                sha.update(hashlib.file_digest(opened, "sha256").digest())
        return sha.hexdigest()

    def _locations(self) -> dict[str, Path]:
        if self._where is None:
            self._where = {}
            for file in self._files:
                with _damage_named(file):
                    if file.suffix == ".safetensors":
                        with safe_open(file, framework="pt") as opened:
                            names = list(opened.keys())
                    else:
                        names = list(self._bin(file))
                    self._where.update(dict.fromkeys(names, file))
        return self._where

    def _bin(self, file: Path) -> dict[str, Tensor]:
        if file not in self._bins:
            # Files from before torch 1.6 are no zip archives and cannot be memory-mapped.
            mapped = zipfile.is_zipfile(file)
            self._bins[file] = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
        return self._bins[file]


def _find_files(folder: Path) -> list[Path]:
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        index = folder / f"{stem}{suffix}.index.json"
        if index.is_file():
            with _damage_named(index):
                shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
                files = [folder / shard for shard in shards]
                if not files:
                    raise ValueError("it names no file")
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise UserError(f"{folder} lacks {', '.join(missing)}, which {index.name} names: copy it again")
            return files
        if (folder / f"{stem}{suffix}").is_file():
            return [folder / f"{stem}{suffix}"]
    read_config(folder)
    found = ", ".join(sorted(child.name for child in folder.iterdir()))
    raise UserError(f"{folder} has no weights (model.safetensors or pytorch_model.bin): found {found or 'nothing'}")


@contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, PermissionError):
            raise UserError(f"{file} cannot be read: permission denied") from error
        if isinstance(error, pickle.UnpicklingError) and "eights only load failed" in str(error):
            raise UserError(
                f"{file} holds pickled code beside its tensors, or is damaged; such code is never run: convert the "
                f"checkpoint to safetensors where it was made"
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{file} is damaged or truncated ({reason}): copy or download it again") from error
