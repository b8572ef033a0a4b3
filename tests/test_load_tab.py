"""The tab ``Server``: what the page is given and asks for, and what a real browser makes of it while load runs."""

import csv
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from browser import Browser, browser
from greensock.load.stats import TOTALS, Endpoint
from greensock.testing import wait_until
from program import TIMEOUT, Program
from test_load_stats import counted

import loadlab
from locust import User, task
from locust.env import Environment
from greensock.load.tab import CHARTED, PARTS, add_tab
from greensock.load.watch import Watch

assert loadlab


class Idle(User):
    @task
    def idle(self) -> None:
        """Nothing."""


class Page:
    """locust's web UI, asked without a socket."""

    def __init__(self, environment: Environment, **options: Any) -> None:
        web_ui = environment.create_web_ui("127.0.0.1", 0, delayed_start=True, **options)
        self.watch = Watch(environment, Endpoint("127.0.0.1:1"))
        web_ui.template_args["extended_tabs"] = [{"title": "Another", "key": "another"}]
        add_tab(web_ui, self.watch)
        assert web_ui.app is not None
        self.client = web_ui.app.test_client()
        self.arguments = web_ui.template_args

    def get(self, path: str) -> Any:
        return self.client.get(path)


@pytest.fixture
def environment(no_leaks: None) -> Iterator[Environment]:
    made = Environment(user_classes=[Idle])
    runner = made.create_local_runner()
    yield made
    runner.quit()


