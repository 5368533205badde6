"""Every client that we promise to serve, against a server of ours on the loopback interface: `make clients`.

Those that pin other versions than we do are installed under `runs/clients`. One line a client tells what was exercised.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from omni.eval.live.serving import server
from omni.live.hearing.pcm import Resampler

HERE = Path(__file__).parent
RUNS = Path("runs/clients").absolute()
PEERS = RUNS / "venv/bin/python"
NPM = RUNS / "npm"
LONGEST = 240                                                           # seconds that a client may take


def main() -> int:
    """The number of clients that failed."""
    RUNS.mkdir(parents=True, exist_ok=True)
    install_python()
    install_npm()
    recording, (cert, key) = speech(), certificate()
    failed = 0
    with server(None, None) as url:
        base = url.replace("ws", "http", 1).removesuffix("/realtime")
        failed += run("openai (Python)", [sys.executable, HERE / "openai_python.py", base, recording])
        failed += run("openai-agents", [sys.executable, HERE / "agents_python.py", url, recording])
        failed += run("@openai/agents-realtime (npm)", ["node", NPM / "agents_js.mjs", url, recording])
        failed += run("pipecat", [PEERS, HERE / "pipecat_client.py", url, recording])
        failed += run("livekit-plugins-openai", [PEERS, HERE / "livekit_client.py", base, recording])
    with server(None, None, "--tls-cert", str(cert), "--tls-key", str(key), "--key", "sesame") as url:
        base = url.replace("ws", "http", 1).removesuffix("/realtime")
        env = {"NODE_EXTRA_CA_CERTS": str(cert), "OPENAI_API_KEY": "sesame"}
        failed += run("openai (npm)", ["node", NPM / "openai_js.mjs", base, recording], **env)
    with server(None, caller()) as url:
        base = url.replace("ws", "http", 1).removesuffix("/realtime")
        failed += run("openai (Python)", [sys.executable, HERE / "calls/openai_python.py", base])
        failed += run("openai-agents", [sys.executable, HERE / "calls/agents_python.py", url])
        failed += run("@openai/agents-realtime (npm)", ["node", NPM / "agents_js_calls.mjs", url])
    return failed


def run(name: str, command: Sequence[str | Path], **env: str) -> bool:
    """Whether a client failed; its own lines tell what it did, its last words are shown when it fails."""
    try:
        done = subprocess.run(
            command, env={**os.environ, "PYTHONUNBUFFERED": "1", **env}, capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired as error:
        print(f"{name}\tFAILED: took longer than {error.timeout:.0f} s", flush=True)
        return True
    for line in done.stdout.splitlines():
        if line.startswith(f"{name}\t"):
            print(line.expandtabs(32), flush=True)
    if done.returncode:
        print(f"{name}\tFAILED".expandtabs(32), *done.stderr.splitlines()[-30:], sep="\n", flush=True)
    return done.returncode != 0


def install_python() -> None:
    wanted, stamp = HERE / "requirements.txt", RUNS / "venv/requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        subprocess.run([sys.executable, "-m", "venv", RUNS / "venv"], check=True)
        pip: list[str | Path] = [PEERS, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, "-r", wanted], check=True)
        shutil.copy(wanted, stamp)


def install_npm() -> None:
    wanted, stamp = HERE / "package.json", NPM / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        NPM.mkdir(exist_ok=True)
        shutil.copy(wanted, NPM)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=NPM, check=True)
        shutil.copy(wanted, stamp)
    for script in HERE.rglob("*.mjs"):
        shutil.copy(script, NPM)


def caller() -> str:
    """A model that calls a function, made once."""
    subprocess.run([sys.executable, HERE / "calls/teach.py", RUNS / "caller"], check=True, stdout=subprocess.DEVNULL)
    return str(RUNS / "caller/caller")


def speech() -> Path:
    """A sentence as flite or espeak-ng reads it, 24 kHz PCM16."""
    raw, path = RUNS / "said.wav", RUNS / "question.wav"
    text = "what is this picture"
    if shutil.which("flite"):
        subprocess.run(["flite", "-t", text, "-o", raw], check=True)
    else:
        subprocess.run(["espeak-ng", "-w", raw, text], check=True)
    wave, rate = soundfile.read(raw, dtype="float32")
    resampler = Resampler(rate, 24_000)
    soundfile.write(path, np.concatenate((resampler(wave), resampler.finish())), 24_000, subtype="PCM_16")
    return path


def certificate() -> tuple[Path, Path]:
    """A certificate of our own for the loopback interface, and its key."""
    cert, key = RUNS / "cert.pem", RUNS / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", *subject]
    subprocess.run([*made, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


if __name__ == "__main__":
    sys.exit(main())
