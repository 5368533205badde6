"""The demo page as it is served: complete, and nothing that its policy forbids. (`make browser` uses it.)"""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import PurePosixPath

import pytest
from starlette.testclient import TestClient

from omni.live.engine.pool import Pool
from omni.live.http.app import PAGE, application
from omni.live.http.door import Door

FILES = sorted(path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*.*"))


@pytest.fixture
def client() -> TestClient:
    return TestClient(application(Pool([], 1), Door()))               # the model is not started


class Links(HTMLParser):
    """What a page loads, and what in it a strict policy does not let run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.forbidden: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.forbidden += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.forbidden.append(tag)
        self.loads += [given[name] or "" for name in ("src", "href") if name in given]


def test_the_policy_lets_nothing_come_from_elsewhere_and_the_page_keeps_it(client: TestClient) -> None:
    answer = client.get("/")
    policy = dict(part.split(maxsplit=1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert Links(answer.text).forbidden == []
    for name in FILES:
        addresses = re.findall(r"""https?://[^\s"')]+""", (PAGE / name).read_text("utf-8"))
        assert {address for address in addresses if "www.w3.org" not in address} == set(), name


def test_everything_that_the_page_loads_is_there_and_is_used(client: TestClient) -> None:
    waiting = [link for link in Links(client.get("/").text).loads if not link.startswith("data:")]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        answer = client.get(path)
        kind = "text/css" if path.endswith(".css") else "text/javascript"
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind), path
        here = PurePosixPath(path).parent
        imports = [str(here / link) for link in re.findall(r"""^import .* from "\./(.+)";$""", answer.text, re.M)]
        worklets = [f"/page/audio/{name}.js" for name in re.findall(r'^registerProcessor\("(\w+)"', answer.text, re.M)]
        if path.endswith("app.js"):
            worklets = ["/page/audio/capture.js", "/page/audio/playback.js"]
        waiting += {*imports, *worklets} - seen
        seen |= {*imports, *worklets}
    assert seen == {f"/page/{name}" for name in FILES if name != "index.html"}


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/http/app.py", "/page/nothing.js"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here to run the page's script with")
@pytest.mark.parametrize(
    ("tag", "wanted"),
    [("fil-PH", None), ("fi", "fi"), ("fi-FI", "fi"), ("pt-BR", "pt"), ("PT-br", "pt"), ("pt-PT", "pt"),
     ("zh-CN", "zh-cn"), ("zh-Hant-TW", None), ("e", None)],
)  # fmt: skip
def test_the_page_begins_with_the_language_of_the_browser(tag: str, wanted: str | None) -> None:
    asked = f"console.log(languageOf({tag!r}, ['en', 'fi', 'pt', 'pt-BR', 'zh-cn']) ?? '')"
    script = (PAGE / "settings.js").read_text("utf-8") + asked
    command = ["node", "--input-type=module"]
    found = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == (wanted or "")


def test_what_a_page_must_know_before_it_has_a_key() -> None:
    client = TestClient(application(Pool([], 1), Door(keys=("sesame",))))
    assert client.get("/about.json").json() == {"key": True}
    assert client.get("/v1/models").status_code == 401
