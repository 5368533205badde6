import json
import re
from pathlib import Path

import inspect_ai
import jiwer
import numpy as np
import pytest
import sacrebleu
import soundfile
from inspect_ai.log import EvalLog

from omni.errors import InputError
from omni.eval import local as module
from omni.eval.abilities.scoring import normal
from omni.eval.inspected import wishes
from omni.eval.inspected.messages import read_picture, read_sound
from omni.eval.tasks.records import dataset, local, records
from omni.eval.tasks.scorers import chosen
from omni.safety.registry import CAPABILITY, spoken_qa, transcribe, translate

DOCS = Path(__file__).parents[3] / "docs" / "evaluation.md"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "MOST_TOKENS", 4)
    monkeypatch.setattr(wishes, "MOST_SECONDS", 0.2)


def run(task: inspect_ai.Task, model: Path, folder: Path) -> EvalLog:
    (log,) = inspect_ai.eval(task, model=f"omni/{model}", log_dir=str(folder), display="none", max_retries=1)
    return log


def values(log: EvalLog) -> dict[str, float]:
    assert log.results, log.error
    return {name: one.value for score in log.results.scores for name, one in score.metrics.items()}


def test_every_task_asks_scores_and_counts(model: Path, data: Path, tmp_path: Path) -> None:
    tasks = []
    for maker in CAPABILITY:
        if maker.__name__ != "speak":                                   # the slow test of abilities listens to speech
            try:
                tasks.append(maker(data=str(data), n=6))
            except InputError as error:
                assert maker.__name__ in ("name_emoji", "spoken_qa"), error  # of which the small data have nothing
    logs = inspect_ai.eval(tasks, model=f"omni/{model}", log_dir=str(tmp_path), display="none", max_retries=1)
    assert len(logs) >= 9
    trivial = {"sounds", "name_picture", "draw", "video", "transcribe", "translate", "text_qa", "perplexity"}
    for task, log in zip(tasks, logs, strict=True):
        assert log.status == "success" and not [one.error for one in log.samples or [] if one.error], log.eval.task
        found = values(log)
        name = next(iter(found))
        assert found[f"{name}_n"] == len(task.dataset) <= 6
        if task.name in trivial:
            assert found[f"{name}_baseline_n"] == len(task.dataset)
            trivial.remove(task.name)
        assert found[f"{name}_low"] <= found[name] + 1e-9 and found[name] <= found[f"{name}_high"] + 1e-9
    assert not trivial


def test_error_rates_are_jiwers_and_chrf_is_sacrebleus(model: Path, data: Path, tmp_path: Path) -> None:
    tasks = [transcribe(data=str(data), n=8), translate(data=str(data), n=8)]
    log, other = inspect_ai.eval(tasks, model=f"omni/{model}", log_dir=str(tmp_path), display="none")
    pairs = [(normal(str(one.target)), normal(one.output.completion)) for one in log.samples or []]
    wanted, said = map(list, zip(*pairs, strict=True))
    assert values(log)["cer"] == pytest.approx(jiwer.cer(wanted, said))
    assert values(log)["wer"] == pytest.approx(jiwer.wer(wanted, said))
    texts = [(one.output.completion, str(one.target), one.metadata["baseline"]) for one in other.samples or []]
    said, wanted, copied = map(list, zip(*texts, strict=True))
    assert values(other)["chrf"] == pytest.approx(sacrebleu.CHRF().corpus_score(said, [wanted]).score)
    assert values(other)["chrf_baseline"] == pytest.approx(sacrebleu.CHRF().corpus_score(copied, [wanted]).score)
    assert values(other)["bleu"] == pytest.approx(sacrebleu.BLEU().corpus_score(said, [wanted]).score)


@pytest.mark.parametrize(
    ("said", "picked"),
    [
        ("owl", "owl"), ("B", "a bell"), ("b. It is.", "a bell"), ("I think it is A BELL!", "a bell"),
        ("an owlet", None), ("the owl or a bell", None), ("", None),
        ("A bell.", "a bell"), ("I think so", None), ("I think the answer is B", "a bell"), ("Answer: B", "a bell"),
        ("The correct option is (b).", "a bell"), ("**A**", "owl"), ("the answer is a secret", None),
        ("The answer is B, not the owl.", "a bell"), ("The answer is C", None), ("b because it rings", None),
    ],
)  # fmt: skip
def test_an_answer_names_one_choice_or_none(said: str, picked: str | None) -> None:
    assert chosen(said, ["owl", "a bell"]) == picked


