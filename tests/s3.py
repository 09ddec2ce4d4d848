"""A real implementation of S3's protocol, on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
import s3fs
from moto.server import ThreadedMotoServer


@contextmanager
def s3_server() -> Iterator[tuple[int, pytest.MonkeyPatch]]:
    """Its port, and a patch that ends with it. Keys are in the environment, as users have them. It begins without any
    bucket, whatever another server of this process was given."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    requests.post(f"http://127.0.0.1:{port}/moto-api/reset", timeout=60).raise_for_status()
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            patch.setenv(name, "us-east-1")
        yield port, patch
    server.stop()
