"""What a worker is told of the machine that stores, before anything of ours runs there."""

import os
import pickle
import sys

from huggingface_hub import get_token

from lm_probe.sweeps._versions import recorded_versions

_ENVIRONMENT = ("HF_", "HUGGING_FACE_", "TOKENIZERS_", "TRANSFORMERS_")


def introduction(gpus: float) -> bytes:
    """What `Actor.introduce` takes.

    Args:
        gpus: of the worker.
    """
    return pickle.dumps((_environment(gpus), os.getcwd(), _script_folder(), recorded_versions()))


def _environment(gpus: float) -> dict[str, str]:
    """What decides how the Hub is reached, as it is here, a token too where it lies in a file; and which GPUs are seen.

    Ray shows a worker the GPUs that it was given, and all of them to one that was given none.
    """
    found = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    if not gpus:
        found["CUDA_VISIBLE_DEVICES"] = ""
    token = get_token()
    return found if token is None else found | {"HF_TOKEN": token}


def _script_folder() -> str | None:
    """Where the program lies, if it imports from there."""
    folder = os.path.dirname(os.path.realpath(sys.argv[0]))
    return folder if folder in sys.path else None
