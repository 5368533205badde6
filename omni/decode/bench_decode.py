"""`omni bench decode`: single-token decoding against transformers and against the memory bandwidth."""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from omni.shipped import named_model

if TYPE_CHECKING:
    import torch

    from omni.decode.together import Step
    from omni.figures import Report
    from omni.model.transformer import OmniTransformer

EPILOG = """example:
  omni bench decode --json
  omni bench decode --model runs/quickstart/model
Without --model, a decoder of 8.4 million parameters (d_model 256, 8 layers, vocabulary 8,192) has random weights that
bfloat16 can say, as those of models that ship, so that ours reads two bytes of each in the blocks. The model of
transformers has the same, in fp32; both must say the same tokens (int8 excepted). The ways take turns in every round.
On one thread the clock is the processor's, which other programs do not add to; on more it is the wall's."""
PROMPT = 16
INT8_TOKENS = 400


def configure(parser: argparse.ArgumentParser) -> None:
    """How long and on how many threads."""
    parser.description = "Single-token decoding: ours against transformers.generate with its static cache, greedily."
    parser.epilog = EPILOG
    parser.add_argument("--model", type=named_model, metavar="DIR", help="a trained model to measure instead")
    parser.add_argument("--tokens", type=int, default=64, help="tokens generated in one turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each way (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default: %(default)s)")
    parser.add_argument("--no-qk-norm", action="store_true", help="random weights for Llama instead of Qwen3")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure and print the table."""
    from omni.errors import InputError

    if min(args.tokens, args.rounds, args.threads) < 1:
        raise InputError("--tokens, --rounds and --threads must be 1 or more")
    model = random_model(qk_norm=not args.no_qk_norm) if args.model is None else _loaded(args.model)
    if args.tokens + PROMPT > model.config.max_steps:
        raise InputError(f"--tokens {args.tokens}: the model has room for {model.config.max_steps - PROMPT}")
    report = measure(model, args.tokens, args.rounds, args.threads)
    print(report.table())
    if args.json:
        print(report.json())


@dataclass
class _Way:
    """One way to generate tokens from a prompt, and the milliseconds a token that each turn took."""

    name: str
    generate: Callable[[int], list[int]]
    clock: Callable[[], float]
    times: list[float] = field(default_factory=list)

    def turn(self, tokens: int) -> None:
        start = self.clock()
        self.generate(tokens)
        self.times.append((self.clock() - start) * 1000 / tokens)

    @property
    def milliseconds(self) -> float:
        return statistics.median(self.times)


def random_model(qk_norm: bool = True) -> "OmniTransformer":
    """The model that is measured: 8.4 million parameters."""
    import torch

    from omni.model.config import ModelConfig
    from omni.model.transformer import OmniTransformer

    torch.manual_seed(0)
    shape = ModelConfig(d_model=256, n_layers=8, n_heads=4, n_kv_heads=4, d_ff=688, vocab_size=8192, max_steps=1024)
    model = OmniTransformer(replace(shape, qk_norm=qk_norm)).eval()
    for parameter in model.parameters():                                # as models are shipped; it is fp32 all the same
        parameter.data = parameter.data.bfloat16().float()
    return model


def _loaded(folder: str) -> "OmniTransformer":
    from omni.errors import InputError
    from omni.model.folder import load_model

    model, vocab = load_model(folder)
    if vocab.channels > 1:
        raise InputError(f"{folder}: its {vocab.layout} layout has no peer in transformers; use a flat one")
    return model


def measure(model: "OmniTransformer", tokens: int, rounds: int, threads: int) -> "Report":
    """Time every way in turns. Raises RuntimeError when ours and the peer's greedy tokens differ."""
    import torch

    from omni.figures import Report
    from omni.progress import progress

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        clock = time.process_time if threads == 1 else time.perf_counter
        ways = _ways(model, clock)
        said = {way.name: way.generate(tokens) for way in ways}         # compiles and warms up, too
        for name in ("eager", "compiled"):
            if said[name] != said["transformers_static"]:
                raise RuntimeError(f"the greedy tokens of {name} are not those of transformers")
        speeds = []
        for _ in progress(range(rounds), "decoding in turns", unit="round"):
            for way in ways:
                way.turn(tokens)
            speeds.append(bandwidth(_bytes(model, 0), clock))
        report = Report("bench decode")
        _figures(report, model, ways, max(speeds), tokens)
        count = min(INT8_TOKENS, model.config.max_steps - 2)
        report.add("int8_kl", _int8_divergence(model, count), "nats", n=count)
        return report
    finally:
        torch.set_num_threads(before)


