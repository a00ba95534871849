"""Where a sweep is spread: which Ray cluster, and what of its machines a checkpoint gets."""

import importlib.util
import re
from dataclasses import dataclass

from lm_probe.model_adapters import UserError, install_words

LOCAL = "local"
_ADDRESS = re.compile(r"local|auto|(ray://)?[\w.-]+:\d+")


@dataclass(frozen=True)
class Spread:
    """How a sweep is spread over a Ray cluster; the command line has a flag for each."""

    address: str = LOCAL
    """`local` starts a Ray on this machine and stops it again; `auto`, `host:6379` or `ray://host:10001` joins one."""
    cpus: int = 1
    """CPUs, and so threads, of a worker."""
    gpus: float | None = None
    """GPUs of a worker, or a share of one; None is one each where the cluster has any and the device may be one."""
    tries: int = 3
    """Workers that may die at a checkpoint, one after the other without finishing anything, before it is given up."""

    def __post_init__(self) -> None:
        """Refuses what no cluster could give, and any without Ray."""
        if importlib.util.find_spec("ray") is None:
            raise UserError(f"--ray needs Ray, which is not installed: {install_words('ray')}")
        if not _ADDRESS.fullmatch(self.address):
            raise UserError(
                f"--ray {self.address} is no address: give auto, host:6379 or ray://host:10001; without one, put "
                f"--ray last and a Ray is started on this machine"
            )
        if self.cpus < 1:
            raise UserError(f"--cpus-per-task {self.cpus} measures nothing: give 1 or more, e.g. --cpus-per-task 4")
        if self.gpus is not None and not (0 <= self.gpus <= 1 or (self.gpus > 1 and float(self.gpus).is_integer())):
            raise UserError(
                f"--gpus-per-task {self.gpus:g} cannot be given: a share of one GPU, e.g. 0.5, or a whole number"
            )
        if self.tries < 1:
            raise UserError(f"--tries {self.tries} measures nothing: give 1 or more, e.g. --tries 3")
