"""Runs a checkpoint's probes: on its weight files, in one forward pass, and the controls of that pass."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lm_probe.model_adapters import (
    Architecture,
    Checkpoint,
    CheckpointLoader,
    NoTokenizer,
    OpenCheckpoint,
    Site,
    UserError,
    Weights,
    counted,
    device_of,
    local_folder,
    open_weights,
    say_on_stderr,
    tokenizer_digest,
)
from lm_probe.probes import (
    ForwardProbe,
    GeometryProbe,
    Need,
    SampledVectors,
    WeightContext,
    WeightProbe,
    run_forward,
)
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._controls import Control
from lm_probe.sweeps._fetched import Fetched
from lm_probe.sweeps._first_checkpoint import why_unlike, why_unsound
from lm_probe.sweeps._given import default_context
from lm_probe.sweeps._measure import Outcome, read_forward, read_weights
from lm_probe.sweeps._memory import Batched, Passes, with_smaller_batches
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._prefetch import Prefetch
from lm_probe.sweeps._records import Conditions
from lm_probe.sweeps._references import find_references
from lm_probe.sweeps._resources import conditions, measured
from lm_probe.sweeps._tokens import TokenSample, sample_tokens
from lm_probe.sweeps.text import Text


class ProbeStep:
    """What probes of one sweep share: the text, a token sample for each tokenizer, and the series' own baselines."""

    def __init__(self, config: SweepConfig, visits: Sequence[Visit], text: Text | None) -> None:
        """Starts with nothing read.

        Raises:
            UserError: the reference is not among the checkpoints of a source.
        """
        self._config = config
        self.text = text
        self.say: Callable[[str], None] = say_on_stderr
        """Takes notices."""
        self.fetched: Fetched | None = None
        """Keeps the Hub cache in bounds, where somebody sets it."""
        self._prefetch = Prefetch()
        self._loader = CheckpointLoader(
            device=config.where, dtype=config.torch_dtype, trust_remote_code=config.trust_remote_code
        )
        self._remote: dict[str, Weights] = {}
        self._samples: dict[tuple[str | None, int], TokenSample] = {}
        self._starts = {visit.source: visit for visit in visits if visit.step == 0}
        self._references = find_references(config, visits)
        self._located: dict[Visit, Checkpoint | None] = {}
        self._unsound: dict[tuple[str, frozenset[Need]], str | None] = {}
        self._told: set[str] = set()
        self._reference_samples: dict[str, Mapping[Site, SampledVectors]] = {}

    def first(self, source: str) -> Checkpoint | None:
        """The first checkpoint of a series (step 0) where the sweep visits it; its own visit says what is wrong."""
        return self._sound(self._starts.get(source))

    def reference(self, source: str) -> Checkpoint | None:
        """The checkpoint that CKA compares with, where one is asked for."""
        return self._sound(self._references.get(source))

    def open(self, checkpoint: Checkpoint) -> OpenCheckpoint:
        """Loads a checkpoint as the sweep's settings say; the one before can then no longer be used."""
        return self._loader.open(checkpoint)

    def prepare(self, source: str, probes: Sequence[ForwardProbe]) -> None:
        """Measures the reference once for a source, before another model takes the memory.

        Raises:
            UserError: it cannot be measured.
        """
        wanted = [probe for probe in probes if isinstance(probe, GeometryProbe)]
        if self._config.reference is None or not wanted or source in self._reference_samples:
            return
        try:
            self._reference_samples[source] = self._samples_of(self._references[source].locate(), wanted[0])
        except UserError as error:
            raise UserError(f"--reference {self._config.reference}: {error}") from error

    def _samples_of(self, reference: Checkpoint, probe: GeometryProbe) -> Mapping[Site, SampledVectors]:
        opened = self.open(self._bring(reference))
        sample = self._sample_for(opened)
        device = str(device_of(opened.model))

        def look(passes: Passes) -> Mapping[Site, SampledVectors]:
            state = probe.start(opened.architecture, sample.sampled(device))
            with passes.watched(opened.model):
                for _ in run_forward(opened.architecture, sample.batches(passes.limit, device), {probe: state}):
                    pass
            return state.samples()

        return with_smaller_batches(look, self._config.batch_size, self.say)[0]

    def download(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with its files on this machine; others of the run may have to make room."""
        there = self._bring(checkpoint)
        self._make_room(checkpoint)
        return there

    def download_ahead(self, checkpoint: Checkpoint) -> None:
        """Begins to download the checkpoint that is measured next."""
        if self.fetched is not None:
            self.fetched.using(checkpoint)
        self._prefetch.begin(checkpoint)

    def finish(self) -> None:
        """Nothing more is going to be read."""
        self._prefetch.wait_for(None)
        self._make_room(None)

    def stop(self) -> None:
        """Breaks off what is under way."""
        self._prefetch.stop()

    def _bring(self, checkpoint: Checkpoint) -> Checkpoint:
        if checkpoint.folder is not None:
            return checkpoint
        self._prefetch.wait_for(checkpoint)
        if self.fetched is not None:
            self.fetched.using(checkpoint)
        return replace(checkpoint, folder=local_folder(checkpoint))

    def _make_room(self, keep: Checkpoint | None) -> None:
        for sha in self.fetched.give_back(keep) if self.fetched is not None else ():
            self._remote.pop(sha, None)  # it may read from files that are gone

    def weights(self, source: str, checkpoint: Checkpoint, probe: WeightProbe) -> tuple[Outcome, Conditions]:
        """Runs a weight probe on a checkpoint's files."""
        with measured("cpu") as cost:
            weights = self.weights_of(checkpoint)
            before = weights.bytes_read
            tokenizer = self._tokenizer_beside(weights)
            rows = None if tokenizer is None else len(tokenizer)
            sample = None
            if tokenizer is not None and "token_counts" in probe.needs:
                sample = self._sample(tokenizer, weights.folder, weights.max_context)
            first = self._first_beside(source, weights, probe) if "first" in probe.needs else None
            context = WeightContext(rows, None if sample is None else sample.token_counts(), first)
            dtype = str(weights.head_dtype()).removeprefix("torch.")
            outcome = read_weights(probe, weights, context)
        made = Conditions(
            dtype=dtype,
            device="cpu",
            seed=self._config.seed,
            seconds=cost.seconds,
            bytes_read=weights.bytes_read - before,
            peak_memory=cost.peak_memory,
            details={"token_rows": rows} | ({} if sample is None else {"counted_sample": sample.digest()}),
        )
        return outcome, made

    def _first_beside(self, source: str, weights: Weights, probe: WeightProbe) -> Weights | None:
        """The first checkpoint's weights where these can be compared with them; else the reason is said, once."""
        found = self.first(source)
        if found is None:
            return None
        asked = found.identity, probe.needs
        if asked not in self._unsound:
            self._unsound[asked] = why_unsound(lambda: self.weights_of(found), probe.needs)
        why = self._unsound[asked]
        if why is None:
            first = self.weights_of(found)
            why = why_unlike(first, weights, probe.needs)
            if why is None:
                return first
        line = f"{source}: nothing is compared with {self._starts[source].revision or 'the first checkpoint'}: {why}"
        self._tell_once(line)
        return None

    def _tokenizer_beside(self, weights: Weights) -> PreTrainedTokenizerBase | None:
        """The tokenizer of a checkpoint of which weights are read, which can be without."""
        try:
            return self._loader.tokenizer(weights.folder)
        except NoTokenizer as error:
            self._tell_once(f"{error}; until then its weights are measured as those of one without a tokenizer")
            return None

    def _tell_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self.say(line)

    def weights_of(self, checkpoint: Checkpoint) -> Weights:
        """A checkpoint's weights: from the Hub, what one probe read is there for the next, of the first one for all."""
        if checkpoint.folder is not None:
            return open_weights(checkpoint)
        if checkpoint.identity not in self._remote:
            if self.fetched is not None:
                self.fetched.using(checkpoint)
            firsts = {first.identity for first in self._located.values() if first is not None}
            self._remote = {name: weights for name, weights in self._remote.items() if name in firsts}
            self._remote[checkpoint.identity] = open_weights(checkpoint, say=self.say)
        return self._remote[checkpoint.identity]

    def forward(
        self, source: str, opened: OpenCheckpoint, probes: Sequence[ForwardProbe]
    ) -> tuple[list[Outcome], Conditions]:
        """Runs forward probes together, in one pass over the token sample."""
        sample = self._sample_for(opened)
        reference = self._reference_samples.get(source)
        compared = [
            GeometryProbe(reference=reference) if reference and isinstance(probe, GeometryProbe) else probe
            for probe in probes
        ]
        with measured(self._config.where) as cost:
            outcomes, batch = with_smaller_batches(
                lambda passes: read_forward(compared, opened.architecture, sample, passes),
                self._config.batch_size,
                self.say,
            )
        return outcomes, conditions(opened.model, cost, **self._recorded(sample, opened.architecture, batch))

    def control(self, opened: OpenCheckpoint, probe: ForwardProbe, run: Control) -> tuple[Outcome, Conditions]:
        """Runs one probe under one control, over the same token sample."""
        sample = self._sample_for(opened)
        with measured(self._config.where) as cost:
            outcome, batch = with_smaller_batches(
                lambda passes: run(probe, opened.architecture, sample, passes, self._config.seed),
                self._config.batch_size,
                self.say,
            )
        return outcome, conditions(opened.model, cost, **self._recorded(sample, opened.architecture, batch))

    def _recorded(self, sample: TokenSample, of: Architecture, batch: Batched) -> dict[str, object]:
        assert self.text is not None
        details = {"text": self.text.name, "text_note": self.text.note, **sample.details(), **batch.details()}
        return {"seed": self._config.seed, "bytes_read": of.model.get_memory_footprint(), "details": details}

    def _sample_for(self, opened: OpenCheckpoint) -> TokenSample:
        folder, limit = local_folder(opened.checkpoint), opened.architecture.max_context
        return self._sample(opened.needed_tokenizer(), folder, limit)

    def _sample(self, tokenizer: PreTrainedTokenizerBase, folder: Path, limit: int | None) -> TokenSample:
        assert self.text is not None
        context = self._config.context or default_context(limit)
        name = (tokenizer_digest(folder), context)
        if name not in self._samples:
            self._samples[name] = sample_tokens(
                self.text.documents,
                tokenizer,
                tokens=self._config.tokens,
                context=context,
                seed=self._config.seed,
            )
            self._tell_short(self._samples[name])
        return self._samples[name]

    def _tell_short(self, sample: TokenSample) -> None:
        """Says where the text has fewer tokens than are asked for; one that would be a window alone is never drawn."""
        assert self.text is not None
        if sample.n_tokens < self._config.tokens - 1:
            self._tell_once(
                f"{self.text.note or 'the text'} has {counted(sample.n_tokens, 'token')}, all are used: --tokens "
                f"{self._config.tokens} asks for more"
            )

    def tokens_of(self, weights: Weights) -> int:
        """How many tokens of text a checkpoint is given: as many as are asked for, or as the text has.

        Raises:
            TextError: the text gives no sample.
        """
        tokenizer = self._tokenizer_beside(weights)
        if tokenizer is None:
            return self._config.tokens
        return self._sample(tokenizer, weights.folder, weights.max_context).n_tokens

    def _sound(self, visit: Visit | None) -> Checkpoint | None:
        if visit is None:
            return None
        if visit not in self._located:
            self._located[visit] = None
            with suppress(UserError):
                self._located[visit] = visit.locate()
        return self._located[visit]
