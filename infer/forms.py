"""The forms that a request may have, as images: JSON, form fields or uploaded files, with raw pixels or image files.

    curl -F file=@line.png http://127.0.0.1:5000/crnn
    curl -d img="$(base64 line.png)" http://127.0.0.1:5000/crnn

Names of uploaded files are never looked at, and nothing is written to a disk.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar
from urllib.parse import unquote_to_bytes

import numpy as np
from fastapi import HTTPException
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header

from gen.errors import UserError
from infer.recognizer import Direction
from infer.schemas import ManyImages, OneImage, Options, explain

JSON, FIELDS, PARTS = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
MOST_FIELDS = 16
MOST_ESCAPES = 1000  # of other characters than the usual ones
USUAL = [(escape, char.encode()) for char in "+/=\r\n" for escape in {b"%%%02X" % ord(char), b"%%%02x" % ord(char)}]
MARKS = 16  # colons and commas of JSON that describe one image, and more

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Given:
    """An image that was sent: a file's bytes, or grey pixels uint8 [H, W]."""

    image: bytes | NDArray[np.uint8]
    direction: Direction


Item: TypeAlias = Given | UserError  # or why it is no image


@dataclass(frozen=True)
class _Form:
    """Values by name, and the contents of uploaded files."""

    fields: list[tuple[str, str]]
    files: list[bytes]

    def values(self) -> dict[str, object]:
        """The fields as the models want them: ``shape`` is repeated, or has a comma, and no other is."""
        result: dict[str, object] = {}
        for name, value in self.fields:
            if name == "shape":
                result[name] = (*result.get(name, ()), *value.split(","))  # type: ignore[misc]
            elif name in result:
                raise HTTPException(422, f"{' '.join(name[:60].split())}: given more than once")
            else:
                result[name] = value
        return result


def parse_one(content_type: str, body: bytes) -> Item:
    """The image in the body of a request. Raises `HTTPException`: 415 for another type of content, 422 for a body that
    is not of its type or lacks something."""
    kind = _kind(content_type, (JSON, FIELDS, PARTS))
    if kind == JSON:
        _check_marks(body, 1)
        return _item(_checked(lambda: OneImage.model_validate_json(body, strict=True)))
    form = _fields(body) if kind == FIELDS else _parts(content_type, body, 1)
    if not form.files:
        _check_marks(body, 1)
        return _item(_checked(lambda: OneImage.model_validate(form.values())))
    options = _checked(lambda: Options.model_validate(form.values()))
    return _given(form.files[0], options.shape, options.direction)


def parse_many(content_type: str, body: bytes, most: int) -> list[Item]:
    """The images in the body of a request, at most so many. Raises `HTTPException`, as `parse_one` does."""
    if _kind(content_type, (JSON, PARTS)) == JSON:
        _check_marks(body, most)
        images = _checked(lambda: ManyImages.model_validate_json(body, strict=True)).images
        _check_count(len(images), most)
        return [_item(image) for image in images]
    form = _parts(content_type, body, most)
    options = _checked(lambda: Options.model_validate(form.values()))
    if not form.files:
        raise HTTPException(422, "file: none was sent")
    return [_given(data, options.shape, options.direction) for data in form.files]


def _kind(content_type: str, known: Sequence[str]) -> str:
    kind = parse_options_header(content_type)[0].decode("latin-1")
    if kind not in known:
        raise HTTPException(415, f"content type {kind[:60]!r} is none of {', '.join(known)}")
    return kind


def _checked(validate: Callable[[], Model]) -> Model:
    try:
        return validate()
    except ValidationError as error:
        raise HTTPException(422, explain(error)) from None


def _check_marks(body: bytes, most: int) -> None:
    """Refuse JSON of very many values at once: to say of each what is wrong with it would take minutes."""
    if body.count(b":") + body.count(b",") > MARKS * (most + 1):
        raise HTTPException(422, f"body: it has far more values than {most} images need")


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise HTTPException(422, f"{count} images are more than the {most} that may be sent at once")


def _item(asked: OneImage) -> Item:
    text = asked.img.partition(",")[2] if asked.img.startswith("data:") else asked.img
    try:
        data = base64.b64decode(text.encode("ascii").translate(None, b"\t\r\n "), validate=True)
    except ValueError as error:
        reason = "it has other characters" if isinstance(error, UnicodeEncodeError) else error
        return UserError(f"img is not base64: {reason}")
    return _given(data, asked.shape, asked.direction)


def _given(data: bytes, shape: tuple[int, int] | None, direction: Direction) -> Item:
    if shape is None:
        return Given(data, direction)
    height, width = shape
    if height * width != len(data):
        return UserError(f"shape: {height} x {width} px are {height * width:,} bytes of grey, but {len(data):,} came")
    return Given(np.frombuffer(data, np.uint8).reshape(height, width), direction)


def _fields(body: bytes) -> _Form:
    if body.count(b"&") >= MOST_FIELDS:
        raise HTTPException(422, f"more than {MOST_FIELDS} fields were sent")
    pairs = [pair.partition(b"=") for pair in body.split(b"&") if pair]
    try:
        fields = [(_unescaped(name), _unescaped(value)) for name, _, value in pairs]
    except ValueError as error:
        raise HTTPException(422, f"body: no form fields: {error}") from None
    # A plus sign that a client did not escape has become a space.
    return _Form([(name, value.replace(" ", "+") if name == "img" else value) for name, value in fields], [])


def _unescaped(text: bytes) -> str:
    """A name or value as it was before it was put into a form. Raises `ValueError`.

    `unquote_to_bytes` takes 200 bytes of memory for each escape, and a white image is nothing but escaped slashes.
    """
    text = text.replace(b"+", b" ")
    for escape, character in USUAL:
        text = text.replace(escape, character)
    if text.count(b"%") > MOST_ESCAPES:
        raise ValueError(f"more than {MOST_ESCAPES:,} escaped characters that base64 does not have")
    return unquote_to_bytes(text).decode()


def _parts(content_type: str, body: bytes, most: int) -> _Form:
    fields: list[Field] = []
    files: list[File] = []
    ended: list[bool] = []

    def count(parts: list[Field] | list[File], limit: int) -> None:
        if len(parts) > limit:
            raise HTTPException(422, f"more than {limit} {'files' if parts is files else 'fields'} were sent")

    def on_field(field: Field) -> None:
        fields.append(field)
        count(fields, MOST_FIELDS)

    def on_file(file: File) -> None:
        files.append(file)
        count(files, most)

    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    try:
        if not boundary:
            raise FormParserError("the content type has no boundary")
        parser = FormParser(
            PARTS,
            on_field,
            on_file,
            lambda: ended.append(True),
            boundary,
            config={"MAX_MEMORY_FILE_SIZE": float("inf")},
        )
        parser.write(body)
        parser.finalize()
        if not ended:
            raise FormParserError("it ends too early")
        pairs = [((field.field_name or b"").decode(), (field.value or b"").decode()) for field in fields]
    except (FormParserError, ValueError) as error:
        raise HTTPException(422, f"body: no multipart form: {' '.join(str(error).split())[:150]}") from None
    return _Form(pairs, [file.file_object.getvalue() for file in files])  # type: ignore[union-attr]  # all in memory
