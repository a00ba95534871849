"""Which checkpoint of each source `--reference` names."""

from collections.abc import Sequence

from lm_probe.model_adapters import UserError, step_in_series
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._revisions import few_of


def find_references(config: SweepConfig, visits: Sequence[Visit]) -> dict[str, Visit]:
    """The reference by source; none where none is asked for.

    Raises:
        UserError: it is not among the checkpoints of a source.
    """
    if config.reference is None:
        return {}
    found = {visit.source: visit for visit in visits if _is(visit, config.reference)}
    for visit in visits:
        if visit.source not in found:
            whole = visit.commit is None and config.revisions in (None, "all")
            mend = _these(visits, visit.source) if whole else "add it to --revisions"
            raise UserError(f"--reference {config.reference} is not among the checkpoints of {visit.source}: {mend}")
    return found


def _is(visit: Visit, reference: str) -> bool:
    if reference in (visit.revision, str(visit.step)):
        return True
    step = step_in_series(reference)  # `step60` is `checkpoint-60`
    return step is not None and step == step_in_series(visit.revision)


def _these(visits: Sequence[Visit], source: str) -> str:
    names = [visit.revision for visit in visits if visit.source == source and visit.revision is not None]
    return f"give one of {few_of(names)}" if names else "it is a checkpoint by itself; give the folder of its series"
