import pytest

from omni.decode.bench_decode import bandwidth, measure, random_model


@pytest.mark.parametrize("qk_norm", [True, False])
def test_both_say_the_same_tokens_and_every_figure_is_there(qk_norm: bool) -> None:
    """`measure` itself raises when our greedy tokens are not those of Qwen3 and Llama with the same weights."""
    report = measure(random_model(qk_norm), tokens=6, rounds=2, threads=1)
    wanted = {"tokens_per_second", "ratio_vs_transformers_static", "ratio_to_bandwidth_floor", "ms_per_step_eager",
              "ms_per_step_compiled", "ms_per_step_transformers_static", "ms_per_step_floor"}  # fmt: skip
    assert wanted <= report.figures.keys()
    assert all(figure.value is not None and figure.value > 0 for figure in report.figures.values())
    ratio = report.figures["ratio_vs_transformers_static"]
    assert ratio.low is not None and ratio.high is not None and ratio.low <= ratio.high and ratio.n == 2


def test_bandwidth_is_bytes_over_the_clocks_time() -> None:
    ticks = iter(range(100))
    assert bandwidth(1 << 20, lambda: float(next(ticks))) == 1 << 20
