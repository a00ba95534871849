"""Requests as tasks make them, and models of lm-eval that answer them."""

import warnings

from lm_eval.api.instance import Instance

from lm_probe.sweeps import _lm_eval_quiet

FAMILIES = ("gpt2", "gpt_neox", "opt", "opt-350m", "llama")
# Prompts of different lengths; answers of one token, of several, and such that one holds the other.
PROMPTS = ("the cat sat on a mat and", "one red bird", "", "rain fell while the cat saw one red bird in 1984 ", "a")
ANSWERS = (" cat", " mat", " the cat sat", " 1984 while rain fell über den Fluß", "x")


def request(prompt: str, answer: str, document: int, task: str = "some_task") -> Instance:
    return Instance("loglikelihood", {}, (prompt, answer), 0, metadata=(task, document, 1))


REQUESTS = [request(prompt, answer, document) for document, prompt in enumerate(PROMPTS) for answer in ANSWERS]


def make(kind, model, tokenizer, **keywords):
    with warnings.catch_warnings(), _lm_eval_quiet.quiet():
        warnings.simplefilter("ignore")
        return kind(pretrained=model, tokenizer=tokenizer, **keywords)


def score(lm, requests=REQUESTS):
    with _lm_eval_quiet.quiet():
        return lm.loglikelihood(requests, disable_tqdm=True)
