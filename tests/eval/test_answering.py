import subprocess
import sys

from omni.eval.answering import ANSWERS, ROOT

NO_MATTER = {"errors", "figures", "files", "shipped"}                  # to what is answered
LOADED = """
import sys, omni.decode.pipeline
print(*(module.__file__ for name, module in sys.modules.items() if name.startswith("omni.")))
"""


def test_all_code_that_an_answer_runs_through_is_named() -> None:
    run = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    files = [file for file in run.stdout.split() if file != "None"]
    assert len(files) > 30
    named = [str(path) for path in ANSWERS]
    assert all(path.exists() for path in ANSWERS)
    other = {
        file.removeprefix(f"{ROOT}/").removesuffix(".py").removesuffix("/__init__")
        for file in files
        if not any(file == path or file.startswith(f"{path}/") for path in named)
    }
    assert other <= NO_MATTER
