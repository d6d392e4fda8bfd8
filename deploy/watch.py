"""Watch a training or a road go on, in a browser: ``python deploy/watch.py RUN_DIR``."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click

from deploy.run_folder import READ, found
from spikestrip.command import main
from spikestrip.errors import BadInput, printable
from spikestrip.files import writable, write_text
from train.logs import CURVE, EPOCHS, EXPERIMENT, SHARDS, STATE

HOST = "127.0.0.1"
SCRIPTS = ("carried.js", "plots.js", "training.js")


def look(folder: Path) -> dict[str, Any]:
    """What there is to see in ``folder`` now (``deploy.reporting.training.look``). Raises BadInput."""
    from deploy.reporting import stations, training
    from deploy.reporting.words import clock

    now = time.time()
    if (folder / EXPERIMENT).exists() or (folder / EPOCHS).exists():
        seen = training.look(folder, now)
    elif stations.begun(folder):
        seen = stations.look(folder, now)
    else:
        raise BadInput(folder, f"is no folder of a training ({EXPERIMENT}, {EPOCHS}), nor of a road")
    return seen | {"at": clock(now)}


def page(folder: Path, live: bool) -> str:
    """The page of ``folder``; live: it asks its server for more."""
    from deploy.reporting.page import rendered

    name = printable(folder.resolve().name)
    return rendered("training.html", SCRIPTS, {"live": live, "state": look(folder)}, folder=name, live=live)


class Server(ThreadingHTTPServer):
    """Serves the page of ``folder`` on this machine, to this machine alone. port: 0 takes one that is free."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder, self.page = folder, page(folder, live=True)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise BadInput("--port", f"{port} can't be had ({error.strerror}); give another") from error

    def state(self) -> dict[str, Any]:
        """``look``, or why there is nothing to be seen just now."""
        from deploy.reporting.words import clock

        try:
            return look(self.folder)
        except (BadInput, OSError) as error:  # OSError: a file that was there a moment ago
            return {"state": "unreadable", "said": printable(str(error)), "at": clock(time.time())}


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        # a page from elsewhere may call this machine by a name of its own
        if self.headers.get("Host", "").rpartition(":")[0] not in (HOST, "localhost"):
            self._answer(403, "text/plain", "only for this machine\n")
        elif self.path == "/":
            self._answer(200, "text/html", self.server.page)
        elif self.path == "/state.json":
            self._answer(200, "application/json", json.dumps(self.server.state(), allow_nan=False))
        else:
            self._answer(404, "text/plain", "no such page\n")

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        with suppress(ConnectionError):  # the browser has gone
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is not filled with a line every two seconds."""


@click.command("watch")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), help="Where to serve on 127.0.0.1. Default: one that is free.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the page as it is now, and serve nothing.")
def command(run_dir: Path, port: int | None, output: Path | None) -> None:
    """Show a training (the folder of train --run-dir) or a road as it goes on, in a browser, until Ctrl-C.

    The page draws itself anew as its files change: how far it is, losses, accuracies, spiking rates, options; or the
    stations of the road. It is served to this machine alone.
    """
    if output is not None:
        logs = (EXPERIMENT, EPOCHS, CURVE, STATE, SHARDS)  # the last two are not read, but a run's life
        out = writable(output, found(run_dir, (*READ, *logs)))
        write_text(out, page(run_dir, live=False))
        click.echo(f"{out}")
        return
    with Server(run_dir, port or 0) as server:
        click.echo(f"http://{HOST}:{server.server_port}/ shows {run_dir}; Ctrl-C ends it")
        server.serve_forever()


if __name__ == "__main__":
    main(command)
