"""The weights of a checkpoint on the Hub, without downloading them."""

from lm_probe.model_adapters._hub import cached_file, download_small_files, list_files
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
    sizes = list_files(repository, sha)
    folder = download_small_files(repository, sha, revision)
    if sizes is None:  # no network: what the cache has is all there is
        return Weights(folder)
    source = f"{repository}@{revision or sha[:12]}"
    files, shards = weight_index(folder, sizes, source)
    opened: dict[str, LocalFile | RemoteFile] = {}
    for name in files:
        cached = cached_file(repository, sha, name)
        remote = RemoteFile(repository, sha, name, sizes[name], say)
        opened[name] = remote if cached is None else LocalFile(cached)
    where = None if shards is None else {name: opened[file] for name, file in shards.items()}
    return Weights(folder, list(opened.values()), where, source)
