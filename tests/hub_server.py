"""A hub on this machine: the few answers that huggingface_hub asks for to make, write and fetch a repository."""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0

    @property
    def sha(self):
        return hashlib.sha1(f"{self.commits}".encode()).hexdigest()


class Hub(ThreadingHTTPServer):
    """Repositories by name, and everything that arrived: (method, path, body)."""

    daemon_threads = True
    TOKEN = "hf_of_the_tests"

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = {}
        self.requests = []
        self.sizes = {}  # Told instead of the true ones.
        self.status = None  # Told instead of any answer.
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def fetched(self):
        return {path.rpartition("/")[2] for method, path, _ in self.requests if method == "GET" and "/resolve/" in path}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer("GET")

    def do_HEAD(self):
        self.answer("HEAD")

    def do_POST(self):
        self.answer("POST")

    def log_message(self, *_):
        pass

    def answer(self, method):
        hub, path = self.server, unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append((method, path, body))
        may = self.headers.get("Authorization") == f"Bearer {hub.TOKEN}"
        if hub.status:
            return self.send({"error": "as the test wants"}, hub.status)
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":
            return self.send({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            if not may:
                return self.send({"error": "Invalid username or password."}, 401)
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if name in hub.repositories:
                return self.send({"url": f"{hub.address}/{name}", "error": "You already created this repo"}, 409)
            hub.repositories[name] = Repository(wanted.get("visibility") == "private", {".gitattributes": b""})
            return self.send({"url": f"{hub.address}/{name}"})
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        repository = hub.repositories.get(name)
        if repository is None or (repository.private and not may):
            # The hub does not tell strangers which of the two it is.
            return self.send({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        if parts[0] != "api":
            return self.send_file(repository, parts[3], "/".join(parts[4:]), method)
        action, revision = [*parts[4:6], None, None][:2]
        if revision not in (None, "main", repository.sha):
            return self.send({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        if action in ("preupload", "commit") and not may:
            return self.send({"error": "Forbidden"}, 403)
        if action == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.send({"files": files})
        if action == "commit":
            return self.commit(name, repository, body)
        sizes = {file: hub.sizes.get(file, len(content)) for file, content in repository.files.items()}
        if action == "tree":
            return self.send(
                [
                    {"type": "file", "path": file, "size": size, "oid": hashlib.sha1(file.encode()).hexdigest()}
                    for file, size in sizes.items()
                ]
            )
        siblings = [{"rfilename": file, "size": size, "blobId": "0"} for file, size in sizes.items()]
        self.send({"id": name, "sha": repository.sha, "private": repository.private, "siblings": siblings})

    def commit(self, name, repository, body):
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del repository.files[value["path"]]
        repository.commits += 1
        url = f"{self.server.address}/{name}/commit/{repository.sha}"
        self.send({"commitUrl": url, "commitOid": repository.sha, "success": True})

    def send_file(self, repository, revision, file, method):
        if revision != repository.sha or file not in repository.files:
            return self.send({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        content = repository.files[file]
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", repository.sha)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if method == "GET":
            self.wfile.write(content)

    def send(self, content, status=200, headers=None):
        text = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
