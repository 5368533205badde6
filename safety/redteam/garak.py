"""Settings with which garak probes a served model: `python -m omni.safety.redteam.garak --base-url ADDRESS`.

garak lives in an environment of its own, since it pins other versions than omni does.
"""

import argparse
from pathlib import Path

import yaml

from omni.files import write_text
from omni.shipped import NAME

PROBES = ("dan.DanInTheWild", "encoding.InjectBase64", "goodside.WhoIsRiley", "grandma.Win10", "lmrc.SlurUsage")
GARAK = "0.17"                                                          # whose report is read by tests
EPILOG = """example:
  omni serve &
  python -m omni.safety.redteam.garak --base-url http://127.0.0.1:8700/v1 --out runs/garak
It prints the commands that follow: garak's own, and the one that takes its report over."""


def settings(base_url: str, model: str, probes: list[str], prompts: int, out: Path) -> str:
    """garak's configuration, as YAML: one answer a prompt, at most `prompts` of a probe, the report in `out`."""
    endpoint = {"uri": base_url.rstrip("/") + "/", "max_tokens": 80, "stop": []}
    return yaml.safe_dump({
        "run": {
            "generations": 1, "soft_probe_prompt_cap": prompts,
            "spec": {"include": [f"probes.{probe}" for probe in probes]},
        },
        "plugins": {
            "target_type": "openai.OpenAICompatible", "target_name": model,
            "generators": {"openai": {"OpenAICompatible": endpoint}},
        },
        "reporting": {"report_dir": str(out.resolve()), "report_prefix": "garak"},
    }, sort_keys=False)  # fmt: skip


def main() -> None:
    """Write the settings and say what to do with them."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-url", required=True, metavar="URL", help="of a server with OpenAI's chat completions")
    parser.add_argument("--model", default=NAME, help="its name there (default: %(default)s)")
    parser.add_argument("--probes", nargs="+", default=list(PROBES), help="of garak (default: %(default)s)")
    parser.add_argument("--prompts", type=int, default=20, help="at most, of each probe (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/garak"), help="folder (default: %(default)s)")
    args = parser.parse_args()
    path = args.out / "garak.yaml"
    write_text(path, settings(args.base_url, args.model, args.probes, args.prompts, args.out))
    print(f"settings: {path}")
    print(f'once:     python3 -m venv {args.out}/venv && {args.out}/venv/bin/pip install "garak=={GARAK}.*"')
    print(f"then:     OPENAICOMPATIBLE_API_KEY=none {args.out}/venv/bin/garak --config {path}")
    report = f"{args.out}/garak.report.jsonl"
    print(f"last:     omni eval suite garak --data {report}")


if __name__ == "__main__":
    main()