ROWS = [
    {"audio": "q.wav", "target": "owl", "language": "en", "groups": {"speaker": "me"}, "baseline": "bell"},
    {"text": "two and two?", "target": "four", "choices": ["four", "five"]},
    {"audio": "gone.wav", "target": "owl"},
    {"text": "what?"},
    {"text": "what?", "target": "six", "choices": ["four", "five"]},
    {"target": "owl"},
    {"text": "what?", "target": "owl", "colour": "red"},
]
BAD = ["no such file", "no `target`", "not among `choices`", "nothing is asked", "unknown field 'colour'"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_users_file_is_asked_and_what_is_malformed_is_an_error(suffix: str, model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "q.wav", 0.1 * np.sin(np.arange(3200) / 9), 16000)
    path = tmp_path / f"mine{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)) + "\nnot json\n")
    else:
        import pyarrow
        import pyarrow.parquet

        columns = {name: [row.get(name) for row in ROWS] for name in dict.fromkeys(key for row in ROWS for key in row)}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    found = list(local(path))
    wanted = BAD if suffix == ".jsonl" else BAD[:-1]                    # in a table all rows have all the columns
    if suffix == ".jsonl":
        assert [one.bad is not None for one in found] == [False, False, *[True] * 6]
        assert all(said in str(one.bad) for said, one in zip(wanted, found[2:], strict=False))
        log = run(spoken_qa(data=str(path), n=None), model, tmp_path / "logs")
        errors = [one for one in log.samples or [] if one.error]
        assert log.status == "success" and len(errors) == 6 and values(log)["accuracy_n"] == 2
        assert sum(bool(one.scores) and not one.error for one in log.samples or []) + len(errors) == len(found)
    else:
        assert all(one.bad and "unknown field 'colour'" in one.bad for one in found[-1:])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"choices": 5}, "`choices` must be a list of texts, got 5"), ({"choices": "owl"}, "`choices` must be a list"),
        ({"choices": [1, "owl"]}, "`choices` must be a list"), ({"groups": "x"}, "`groups` must be an object"),
        ({"language": 5}, "`language` must be a text, got 5"), ({"text": ["what?"]}, "`text` must be a text"),
        ({"audio": {"bytes": None, "path": None}}, "a recording or picture must be a file's name"),
        ({"image": 3}, "a recording or picture must be a file's name"), ({"baseline": 4}, "`baseline` must be a text"),
        ({"image": ["a.png"]}, "no such file"), ({"accepted": "owl"}, "`accepted` must be a list of texts, got 'owl'"),
        ({"choices": ["owl"], "accepted": ["bird"]}, "`accepted` beside `choices`"),
    ],
)  # fmt: skip
def test_a_field_of_another_kind_is_an_error_of_its_record_alone(
    row: dict[str, object], said: str, tmp_path: Path
) -> None:
    good = {"text": "what?", "target": "owl"}
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, [{**good, **row}, good])))
    bad, other = local(tmp_path / "mine.jsonl")
    assert said in str(bad.bad) and other.bad is None


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_record_may_show_several_pictures(suffix: str, tmp_path: Path) -> None:
    """As MMMU does; in a table they are its lists of {"bytes", "path"}."""
    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    for colour in ("red", "blue"):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{colour}.png")
    files = {name: (tmp_path / name).read_bytes() for name in ("red.png", "blue.png")}
    path = tmp_path / f"mine{suffix}"
    if suffix == ".jsonl":
        path.write_text(json.dumps({"text": "which?", "target": "red", "image": list(files)}))
    else:
        held = [{"bytes": content, "path": name} for name, content in files.items()]
        pyarrow.parquet.write_table(pyarrow.table({"text": ["which?"], "target": ["red"], "image": [held]}), path)
    (sample,) = dataset(list(local(path)), "mine")
    first, second, asked = sample.input[0].content
    assert [read_picture(one)[0, 0].tolist() for one in (first, second)] == [[255, 0, 0], [0, 0, 255]]
    assert asked.text == "which?" and sample.metadata["bad"] is None


def test_sounds_and_pictures_inside_a_table_are_read(tmp_path: Path) -> None:
    """As `datasets` writes them: {"bytes", "path"}."""
    import io

    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    sound, picture = io.BytesIO(), io.BytesIO()
    soundfile.write(sound, 0.1 * np.sin(np.arange(3200) / 9), 16000, format="WAV")
    Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    files = [sound.getvalue(), b"no sound"], [picture.getvalue(), picture.getvalue()[:-30]]
    table = {name: [{"bytes": one, "path": "x"} for one in some]
             for name, some in zip(("audio", "image"), files, strict=True)}  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.table({**table, "target": ["owl", "owl"]}), tmp_path / "a.parquet")
    good, bad = dataset(list(local(tmp_path / "a.parquet")), "mine")
    audio, image = good.input[0].content
    assert read_sound(audio)[0] == pytest.approx(0.1 * np.sin(np.arange(3200) / 9), abs=1e-3)
    assert (read_picture(image) == (255, 0, 0)).all() and good.metadata["bad"] is None
    assert bad.metadata["bad"].startswith("a.parquet, record 2: not audio that can be read")


