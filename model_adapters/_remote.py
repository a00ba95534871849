"""The weights of a checkpoint on the Hub, without downloading them."""

from lm_probe.model_adapters._blobs import cached_file
from lm_probe.model_adapters._hub import commit_files, download_small_files
from lm_probe.model_adapters._remote_file import RemoteFile
from lm_probe.model_adapters._say import Say, say_on_stderr
from lm_probe.model_adapters._weight_files import LocalFile
from lm_probe.model_adapters._weight_index import weight_index
from lm_probe.model_adapters._weights import Weights


def remote_weights(repository: str, sha: str, revision: str | None, say: Say = say_on_stderr) -> Weights:
    """Opens the weights of a commit: config, tokenizer and index are downloaded, of the rest only what is read.

    A weight file that is in the Hub cache is read from there.

    Raises:
        UserError: the Hub cannot be reached, or the commit has no weights.
    """
    listed = commit_files(repository, sha)
    folder = download_small_files(repository, sha, revision, listed)
    if listed is None:  # no network: what the cache has is all there is
        return Weights(folder)
    source = f"{repository}@{revision or sha[:12]}"
    files, shards = weight_index(folder, listed, source)
    opened: dict[str, LocalFile | RemoteFile] = {}
    for name in files:
        cached = cached_file(repository, sha, name)
        whole = cached is not None and cached.stat().st_size == listed[name].size
        opened[name] = LocalFile(cached) if cached and whole else RemoteFile(repository, sha, listed[name], say)
    where = None if shards is None else {name: opened[file] for name, file in shards.items()}
    return Weights(folder, list(opened.values()), where, source)
