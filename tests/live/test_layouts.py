"""The layouts of docs/serving.md name what there is."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from omni.commands import serve

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
OBJECTS = [each for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for each in yaml.safe_load_all(block)]


def pods() -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each["spec"]["template"] for each in OBJECTS if each["kind"] == "Deployment"}


def commands() -> list[str]:
    """Every `omni serve` of the page."""
    shells = [line.partition("  #")[0] for line in PAGE.splitlines() if line.startswith("    omni serve")]
    for pod in pods().values():
        for container in pod["spec"]["containers"]:
            command = container["command"] + container.get("args", [])
            shells += [command[-1]] if command[0] == "sh" else [shlex.join(command)]
    return [found[0] for line in shells if (found := re.search(r"omni serve[^&]*", line))]


def test_commands_have_flags_that_exist() -> None:
    assert len(commands()) == 4
    for command in commands():
        parser = argparse.ArgumentParser(exit_on_error=False)
        serve.configure(parser)
        parser.parse_args(shlex.split(command)[2:])


@pytest.mark.parametrize("name", [each["metadata"]["name"] for each in OBJECTS if each["kind"] == "Service"])
def test_services_lead_to_pods_that_listen(name: str) -> None:
    (spec,) = [each["spec"] for each in OBJECTS if (each["kind"], each["metadata"]["name"]) == ("Service", name)]
    (pod,) = [pod for pod in pods().values() if pod["metadata"]["labels"] == spec["selector"]]
    listening = {port["containerPort"] for one in pod["spec"]["containers"] for port in one["ports"]}
    assert {port.get("targetPort", port["port"]) for port in spec["ports"]} <= listening


def test_pods_mount_what_they_have_and_are_selected() -> None:
    for each in OBJECTS:
        if each["kind"] == "Deployment":
            template = each["spec"]["template"]
            assert each["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
            volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
            for container in template["spec"]["containers"]:
                assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes
