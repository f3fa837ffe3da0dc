"""The work of `backmix app`: serve a web page to try a run on pictures."""

from __future__ import annotations

import importlib.util
import os
import socket
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from backmix.app.folder import process_folder
from backmix.app.store import Store
from backmix.cli.arguments import AppArguments
from backmix.cli.console import make_console
from backmix.cli.stop_signals import Stop, StopSignals
from backmix.errors import BackmixError

FILES_OF = 10  # How many times the files of one request may wait for their answers.
LOOK = 60.0  # The seconds between two looks at what has waited for too long.


def app_command(run: Path, arguments: AppArguments) -> None:
    """Serve the page until Ctrl-C.

    Args:
        run: The folder of the run.
        arguments: The arguments of the command.

    Raises:
        BackmixError: If gradio is not installed, or if the run cannot be read.
        OSError: If the server cannot listen on the address and the port.
    """
    if importlib.util.find_spec("gradio") is None:
        raise BackmixError('the page is made with gradio, which is not installed: pip install "backmix[app]"')
    port = free_port(arguments.host, arguments.port)
    console = make_console()
    with StopSignals() as signals, process_folder() as folder:
        store = Store(
            folder / "uploads", most_bytes=arguments.max_space * 10**6, most_files=FILES_OF * arguments.max_files
        )
        try:
            page = _serve(run, arguments, port, store)
            console.print(f"The page is at {page.local_url}  (Ctrl-C stops it)")
            warn_of_network(console, arguments.host)
            while True:
                threading.Event().wait(LOOK)
                store.expire()
        except Stop:
            signals.hold()
            store.close()
            console.print("stopped; the pictures that were dropped are deleted")


def _serve(run: Path, arguments: AppArguments, port: int, store: Store) -> Any:
    """Load the run and start the server in a thread."""
    import torch

    from backmix.app.answers import Answers
    from backmix.app.guard import Guard, is_loopback
    from backmix.app.page import ON_LOAD, build_page, style, theme
    from backmix.app.unread import Unread
    from backmix.app.uploads import Uploads
    from backmix.classifier import OpenSetClassifier
    from backmix.metrics.usefulness import Verdict
    from backmix.runs.advice import advice, read_metrics
    from backmix.runs.fetch import run_folder
    from backmix.runs.folder import read_config
    from backmix.runs.refused import estimates

    classifier = OpenSetClassifier.load(run).to("cuda" if torch.cuda.is_available() else "cpu")
    # Gradio reads these variables when it is imported. They keep this process from contacting other machines.
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_ANALYTICS_MAX_EVENTS": "100",  # A record of each request, which nothing reads here.
        "GRADIO_TEMP_DIR": str(store.folder.parent),  # It makes folders of its own there.
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "*",
        "no_proxy": "*",
    }
    from starlette.middleware import Middleware

    here, metrics = run_folder(run), read_metrics(run_folder(run))
    refused = estimates(metrics, classifier.detector)
    limits = {"max_pixels": arguments.max_pixels, "max_files": arguments.max_files}
    answers = Answers(classifier, store.folder, refused=refused, on_answered=store.forget, **limits)
    verdict = Verdict.from_dict(metrics.get("verdict"))
    page = build_page(answers, advice(verdict, read_config(here), metrics, len(classifier.classes)))
    largest = arguments.max_upload * 10**6
    most = min(arguments.max_files * largest, arguments.max_space * 10**6) + 10**6  # What stands around the files.
    guard = Middleware(Guard, local_only=is_loopback(arguments.host))
    uploads = Middleware(Uploads, store=store, largest=largest, most=most)
    page.launch(
        server_name=f"[{arguments.host}]" if ":" in arguments.host else arguments.host,
        server_port=port,
        inbrowser=arguments.open_browser,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        show_error=False,
        max_file_size=largest,
        state_session_capacity=100,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        app_kwargs={
            "middleware": [guard, Middleware(Unread), uploads],
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
        theme=theme(),
        css=style(),
        js=ON_LOAD,
    )
    return page


def warn_of_network(console: Any, host: str) -> None:
    """Print a warning if other machines can reach the page."""
    from backmix.app.guard import is_loopback

    if not is_loopback(host):
        console.print(
            f"warning: it listens on {host}: anyone who can reach this machine over the network can use it, without "
            "a password and unencrypted. --host 127.0.0.1 keeps it to this machine.",
            style="yellow",
        )


def free_port(host: str, port: int) -> int:
    """Return the port, or a free port if `port` is 0.

    Raises:
        OSError: If the server cannot listen on the port. The message says what to do.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind, protocol)) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            return int(trial.getsockname()[1])
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"the page cannot listen on {host}, port {port}: {reason}. Choose another --port (0: any that is free), "
            "or another --host."
        ) from error
