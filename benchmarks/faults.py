"""Do to backmix what accidents and strangers do, and print what was lost: nothing, if all is well.

Parts:
  kills    100 kills (SIGKILL) of all commands that write, at drawn moments; started again, they end as if untouched
  runs     300 altered runs of a seeded mutator: refused, answered as before, or valid where they were signed again
  images   200 altered picture files of every format among healthy ones: answered, or named as unreadable
  clients  50 clients of the app at once: each gets the answer to its own picture
  pairs    two of every command at once on one folder: one whole result
  disk     a disk that gets full at each write of every command: a sentence, and nothing half written

Every part is seeded. A part that is in the file of results is not run again.

Run: python benchmarks/faults.py [--json results/faults.json] [--parts kills,runs] [--seed 0] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backmix.files import write_json

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # The requests of the page, the signing of runs and the full disk are there.

from fault_clients import parallel_clients  # noqa: E402
from fault_commands import World, make_world  # noqa: E402
from fault_disk import full_disks  # noqa: E402
from fault_images import altered_images  # noqa: E402
from fault_kills import kills  # noqa: E402
from fault_pairs import pairs  # noqa: E402
from fault_runs import altered_runs  # noqa: E402

PARTS: dict[str, Callable[[World, int, float], dict[str, Any]]] = {
    "kills": lambda world, seed, share: kills(world, seed, max(12, round(100 * share))),
    "runs": lambda world, seed, share: altered_runs(world.run, max(10, round(300 * share)), seed),
    "images": lambda world, seed, share: altered_images(world, max(12, round(200 * share)), seed),
    "clients": lambda world, seed, share: parallel_clients(world, max(10, round(50 * share)), seed),
    "pairs": lambda world, seed, share: pairs(world, max(1, round(2 * share))),
    "disk": lambda world, seed, share: full_disks(seed),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "faults.json")
    parser.add_argument("--parts", default=",".join(PARTS), help="which of them, with commas between")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="the share of the trials, for a quick look")
    parser.add_argument("--folder", type=Path, help="where the commands work; default: a temporary folder")
    args = parser.parse_args()
    wanted = args.parts.split(",")
    if unknown := [part for part in wanted if part not in PARTS]:
        raise SystemExit(f"the parts are {', '.join(PARTS)}; got {unknown[0]!r}")
    found: dict[str, Any] = json.loads(args.json.read_text()) if args.json.is_file() else {}
    setting = {"seed": args.seed, "share": args.share}
    if found and found["setting"] != setting:
        raise SystemExit(f"{args.json} was made with {found['setting']}; move it away or give another --json")
    found["setting"] = setting
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        world = make_world(Path(folder))
        for part in wanted:
            if part in found:
                continue
            print(part, flush=True)
            begin = time.monotonic()
            found[part] = PARTS[part](world, args.seed, args.share) | {"minutes": 0.0}
            found[part]["minutes"] = round((time.monotonic() - begin) / 60, 1)
            args.json.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.json, found)
    lost = [f"{part}: {text}" for part in PARTS for text in found.get(part, {}).get("lost", [])]
    for part in PARTS:
        if part in found:
            shown = {key: value for key, value in found[part].items() if key not in ("commands", "lost")}
            print(f"{part}: {', '.join(f'{key} {value}' for key, value in shown.items())}")
    print(f"lost: {len(lost)}" if lost else "lost: nothing")
    for text in lost:
        print(f"  {text}")
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
