"""Ask `backmix app` from many clients at once: each gets the answer to its own picture."""

from __future__ import annotations

import io
import json
import random
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from app_server import Server
from fault_commands import World
from PIL import Image


def parallel_clients(world: World, number: int, seed: int) -> dict[str, Any]:
    """Ask for the answers to different pictures one after another, then all at once, and compare.

    Args:
        world: Its run answers.
        number: The number of clients at once. One in ten breaks off, one in ten uploads what is no picture.
        seed: The seed of the pictures.
    """
    dice = random.Random(seed)
    kinds = [dice.choices(("picture", "no picture", "broken off"), (8, 1, 1))[0] for _ in range(number)]
    contents = [_picture(seed + at) if kind == "picture" else dice.randbytes(2000) for at, kind in enumerate(kinds)]
    lost: list[str] = []
    found: dict[int, str] = {}
    with tempfile.TemporaryDirectory(dir=world.root) as folder:
        server = Server(world.run, Path(folder))
        try:
            alone = {at: _ask(server, at, contents[at]) for at, kind in enumerate(kinds) if kind != "broken off"}

            def client(at: int) -> None:
                try:
                    if kinds[at] == "broken off":
                        body = b'--xx\r\nContent-Disposition: form-data; name="files"; filename="x.png"\r\n\r\n'
                        server.break_off(body + contents[at], len(body) + 500)
                    else:
                        found[at] = _ask(server, at, contents[at])
                except Exception as error:
                    lost.append(f"client {at} ({kinds[at]}): {type(error).__name__}: {str(error)[:200]}")

            threads = [threading.Thread(target=client, args=(at,)) for at in range(number)]
            start = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds = time.monotonic() - start
            left = _wait_until_empty(server)
        finally:
            said = server.stop()
    for at, answer in alone.items():
        if found.get(at) != answer:
            lost.append(f"client {at} ({kinds[at]}): {found.get(at, 'no answer')[:200]} instead of {answer[:200]}")
    if "Traceback" in said:
        lost.append(f"the server printed {said[-300:]}")
    if left:
        lost.append(f"{left} files of uploads are left")
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return {
        "clients": number,
        **counts,
        "different answers": len(set(alone.values())),
        "seconds": round(seconds, 1),
        "lost": lost,
    }


def _ask(server: Server, at: int, content: bytes) -> str:
    """Upload a picture, ask for its answer, and return the parts of it that do not change from one time to the next."""
    name = f"{at}.png"
    status, uploaded = server.upload(name, content)
    if status != 200:
        raise RuntimeError(f"the upload was answered with {status}: {uploaded[:200]}")
    said = server.answer_to(uploaded, name)
    last = [line for line in said.splitlines() if "process_completed" in line]
    if not last:
        raise RuntimeError(f"no answer: {said[-300:]}")
    data = json.loads(last[-1].removeprefix("data: "))["output"]["data"]
    return re.sub(r"page-[\w-]+|[0-9a-f]{16,}", "", json.dumps(data))


def _picture(seed: int) -> bytes:
    random_ = np.random.default_rng(seed)
    pixels = random_.normal(random_.uniform(0, 255, 3), 40, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _wait_until_empty(server: Server) -> int:
    """Wait until the uploads of all clients are gone, at most 30 s; return how many are left."""
    end = time.monotonic() + 30
    while (left := len(server.stored())) and time.monotonic() < end:
        time.sleep(0.1)
    return left
