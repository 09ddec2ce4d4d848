"""What the service is asked and what it answers, as pydantic models: they check requests, and make its OpenAPI.

curl http://127.0.0.1:5000/openapi.json
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infer.recognizer import Direction

Side = Annotated[int, Field(ge=1, le=10_000_000)]
IMAGE = (  # a white file with three strokes, 64x32 px
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAgAQAAAACK5kMpAAAALElEQVR42mP8zwABTAz0YfxlZGyAizBi"
    "2v6XkVEBRYSRWBd+ZGRUIF0XAQYApJgH6o63S0AAAAAASUVORK5CYII="
)


class Options(BaseModel):
    """What may be said about an image."""

    model_config = ConfigDict(extra="forbid")

    shape: Annotated[tuple[Side, Side] | None, Field(description="height and width of raw grey bytes, px")] = None
    direction: Annotated[Direction, Field(description="of the line; auto: as the image is wide or tall")] = "auto"


class OneImage(Options):
    """An image, and what may be said about it."""

    img: Annotated[
        str,
        Field(
            description="base64 of an image file; with a shape: of its pixels, one byte each, row by row",
            examples=[IMAGE],
        ),
    ]


class ManyImages(BaseModel):
    """Several images at once."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[OneImage], Field(min_length=1)]


class CharAnswer(BaseModel):
    """A character that was read."""

    text: str
    score: Annotated[float, Field(ge=0, le=1, description="its probability, the mean of all looks at it")]
    at: Annotated[float, Field(description="its middle along the line, px of the image as given")]
    alternatives: Annotated[list[tuple[str, float]], Field(description="what else it may be, the likeliest first")]


class LineAnswer(BaseModel):
    """A line that was read."""

    text: str
    direction: Annotated[str, Field(description="as which it was read")]
    score: Annotated[float, Field(ge=0, le=1, description="mean of the characters' scores")]
    min_score: Annotated[float, Field(ge=0, le=1, description="the smallest of them")]
    chars: list[CharAnswer]


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


class ManyAnswers(BaseModel):
    """A line or a problem for each image, in their order."""

    results: list[LineAnswer | Problem]


def explain(error: ValidationError) -> str:
    """What is wrong with a request, in one line."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[:5]
    names = [
        ".".join(map(str, each["loc"]))[:60] or "body" for each in found
    ]  # a name may be the sender's, of any kind
    return " ".join("; ".join(f"{name}: {each['msg']}" for name, each in zip(names, found)).split())


def _inline(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema without references."""
    schema = model.model_json_schema()
    for name, inner in schema.pop("$defs", {}).items():
        assert schema["properties"]["images"]["items"] == {"$ref": f"#/$defs/{name}"}
        schema["properties"]["images"]["items"] = inner
    return schema


def _form(*extra: tuple[str, dict[str, Any]], required: str) -> dict[str, Any]:
    properties = {**Options.model_json_schema()["properties"], **dict(extra)}
    properties["shape"] = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2}
    return {"type": "object", "properties": properties, "required": [required], "additionalProperties": False}


_FILE = {"type": "string", "format": "binary", "description": "an image file; with a shape: raw grey bytes"}
_GREY = {"img": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "shape": [4, 8]}

ONE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": _inline(OneImage),
            "examples": {
                "file": {"summary": "an image file", "value": {"img": IMAGE}},
                "pixels": {"summary": "raw grey bytes", "value": {**_GREY, "direction": "horizontal"}},
            },
        },
        "application/x-www-form-urlencoded": {
            "schema": _form(("img", OneImage.model_json_schema()["properties"]["img"]), required="img"),
            "examples": {"pixels": {"summary": "raw grey bytes, shape twice", "value": _GREY}},
        },
        "multipart/form-data": {"schema": _form(("file", _FILE), required="file")},
    },
}
MANY_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": _inline(ManyImages),
            "examples": {"two": {"summary": "a file and raw bytes", "value": {"images": [{"img": IMAGE}, _GREY]}}},
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {"type": "array", "items": _FILE, "minItems": 1},
                    "direction": Options.model_json_schema()["properties"]["direction"],
                },
                "required": ["file"],
                "additionalProperties": False,
            }
        },
    },
}
