"""A model of ours as lm-eval's `LM`: the text benchmarks that everybody quotes, with the numbers of its hf backend.

Ids are those of the shared token space, raw text without the marks of a conversation, exactly as lm-eval reads a
checkpoint of `omni export`. Only steps that are scored are multiplied by the table of the vocabulary, prompts are not
padded, and equal ones are computed once.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from numpy.typing import NDArray

from omni.decode.samplers import Sampler
from omni.decode.stream import Stream
from omni.errors import InputError
from omni.model.folder import load_model
from omni.model.transformer import Batch, OmniTransformer
from omni.progress import progress
from omni.shipped import named_model
from omni.tokenizers.text import TextTokenizer
from omni.vocab import Vocabulary

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

Request = tuple[tuple[str, str] | None, list[int], list[int]]           # as written, context, continuation
BATCH_STEPS = 4096                                                      # computed at once
ROWS = 16                                                               # texts that are generated side by side


@register_model("omni")
class OmniLM(TemplateLM):
    """lm-eval's face of a model folder; `lm_eval.simple_evaluate(model=OmniLM(folder), ...)`."""

    def __init__(
        self, folder: Path | str, device: str = "cpu", seed: int = 0, batch_size: int | str = 1,
        max_batch_size: int | None = None,
    ) -> None:  # fmt: skip
        """seed: of what is drawn, where a task asks for that. Raises InputError when there is no such model.

        batch_size, max_batch_size: lm-eval hands them to every model; a batch here is of BATCH_STEPS steps instead
        """
        super().__init__()
        home = named_model(folder)
        model, vocab = load_model(home, device)
        self._start(model, vocab, TextTokenizer.load(home / "tokenizers" / "text"), seed)

    @classmethod
    def of(cls, model: OmniTransformer, vocab: Vocabulary, text: TextTokenizer) -> "OmniLM":
        """The same of what is loaded already."""
        made = cls.__new__(cls)
        TemplateLM.__init__(made)
        made._start(model, vocab, text, seed=0)
        return made

    def _start(self, model: OmniTransformer, vocab: Vocabulary, text: TextTokenizer, seed: int) -> None:
        self.model, self.vocab, self.text = model, vocab, text
        self.generator = torch.Generator(model.table.device).manual_seed(seed)
        self.max_length = model.config.max_steps
        self.max_gen_toks = 256

    @property
    def eot_token_id(self) -> int:
        return self.vocab.control("<eos>")

    @property
    def prefix_token_id(self) -> int:
        """Before a text that nothing stands before."""
        return self.vocab.control("<bos>")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of the shared space; text is text, whatever it spells."""
        start = self.vocab["text"].start
        return [start + code for code in self.text.encode(string)]

    def tok_decode(self, ids: Sequence[int]) -> str:
        """The text among ids; control tokens and codes of other modalities are left out."""
        span = self.vocab["text"]
        return self.text.decode([one - span.start for one in ids if span.start <= one < span.stop])

    def loglikelihood_rolling(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in windows of the model's length."""
        owners: list[int] = []
        windows: list[Request] = []
        for owner, request in enumerate(requests):
            found = get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, context_len=1
            )
            for context, continuation in map(make_disjoint_window, found):
                owners.append(owner)
                windows.append((None, context, continuation))
        sums = [0.0] * len(requests)
        for owner, (score, _) in zip(owners, self._loglikelihood_tokens(windows, disable_tqdm), strict=True):
            sums[owner] += score
        return sums

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """(log-likelihood, whether it is what greedy decoding gives) of each continuation."""
        wanted: dict[tuple[int, ...], list[int]] = {}                   # a prompt to the requests that it scores
        for number, (_, context, continuation) in enumerate(requests):
            whole = (context + continuation)[-(self.max_length + 1) :]
            wanted.setdefault(tuple(whole[:-1]), []).append(number)
        scores: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with progress(None, "likelihoods", total=len(requests), unit="request") as bar:
            bar.disable = bar.disable or disable_tqdm
            for prompts in _groups(list(wanted)):
                owners = [[requests[number][2] for number in wanted[prompt]] for prompt in prompts]
                for prompt, found in zip(prompts, self._scored(prompts, owners), strict=True):
                    for number, score in zip(wanted[prompt], found, strict=True):
                        scores[number] = score
                    bar.update(len(found))
        return scores

    def _scored(
        self, prompts: Sequence[tuple[int, ...]], owners: Sequence[Sequence[list[int]]]
    ) -> list[list[tuple[float, bool]]]:
        """Scores of the continuations that end each prompt; the last id of a continuation is not part of it."""
        states = self.model.hidden(self._batch(prompts))                # [prompts, longest, d_model]
        lengths = [max(map(len, some)) for some in owners]
        tails = [
            state[len(prompt) - length : len(prompt)]
            for state, prompt, length in zip(states, prompts, lengths, strict=True)
        ]
        logs = self.model.logits(torch.cat(tails)).float().log_softmax(dim=-1)  # [scored, vocab]
        found = []
        for log, some in zip(logs.split(lengths), owners, strict=True):
            best = log.argmax(dim=-1)
            rows = []
            for continuation in some:
                ids = torch.tensor(continuation, device=log.device)
                own = log[len(log) - len(ids) :].gather(1, ids[:, None])
                rows.append((float(own.sum()), bool((best[len(best) - len(ids) :] == ids).all())))
            found.append(rows)
        return found

    def _batch(self, prompts: Sequence[tuple[int, ...]]) -> Batch:
        longest = max(map(len, prompts))
        ids = torch.zeros(len(prompts), longest, self.vocab.channels, dtype=torch.long)
        document = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt), 0] = torch.tensor(prompt)
            document[row, : len(prompt)] = 1
        nothing = torch.zeros_like(document, dtype=torch.bool)
        return Batch(ids, nothing, document, nothing).to(self.model.table.device)

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """Continuations up to a stop sequence, `max_gen_toks` or the end of the text."""
        texts = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(number)
        with progress(None, "texts", total=len(requests), unit="request") as bar:
            bar.disable = bar.disable or disable_tqdm
            for numbers in groups.values():
                numbers.sort(key=lambda number: len(requests[number].args[0]))
                for start in range(0, len(numbers), ROWS):
                    rows = numbers[start : start + ROWS]
                    contexts = [requests[number].args[0] for number in rows]
                    said = self._continued(contexts, requests[rows[0]].args[1])
                    for number, text in zip(rows, said, strict=True):
                        texts[number] = text
                    bar.update(len(rows))
        return texts

    def _continued(self, contexts: Sequence[str], settings: dict[str, Any]) -> list[str]:
        asked = normalize_gen_kwargs(settings, self.max_gen_toks)
        most = int(asked["max_gen_toks"])
        stops = handle_stop_sequences(asked.get("until"), eos=None)
        if most >= self.max_length:
            raise InputError(f"max_gen_toks={most}: leaves no room in the model's {self.max_length} steps")
        sampler = Sampler(float(asked.get("temperature") or 0.0), int(asked.get("top_k") or 0),
                          float(asked.get("top_p") or 1.0))  # fmt: skip
        prompts = [self._prompt(context)[-(self.max_length - most) :] for context in contexts]
        said = self._extended(prompts, most, stops, sampler)
        return [postprocess_generated_text(self.tok_decode(ids), stops, None) for ids in said]

    def _prompt(self, context: str) -> list[int]:
        return self.tok_encode(context) or [self.prefix_token_id]

    @torch.inference_mode()
    def _extended(
        self, prompts: Sequence[list[int]], most: int, stops: Sequence[str], sampler: Sampler
    ) -> list[list[int]]:
        """Ids that follow each prompt, until it ends, says a stop sequence or has `most`."""
        ends = {self.vocab.control("<eos>"), self.vocab.control("<turn>")}
        stream = Stream.of_prompts(self.model, [_steps(prompt, self.vocab.channels) for prompt in prompts], most)
        said: list[list[int]] = [[] for _ in prompts]
        live = list(range(len(prompts)))
        for _ in range(most):
            ids = sampler(self.model.logits(stream.state()), self.generator)  # [live]
            kept = []
            for row, one in enumerate(ids.tolist()):
                said[live[row]].append(one)
                if one not in ends and not _stopped(self.tok_decode(said[live[row]]), stops):
                    kept.append(row)
            if not kept:
                break
            if len(kept) < len(live):
                stream.keep(torch.tensor(kept, device=ids.device))
                live, ids = [live[row] for row in kept], ids[kept]
            step = torch.zeros(len(ids), 1, self.vocab.channels, dtype=torch.long, device=ids.device)
            step[:, 0, 0] = ids
            stream.feed(step)
        return said


def _steps(ids: Sequence[int], channels: int) -> NDArray[np.int64]:
    """Ids on the first channel: [steps, channels]."""
    steps = np.zeros((len(ids), channels), np.int64)
    steps[:, 0] = ids
    return steps


def _stopped(text: str, stops: Sequence[str]) -> bool:
    return any(stop in text for stop in stops if stop)


def _groups(prompts: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Prompts in order of length, so many together that they have at most BATCH_STEPS steps."""
    group: list[tuple[int, ...]] = []
    for prompt in sorted(prompts, key=len):
        if group and len(prompt) * (len(group) + 1) > BATCH_STEPS:
            yield group
            group = []
        group.append(prompt)
    if group:
        yield group
