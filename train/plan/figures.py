"""A plan in figures, and in lines for people."""

from omni.figures import Report
from omni.train.plan.hardware import GB, GIB, LINK_EFFICIENCY, USABLE
from omni.train.plan.mend import mends
from omni.train.plan.throughput import Plan
from omni.train.recipe import Recipe

SECONDS_A_DAY = 86_400


def tokens_of(recipe: Recipe) -> tuple[int, str]:
    """What a recipe trains on in all its steps, places in its rows that packing leaves empty among them, and why."""
    steps = sum(stage.steps for stage in recipe.stages) or recipe.schedule.steps
    rows, length = recipe.batch.rows, recipe.sequence_length
    return steps * rows * length, f" of the recipe ({steps:,} steps of {rows:,} rows of {length:,})"


def fill(report: Report, plan: Plan, tokens: float | None, price: float | None) -> None:
    """Add a plan's figures, with days and cost where a budget of tokens (and dollars a GPU hour) is given."""
    for part, size in plan.memory.parts().items():
        report.add(f"gpu_memory_{part}", size / GIB, "GiB")
    report.add("gpu_memory_peak", plan.memory.total / GIB, "GiB")
    report.add("gpu_memory_usable", plan.gear.usable / GIB, "GiB")
    report.add("host_memory", plan.memory.host / GIB, "GiB")
    report.add("drive_space", plan.memory.drive / GIB, "GiB")
    report.add("fits", float(plan.fits), "")
    sent, speed = plan.communication, plan.throughput
    for purpose in ("gradients", "weights", "sequence", "tensor"):
        report.add(f"communication_{purpose}", getattr(sent, purpose) / GB, "GB")
    report.add("communication_volume", sent.total / GB, "GB")
    report.add("tokens_per_step", speed.tokens, "")
    report.add("seconds_compute", speed.compute, "s")
    report.add("seconds_memory", speed.traffic, "s")
    report.add("seconds_communication", speed.communication, "s")
    least, most = speed.tokens / speed.seconds_apart, speed.tokens / speed.seconds
    report.add("tokens_per_second", most, "tokens/s", low=least, high=most)
    report.add("tokens_per_second_gpu", most / plan.world, "tokens/s")
    report.add("mfu", speed.flops / speed.seconds / (plan.world * plan.gear.flops), "of the matmul peak")
    report.add("checkpoint_size", plan.checkpoint / GB, "GB")
    report.add("weights_size", plan.weights / GB, "GB")
    if tokens is not None:
        report.add("tokens", tokens, "")
        days = tokens / most / SECONDS_A_DAY
        slow = tokens / least / SECONDS_A_DAY
        report.add("days", days, "days", low=days, high=slow)
        hours = 24 * plan.world
        report.add("gpu_hours", days * hours, "GPU hours", low=days * hours, high=slow * hours)
        if price is not None:
            report.add("cost", days * hours * price, "dollars", low=days * hours * price, high=slow * hours * price)


def describe(plan: Plan, tokens: float | None, price: float | None, whence: str = "") -> list[str]:
    """What a plan comes to, its assumptions, and how to mend it where it does not fit. whence: the tokens are."""
    report = Report("plan")
    fill(report, plan, tokens, price)
    at = {name: figure.value or 0.0 for name, figure in report.figures.items()}
    recipe, gear, speed = plan.recipe, plan.gear, plan.throughput
    lines = [
        f"on {plan.world:,} x {gear.name}: zero {recipe.zero}, {recipe.precision}, rows of {recipe.sequence_length:,}"
        f" steps, {recipe.batch.micro} at a time, {recipe.batch.rows:,} ({speed.tokens:,} tokens) a step",
        "memory of each, GiB",
    ]
    lines += [f"  {part:<26} {at[f'gpu_memory_{part}']:>10.2f}" for part in plan.memory.parts()]
    verdict = "fits" if plan.fits else "DOES NOT FIT"
    lines.append(f"  {'peak':<26} {at['gpu_memory_peak']:>10.2f} of {at['gpu_memory_usable']:.1f} usable: {verdict}")
    if plan.memory.host:
        lines.append(f"  {'offloaded':<26} {at['host_memory']:>10.2f}")
    if plan.memory.drive:
        lines.append(f"  {'offloaded to a drive':<26} {at['drive_space']:>10.2f}")
    if not plan.fits:
        ways = mends(plan)
        lines += [f"  mend: {way}" for way in ways] or ["  mend: more or larger GPUs; no change of the recipe fits"]
    lines += [
        "an optimizer step",
        f"  {'sent by each':<26} {at['communication_volume']:>10.2f} GB",
        f"  {'computing':<26} {speed.compute:>10.3f} s",
        f"  {'reading and writing memory':<26} {speed.traffic:>10.3f} s",
        f"  {'sending':<26} {speed.communication:>10.3f} s",
        f"  {'tokens/s':<26} {at['tokens_per_second']:>10,.0f}, bound by {speed.bound};"
        f" {speed.tokens / speed.seconds_apart:,.0f} where sending hides behind nothing",
        f"  {'MFU':<26} {at['mfu']:>10.1%}",
        f"  {'checkpoint':<26} {at['checkpoint_size']:>10.1f} GB, the model alone {at['weights_size']:.1f}",
    ]
    if tokens is not None:
        cost = f", {at['cost']:,.0f} dollars" if price is not None else ""
        lines.append(
            f"{tokens:.4g} tokens{whence}: {at['days']:,.1f} days ({report.figures['days'].high:,.1f} unhidden),"
            f" {at['gpu_hours']:,.0f} GPU hours{cost}"
        )
    lines.append(
        f"assumed: {gear.flops / 1e12:,.4g} TFLOP/s of which {gear.achievable:.0%} are reached,"
        f" {gear.bandwidth / GB:,.0f} GB/s of memory, {USABLE:.0%} of it usable; links of {gear.intra / GB:,.4g} GB/s"
        f" within a server and {gear.inter / GB:,.4g} between them at {LINK_EFFICIENCY:.0%} (docs/planning.md)"
    )
    return lines
