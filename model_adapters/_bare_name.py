"""A name of the Hub without its user: `gpt2` is one of a few, `pythia-70m` a slip for `EleutherAI/pythia-70m`."""

from pathlib import Path

from huggingface_hub import constants

from lm_probe.model_adapters._near import same_letters


def is_bare(repository: str) -> bool:
    """Whether a name has no user in front."""
    return "/" not in repository


def namesakes_words(name: str) -> str:
    """In brackets the repositories `user/name` of the local cache that are called like a bare name; else empty."""
    try:
        folders = sorted(folder.name for folder in Path(constants.HF_HUB_CACHE).glob("models--*--*"))
    except OSError:
        return ""
    repositories = [folder.split("--", 2)[1:] for folder in folders]
    found = ["/".join(parts) for parts in repositories if same_letters(parts[1], name)]
    return f" (in the local cache: {', '.join(found)})" if found else ""
