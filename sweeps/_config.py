"""What a sweep is asked to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_probe.model_adapters import UserError, in_short

if TYPE_CHECKING:
    import torch  # else where it is used: what a command line gets wrong is refused without waiting for it

DEFAULT_PROBES = ("loss", "anisotropy", "head_spectrum")
DEFAULT_TASKS = ("word_counting_small",)
CONTROLS = ("random", "gaussian", "shuffled", "curve")
_STORED = "stored"
DTYPES = ("float32", "bfloat16", "float16", "float64", _STORED)


@dataclass(frozen=True)
class SweepConfig:
    """The settings of a sweep; the command line has a flag for each."""

    sources: tuple[str, ...]
    """Hub repositories, checkpoint folders, or series of `step<N>` or `checkpoint-<N>` folders."""
    out: Path
    """The run's folder."""
    revisions: str | None = None
    """`all`, a list, `start:stop:stride` or `log2`; see `plan`."""
    probes: tuple[str, ...] | None = None
    """Names of probes; None is `DEFAULT_PROBES`."""
    tasks: tuple[str, ...] | None = None
    """Names of lm-eval tasks or groups, ours or lm-eval's own; None is none where probes are named, else those of
    `DEFAULT_TASKS` that can be asked."""
    controls: tuple[str, ...] = ()
    """Controls of hidden-state probes: some of `CONTROLS`."""
    reference: str | None = None
    """Revision (or step) of each series that `geometry` compares with by linear CKA."""
    text: str | None = None
    """A file, a folder or a Hub dataset; None is the built-in text."""
    tokens: int = 50_000
    """Tokens of text in the sample that all checkpoints share."""
    context: int | None = None
    """Longest window of text; None is 512, or what a model takes where that is less."""
    batch_size: int = 8
    """Rows in a forward pass."""
    device: str | None = None
    """A torch device, `auto` to spread a model over all; None is the GPU where there is one."""
    dtype: str = "float32"
    """What weights are loaded as; `stored` keeps the file's."""
    seed: int = 1234
    """Of the token sample and the tasks' documents."""
    task_documents: int | None = None
    """Documents in each task; None is the task's own number."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Options of our tasks, as lm-eval's `--metadata`, less `num_docs` and `seed`, which the sweep has itself."""
    audit: bool = True
    """Look first whether the checkpoints are what their names say; see `audit`."""
    trust_remote_code: bool = False
    """Run model code that a checkpoint carries."""
    cache_gb: float | None = None
    """What the checkpoints that this run downloads may take in the Hub cache; None is any amount."""
    debug: bool = field(default=False, compare=False)
    """Print tracebacks of what is recorded as a failure."""

    def __post_init__(self) -> None:
        """Refuses settings that no checkpoint could be measured with."""
        if self.out == Path():
            raise UserError("--out is empty: give the run's folder, e.g. --out runs/mine")
        if self.tokens < 2:
            raise UserError(f"--tokens {self.tokens} leaves nothing to predict: give 2 or more, e.g. --tokens 50000")
        if self.context is not None and self.context < 2:
            raise UserError(f"--context {self.context} leaves nothing to predict: give 2 or more, e.g. --context 512")
        if self.batch_size < 1:
            raise UserError(f"--batch-size {self.batch_size} is no batch: give 1 or more, e.g. --batch-size 8")
        if self.task_documents is not None and self.task_documents < 1:
            raise UserError(f"--task-documents {self.task_documents} measures nothing: give 1 or more, e.g. 200")
        if not 0 <= self.seed < 2**32:  # what numpy, and so lm-eval, takes
            raise UserError(f"--seed {self.seed} is none: give a whole number from 0 to {2**32 - 1}, e.g. --seed 1234")
        if self.cache_gb is not None and not self.cache_gb >= 0:
            raise UserError(f"--cache-gb {self.cache_gb} is no size: give gigabytes, 0 or more, e.g. --cache-gb 20")
        if self.dtype not in DTYPES:
            raise UserError(f"no dtype {self.dtype}: known are {', '.join(DTYPES)}")
        for name in self.controls:
            if name not in CONTROLS:
                raise UserError(f"no control {name}: known are {', '.join(CONTROLS)}")
        for key, flag in (("num_docs", "--task-documents"), ("seed", "--seed")):
            if key in self.metadata:
                value = self.metadata[key]
                raise UserError(f"--metadata {key}={value}: a sweep takes that for all tasks alike as {flag} {value}")
        if not self.chosen_probes and not self.chosen_tasks:
            raise UserError("neither probes nor tasks to run: name some with --probes or --tasks")

    def refuse_device(self) -> None:
        """Refuses a device that this machine cannot compute on; on a cluster it is the workers' that counts.

        Raises:
            UserError: the device cannot be used.
        """
        if self.device in (None, "auto"):
            return
        import torch

        try:
            # Torch knows more names than it can run, and lets some (meta) hold tensors without any numbers.
            one = torch.ones(2, 2, dtype=self.torch_dtype or torch.float32, device=self.device)
            (one @ one).sum().item()
        except Exception as error:  # each kind of device has its own
            raise UserError(f"device {self.device} cannot be used ({in_short(error)}): try --device cpu") from error

    @property
    def torch_dtype(self) -> "torch.dtype | None":
        """What weights are loaded as; None keeps the file's."""
        if self.dtype == _STORED:
            return None
        import torch

        found: torch.dtype = getattr(torch, self.dtype)
        return found

    @property
    def chosen_probes(self) -> tuple[str, ...]:
        """The names of the probes that are asked for."""
        return DEFAULT_PROBES if self.probes is None else self.probes

    @property
    def chosen_tasks(self) -> tuple[str, ...]:
        """The names of the tasks and groups that are asked for."""
        if self.tasks is not None:
            return self.tasks
        return () if self.probes else DEFAULT_TASKS

    def task_options(self) -> dict[str, Any]:
        """What our tasks are asked for: `metadata` with the seed and, where one is given, the number of documents."""
        options = {**self.metadata, "seed": self.seed}
        return options if self.task_documents is None else {**options, "num_docs": self.task_documents}

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU was asked for by name."""
        return self.device is not None and self.device.startswith("cuda")

    @property
    def where(self) -> str:
        """The device to load on."""
        if self.device is not None:
            return self.device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
