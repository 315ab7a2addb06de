"""Serving a run on the loopback address."""

import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

from expunge.errors import InputError, Interrupted
from expunge.view.app import application
from expunge.view.run import ViewedRun

ADDRESS = "127.0.0.1"


def view(
    run: str | Path,
    port: int = 0,
    browser: bool = True,
    hidden: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a run until the process is interrupted.

    Args:
        run: the run folder.
        port: on the loopback address; 0: a free one.
        browser: whether to open it.
        hidden: hide texts of forget sets and names, as in a redacted report.
        say: is told the address.

    Raises:
        InputError: the run was not measured, or the port is taken.
    """
    viewed, token = ViewedRun(Path(run), hidden), secrets.token_urlsafe(24)
    app = application(viewed, token)
    try:
        listening = socket.create_server((ADDRESS, port))
    except (OSError, OverflowError) as error:
        raise InputError(f"--port {port}: cannot be used ({error}). Leave it out for a free one.") from error
    address = f"http://{ADDRESS}:{listening.getsockname()[1]}/{token}/"
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )

    def ready() -> None:
        say(f"{viewed.name}: {address} (for this machine alone; Ctrl-C ends it)")
        sys.stdout.flush()
        if browser:
            webbrowser.open(address)

    with listening, suppress(Interrupted, KeyboardInterrupt):  # that is how it ends
        _Server(config, ready).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it serves: an interrupt after that is the server's to handle, one before it would be in its way."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
