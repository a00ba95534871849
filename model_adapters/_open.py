"""Opens a checkpoint: the model with its tokenizer and architecture, or its weights alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from lm_probe.model_adapters._architecture import Architecture, architecture_of
from lm_probe.model_adapters._checkpoint import Checkpoint, locate
from lm_probe.model_adapters._config import read_config
from lm_probe.model_adapters._errors import NO_TOKENIZER, UserError, in_short
from lm_probe.model_adapters._finite import refuse_non_finite
from lm_probe.model_adapters._hub import download
from lm_probe.model_adapters._quiet import quiet
from lm_probe.model_adapters._remote import remote_weights
from lm_probe.model_adapters._say import Say, counted, say_on_stderr
from lm_probe.model_adapters._table import family_of
from lm_probe.model_adapters._tokenizer import load_tokenizer
from lm_probe.model_adapters._weights import Weights


@dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint in memory."""

    checkpoint: Checkpoint
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    """None where the folder has no tokenizer."""
    architecture: Architecture

    def needed_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, where something cannot do without.

        Raises:
            UserError: the folder has none.
        """
        if self.tokenizer is None:
            raise UserError(NO_TOKENIZER)
        return self.tokenizer


def local_folder(checkpoint: Checkpoint) -> Path:
    """The folder with a checkpoint's files; downloads it where it is still on the Hub."""
    return checkpoint.folder or download(checkpoint.source, checkpoint.identity, checkpoint.revision)


def open_weights(source: str | Checkpoint, revision: str | None = None, *, say: Say = say_on_stderr) -> Weights:
    """Opens a checkpoint's weights; builds no model. From the Hub come headers and the tensors that are read.

    What was read from the Hub is kept in unnamed temporary files as long as the object lives: a tensor that is read
    twice comes over the wire once. Weight files that are in the Hub cache are read from there.

    Args:
        source: Hub repository, local folder, or what `locate` found.
        revision: Hub revision, or sub-folder of a local series.
        say: takes a notice, where a file must be downloaded whole because its parts cannot be read.

    Raises:
        UserError: there is no such checkpoint, or its files are damaged.
    """
    checkpoint = source if isinstance(source, Checkpoint) else locate(source, revision)
    if checkpoint.folder is not None:
        return Weights(checkpoint.folder)
    return remote_weights(checkpoint.source, checkpoint.identity, checkpoint.revision, say)


def open_checkpoint(
    source: str | Checkpoint,
    revision: str | None = None,
    *,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    trust_remote_code: bool = False,
) -> OpenCheckpoint:
    """Loads a checkpoint for inference.

    Args:
        source: Hub repository, local folder, or what `locate` found.
        revision: Hub revision, or sub-folder of a local series.
        device: a torch device, or `auto` to let accelerate spread the model.
        dtype: None keeps the stored one.
        trust_remote_code: run model code that the checkpoint carries.

    Raises:
        UserError: there is no such checkpoint, no adapter covers it, files are damaged, tensors are missing or have
            the wrong shape, or weights are not finite.
    """
    checkpoint, folder = find(source, revision)
    model = load_model(folder, device, dtype, trust_remote_code)
    return OpenCheckpoint(checkpoint, model, load_tokenizer(folder, trust_remote_code), architecture_of(model))


def find(source: str | Checkpoint, revision: str | None) -> tuple[Checkpoint, Path]:
    """A checkpoint that an adapter covers, and the folder with its files.

    Raises:
        UserError: there is none, or no adapter covers it.
    """
    checkpoint = source if isinstance(source, Checkpoint) else locate(source, revision)
    folder = local_folder(checkpoint)
    family_of(read_config(folder).get("model_type"))
    return checkpoint, folder


def load_model(folder: Path, device: str, dtype: torch.dtype | None, trust_remote_code: bool) -> PreTrainedModel:
    """Loads a model by `from_pretrained`, and refuses what that lets pass.

    Raises:
        UserError: as for `open_checkpoint`.
    """
    Weights(folder).head_name()  # a damaged file is named here, before transformers wraps the error
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype if dtype is not None else "auto",
                device_map="auto" if device == "auto" else None,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported below, with the tensor's name
            )
    except Exception as error:  # each version of transformers has its own for a config that makes no sense
        raise UserError(
            f"{folder} does not load ({in_short(error)}): its weights and config.json do not fit"
        ) from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers fills these with random numbers and goes on.
        raise UserError(
            f"{folder} lacks {counted(len(missing), 'tensor')} that config.json asks for, first "
            f"{missing[0]}: copy or download it again"
        )
    for mismatch in sorted(report["mismatched_keys"]):
        # A name alone before transformers 5, then with both shapes.
        name, *shapes = [mismatch] if isinstance(mismatch, str) else mismatch
        said = " in the file and ".join(str(tuple(shape)) for shape in shapes) or f"another than {_shape(model, name)}"
        raise UserError(f"{folder} does not load: {name} has shape {said} by config.json, which do not fit")
    surplus = _of_further_blocks(model, report["unexpected_keys"])
    if surplus:
        raise UserError(
            f"{folder} holds {counted(len(surplus), 'tensor')} of blocks that config.json does not ask "
            f"for, first {surplus[0]}: its config.json belongs to another model"
        )
    assert isinstance(model, PreTrainedModel)
    if not len(architecture_of(model).blocks):
        raise UserError(f"{folder / 'config.json'} asks for a model without blocks: copy the checkpoint again")
    model.requires_grad_(False)
    model.eval()
    refuse_non_finite(model, folder)
    if device != "auto":
        try:
            torch.nn.Module.to(model, device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device {device} cannot be used ({in_short(error)}): try --device cpu") from error
    return model


def _shape(model: PreTrainedModel, name: str) -> str:
    return str(tuple(model.state_dict()[name].shape))


def _of_further_blocks(model: PreTrainedModel, unexpected: Iterable[str]) -> list[str]:
    """Tensors of blocks beyond the model's last: transformers leaves them out and goes on."""
    blocks = family_of(model.config.model_type).blocks
    last = len(architecture_of(model).blocks)
    found = []
    for name in sorted(unexpected):
        for prefix in (f"{blocks}.", f"{blocks.partition('.')[2]}."):
            number = name.removeprefix(prefix).partition(".")[0]
            if name.startswith(prefix) and number.isdigit() and int(number) >= last:
                found.append(name)
    return found