def test_a_table_may_have_rows_without_a_file_and_files_beside_it(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    soundfile.write(tmp_path / "q.wav", 0.1 * np.sin(np.arange(3200) / 9), 16000)
    sounds = [None, {"bytes": None, "path": "q.wav"}, {"bytes": None, "path": None}]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {"audio": pyarrow.array(sounds, kind), "text": ["what?"] * 3, "target": ["owl"] * 3}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet", row_group_size=2)
    written, heard, bad = dataset(list(local(tmp_path / "a.parquet")), "mine")
    assert [[part.type for part in one.input[0].content] for one in (written, heard)] == [["text"], ["audio", "text"]]
    assert "a.parquet, record 3: a recording or picture must be a file's name" in bad.metadata["bad"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_only_the_recordings_that_are_asked_are_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "q.wav", 0.1 * np.sin(np.arange(3200) / 9), 16000)
    path = tmp_path / f"mine{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({"audio": "q.wav", "target": str(n)}) for n in range(50)))
    else:
        import pyarrow
        import pyarrow.parquet

        held = [{"bytes": (tmp_path / "q.wav").read_bytes(), "path": None}] * 50
        pyarrow.parquet.write_table(pyarrow.table({"audio": held, "target": list(map(str, range(50)))}), path)
    read: list[str] = []
    really = module._sound
    monkeypatch.setattr(module, "_sound", lambda source, where: read.append(where) or really(source, where))
    samples = transcribe(data=str(path), n=3).dataset
    assert len(samples) == 3 == len(set(read))
    assert all(read_sound(one.input[0].content[0])[1] == 16000 for one in samples)


def test_a_repeated_id_is_an_error_of_its_record_and_the_others_are_scored(model: Path, tmp_path: Path) -> None:
    rows = [{"id": name, "text": "what?", "target": "owl"} for name in ("a", "b", "a", "mine.jsonl:3")]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    log = run(translate(data=str(tmp_path / "mine.jsonl")), model, tmp_path / "logs")
    assert log.status == "success" and values(log)["chrf_n"] == 3 and len(log.samples or []) == 4
    (bad,) = [one for one in log.samples or [] if one.error]
    assert "mine.jsonl, record 3: another has its id, 'a'" in bad.error.message


def test_records_come_in_seeded_order_and_nothing_there_is_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ids = [[one.id for one in translate(data=str(data), n=20, seed=seed).dataset] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]
    (tmp_path / "empty.jsonl").write_text("")
    for path, said in ((str(tmp_path / "empty.jsonl"), "holds nothing"), ("nowhere.jsonl", "no such file")):
        with pytest.raises(InputError, match=said):
            records(path, lambda manifest: [])
    with pytest.raises(InputError, match=r"no data: name a folder .* there is none in runs/voiced, "):
        records(None, lambda manifest: [])


def test_without_data_the_usual_folder_is_asked(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    (tmp_path / "runs" / "tiny" / "voiced").symlink_to(data)
    assert [one.id for one in translate(n=5).dataset] == [one.id for one in translate(data=str(data), n=5).dataset]
    monkeypatch.setenv("OMNI_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere: no prepared data there"):
        translate(n=5)


def test_the_task_in_the_documents_runs_and_is_under_forty_lines(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "@task" in block]
    assert len(code.splitlines()) < 40
    (tmp_path / "spell.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    (log,) = inspect_ai.eval(
        "spell.py", model=f"omni/{model}", task_args={"data": str(data), "n": 5}, log_dir=str(tmp_path / "logs"),
        display="none",
    )  # fmt: skip
    assert log.status == "success" and values(log)["cer_n"] == 5


def test_the_entry_point_of_inspect_is_ours() -> None:
    import importlib
    import tomllib

    from inspect_ai._util.registry import registry_lookup

    project = tomllib.loads((DOCS.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert importlib.import_module(project["entry-points"]["inspect_ai"]["omni"]).CAPABILITY
    for kind, name in [("modelapi", "omni"), *(("task", one.__name__) for one in CAPABILITY)]:
        named = registry_lookup(kind, f"omni/{name}") or registry_lookup(kind, name)  # `python -m pytest` in a checkout
        assert named, name                                              # hides the installed package from inspect
