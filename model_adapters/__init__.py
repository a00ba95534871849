"""What a checkpoint is, and how to open it: identity, weights, modules by role."""

from typing import TYPE_CHECKING

from lm_probe.model_adapters._lazy import lazily

if TYPE_CHECKING:
    from lm_probe.model_adapters._adapter_files import adapter_identity
    from lm_probe.model_adapters._architecture import Architecture, Site, architecture_of
    from lm_probe.model_adapters._audit import misfits
    from lm_probe.model_adapters._blobs import cached_file
    from lm_probe.model_adapters._checkpoint import Checkpoint, find_folder, is_local, is_step, locate, series_steps
    from lm_probe.model_adapters._config import read_config
    from lm_probe.model_adapters._content import hub_content, same_content
    from lm_probe.model_adapters._errors import NO_TOKENIZER, NoAnswer, NoRevision, NoTokenizer, UserError, in_short
    from lm_probe.model_adapters._family import Family, Projection, Role
    from lm_probe.model_adapters._head_product import HeadProduct, single_at_least
    from lm_probe.model_adapters._hub import list_files, list_revisions, weight_files
    from lm_probe.model_adapters._hub_cache import fetch_ahead, free_space, give_back, has_weights
    from lm_probe.model_adapters._loader import CheckpointLoader
    from lm_probe.model_adapters._near import near_names
    from lm_probe.model_adapters._notices import notices_to
    from lm_probe.model_adapters._offload import device_of
    from lm_probe.model_adapters._open import OpenCheckpoint, local_folder, open_checkpoint, open_weights
    from lm_probe.model_adapters._say import (
        counted,
        install_words,
        printable,
        say_on_stderr,
        say_on_stdout,
        say_on_terminal,
    )
    from lm_probe.model_adapters._step import step_in_series, step_of
    from lm_probe.model_adapters._table import FAMILIES, family_of
    from lm_probe.model_adapters._tokenizer import (
        load_tokenizer,
        make_tokenizer,
        tokenizer_digest,
        tokenizer_files,
        why_not_loaded,
    )
    from lm_probe.model_adapters._weights import Weights

__all__ = [
    "FAMILIES",
    "NO_TOKENIZER",
    "Architecture",
    "Checkpoint",
    "CheckpointLoader",
    "Family",
    "HeadProduct",
    "NoAnswer",
    "NoRevision",
    "NoTokenizer",
    "OpenCheckpoint",
    "Projection",
    "Role",
    "Site",
    "UserError",
    "Weights",
    "adapter_identity",
    "architecture_of",
    "cached_file",
    "counted",
    "device_of",
    "family_of",
    "fetch_ahead",
    "find_folder",
    "free_space",
    "give_back",
    "has_weights",
    "hub_content",
    "in_short",
    "install_words",
    "is_local",
    "is_step",
    "lazily",
    "list_files",
    "list_revisions",
    "load_tokenizer",
    "local_folder",
    "locate",
    "make_tokenizer",
    "misfits",
    "near_names",
    "notices_to",
    "open_checkpoint",
    "open_weights",
    "printable",
    "read_config",
    "same_content",
    "say_on_stderr",
    "say_on_stdout",
    "say_on_terminal",
    "series_steps",
    "single_at_least",
    "step_in_series",
    "step_of",
    "tokenizer_digest",
    "tokenizer_files",
    "weight_files",
    "why_not_loaded",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "_adapter_files": ("adapter_identity",),
        "_architecture": ("Architecture", "Site", "architecture_of"),
        "_head_product": ("HeadProduct", "single_at_least"),
        "_audit": ("misfits",),
        "_blobs": ("cached_file",),
        "_checkpoint": ("Checkpoint", "find_folder", "is_local", "is_step", "locate", "series_steps"),
        "_config": ("read_config",),
        "_content": ("hub_content", "same_content"),
        "_errors": ("NO_TOKENIZER", "NoAnswer", "NoRevision", "NoTokenizer", "UserError", "in_short"),
        "_family": ("Family", "Projection", "Role"),
        "_hub": ("list_files", "list_revisions", "weight_files"),
        "_hub_cache": ("fetch_ahead", "free_space", "give_back", "has_weights"),
        "_loader": ("CheckpointLoader",),
        "_near": ("near_names",),
        "_notices": ("notices_to",),
        "_offload": ("device_of",),
        "_open": ("OpenCheckpoint", "local_folder", "open_checkpoint", "open_weights"),
        "_say": ("counted", "install_words", "printable", "say_on_stderr", "say_on_stdout", "say_on_terminal"),
        "_step": ("step_in_series", "step_of"),
        "_table": ("FAMILIES", "family_of"),
        "_tokenizer": ("load_tokenizer", "make_tokenizer", "tokenizer_digest", "tokenizer_files", "why_not_loaded"),
        "_weights": ("Weights",),
    },
)
