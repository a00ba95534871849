"""Reads a counting prompt as a person would, and answers it: by a recount, or with weights that were written down.

The hand-built models hold explicit weights for words as one-hot or random unit vectors; each is checked numerically in
`test_eval_tasks_hand_built.py`.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable

import torch
from lm_eval.api.model import LM
from torch import Tensor, nn


def read(prompt: str) -> tuple[list[str], str | None]:
    """The words of the list and the query word."""
    found = re.fullmatch(r"[A-Za-z ]+: ([a-z, ]+)\n([^\n]+)\n(?:Answer|Reasoning):", prompt)
    assert found, prompt
    query = re.search(r'word "([a-z]+)"', found[2])
    return found[1].replace(",", "").split(), query and query[1]


def asks_for_a_count(prompt: str) -> bool:
    return bool(re.search("How many|Count how often|number of occurrences", prompt))


def right_answer(prompt: str) -> str:
    """By a recount. Where several words are the most frequent, the first of them."""
    words, query = read(prompt)
    if query:
        return str(sum(word == query for word in words))
    (first, most), *_ = Counter(words).most_common()
    return str(most) if asks_for_a_count(prompt) else first


class Histogram(nn.Module):
    """Uniform attention over one-hot words: the histogram stands in the residual, d = m.

    With `alpha` = n + 1 the word embedding is alpha * I and the value-output matrix (n / alpha) * I, so the last
    position's residual is alpha * e_q + c with c the counts. One hidden layer, relu(r - alpha), leaves c_q alone.
    """

    def __init__(self, m: int, n: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        alpha = n + 1
        self.embedding = (alpha * torch.eye(m, dtype=torch.float64)).to(dtype)
        self.values = (n / alpha * torch.eye(m, dtype=torch.float64)).to(dtype)
        self.bias = torch.full((m,), -float(alpha), dtype=dtype)
        self.n = n

    def attended(self, words: Tensor) -> Tensor:
        """The counts: what one head with zero query and key weights brings to the last position."""
        states = self.embedding[words]
        weights = torch.softmax(torch.zeros(len(words), dtype=states.dtype), 0)
        return (weights @ states) @ self.values

    def count_of(self, words: Tensor, query: int) -> Tensor:
        residual = self.embedding[query] + self.attended(words)
        return torch.relu(residual + self.bias).sum()

    def largest_count(self, words: Tensor) -> Tensor:
        """Two hidden layers: [c_i >= k] as a difference of two ReLUs, then the number of k that any word reaches."""
        counts, steps = self.attended(words), torch.arange(1, self.n + 1, dtype=self.embedding.dtype)
        reached = torch.relu(counts[:, None] - steps + 1) - torch.relu(counts[:, None] - steps)
        return (1 - torch.relu(1 - reached.sum(0))).sum()


class CountAttend(nn.Module):
    """Attention measures the inverse of the count; a classifier over counts reads it: distinct unit vectors are enough.

    Keys are the words' vectors, the query is the asked word's times beta = ln(4 n) / (1 - mu); the value is 1 at the
    query's position and 0 elsewhere, so the head gives z, nearly 1 / c. The classifier's line k is steeper than line
    k + 1 by k (k + 1), and the two cross midway between 1 / k and 1 / (k + 1): the highest line at z is that of c.
    """

    def __init__(self, vectors: Tensor, n: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        unit = vectors.double() / vectors.double().norm(dim=1, keepdim=True)
        gram = (unit @ unit.T).fill_diagonal_(-1)
        self.vectors = unit.to(dtype)
        self.beta = math.log(4 * n) / (1 - float(gram.max()))
        self.k = torch.arange(1, n + 1, dtype=torch.float64)
        self.slopes, self.offsets = (lines.to(dtype) for lines in classifier(n))

    def inverse_count(self, words: Tensor, query: int) -> Tensor:
        """Attention on the query's position, one of the word's occurrences: the only one whose value is 1."""
        scores = self.beta * (self.vectors[words] @ self.vectors[query])
        return torch.softmax(scores, 0)[int((words == query).nonzero()[0])]

    def count_of(self, words: Tensor, query: int) -> Tensor:
        """The scalar read-out: a hidden layer of width n that interpolates 1 / z linearly between the knots 1 / k."""
        z = self.inverse_count(words, query)
        knots, weights = (1 / self.k).to(z.dtype), (2 * self.k).to(z.dtype)
        return 1 + (weights * torch.relu(knots - z)).sum()

    def count_logits(self, words: Tensor, query: int) -> Tensor:
        """One logit for each count from 1 to n."""
        return self.slopes * self.inverse_count(words, query) + self.offsets


def classifier(n: int, steps: Callable[[Tensor], Tensor] = lambda k: k * (k + 1)) -> tuple[Tensor, Tensor]:
    """Slopes and offsets of the lines for the counts 1 to n, in float64."""
    k = torch.arange(1, n, dtype=torch.float64)
    step = steps(k)
    crossing = (1 / k + 1 / (k + 1)) / 2
    slopes = torch.cat([torch.zeros(1, dtype=torch.float64), -step.cumsum(0)])
    offsets = torch.cat([torch.zeros(1, dtype=torch.float64), (step * crossing).cumsum(0)])
    return slopes, offsets


class HandBuilt:
    """Answers all three questions with the hand-built weights, from the prompt's text."""

    def answer(self, prompt: str) -> str:
        words, query = read(prompt)
        known = sorted(set(words) | ({query} if query else set()))
        tokens = torch.tensor([known.index(word) for word in words])
        if query:
            generator = torch.Generator().manual_seed(len(known))
            vectors = torch.randn(len(known), 32, generator=generator, dtype=torch.float64)
            model = CountAttend(vectors, len(words))
            return str(1 + int(model.count_logits(tokens, known.index(query)).argmax()))
        histogram = Histogram(len(known), len(words))
        if asks_for_a_count(prompt):
            return str(round(float(histogram.largest_count(tokens))))
        return known[int(histogram.attended(tokens).argmax())]


class Answering(LM):
    """An lm-eval model that finds one answer likely, and writes it: a function from the prompt's text."""

    def __init__(self, answer: Callable[[str], str], said: str = "{}") -> None:
        super().__init__()
        self._answer, self._said = answer, said

    def loglikelihood(self, requests, disable_tqdm: bool = False):
        answers = self._answers(requests)
        return [(0.0 if request.args[1].strip() == answers[request.args[0]] else -100.0, False) for request in requests]

    def generate_until(self, requests, disable_tqdm: bool = False):
        answers = self._answers(requests)
        return [self._said.format(answers[request.args[0]]) for request in requests]

    def loglikelihood_rolling(self, requests, disable_tqdm: bool = False):
        raise NotImplementedError

    def _answers(self, requests: Iterable) -> dict[str, str]:
        return {prompt: self._answer(prompt) for prompt in {request.args[0] for request in requests}}


def evaluate(model: LM, tasks: list[str], metadata: dict | None = None, **options) -> dict:
    """lm-eval's results for the model on our tasks."""
    from lm_eval import simple_evaluate

    from lm_probe.eval_tasks import task_manager
    from lm_probe.sweeps._lm_eval_quiet import system_report_once

    with system_report_once():
        return simple_evaluate(model=model, tasks=tasks, task_manager=task_manager(metadata), **options)
