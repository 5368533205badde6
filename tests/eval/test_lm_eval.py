"""Ours against lm-eval's hf backend on the exported checkpoint: the same numbers, through its own evaluator too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from omni.errors import InputError
from omni.eval.bench_eval import requests
from omni.eval.lm_eval import OmniLM
from omni.model.pretrained.folders import export_model


@pytest.fixture(scope="module")
def both(models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[OmniLM, HFLM]:
    folder = models("flat")
    exported = tmp_path_factory.mktemp("exported") / "model"
    export_model(folder, exported)
    return OmniLM(folder), HFLM(pretrained=str(exported), batch_size=3, device="cpu", dtype="float32")


def asked(kind: str, *pairs: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, pair, number) for number, pair in enumerate(pairs)]


def test_likelihoods_are_those_of_the_hf_backend(both: tuple[OmniLM, HFLM]) -> None:
    ours, theirs = both
    pairs = [("an owl", " and a bell"), ("", "owl"), ("an owl ", "bell"), ("an owl", " and a bell"), ("a", "b")]
    pairs += [("a", "c"), ("owl " * 60, "bell"), ("x\n", "ö é 猫")]
    found = ours.loglikelihood(asked("loglikelihood", *pairs), disable_tqdm=True)
    wanted = theirs.loglikelihood(asked("loglikelihood", *pairs), disable_tqdm=True)
    assert [one[0] for one in found] == pytest.approx([one[0] for one in wanted], abs=1e-3)
    assert [one[1] for one in found] == [one[1] for one in wanted]
    texts = [("an owl and a bell",), ("owl " * 100,)]                   # the second takes several windows
    rolled = ours.loglikelihood_rolling(asked("loglikelihood_rolling", *texts), disable_tqdm=True)
    assert rolled == pytest.approx(theirs.loglikelihood_rolling(asked("x", *texts), disable_tqdm=True), abs=1e-2)


def test_texts_are_those_of_the_hf_backend_until_a_stop(both: tuple[OmniLM, HFLM]) -> None:
    ours, theirs = both
    settings = {"until": ["\n\n"], "max_gen_toks": 12}
    contexts = [(text, settings) for text in ("an owl", "a bell and an owl", "x", "owl " * 90)]
    found = ours.generate_until(asked("generate_until", *contexts), disable_tqdm=True)
    wanted = theirs.generate_until(asked("generate_until", *contexts), disable_tqdm=True)
    assert found == wanted
    letter = next(text for text in found if text)[0]
    cut = [(text, {"until": [letter], "max_gen_toks": 12}) for text, _ in contexts]
    assert all(letter not in text for text in ours.generate_until(asked("generate_until", *cut), disable_tqdm=True))
    with pytest.raises(InputError, match="leaves no room in the model's 256 steps"):
        ours.generate_until(asked("generate_until", ("a", {"until": [], "max_gen_toks": 256})), disable_tqdm=True)


def test_lm_evals_evaluator_gives_both_the_same_results(
    both: tuple[OmniLM, HFLM], models: Callable[..., Path], tmp_path: Path
) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    rows = [{"q": f"owl {n}", "choices": ["bell", "owl", "a"], "gold": n % 3} for n in range(9)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "owls.yaml").write_text(
        f"task: owls\ndataset_path: json\ndataset_kwargs:\n  data_files: {{test: {tmp_path}/rows.jsonl}}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{q}}'\ndoc_to_choice: '{{choices}}'\n"
        "doc_to_target: gold\nmetric_list:\n  - metric: acc\n  - metric: acc_norm\n"
    )
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    named = {"model": "omni", "model_args": f"folder={models('flat')}", "batch_size": 4, "device": "cpu"}
    results = [
        lm_eval.simple_evaluate(**how, tasks=["owls"], task_manager=manager, bootstrap_iters=0)["results"]["owls"]
        for how in (*({"model": one} for one in both), named)           # as its command line names a model, too
    ]
    assert results[0] == results[1] == results[2] and results[0]["acc,none"] is not None


def test_the_benchmarks_requests_are_many_and_of_both_kinds() -> None:
    choices, texts = requests()
    assert len(choices) == 192 and len({one.args for one in choices}) > 150 and len(texts) == 16
