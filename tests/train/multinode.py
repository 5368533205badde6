"""`make multinode`: two hosts, which are network namespaces on this machine, train as two ranks of one host do.

Each has an address of its own on a virtual cable and starts torchrun as on a cluster; the run folder is shared, as over
NFS. The same two ranks on one host must end with the same bits. Then one of the hosts is killed, and both start again.
The last line is JSON: hosts, weights_bit_equal, resumed_bit_equal. Needs root and iproute2.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from soak import RECIPE, make_data, wait_for

HOSTS = ("omni-a", "omni-b")
ADDRESSES = ("10.77.7.1", "10.77.7.2")
PORT, STEPS = 29517, 60


def connect() -> None:
    """Two namespaces with a cable between them."""
    disconnect()
    for host in HOSTS:
        run("ip", "netns", "add", host)
    run("ip", "link", "add", "omni0", "netns", HOSTS[0], "type", "veth", "peer", "name", "omni0", "netns", HOSTS[1])
    for host, address in zip(HOSTS, ADDRESSES, strict=True):
        run("ip", "-n", host, "address", "add", f"{address}/24", "dev", "omni0")
        run("ip", "-n", host, "link", "set", "omni0", "up")
        run("ip", "-n", host, "link", "set", "lo", "up")


def disconnect() -> None:
    for host in HOSTS:
        subprocess.run(["ip", "netns", "delete", host], capture_output=True)


def start(host: int, recipe: Path, out: Path) -> "subprocess.Popen[bytes]":
    """torchrun on one host, as a cluster's scheduler starts it there."""
    words = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    words += ["--node_rank", str(host), "--master_addr", ADDRESSES[0], "--master_port", str(PORT)]
    words += ["-m", "omni.cli", "train", str(recipe), "--out", str(out)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "omni0", "OMP_NUM_THREADS": "1"}
    with (out.parent / f"{HOSTS[host]}.log").open("ab") as log:
        return subprocess.Popen(
            ["ip", "netns", "exec", HOSTS[host], *words], env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def lose_power(host: int) -> None:
    """Kill everything that runs on a host, at once."""
    found = subprocess.run(["ip", "netns", "pids", HOSTS[host]], capture_output=True, text=True, check=True)
    for process in map(int, found.stdout.split()):
        os.kill(process, signal.SIGKILL)


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"multinode: {' '.join(words)}: {done.stderr.strip() or done.returncode}")


def equal(one: Path, other: Path) -> bool:
    first, second = (load_file(path / "model" / "model.safetensors") for path in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


def finish(hosts: "list[subprocess.Popen[bytes]]", logs: Path) -> None:
    codes = [host.wait(300) for host in hosts]
    if any(codes):
        text = "\n".join((logs / f"{host}.log").read_text()[-2000:] for host in HOSTS)
        raise SystemExit(f"multinode: the hosts ended with {codes}\n{text}")


def main() -> None:
    if os.geteuid() or not shutil.which("ip"):
        raise SystemExit("multinode: needs root and iproute2 to make network namespaces")
    with tempfile.TemporaryDirectory(prefix="omni-multinode-") as folder:
        root = Path(folder)
        make_data(root / "shards")
        recipe = root / "recipe.yaml"
        recipe.write_text(RECIPE.format(root=root, steps=STEPS, hang=1))
        words = ["train", str(recipe), "--out", str(root / "one"), "--nproc", "2"]
        subprocess.run([sys.executable, "-m", "omni.cli", *words], check=True, capture_output=True)
        connect()
        try:
            finish([start(host, recipe, root / "two") for host in (0, 1)], root)
            hosts = [start(host, recipe, root / "cut") for host in (0, 1)]
            wait_for(lambda: any((root / "cut" / "checkpoints").glob("step-*")), "a checkpoint")
            lose_power(1)
            if hosts[0].wait(300) == 0:
                raise SystemExit("multinode: a host lost power and the other did not notice")
            finish([start(host, recipe, root / "cut") for host in (0, 1)], root)
        finally:
            disconnect()
        found = {
            "hosts": len(HOSTS),
            "weights_bit_equal": equal(root / "one", root / "two"),
            "resumed_bit_equal": equal(root / "one", root / "cut"),
        }
    print(json.dumps(found))
    sys.exit(not all(found.values()))


if __name__ == "__main__":
    main()
