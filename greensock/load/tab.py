"""The tab ``Server`` in locust's web UI: a table and charts of what a service does while it is under load.

Locust has tabs from outside and no charts for them, so a script of ours, which its page is given, draws into the tab as
long as that is the one shown. All that the browser needs comes from here: there may be no way to the internet.
"""

import csv
import io
from importlib.resources import files
from typing import Any, Final

from flask import Blueprint, Response, jsonify, request
from locust.web import WebUI

from .watch import Watch

TITLE: Final = "Server"
KEY: Final = "greensock"

#: What the page is made of, and what each part is.
PARTS: Final = {
    "tab.js": "text/javascript",
    "tab.css": "text/css",
    "uplot.min.js": "text/javascript",
    "uplot.min.css": "text/css",
}
#: The numbers of all servers together that there are charts of.
CHARTED: Final = (
    *("connections", "messages_read_per_s", "messages_written_per_s", "buffered"),
    *("drains", "slow_consumers", "errors"),
)

#: Goes to the end of locust's page. Its addresses are relative, as locust's own, so that they hold behind any path.
_INTO_PAGE: Final = "".join(
    (
        *(f'<link rel="stylesheet" href="./{KEY}/{name}">' for name in PARTS if name.endswith(".css")),
        *(f'<script defer src="./{KEY}/{name}"></script>' for name in ("uplot.min.js", "tab.js")),
    )
)


def add_tab(web_ui: WebUI, watch: Watch) -> None:
    """Give *web_ui* a tab with the numbers of *watch*, and a file of them among its downloads."""
    app = web_ui.app
    assert app is not None
    arguments = web_ui.template_args
    arguments["extended_tabs"] = [*arguments.get("extended_tabs", ()), {"title": TITLE, "key": KEY}]
    download = {"href": f"./{KEY}/history.csv", "title": "Download server statistics CSV"}
    arguments["extended_csv_files"] = [*arguments.get("extended_csv_files", ()), download]
    options = web_ui.environment.parsed_options
    base = getattr(options, "web_base_path", "") or ""
    app.register_blueprint(_routes(web_ui, watch), url_prefix=f"{base}/{KEY}")
    app.after_request(_add_script)


def _add_script(response: Response) -> Response:
    if request.endpoint == "locust.index" and response.status_code == 200 and response.mimetype == "text/html":
        page = response.get_data(as_text=True)
        before, body, after = page.rpartition("</body>")
        response.set_data(f"{before}{_INTO_PAGE}{body}{after}" if body else page + _INTO_PAGE)
    return response


def _routes(web_ui: WebUI, watch: Watch) -> Blueprint:
    """What the tab asks for, behind locust's login if there is one."""
    blueprint = Blueprint(KEY, __name__)
    static = files("greensock.load") / "static"

    def part(name: str) -> Any:
        if name not in PARTS:
            return Response("no such part", 404)
        return Response((static / name).read_bytes(), mimetype=PARTS[name])

    def data() -> Any:
        try:
            since = float(request.args.get("since", 0))
        except ValueError:
            return Response("since must be a number of seconds", 400)
        return jsonify(_data(watch, since))

    def history() -> Any:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(watch.history_rows())
        disposition = {"Content-Disposition": "attachment; filename=server_history.csv"}
        return Response(text.getvalue(), mimetype="text/csv", headers=disposition)

    for path, view in (("/<name>", part), ("/data", data), ("/history.csv", history)):
        blueprint.add_url_rule(path, view_func=web_ui.auth_required_if_enabled(view))
    return blueprint


def _data(watch: Watch, since: float) -> dict[str, Any]:
    """The last numbers of each server, and those for the charts from *since* on, in columns."""
    samples = [sample for sample in list(watch.history.samples) if sample.time > since]
    totals = [sample.total() for sample in samples]
    latest = watch.latest
    return {
        "endpoint": str(watch.endpoint),
        "problem": watch.problem,
        "client_messages_per_s": watch.client_per_s,
        "servers": [{"url": url, **numbers} for url, numbers in latest.servers.items()] if latest else [],
        "points": {
            "time": [sample.time for sample in samples],
            "client_messages_per_s": [sample.client_per_s for sample in samples],
            **{name: [total[name] for total in totals] for name in CHARTED},
        },
    }