@pytest.fixture
def page(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setattr("sys.argv", ["locust"])  # which its page reads for its form
    return Page(environment)


def test_locusts_page_is_given_the_tab_and_what_draws_it(page: Page) -> None:
    text = page.get("/").get_data(as_text=True)
    assert '{"key": "greensock", "title": "Server"}' in text
    assert '"key": "another"' in text, "the tabs of others stay"
    scripts = [f'<script defer src="./greensock/{name}"></script>' for name in ("uplot.min.js", "tab.js")]
    assert scripts[0] in text and text.index(scripts[0]) < text.index(scripts[1]) < text.index("</body>")
    assert "//" not in "".join(scripts), "nothing comes from elsewhere"
    assert page.get("/stats/requests").is_json, "other answers are locust's own"


@pytest.mark.parametrize("name", PARTS)
def test_its_parts_are_served(page: Page, name: str) -> None:
    answer = page.get(f"/greensock/{name}")
    assert (answer.status_code, answer.mimetype) == (200, PARTS[name])
    assert len(answer.data) > 500


@pytest.mark.parametrize("name", ["uplot.LICENSE", "nothing.js", "..%2floadtab.py", "__init__.py"])
def test_nothing_else_is(page: Page, name: str) -> None:
    assert page.get(f"/greensock/{name}").status_code == 404


def test_the_numbers_that_it_asks_for(page: Page) -> None:
    history = page.watch.history
    history.add(10.0, [counted(url="tcp://a:1"), counted(url="tcp://b:1")])
    sample = history.add(11.0, [counted(url="tcp://a:1", drains=2, connections=1), counted(url="tcp://b:1", drains=3)])
    sample.client_per_s = page.watch.client_per_s = 7.5
    data = page.get("/greensock/data").json
    assert (data["endpoint"], data["problem"], data["client_messages_per_s"]) == ("http://127.0.0.1:1/stats", None, 7.5)
    assert [(server["url"], server["drains"]) for server in data["servers"]] == [("tcp://a:1", 2), ("tcp://b:1", 3)]
    points = data["points"]
    assert set(points) == {"time", "client_messages_per_s", *CHARTED}
    assert (points["time"], points["drains"], points["connections"]) == ([10, 11], [0, 5], [0, 1])
    assert points["client_messages_per_s"] == [None, 7.5]
    assert page.get("/greensock/data?since=10").json["points"]["time"] == [11]
    assert page.get("/greensock/data?since=yesterday").status_code == 400


def test_before_there_are_any(page: Page) -> None:
    page.watch.problem = "nobody answers"
    data = page.get("/greensock/data").json
    assert (data["problem"], data["servers"], data["points"]["time"]) == ("nobody answers", [], [])


def test_the_file_among_the_downloads(page: Page) -> None:
    page.watch.history.add(10.0, [counted(url="tcp://a:1")])
    [download] = page.arguments["extended_csv_files"]
    answer = page.get("/" + download["href"].removeprefix("./"))
    assert answer.mimetype == "text/csv" and "attachment" in answer.headers["Content-Disposition"]
    heading, row = csv.reader(answer.get_data(as_text=True).splitlines())
    assert set(heading) >= {"Timestamp", "Server", *TOTALS} and row[:2] == ["10", "tcp://a:1"]


def test_behind_a_path_of_its_own(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["locust"])
    environment.parsed_options = Environment
    monkeypatch.setattr(Environment, "web_base_path", "/load", raising=False)
    for name in ("num_users", "spawn_rate", "run_time", "stats_history_enabled"):
        monkeypatch.setattr(Environment, name, None, raising=False)
    page = Page(environment, web_base_path="/load")
    assert "./greensock/tab.js" in page.get("/load/").get_data(as_text=True)
    assert page.get("/load/greensock/tab.js").status_code == 200
    assert page.get("/greensock/tab.js").status_code == 404


def test_behind_a_login(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["locust"])
    page = Page(environment, web_login=True)
    app: Any = page.client.application
    app.secret_key = "x"
    app.login_manager.user_loader(lambda name: None)
    for path in ("/greensock/data", "/greensock/history.csv", "/greensock/tab.js"):
        answer = page.get(path)
        assert answer.status_code == 302 and "/login" in answer.headers["Location"]


# -- in a browser ----------------------------------------------------------------------------------------

ROWS = "[...document.querySelectorAll('#greensock .table tbody tr')].map(row => [...row.cells].map(c => c.textContent))"

#: How many pixels of the first chart have the colour of the clients' line.
DRAWN = """
    const canvas = document.querySelector('#greensock canvas');
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const is = (at, ...colour) => colour.every((part, index) => data[at + index] === part);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) count += is(at, 0xef, 0x6c, 0x00);
    return count;
"""

CLICK = "[...document.querySelectorAll('[role=tab]')].find(tab => tab.textContent === '{}').click()"


def test_in_a_browser_while_load_runs(no_leaks: None, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    demo = Program("loadtests/demo.py", "--ui", "--users", "5", "--web-port", str(port))
    try:
        url = demo.wait_for("http://").split()[0]
        wait_until(lambda: is_listening(port), TIMEOUT)
        with browser(tmp_path) as page:
            look(page, url, tmp_path / "tab.png")
        demo.send(signal.SIGINT)
        status, _, errors = demo.finish()
        assert status == 130 and "Traceback" not in errors, errors
    finally:
        demo.kill()


def is_listening(port: int) -> bool:
    gevent.sleep(0.1)
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def look(page: Browser, url: str, picture: Path) -> None:
    page.open(url)
    [server, clients] = page.wait_for(f"const rows = {ROWS}; return rows.length === 2 && rows[0][5] > '0' && rows")
    assert server[0].startswith("tcp://127.0.0.1:") and server[1] == "5"
    assert clients[0].startswith("clients")
    page.wait_for(f"return {ROWS}[0][5] !== {server[5]!r}")
    page.wait_for(f"return {ROWS}[1][3] > '0'")
    page.wait_for(f"{DRAWN.replace('return count', 'return count > 50')}")
    assert page.run("return document.querySelectorAll('#greensock canvas').length") == 4
    page.run(CLICK.format("Failures"))
    page.wait_for("return document.querySelector('#greensock') === null")
    page.run(CLICK.format("Server"))
    page.wait_for("return document.querySelector('#greensock canvas')")
    page.screenshot(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert page.errors() == []


def test_the_parts_are_in_the_package() -> None:
    static = Path(__file__).parent.parent / "greensock" / "load" / "static"
    assert {path.name for path in static.iterdir()} == {*PARTS, "uplot.LICENSE"}
