"""Which training a name in a run holds: told by the weights that it began with, which its checkpoints carry on."""

import hashlib
import logging

import torch
from torch import nn
from transformers import TrainerState

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._store import RunStore

_log = logging.getLogger(__name__)

# A key of `TrainerState.stateful_callbacks`, which the Trainer writes into every checkpoint and reads back from it.
_NOTE = "lm_probe"


def identity_of(model: nn.Module) -> str:
    """A sha256 over the names and bytes of all parameters: two steps with the same weights have the same."""
    sha = hashlib.sha256()
    for name, weight in model.named_parameters():
        sha.update(name.encode())
        sha.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return f"sha256:{sha.hexdigest()}"


def began_with(state: TrainerState, identity: str, name: str, store: RunStore | None) -> str:
    """The identity of the weights that this training began with, noted for the checkpoints to come.

    At step 0 those are the weights at hand. A training that is resumed has the note in its checkpoint, or the run has
    measured the very weights that it goes on from; where neither is so and the run holds nothing, it begins here.
    What the run shows of steps after that one it no longer shows: a branch that this training may not follow.

    Args:
        state: the Trainer's, as training begins.
        identity: of the weights at hand.
        name: what the model is called in the run.
        store: the run, where there is one.

    Raises:
        UserError: the run holds another training under this name, or later steps while this one begins at step 0.
    """
    notes: dict[str, dict[str, str]] = state.stateful_callbacks  # type: ignore[assignment]  # a list in the call only
    noted = identity if state.global_step == 0 else notes.get(_NOTE, {}).get("began_with")
    began = (noted if store is None else _in_run(store, name, state.global_step, identity, noted)) or identity
    notes[_NOTE] = {"began_with": began}
    if store is not None and (left := store.set_aside(name, after=state.global_step)):
        _log.warning(
            "ProbeCallback begins at step %d: what %s holds of %s under the name %s is set aside until it is measured "
            "again, because this training may take another course",
            state.global_step,
            store.folder,
            f"step {left[0]}" if len(left) == 1 else f"{len(left)} steps from {left[0]} to {left[-1]}",
            name,
        )
    return began


def _in_run(store: RunStore, name: str, step: int, identity: str, noted: str | None) -> str | None:
    made = store.measurements()
    made = made[made.model == name] if len(made) else made
    if not len(made):
        return noted
    here = made[made.step == step]
    same = here[here.identity == identity]
    ours = noted is not None and {details.get("began_with") for details in made.details} == {noted}
    if not ours and not len(same):
        why = "which began with other weights" if noted else f"or one of which step {step} cannot be told to be a part"
        raise UserError(
            f"{store.folder} already holds another training under the name {name}, {why}: give another name= or out="
        )
    if step == 0 and (last := made.step.max()) > 0:
        raise UserError(
            f"{store.folder} already holds a training under the name {name} up to step {last}, and this one begins "
            f"again at step 0: give another name= or out=, or go on from a checkpoint (resume_from_checkpoint=)"
        )
    if not ours:
        known: str | None = same.details.iloc[0].get("began_with")
        return known
    if len(here) and not len(same):
        _log.warning(
            "ProbeCallback at step %d: these are not the weights that %s holds of this step: were all of them in "
            "the checkpoint that training goes on from?",
            step,
            store.folder,
        )
    return noted
