"""A real web server for a while, on the loopback.

python -m tools.bench_fetch --shards 1 --rounds 1
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gen.errors import UserError
from tools.programs import find_program

_CONFIG = """
daemon off; {user} worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
    fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
    sendfile on; tcp_nopush on;
    server {{ listen 127.0.0.1:{port}; root {root}; {extra} }}
}}
"""


def find_nginx() -> str:
    """Where the program is. Raises `UserError`."""
    return find_program("nginx", "nginx-light", "by which files are served")


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx(root: Path, folder: Path, extra: str = "") -> Iterator[str]:
    """nginx with the files below ``root``; its URL. ``folder`` is for its own files; ``extra`` goes to its server.

    Raises `UserError` where it is missing, or does not start.
    """
    program, port = find_nginx(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    user = "user root;" if os.geteuid() == 0 else ""  # else it may not enter a temporary folder
    config, log = folder / "nginx.conf", folder / "error.log"
    text = _CONFIG.format(user=user, folder=folder, port=port, root=root, extra=extra)
    config.write_text(text, encoding="utf-8")
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(config), "-e", str(log)])
    try:
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None:
                raise UserError(f"nginx does not start: {log.read_text(encoding='utf-8').strip()}")
            time.sleep(0.01)
        else:
            raise UserError(f"nginx does not answer at port {port}: {log.read_text(encoding='utf-8').strip()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
