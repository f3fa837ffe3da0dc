"""`backmix app` in a process of its own, and the requests that its page makes."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

MULTIPART = "multipart/form-data; boundary=xx"


def multipart(*files: tuple[str, bytes]) -> bytes:
    """The body of an upload, with the names as they are given."""
    parts = [
        b"--xx\r\n" + f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode() + content
        for name, content in files
    ]
    return b"\r\n".join([*parts, b"--xx--\r\n"])


class Server:
    """`backmix app` in a process of its own, with a folder of its own for temporary files.

    Args:
        run: The run to serve.
        folder: Its home and working folder.
        options: Further words of the command.
        under: A command that runs it, such as strace with its options.
        environment: Its environment; None: that of the tests.
    """

    def __init__(
        self,
        run: Path,
        folder: Path,
        *options: str,
        under: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [*under, sys.executable, "-m", "backmix", "app", str(run), "--port", "0", *options],
            env={**(environment or os.environ), "TMPDIR": str(self.temporary), "HOME": str(folder)},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.first = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", self.first)
        assert found, self.first + self.process.stdout.read()
        self.address = found[0]

    @property
    def parent(self) -> Path:
        """The folder that holds the folders of all servers of this user."""
        return self.temporary / f"backmix-app-{os.getuid()}"

    def stored(self) -> list[Path]:
        """The files of uploads that lie on the disk now."""
        return [path for path in self.parent.glob("page-*/uploads/*") if path.is_file()]

    def stop(self) -> str:
        """Ask it to end, and give what it printed since the first line."""
        self.process.terminate()
        return self.process.communicate(timeout=60)[0]

    def get(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
        """Status and text of one request."""
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(self.address + path, data, given)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def upload(self, name: str, content: bytes) -> tuple[int, str]:
        """Upload a file as the page does."""
        return self.get("gradio_api/upload", multipart((name, content)), Content_Type=MULTIPART)

    def join(self, data: list[object], number: int = 0) -> tuple[int, str]:
        """Ask for what the page asks for when a picture was dropped (1: when several were); wait for the answer."""
        session = secrets.token_hex(8)
        body = {"data": data, "fn_index": number, "session_hash": session}
        status, text = self.get("gradio_api/queue/join", json.dumps(body).encode(), Content_Type="application/json")
        return self.get(f"gradio_api/queue/data?session_hash={session}") if status == 200 else (status, text)

    def answer_to(self, uploaded: str, name: object = "x.png", accept: float = 0.95) -> str:
        """Ask what a picture is that was uploaded, by the text that answered the upload."""
        (path,) = json.loads(uploaded)
        return self.join([{"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}, accept])[1]

    def break_off(self, body: bytes, sent: int) -> None:
        """Begin an upload, send so many bytes of it, and go away."""
        host, port = urllib.parse.urlsplit(self.address).netloc.split(":")
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {MULTIPART}\r\n"
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:sent])
