"""The service: reads lines over HTTP, as the older project's did, and shows a page at ``/``.

    python -m infer.server
    python -m infer.server -l horizontal.pth -v vertical.pth --charset their_all_words.txt -d cpu --port 5000
    curl -F file=@line.png http://127.0.0.1:5000/crnn

SIGTERM or Ctrl-C: what was asked is still answered, `/readyz` says 503 meanwhile, and the exit code is 0. The second
time it ends at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import warnings
from collections.abc import Sequence

from gen import command
from gen.charset import load_charset
from gen.errors import UserError
from gen.plan import parse_size
from infer.backend import DEVICES
from infer.options import add_reading

KEY = "CRNN_API_KEY"  # in the environment, where other users of the machine do not see it
HEAD = 10.0  # seconds for the head of a request
LOCAL = ("127.0.0.1", "::1", "localhost")


def parser() -> argparse.ArgumentParser:
    """Every flag, with its help."""
    result = command.Parser(prog="python -m infer.server", description="Read images of text lines over HTTP.")
    add = result.add_argument
    add("-l", "--weight-path-horizontal", metavar="W", help="weights for horizontal lines (default: the packaged ones)")
    add("-v", "--weight-path-vertical", metavar="W", help="weights for vertical lines (default: the packaged ones)")
    add("-d", "--device", choices=DEVICES, default="cpu", help="default: cpu")
    add_reading(result)
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    add("--port", type=_port, default=5000, help="default: 5000; 0: any that is free")
    add("--workers", metavar="N", help="threads that read (default: one for each processor)")
    add("--micro-batch", default="32", metavar="N", help="waiting images that are read together (default: 32; 1: none)")
    add("--queue", default="256", metavar="N", help="images that may wait before 429 is answered (default: 256)")
    add("--max-body", default="10M", metavar="BYTES", help="of a request (default: 10M)")
    add("--max-pixels", default="16M", metavar="N", help="of an image (default: 16M)")
    add("--timeout", type=float, default=30.0, metavar="S", help="seconds for a body, and for an answer (default: 30)")
    add("--api-key", metavar="KEY", help=f"refuse who does not send it as Authorization: Bearer KEY (or ${KEY})")
    return result


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give 1 to 65535, or 0 for any that is free")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0 when it was asked to end, 2 for what the user can mend."""
    return command.run(parser(), argv, serve, terminated=0)


def serve(args: argparse.Namespace) -> int:
    """Listen, load, answer until asked to end. Raises `UserError`."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's: the threads that read are one for each processor already
    try:
        import uvicorn

        from infer.app import HEADERS, Service, Settings, build
        from infer.connection import Server, connection_class
        from infer.limits import ACCEPTED, CONNECTIONS, most_connections
        from infer.recognizer import Recognizer
    except ModuleNotFoundError as error:
        raise UserError(f"the service needs {error.name}, which is not installed: pip install '.[serve]'") from None

    settings = Settings(
        workers=parse_size(args.workers, "--workers") if args.workers else len(os.sched_getaffinity(0)),
        queue=parse_size(args.queue, "--queue"),
        together=parse_size(args.micro_batch, "--micro-batch"),
        body=parse_size(args.max_body, "--max-body"),
        seconds=_seconds(args.timeout),
        key=_key(args.api_key),
    )
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # on forms that are damaged
    pixels = parse_size(args.max_pixels, "--max-pixels")
    with _listen(args.host, args.port) as listener:
        recognizer = Recognizer.load(
            horizontal=args.weight_path_horizontal, vertical=args.weight_path_vertical, device=args.device,
            charset=load_charset(args.charset) if args.charset else None, allow=args.allow, prior=args.prior,
            looks=args.looks, most_pixels=pixels,
        )  # fmt: skip
        service = Service(recognizer, settings)
        most = most_connections()
        config = uvicorn.Config(
            build(service), http=connection_class(min(HEAD, settings.seconds), 3 * settings.seconds, most * 9 // 10),
            backlog=ACCEPTED, limit_concurrency=most, timeout_graceful_shutdown=int(2 * settings.seconds) + 1,
            ws="none", lifespan="on", loop="asyncio", log_level="error", access_log=False, server_header=False,
            headers=HEADERS,
        )  # fmt: skip

        def ready() -> None:
            listener.listen(CONNECTIONS)  # so many may wait to be accepted
            host, port = listener.getsockname()[:2]
            ways = " and ".join(recognizer.backends)
            shown = f"[{host}]" if ":" in host else host
            command.say(f"python -m infer.server: reads {ways} lines at http://{shown}:{port} (Ctrl-C ends)")
            if args.host not in LOCAL and settings.key is None:
                command.say("python -m infer.server: other machines may reach it, and need no key: see --api-key")

        Server(config, service.drain, lambda: service.active == 0, ready).run([listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error  # names that are not found have numbers of their own
        raise UserError(
            f"--host {host} --port {port}: {reason}; end what listens there, or give another --port"
        ) from None
    # Connections inherit it. asyncio would not set it, and each answer, sent in two parts, would take 40 ms longer.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _seconds(value: float) -> float:
    if not 0.1 <= value <= 3600:
        raise UserError(f"--timeout {value:g}: give seconds from 0.1 to 3600")
    return value


def _key(given: str | None) -> str | None:
    key = given if given is not None else os.environ.get(KEY)
    if key is None:
        return None
    if not key.strip():
        raise UserError(f"the key in --api-key or {KEY} is empty: give one, or leave it out")
    return key.strip()  # a secret from a file often ends with a line feed, which no header can hold


if __name__ == "__main__":
    command.quiet("python -m infer.server", terminated=0)
    warnings.filterwarnings("ignore", module="PIL")  # on images that are damaged
    sys.exit(main())
