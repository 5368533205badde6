"""`omni bench binary`: decoding from one-bit matrices against floats, and what they take on disk."""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni.decode.together import Step
    from omni.figures import Report
    from omni.model.transformer import OmniTransformer

EPILOG = """example:
  omni bench binary --json
  omni bench binary --preset tiny
All models have the preset's shape, the norms that recipes give to one-bit blocks (inner_norms), and the same random
weights; binary_inputs has one-bit inputs, too. A step takes all of the decoder: embeddings and scores of ids stay
floats. One thread, on the processor's clock; the ways take turns in every round. Where torchao is installed, its
weight-only int8 and int4 (in groups of 32) take turns too, in bf16, each layer compiled by torch.compile."""
STEPS, VOCABULARY, GROUP = 8, 8192, 32


def configure(parser: argparse.ArgumentParser) -> None:
    """Which shape, how often."""
    parser.description = "One-bit matrices: decoding beside floats and int8, torchao's int8 and int4; bytes on disk."
    parser.epilog = EPILOG
    parser.add_argument("--preset", default="small", metavar="NAME", help="a model's (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each way (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure and print the table."""
    from omni.errors import InputError

    if args.rounds < 1:
        raise InputError("--rounds must be 1 or more")
    report = measure(args.preset, args.rounds)
    print(report.table())
    if args.json:
        print(report.json())


def measure(preset: str, rounds: int) -> "Report":
    """Time the ways in turns; weigh packed matrices against the same in bf16."""
    import torch

    from omni.decode.bench_decode import bandwidth
    from omni.decode.step import fast_step, settle
    from omni.figures import Report
    from omni.model.config import ModelConfig
    from omni.model.transformer import OmniTransformer
    from omni.progress import progress

    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = replace(ModelConfig.preset(preset), vocab_size=VOCABULARY, max_steps=512, inner_norms=True)
    floats = OmniTransformer(config).eval()
    one_bit = OmniTransformer(replace(config, weight_bits=1)).eval()
    both = OmniTransformer(replace(config, weight_bits=1, activation_bits=1)).eval()
    for model in (one_bit, both):
        model.load_state_dict(floats.state_dict())
    theirs = _torchao(floats)
    for model in (floats, one_bit, both):
        settle(model)
    ways = {"fp32": (floats, fast_step(floats)), "int8": (floats, fast_step(floats, int8=True)),
            "binary": (one_bit, fast_step(one_bit)), "binary_inputs": (both, fast_step(both)),
            **theirs}  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in progress(range(rounds + 1), "decoding in turns", unit="round"):
        for name, (model, step) in ways.items():
            times[name].append(_milliseconds(model, step))
    report = Report("bench binary")
    for name, values in times.items():
        low, high = _quartiles(values[1:])                              # the first round warms up
        report.add(f"ms_per_step_{name}", statistics.median(values[1:]), "ms", low=low, high=high, n=rounds)
    for name in (name for name in ways if name != "binary"):
        ratios = [one / other for one, other in zip(times[name][1:], times["binary"][1:], strict=True)]
        low, high = _quartiles(ratios)
        report.add(f"decode_speedup_vs_{name}", statistics.median(ratios), "x", low=low, high=high, n=rounds)
    packed, half, rest = _sizes(one_bit)
    report.add("size_ratio_vs_bf16", half / packed, "x")
    report.add("packed_megabytes", packed / 1e6, "MB")
    floor = (packed + rest) / bandwidth(packed + rest, time.process_time) * 1000
    report.add("ms_per_step_floor", floor, "ms")
    return report


def _torchao(model: "OmniTransformer") -> "dict[str, tuple[OmniTransformer, Step]]":
    """The peer's ways with the same weights, where it is installed: in bf16, for which it has kernels. Beside floats in
    fp32 its compiled layers write all their weights as floats first, and take ten times as long."""
    if find_spec("torchao") is None:
        return {}
    import copy

    from torch import nn
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    configs = {"torchao_int8": Int8WeightOnlyConfig(), "torchao_int4": PrototypeInt4WeightOnlyConfig(group_size=GROUP)}
    ways: dict[str, tuple[OmniTransformer, Step]] = {}
    for name, config in configs.items():
        theirs = copy.deepcopy(model).bfloat16()
        for block in theirs.blocks:
            quantize_(block, config)
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    module.compile(dynamic=False)
        ways[name] = theirs, theirs.extend
    return ways


def _milliseconds(model: "OmniTransformer", step: "Step") -> float:
    """A step of decoding, the scores of all ids included."""
    import torch

    from omni.model.cache import Cache

    cache = Cache.empty(model.config, 1, 64, model.table)
    token = torch.ones(1, 1, 1, dtype=torch.long)
    with torch.inference_mode():
        began = time.process_time()
        for _ in range(STEPS):
            token = model.logits(step(token, cache)[:, -1]).argmax(dim=-1)[:, None, None]
        return (time.process_time() - began) * 1000 / STEPS


def _sizes(model: "OmniTransformer") -> tuple[int, int, int]:
    """Bytes on disk of the one-bit matrices, packed and in bf16, and of all other weights in fp32."""
    import torch
    from safetensors.torch import save_file

    from omni.model.binary import BITS, SCALE, BinaryLinear, pack_state

    state = pack_state(model)
    packed = {name: tensor for name, tensor in state.items() if name.endswith((BITS, SCALE))}
    half = {path: module.weight.detach().to(torch.bfloat16).contiguous()
            for path, module in model.named_modules() if isinstance(module, BinaryLinear)}  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="omni-binary-") as folder:
        sizes = []
        for number, tensors in enumerate((packed, half)):
            path = Path(folder) / f"{number}.safetensors"
            save_file(tensors, path)
            sizes.append(path.stat().st_size)
    return sizes[0], sizes[1], sum(tensor.nbytes for name, tensor in state.items() if name not in packed)


def _quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
