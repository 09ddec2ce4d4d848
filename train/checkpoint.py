"""Files of weights and of training state: self-describing, written whole or not at all, checked when read.

A checkpoint holds everything that a run needs to go on to the bit; a weights file what reading needs, in half
precision. Both say what they are for: charset, directions, image normalisation, network, data and measured accuracy.

    python -c "from train.checkpoint import load_weights; print(load_weights('runs/h/weights.pt').about)"
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from gen.charset import Charset
from gen.errors import UserError
from gen.settings import to_dict
from train.codec import Codec
from train.config import Crnn, Lite
from train.description import Description
from train.image import ImageSpec
from train.model import Net, build
from train.optim import mixed

FORMAT = 1
LAST, PREVIOUS, BEST, WEIGHTS = "last.pt", "previous.pt", "best.pt", "weights.pt"
DAMAGED = "damaged.pt"
MODEL: TypeAdapter[Lite | Crnn] = TypeAdapter(Lite | Crnn)
_SEAL = b"sha256 "  # and the digest of all bytes before it, as the comment that ends the zip archive
_SEALED = len(_SEAL) + hashlib.sha256().digest_size


class Damaged(UserError):
    """Not the bytes that were written."""


@dataclass(frozen=True)
class Weights:
    """A network that is ready to read, in evaluation mode, and what it must be given.

    ``about``: what the file tells of its making (data, steps, metrics, revision), JSON-able.
    """

    net: Net
    codec: Codec
    directions: tuple[str, ...]
    image: ImageSpec
    about: Mapping[str, Any]


def describe(model: Lite | Crnn, codec: Codec, directions: tuple[str, ...], image: ImageSpec) -> dict[str, Any]:
    """The part of a file that says what its numbers are for."""
    return {
        "format": FORMAT,
        "model": to_dict(model),
        "charset": codec.charset.chars,
        "charset_sha256": codec.charset.sha256,
        "space": codec.space,
        "directions": list(directions),
        "image": asdict(image),
    }


def save(path: Path, values: Mapping[str, Any], keep: Path | None = None) -> None:
    """Write a file under its name once all of it is on the disk; what had the name before goes to ``keep``.

    Raises `UserError` when the disk fails; the older files are as they were.
    """
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.*.tmp"):  # of a process that was killed
            stale.unlink(missing_ok=True)
        with temp.open("w+b") as file:
            torch.save(dict(values), file)
            _seal(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temp, path)
    except (OSError, RuntimeError) as error:  # torch wraps a failed write in a RuntimeError
        reason = error.strerror if isinstance(error, OSError) else "the disk is full, or fails"
        raise UserError(
            f"{path} cannot be written: {reason}; what was there before is kept, make room and run the same command"
        ) from None
    finally:
        temp.unlink(missing_ok=True)


def _seal(file: BinaryIO) -> None:
    """Digest an archive: its own checksums leave its directory out, and a byte flipped there gives other tensors."""
    file.seek(-2, os.SEEK_END)
    file.write(_SEALED.to_bytes(2, "little"))  # length of the comment, 0 so far
    file.seek(0)
    file.write(_SEAL + hashlib.sha256(file.read()).digest())


def load(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint or weights file of ours, on the CPU, without running any code that it may hold.

    Raises `UserError` when it is missing, `Damaged` (every byte is checked), or not ours.
    """
    try:
        data = path.read_bytes()
        if data[-_SEALED:] != _SEAL + hashlib.sha256(data[:-_SEALED]).digest():
            raise Damaged(f"{path} is damaged, or no file that this program wrote: take another one of the run")
        values = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give a file of weights or a checkpoint") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (RuntimeError, pickle.UnpicklingError):
        raise UserError(f"{path} holds more than numbers and plain values; nothing of it was run") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this program, which writes format {FORMAT}")
    return values


def load_newest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The last checkpoint of a run that is whole, None for a fresh run; and what is to be said about damaged ones: the
    last one is then put aside, or the next save would put it in place of the one before.

    Raises `UserError` when there are checkpoints and all are damaged, or one cannot be read for another reason.
    """
    notes: list[str] = []
    for name in (LAST, PREVIOUS):
        if (folder / name).exists():
            try:
                values = load(folder / name)
                if notes:
                    with suppress(FileNotFoundError):  # another process did it
                        os.replace(folder / LAST, folder / DAMAGED)
                return values, notes
            except Damaged as error:
                notes.append(str(error))
            except UserError:
                if (folder / name).exists():  # else another process has put it aside
                    raise
    if notes:
        raise UserError(f"{'; '.join(notes)}; no whole checkpoint is left in {folder}: give another --out")
    return None, notes


def load_weights(path: str | Path, charset: Charset | None = None, direction: str | None = None) -> Weights:
    """The network in a file: our weights or checkpoint (then its averaged parameters), or the older project's, which
    needs its ``charset`` and, where the file does not tell it, the ``direction`` of its lines.

    Raises `UserError`.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        from train.packed import load_packed

        return load_packed(path, charset, direction)
    if path.is_file() and not says_ours(path):
        from train.legacy import load_legacy

        if charset is None:
            raise UserError(
                f"{path} does not say its charset: give the list it was trained with, --charset FILE "
                "(--init-charset FILE where it is given with --init)"
            )
        return load_legacy(path, charset, direction)
    values = load(path)
    try:
        description = Description.parse(values)
        net = build(MODEL.validate_python(description.model), description.codec.classes)
        state = averaged(values) if "ema" in values else values["net"]
        net.load_state_dict({name: _full(tensor) for name, tensor in state.items()})
    except (KeyError, TypeError, RuntimeError, ValidationError) as error:
        raise UserError(f"{path} is not whole: {str(error).splitlines()[0][:150]}") from None
    description.check(path, charset, direction)
    return Weights(net.eval(), description.codec, description.directions, description.image, description.about)


def averaged(values: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """What the weights of a checkpoint are, as `train.optim.Average.weights` makes them."""
    kept = values.get("config", {}).get("learning", {}).get("keep_origin", 0.0)
    return mixed(values["ema"], values.get("origin", {}), kept, values.get("fresh"))


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def says_ours(path: Path) -> bool:
    """A cheap look: our files are zip archives whose pickle names the key ``charset_sha256``."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
            return name is None or b"charset_sha256" in archive.read(name)
    except Exception:  # a damaged archive makes zipfile raise nearly anything
        # The older project's first files are plain pickles; anything else is reported as damaged by `load`.
        with path.open("rb") as file:
            return not file.read(2).startswith(b"\x80")


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters in half precision: what weights files hold."""
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def revision() -> str:
    """The git revision of the code that runs, with a + when it was changed since; "" outside a clone."""
    here = Path(__file__).parent
    try:
        options: dict[str, Any] = {"cwd": here, "capture_output": True, "text": True, "timeout": 10}
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **options)
        dirty = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **options)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "") if head.returncode == 0 else ""
