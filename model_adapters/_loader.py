"""Opens checkpoint after checkpoint in the memory of the first."""

import gc
import weakref
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lm_probe.model_adapters._architecture import architecture_of
from lm_probe.model_adapters._checkpoint import Checkpoint
from lm_probe.model_adapters._mould import Mould, form_of, mould_of
from lm_probe.model_adapters._open import OpenCheckpoint, find, load_model
from lm_probe.model_adapters._tokenizer import load_tokenizer, tokenizer_content
from lm_probe.model_adapters._weights import Weights


class CheckpointLoader:
    """Opens checkpoints one after the other; those of one series in the same memory.

    The first is loaded by `from_pretrained`. A next one whose `config.json`, tensor names, shapes and types are the
    same is copied into that memory from its memory-mapped files, with the same numbers to the last bit and the same
    refusals. Any other, and whatever is quantised, spread over devices or has remote code, is loaded afresh.

    One model at a time: `open` takes the weights out of what it gave before, which then raises when it is run.
    """

    def __init__(
        self, *, device: str = "cpu", dtype: torch.dtype | None = None, trust_remote_code: bool = False
    ) -> None:
        """Loads nothing yet; the arguments are those of `open_checkpoint`."""
        self._device = device
        self._dtype = dtype
        self._trust_remote_code = trust_remote_code
        self._mould: Mould | None = None
        self._tokenizer: tuple[str | None, PreTrainedTokenizerBase | None] | None = None
        self._given: weakref.ref[PreTrainedModel] | None = None

    def open(self, source: str | Checkpoint, revision: str | None = None) -> OpenCheckpoint:
        """Loads a checkpoint for inference.

        Args:
            source: Hub repository, local folder, or what `locate` found.
            revision: Hub revision, or sub-folder of a local series.

        Raises:
            UserError: as for `open_checkpoint`.
        """
        self._take_back()
        checkpoint, folder = find(source, revision)
        model = self._model(folder)
        return OpenCheckpoint(checkpoint, model, self.tokenizer(folder), architecture_of(model))

    def tokenizer(self, folder: Path) -> PreTrainedTokenizerBase | None:
        """The tokenizer of a local checkpoint, the same object while the files say the same.

        Raises:
            UserError: its files are damaged.
        """
        content = tokenizer_content(folder)
        if content is None or self._tokenizer is None or self._tokenizer[0] != content or self._trust_remote_code:
            self._tokenizer = content, load_tokenizer(folder, self._trust_remote_code)
        return self._tokenizer[1]

    def _take_back(self) -> None:
        given = None if self._given is None else self._given()
        if given is not None:
            torch.nn.Module.to(given, "meta")

    def _model(self, folder: Path) -> PreTrainedModel:
        weights = Weights(folder)
        weights.head_name()  # a damaged file is named here
        if self._mould is None or self._mould.form != form_of(weights):
            self._mould = None
            gc.collect()  # modules hold each other: without this two models are in memory for a while
            model = load_model(folder, self._device, self._dtype, self._trust_remote_code)
            self._mould = None if self._device == "auto" else mould_of(model, weights)
            if self._mould is None:
                return model
        else:
            self._mould.fill(weights)
        model = self._mould.cast(folder)
        self._given = weakref.ref(model)
        return model