def _ways(model: "OmniTransformer", clock: Callable[[], float]) -> list[_Way]:
    import torch

    from omni.decode.step import fast_step, settle
    from omni.model.interop import hugging_face_twin

    prompt = torch.randint(model.config.vocab_size, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    twin = hugging_face_twin(model)
    settle(model)

    def peer(count: int) -> list[int]:
        from transformers import GenerationConfig

        wanted = GenerationConfig(
            max_new_tokens=count, min_new_tokens=count, do_sample=False, cache_implementation="static", pad_token_id=0
        )
        with torch.inference_mode():
            said = twin.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=wanted)
        return said[0, PROMPT:].tolist()

    def ours(step: "Step") -> Callable[[int], list[int]]:
        return lambda count: _greedy(model, prompt, count, step)

    steps = {"eager": model.extend, "compiled": fast_step(model), "compiled_int8": fast_step(model, int8=True)}
    ways = {"transformers_static": peer, **{name: ours(step) for name, step in steps.items()}}
    return [_Way(name, generate, clock) for name, generate in ways.items()]


def _greedy(model: "OmniTransformer", prompt: "torch.Tensor", count: int, step: "Step") -> list[int]:
    """What `omni generate` does for a text, over all ids: feed the prompt, then draw and feed."""
    import torch

    from omni.decode.payload import draw
    from omni.decode.samplers import GREEDY
    from omni.decode.stream import Stream
    from omni.vocab import Span

    everything = Span("vocabulary", 0, model.config.vocab_size)
    with torch.inference_mode():
        stream, said = Stream(model, step=step), []
        stream.feed(prompt[..., None])
        for _ in range(count):
            token = draw(model, stream.state(), everything, None, GREEDY, None)  # [1]
            said.append(int(token))
            stream.feed(token[:, None, None])
    return said


def _int8_divergence(model: "OmniTransformer", tokens: int) -> float:
    """Kullback-Leibler divergence a token of the int8 model from the exact one, over what the exact one draws."""
    import torch

    from omni.decode.samplers import Sampler
    from omni.decode.step import fast_step
    from omni.decode.stream import Stream

    exact, rough = Stream(model, step=fast_step(model)), Stream(model, step=fast_step(model, int8=True))
    generator, total = torch.Generator().manual_seed(0), 0.0
    with torch.inference_mode():
        token = torch.ones(1, 1, 1, dtype=torch.long)                   # id 1 is <bos>
        for _ in range(tokens):
            for stream in (exact, rough):
                stream.feed(token)
            logits, other = (model.logits(stream.state()) for stream in (exact, rough))  # [1, vocab]
            gap = logits.log_softmax(dim=-1) - other.log_softmax(dim=-1)
            total += float((logits.softmax(dim=-1) * gap).sum())
            token = Sampler()(logits, generator)[:, None, None]
    return total / tokens


def bandwidth(size: int, clock: Callable[[], float]) -> float:
    """Bytes a second at which one buffer of `size` bytes is read: the best of a sum and a matrix-vector product.

    The buffer is as large as what a decoding step reads, so that it sits in the same level of the cache.
    """
    import torch

    from omni.decode.memory import in_huge_pages

    matrix, vector = in_huge_pages([torch.ones(256, size // 1024), torch.ones(size // 1024)])
    best = float("inf")
    for read in (matrix.sum, lambda: matrix @ vector) * 3:
        start = clock()
        read()
        best = min(best, clock() - start)
    return matrix.numel() * 4 / best


def _bytes(model: "OmniTransformer", steps: int) -> int:
    """What one step must read at the least: every weight, and the keys and values of the steps before it."""
    config = model.config
    cache = 2 * config.n_layers * config.n_kv_heads * config.head_dim * steps
    return 4 * (sum(parameter.numel() for parameter in model.parameters()) + cache)


def _figures(report: "Report", model: "OmniTransformer", ways: list[_Way], speed: float, tokens: int) -> None:
    for way in ways:
        low, high = _quartiles(way.times)
        report.add(f"ms_per_step_{way.name}", way.milliseconds, "ms", low=low, high=high, n=len(way.times))
    peer, best = ways[0], next(way for way in ways if way.name == "compiled")
    floor = _bytes(model, PROMPT + tokens // 2) / speed * 1000
    report.add("bandwidth", speed / 1e9, "GB/s")
    report.add("ms_per_step_floor", floor, "ms")
    report.add("tokens_per_second", 1000 / best.milliseconds, "1/s")
    for way in ways[1:]:
        ratios = [theirs / ours for theirs, ours in zip(peer.times, way.times, strict=True)]
        low, high = _quartiles(ratios)
        name = "ratio_vs_transformers_static" + ("" if way is best else f"_{way.name}")
        report.add(name, statistics.median(ratios), "x", low=low, high=high, n=len(ratios))
    report.add("ratio_to_bandwidth_floor", best.milliseconds / floor, "x")


def _quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
