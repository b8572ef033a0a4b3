"""How many exchanges a second one locust process makes with ``SocketUser``, beside a user by hand on a raw socket.

    python loadtests/beside_raw.py [--rounds 5] [--seconds 5] [--users 20] [--listen]

The three of ``_raw.py`` take turns against one echo service. At the end there are medians, and those of the ratios to
the raw user in each round: by exchanges in a second, and by processor time for each exchange. With ``--listen`` a test
has a listener of its own for the event ``request``, so that each exchange has to be one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _serving import HERE, positive, serving

USERS = ("RawUser", "OneByOne", "Pipelined")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive(int), default=5)
    parser.add_argument("--seconds", type=positive(int), default=5)
    parser.add_argument("--users", type=positive(int), default=20)
    parser.add_argument("--listen", action="store_true", help="have a listener for the event request")
    args = parser.parse_args()
    rates: dict[str, list[float]] = {user: [] for user in USERS}
    costs: dict[str, list[float]] = {user: [] for user in USERS}
    with tempfile.TemporaryDirectory() as folder, serving("Echo", f"unix:{folder}/stats") as url:
        for number in range(args.rounds):
            for user in USERS:
                rate, cost = measure(user, url, Path(folder), args)
                rates[user].append(rate)
                costs[user].append(cost)
                print(f"round {number + 1} {user:<10} {rate:>10,.0f} exchanges/s {cost:>7.2f} µs each", flush=True)
    raw = USERS[0]
    for user in USERS:
        by_rate = statistics.median(mine / its for mine, its in zip(rates[user], rates[raw], strict=True))
        by_cost = statistics.median(its / mine for mine, its in zip(costs[user], costs[raw], strict=True))
        rate, cost = statistics.median(rates[user]), statistics.median(costs[user])
        print(f"{user:<10} {rate:>10,.0f} exchanges/s, {by_rate:.2f} x; {cost:.2f} µs each, {by_cost:.2f} x")


def measure(user: str, url: str, folder: Path, args: argparse.Namespace) -> tuple[float, float]:
    """Exchanges a second of one run, and microseconds of processor time for each."""
    command = [
        *(sys.executable, "-m", "locust", "-f", str(HERE / "_raw.py"), user, "--headless", "--only-summary"),
        *("-u", str(args.users), "-r", "100", "-t", str(args.seconds), "-s", "5", "--host", url),
        *("--json-file", str(folder / user)),
    ]
    before = os.times()
    environment = {**os.environ, **({"LISTEN": "1"} if args.listen else {})}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = os.times()
    rows = json.loads((folder / f"{user}.json").read_text(encoding="utf-8"))
    row = max(rows, key=lambda row: row["num_requests"])
    assert not any(row["num_failures"] for row in rows), "some have failed"
    used = after.children_user + after.children_system - before.children_user - before.children_system
    seconds = row["last_request_timestamp"] - row["start_time"]
    return row["num_requests"] / seconds, used / row["num_requests"] * 1e6


if __name__ == "__main__":
    main()
