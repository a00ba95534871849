"""Reads tensors out of a checkpoint's weight files, without building the model."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PretrainedConfig

from lm_probe.model_adapters._config import load_config, read_config
from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._family import Family, Role, head_size_of, max_context_of
from lm_probe.model_adapters._table import family_of
from lm_probe.model_adapters._weight_files import Listed, LocalFile, WeightFile, damage_named
from lm_probe.model_adapters._weight_index import weight_index

_SAYS_NOTHING = {"transformers_version", "_name_or_path"}  # of who saved it, and from where


class Weights:
    """The tensors of one checkpoint: safetensors or `.bin`, in one file or sharded, here or on the Hub."""

    def __init__(
        self,
        folder: Path,
        files: Sequence[WeightFile] | None = None,
        where: Mapping[str, WeightFile] | None = None,
        source: str | None = None,
    ) -> None:
        """Opens a folder that holds `config.json` and weights.

        Args:
            folder: with `config.json`.
            files: the weight files, where they are not all in the folder.
            where: the file of each tensor, where an index is to be believed without opening all files.
            source: what messages call it, where that is not the folder.

        Raises:
            UserError: there are no weights, or their index is damaged.
        """
        self.folder = folder
        self._name = source or str(folder)
        self._files = [LocalFile(path) for path in _weight_paths(folder)] if files is None else files
        self._where = where
        self._open: tuple[str, Tensor] | None = None
        self._peeked = 0

    def __repr__(self) -> str:
        """Source and files; opens none."""
        first, *others = (file.name for file in self._files)
        return f"Weights({self._name}: {first}{f' and {len(others)} more' if others else ''})"

    @property
    def bytes_read(self) -> int:
        """Bytes of tensors that were read so far; of files on the Hub all that came over the wire, headers too."""
        return sum(file.bytes_read for file in self._files) - self._peeked

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keeps local files open while many tensors are read."""
        with ExitStack() as stack:
            for file in self._files:
                if isinstance(file, LocalFile):
                    stack.enter_context(file.kept_open())
            yield

    def names(self) -> list[str]:
        """The names of all tensors, sorted."""
        return sorted(self._locations())

    def listed(self) -> dict[str, Listed]:
        """Type and shape of every tensor, from the files' headers."""
        return {name: listed for file in self._files for name, listed in file.listed().items()}

    def listed_as(self, name: str) -> Listed:
        """Type and shape of one tensor, from its file's header."""
        return self._file_of(name).listed()[name]

    def file_name(self, name: str) -> str:
        """The file that holds a tensor."""
        return self._file_of(name).name

    def names_for(self, *, head: bool = False, embedding: bool = False, projections: bool = False) -> list[str]:
        """The tensors that are read for the head, the input embedding and the projections."""
        found = {self.head_name()} if head else set()
        if embedding:
            found.add(self.embedding_name())
        if projections:
            found |= {self.projection_name(role, block) for role in self.roles for block in range(self.layers)}
        return sorted(found)

    def read(self, name: str) -> Tensor:
        """One tensor as stored in the file.

        Raises:
            UserError: there is no such tensor, or its file is damaged.
        """
        return self._file_of(name).read(name)

    def head(self) -> Float[Tensor, "V d"]:
        """The output head as stored in the file, V x d: its own tensor, or the input embedding of a tied model.

        Raises:
            UserError: no adapter covers the architecture, or the files lack the head.
        """
        return self.read(self.head_name())

    def head_dtype(self) -> torch.dtype:
        """The type in which the head is stored; reads nothing but headers where the head is not tied."""
        return self.listed_as(self.head_name()).dtype

    def model_dtype(self) -> torch.dtype:
        """The type that a model is loaded as where none is asked for: the config's, else that of the first numbers."""
        named = getattr(self._config, "dtype", None)
        if isinstance(named, torch.dtype):
            return named
        return next((one.dtype for one in self.listed().values() if one.dtype.is_floating_point), torch.float32)

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
                f"{self._name} holds {both[0]} and another {both[1]}, though config.json ties the head to the input "
                f"embedding: set tie_word_embeddings to false, or take the wrong tensor out"
            )
        return self._first_of((*shared, *own), "output head")

    def embedding(self) -> Float[Tensor, "V e"]:
        """The input embedding as stored in the file.

        Raises:
            UserError: no adapter covers the architecture, or the files lack the embedding.
        """
        return self.read(self.embedding_name())

    def embedding_name(self) -> str:
        """The name under which the files hold the input embedding.

        Raises:
            UserError: no adapter covers the architecture, or the files lack the embedding.
        """
        wanted = self._family.embedding_keys
        return self._first_of((*wanted, *self._family.head_keys) if self.tied else wanted, "input embedding")

    def projection(self, role: Role, block: int) -> Float[Tensor, "out in"]:
        """The weight of one projection of a block (counted from 0), out x in, in the file's dtype.

        Only the tensor that holds it is read. A fused tensor (query, key and value in one) stays open until another
        is asked for, so that reading its parts in turn reads it once.

        Raises:
            UserError: no adapter covers the architecture, its family has no such projection, or the files lack it.
        """
        name = self.projection_name(role, block)
        if self._open is None or self._open[0] != name:
            self._open = name, self.read(name)
        return self.cut(role, self._open[1])

    def cut(self, role: Role, stored: Tensor) -> Tensor:
        """A projection, from the tensor in which it is stored."""
        return self._family.projection(role).cut(stored, self.head_size)

    def projection_name(self, role: Role, block: int) -> str:
        """The tensor in which the files hold a projection.

        Raises:
            UserError: the family has no such projection, or the files lack it.
        """
        path = f"{self._family.blocks}.{block}.{self._family.projection(role).parameter}"
        # A checkpoint of the trunk alone (the Hub's GPT-2) leaves out the name under which the model holds its trunk.
        return self._first_of((path, path.partition(".")[2]), f"{role} projection in layer {block + 1}")

    def block_of(self, name: str) -> int:
        """The block that a tensor is of; -1 where it is of none."""
        blocks = self._family.blocks
        for prefix in (f"{blocks}.", f"{blocks.partition('.')[2]}."):
            number = name.removeprefix(prefix).partition(".")[0]
            if name.startswith(prefix) and number.isdigit():
                return int(number)
        return -1

    @property
    def head_keys(self) -> tuple[str, ...]:
        """The names that an untied output head may have."""
        return self._family.head_keys

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
        said = read_config(self.folder).get("tie_word_embeddings")
        return said if isinstance(said, bool) else bool(getattr(self._config, "tie_word_embeddings", False))

    @cached_property
    def _family(self) -> Family:
        return family_of(read_config(self.folder).get("model_type"))

    @cached_property
    def _config(self) -> PretrainedConfig:
        return load_config(self.folder)

    def _peek(self, name: str) -> Tensor:
        """Reads without counting what a check takes from a local file, which no probe asked for."""
        tensor = self.read(name)
        if isinstance(self._file_of(name), LocalFile):
            self._peeked += tensor.nbytes
        return tensor

    def _first_of(self, wanted: Sequence[str], what: str) -> str:
        names = self._locations()
        for name in wanted:
            if name in names:
                return name
        raise UserError(f"{self._name} has no {what}: looked for {', '.join(wanted)} in {self._files[0].name}")

    def settings(self) -> dict[str, Any]:
        """`config.json`, less what changes no number.

        Raises:
            UserError: it is missing or no JSON object.
        """
        return {key: value for key, value in read_config(self.folder).items() if key not in _SAYS_NOTHING}

    def digest(self) -> str:
        """sha256 over `config.json` (less what changes no number) and every byte of the weight files, in hex.

        Raises:
            UserError: a file is damaged or truncated, or there is no readable `config.json`.
        """
        self.names()  # a truncated file must not get an identity
        sha = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode())
        for path in _weight_paths(self.folder):
            with damage_named(path), path.open("rb") as opened:
                sha.update(hashlib.file_digest(opened, "sha256").digest())
        return sha.hexdigest()

    def _file_of(self, name: str) -> WeightFile:
        where = self._locations().get(name)
        if where is None:
            raise UserError(f"{self._name} has no tensor {name}: it has {len(self._locations())} others")
        if name not in where.listed():
            raise UserError(f"{self._name} has no tensor {name} in {where.name}, where its index says: copy it again")
        return where

    def _locations(self) -> Mapping[str, WeightFile]:
        if self._where is None:
            self._where = {name: file for file in self._files for name in file.listed()}
        return self._where


def _weight_paths(folder: Path) -> list[Path]:
    with damage_named(folder):
        present = {child.name for child in folder.iterdir() if child.is_file()}
    return [folder / name for name in weight_index(folder, present, str(folder)).files]
