"""What operators and their programs read: JSON, metrics, and whether the service wants connections."""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

import greensock
from greensock.serve.monitor import Monitor
from greensock.stats import Stats
from greensock.testing import PATIENCE, Dial, Peer, Recorder, Serve, wait_until

Watch = Callable[..., Monitor]


@pytest.fixture
def watch(no_leaks: None) -> Iterator[Watch]:
    """A function that makes a monitor of servers; it ends with the test."""
    monitors: list[Monitor] = []

    def start(
        *servers: greensock.Server,
        address: object = ("127.0.0.1", 0),
        ready: Callable[[], bool] = lambda: True,
        more: Callable[[], dict[str, tuple[float, str]]] = dict,
    ) -> Monitor:
        monitors.append(Monitor(address, servers, more=more, ready=ready))
        return monitors[-1]

    yield start
    for monitor in monitors:
        monitor.close()


def ask(monitor: Monitor, path: str, method: str = "GET", more: str = "") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and text of an answer, after which the connection ends."""
    with Peer(monitor.server.address) as peer:
        peer.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
        head, _, body = peer.read_to_end().partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def echoing() -> dict[str, Any]:
    return {"data": lambda socket, data: socket.write(data)}


def test_stats_are_those_of_all_servers_in_json(serve: Serve, dial: Dial, watch: Watch) -> None:
    first, second = serve(echoing()), serve(echoing())
    monitor = watch(first, second, more=lambda: {"reloads": (7, "How often.")})
    peer = dial(second)
    assert peer.exchange(b"hello") == b"hello"
    status, headers, body = ask(monitor, "/stats")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert int(headers["Content-Length"]) == len(body)
    told = json.loads(body)
    assert told["ready"] is True
    assert told["reloads"] == 7
    assert [server["url"] for server in told["servers"]] == [first.url, second.url]
    assert told["servers"][1] == {"url": second.url, **second.stats().as_dict()}
    assert told["servers"][1]["bytes_read"] == 5


def test_ready_says_whether_it_wants_connections(watch: Watch) -> None:
    ready = True
    monitor = watch(ready=lambda: ready)
    assert ask(monitor, "/ready")[::2] == (200, b"ready\n")
    ready = False
    assert ask(monitor, "/ready")[::2] == (503, b"stopping\n")
    assert json.loads(ask(monitor, "/stats")[2])["ready"] is False


def test_metrics_are_those_of_prometheus(serve: Serve, dial: Dial, watch: Watch) -> None:
    server = serve(echoing())
    monitor = watch(server, more=lambda: {"reloads": (7, "How often.")})
    assert dial(server).exchange(b"hello") == b"hello"
    status, headers, body = ask(monitor, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    stats = server.stats().as_dict()
    for name in (field.name for field in dataclasses.fields(Stats) if field.name != "started_at"):
        family = families[f"greensock_{name}"]
        (sample,) = (sample for sample in family.samples if not sample.name.endswith("_created"))
        assert sample.labels == {"server": server.url}
        assert sample.value == stats[name]
        assert family.documentation.endswith(".")
    assert families["greensock_connections"].type == "gauge"
    assert families["greensock_bytes_read"].type == "counter"
    assert families["greensock_reloads"].samples[0].value == 7
    assert "process_open_fds" in families, "what the library tells of every process"


def test_metrics_come_in_the_newer_form_for_those_who_ask(watch: Watch) -> None:
    accept = "Accept: application/openmetrics-text;version=1.0.0\r\n"
    status, headers, body = ask(watch(), "/metrics", more=accept)
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_it_is_no_longer_told_of_when_it_is_closed(serve: Serve) -> None:
    Monitor(("127.0.0.1", 0), [serve(echoing())], more=dict, ready=lambda: True).close()
    assert "greensock_connections" not in {metric.name for metric in REGISTRY.collect()}


def test_head_has_no_body(watch: Watch) -> None:
    monitor = watch()
    status, headers, body = ask(monitor, "/ready", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "6", b"")


def test_a_query_does_not_matter(watch: Watch) -> None:
    assert ask(watch(), "/ready?verbose=1")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/readyness", 404), ("POST", "/ready", 501)]
)
def test_anything_else_is_refused(watch: Watch, method: str, path: str, status: int) -> None:
    assert ask(watch(), path, method)[0] == status


@pytest.mark.parametrize("text", [b"\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"x" * 20_000])
def test_what_is_no_request_ends_and_nothing_is_logged(
    watch: Watch, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    monitor = watch()
    with Peer(monitor.server.address) as peer:
        peer.send(text)
        answer = peer.read_to_end()
    assert answer == b"" or b"400" in answer
    assert caplog.records == []
    assert ask(monitor, "/ready")[0] == 200


def test_it_listens_on_a_unix_path_as_well(watch: Watch, tmp_path: Path) -> None:
    assert ask(watch(address=f"unix:{tmp_path / 'stats'}"), "/ready")[0] == 200


def test_it_holds_up_no_process(watch: Watch) -> None:
    watch()
    greensock.run(signals=False)


def test_two_cannot_tell_of_one_process(watch: Watch) -> None:
    watch()
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        watch()


def test_it_answers_while_handlers_wait(serve: Serve, dial: Dial, watch: Watch) -> None:
    recorder = Recorder(data=lambda socket, data: gevent.sleep(1000))
    server = serve(recorder.handlers)
    peer = dial(server)
    peer.send(b"hello")
    recorder.wait_for("data")
    assert json.loads(ask(watch(server), "/stats")[2])["servers"][0]["handlers_running"] == 1
    server.stop(0)


# -- Prometheus itself -----------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_a_real_prometheus_scrapes_it(serve: Serve, dial: Dial, watch: Watch, tmp_path: Path) -> None:
    server = serve(echoing())
    monitor = watch(server)
    assert dial(server).exchange(b"hello") == b"hello"
    with gevent.socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "prometheus.yml").write_text(
        f"""
        scrape_configs:
          - job_name: greensock
            scrape_interval: 100ms
            scrape_timeout: 100ms
            static_configs:
              - targets: ["127.0.0.1:{monitor.server.port}"]
        """
    )
    with (tmp_path / "log").open("wb") as log:
        prometheus = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(
            lambda: query(port, "greensock_bytes_read_total") == {server.url: 5.0},
            timeout=2 * PATIENCE,
            what=(tmp_path / "log").read_text(),
        )
        assert query(port, "up") == {None: 1.0}
    finally:
        prometheus.kill()
        prometheus.wait()


def query(port: int, expression: str) -> dict[str | None, float]:
    """What Prometheus has of *expression*, by server; empty while it does not answer."""
    try:
        with gevent.socket.create_connection(("127.0.0.1", port), 10) as asking:
            asking.sendall(f"GET /api/v1/query?query={expression} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while part := asking.recv(65536):
                answer += part
        results = json.loads(answer.partition(b"\r\n\r\n")[2])["data"]["result"]
    except (OSError, ValueError, KeyError):
        return {}
    return {result["metric"].get("server"): float(result["value"][1]) for result in results}
