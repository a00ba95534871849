"""The identity of an adapter that peft has saved: a second checkpoint beside that of its base."""

import hashlib
from pathlib import Path

from lm_probe.model_adapters._checkpoint import is_local
from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._hub import find_revision


def adapter_identity(source: str, revision: str | None = None) -> str:
    """The Hub's commit, or for a local folder `sha256:` and a digest of `adapter_config.json` and the weights by it.

    Args:
        source: Hub repository or local folder.
        revision: Hub revision; a folder has none.

    Raises:
        UserError: there is no such folder or repository, or no adapter in it.
    """
    if not is_local(source):
        return find_revision(source, revision).sha
    folder = Path(source).expanduser()
    files = sorted(folder.glob("adapter_*"))
    if not {"adapter_config.json"} < {path.name for path in files}:
        raise UserError(
            f"{source} holds no adapter (adapter_config.json and its weights): give the folder that peft's "
            f"save_pretrained wrote"
        )
    sha = hashlib.sha256()
    for path in files:
        sha.update(path.name.encode())
        with path.open("rb") as opened:
            sha.update(hashlib.file_digest(opened, "sha256").digest())
    return f"sha256:{sha.hexdigest()}"
