"""The families that are known: a new one is a file and a line here."""

from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._family import Family
from lm_probe.model_adapters._gpt2 import GPT2
from lm_probe.model_adapters._gpt_neox import GPT_NEOX
from lm_probe.model_adapters._llama import LLAMA
from lm_probe.model_adapters._opt import OPT

FAMILIES = (GPT2, GPT_NEOX, OPT, LLAMA)

_BY_MODEL_TYPE = {model_type: family for family in FAMILIES for model_type in family.model_types}


def family_of(model_type: str | None) -> Family:
    """The adapter for a `model_type` of transformers.

    Raises:
        UserError: no adapter covers it.
    """
    family = _BY_MODEL_TYPE.get(model_type or "")
    if family is None:
        asked = f"model_type '{model_type}'" if model_type else "a config.json without model_type"
        known = ", ".join(sorted(_BY_MODEL_TYPE))
        raise UserError(
            f"no adapter for {asked}: which modules are its blocks, final norm, head and projections is not known; "
            f"known are {known}; a new family is one file and one line in model_adapters/_table.py"
        )
    return family
