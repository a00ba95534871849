"""Which checkpoints, in which order, on which machines, stored where."""

from typing import TYPE_CHECKING

from lm_probe.model_adapters import UserError, install_words, lazily, say_on_stderr

if TYPE_CHECKING:
    from lm_probe.sweeps._audit import Audit, audit
    from lm_probe.sweeps._bars_in_logs import bars_as_lines
    from lm_probe.sweeps._callback import ProbeCallback
    from lm_probe.sweeps._config import SweepConfig
    from lm_probe.sweeps._desk import Failure, Summary
    from lm_probe.sweeps._dry_run import Fetch, Planned, dry_run
    from lm_probe.sweeps._early import refuse_early
    from lm_probe.sweeps._failed_words import failed_words
    from lm_probe.sweeps._foreign import REPORT_MARK, refuse_foreign
    from lm_probe.sweeps._import import ImportSummary, import_scores
    from lm_probe.sweeps._lock import make_folder
    from lm_probe.sweeps._look import Finding
    from lm_probe.sweeps._measure import measure
    from lm_probe.sweeps._plan import Visit, plan, refuse_local
    from lm_probe.sweeps._plan_words import lines_of, summarised
    from lm_probe.sweeps._progress import Progress
    from lm_probe.sweeps._ray import Spread
    from lm_probe.sweeps._records import UNSEEN, CheckpointKey, Conditions, Measurement, Value, short_identity
    from lm_probe.sweeps._samples import read_samples, read_samples_file
    from lm_probe.sweeps._store import RunStore, StoreError
    from lm_probe.sweeps._sweep import sweep
    from lm_probe.sweeps._tokens import TokenSample, sample_tokens
    from lm_probe.sweeps._versions import recorded_versions

__all__ = [
    "REPORT_MARK",
    "UNSEEN",
    "Audit",
    "CheckpointKey",
    "Conditions",
    "Failure",
    "Fetch",
    "Finding",
    "ImportSummary",
    "Measurement",
    "Planned",
    "ProbeCallback",
    "Progress",
    "RunStore",
    "Spread",
    "StoreError",
    "Summary",
    "SweepConfig",
    "TokenSample",
    "UserError",
    "Value",
    "Visit",
    "audit",
    "bars_as_lines",
    "dry_run",
    "failed_words",
    "import_scores",
    "install_words",
    "lazily",
    "lines_of",
    "make_folder",
    "measure",
    "plan",
    "read_samples",
    "read_samples_file",
    "recorded_versions",
    "refuse_early",
    "refuse_foreign",
    "refuse_local",
    "sample_tokens",
    "say_on_stderr",
    "short_identity",
    "summarised",
    "sweep",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "_audit": ("Audit", "audit"),
        "_bars_in_logs": ("bars_as_lines",),
        "_callback": ("ProbeCallback",),
        "_config": ("SweepConfig",),
        "_desk": ("Failure", "Summary"),
        "_dry_run": ("Fetch", "Planned", "dry_run"),
        "_early": ("refuse_early",),
        "_failed_words": ("failed_words",),
        "_foreign": ("REPORT_MARK", "refuse_foreign"),
        "_import": ("ImportSummary", "import_scores"),
        "_lock": ("make_folder",),
        "_look": ("Finding",),
        "_measure": ("measure",),
        "_plan": ("Visit", "plan", "refuse_local"),
        "_plan_words": ("lines_of", "summarised"),
        "_progress": ("Progress",),
        "_ray": ("Spread",),
        "_records": ("UNSEEN", "CheckpointKey", "Conditions", "Measurement", "Value", "short_identity"),
        "_samples": ("read_samples", "read_samples_file"),
        "_store": ("RunStore", "StoreError"),
        "_sweep": ("sweep",),
        "_tokens": ("TokenSample", "sample_tokens"),
        "_versions": ("recorded_versions",),
    },
)
