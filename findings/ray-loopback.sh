#!/usr/bin/env bash
# Ray 2.60.0 on Linux.
#
# Behaviour: a cluster that is started on this machine alone, with the loopback address, without its dashboard and with
# usage reports off, is neither on the loopback address nor without the process that reports.
# - `ray.init(_node_ip_address="127.0.0.1")` takes the outward address of the machine instead, and the node listens
#   there. With RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 in the environment before Ray is imported it keeps 127.0.0.1. (On a
#   machine without an outward address there is nothing to see; this script then says so.)
# - `include_dashboard=False` with RAY_USAGE_STATS_ENABLED=0 still starts dashboard.py, with the module UsageStatsHead,
#   which asks the metadata services of clouds (169.254.169.254, metadata.google.internal) where it runs. It does not
#   start where the port of the dashboard is taken.
#
# Output seen:
#   as given            node on the outward address, UsageStatsHead running
#   variable, port held node on 127.0.0.1, UsageStatsHead not running
#
# Exits with 0 while this is so, with 1 when it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check ray==2.60.0 psutil==7.2.2

cat > "$folder/finding.py" <<'PY'
import os
import socket
import sys
import time

import psutil

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
held = sys.argv[1] == "held"
if held:
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
import ray

probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    probe.connect(("192.0.2.1", 9))  # Of a datagram socket this sends nothing; it only chooses the outward address.
    outward = probe.getsockname()[0]
except OSError:
    outward = "127.0.0.1"
with socket.socket() as taken:
    options = {}
    if held:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = {"dashboard_host": "127.0.0.1", "dashboard_port": taken.getsockname()[1]}
    ray.init(
        _node_ip_address="127.0.0.1",
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        num_cpus=1,
        **options,
    )
time.sleep(2)
address = ray.nodes()[0]["NodeManagerAddress"]
words = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
reports = any("dashboard.py" in each and "UsageStatsHead" in each for each in words)
ray.shutdown()
if outward == "127.0.0.1":
    where = "there is no outward address to see"
else:
    where = {"127.0.0.1": "node on 127.0.0.1", outward: "node on the outward address"}.get(address, "elsewhere")
seen = f"{where}, UsageStatsHead {'running' if reports else 'not running'}"
print(f"{'variable, port held' if held else 'as given':19} {seen}")
if outward != "127.0.0.1":
    wanted = "node on 127.0.0.1" if held else "node on the outward address"
    sys.exit(where != wanted or reports == held)
sys.exit(reports == held)
PY
"$folder/venv/bin/python" -c 'import sys, ray; print(f"Python {sys.version.split()[0]}, ray {ray.__version__}")'
same=0
"$folder/venv/bin/python" "$folder/finding.py" given || same=1
"$folder/venv/bin/python" "$folder/finding.py" held || same=1
[ $same = 0 ] && echo "as described" || echo "NOT as described: something has changed"
exit $same
