"""Time one generator of text lines, in a process of its own: started by ``python -m tools.bench_gen --peers``.

    python tools/bench_peer_worker.py TASK.json RESULT.json

Runs in the peers' own venv, so for them it needs only that venv's packages, not this project. Every line is new (no
line is drawn twice), has the same number of characters, is 32 px high and clean; the image stays in memory. A
generator that keeps drawn glyphs is slow at first and fast later, so both are measured: the first lines, and those
after a warm-up.
CPU time is that of the whole process, threads included, on one core.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEIGHT = 32
EM = 28  # font size in px: the largest at which a whole CJK line fits into 32 px
CANVAS = 512

Draw = Callable[[str], Any]


def pillow(font: Path, chars: str) -> Draw:
    """The yardstick: what anyone writes first, Pillow's text drawn on a 512x32 canvas and saved as JPEG, quality 90."""
    from PIL import Image, ImageDraw, ImageFont

    face = ImageFont.truetype(str(font), EM)
    top, bottom = face.getbbox("国")[1::2]
    height = (HEIGHT - top - bottom) // 2

    def draw(text: str) -> bytes:
        image = Image.new("L", (CANVAS, HEIGHT), 255)
        ImageDraw.Draw(image).text((2, height), text, font=face, fill=0)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        return file.getvalue()

    return draw


def trdg(font: Path, chars: str) -> Draw:
    """TRDG through its ``GeneratorFromStrings``: plain white paper, no blur, no skew, margins of 2 px."""
    strings: list[str] = [""]
    generator: Any = importlib.import_module("trdg.generators").GeneratorFromStrings(
        strings, fonts=[str(font)], language="cn", size=HEIGHT, background_type=1, margins=(2, 2, 2, 2)
    )

    def draw(text: str) -> Any:
        strings[0] = text
        return next(generator)[0]

    return draw


def neots(font: Path, chars: str) -> Draw:
    """neots through ``generate_instance``: black on white, every effect and offset off."""
    config = {
        "text_sampler": {
            "min_targets": 1,
            "max_targets": 50,
            "font_size": EM,
            "vertical_prob": 0.0,
            "sample_strategy": "font-first",
            "font_list": [str(font)],
        },
        "random_config": [{"type": "random", "prob": 1.0, "from_string": chars}],
        "bg_sampler": {
            "bg_image_prob": 0.0,
            "gray_bg_prob": 1.0,
            "text_color": "#000000",
            "bg_color": "#FFFFFF",
            "bg_list": [],
        },
        "post_process": {
            "text_effects": {"effect_prob": 0.0, "partial_effect_prob": 0.0},
            "text_paste": {
                "scale_range": [1.0, 1.0],
                "margin_range": [2, 2],
                "offset_prob": 0.0,
                "h_offset_range": [0, 0],
                "v_offset_range": [0, 0],
            },
            "transforms": {
                "rotation_prob": 0.0,
                "rotation_range": [0, 0],
                "distortion_prob": 0.0,
                "distortion_level": 0.0,
            },
        },
        "generate": {
            "output_height": HEIGHT,
            "retry_on_error": False,
            "out_jsonl": os.devnull,
            "out_dir": os.devnull,
            "batchsize": 1000,
            "hierarchical_structure": [100, 625],
        },
    }
    generator: Any = importlib.import_module("neots").SingleLineTextGenerator.from_config(config)
    return lambda text: generator.generate_instance(text, type="numpy")


def text_image_generator(font: Path, chars: str) -> Draw:
    """text-image-generator through ``gen_image_from_text_with_font_list``, effects off, with the one font only."""
    from PIL import Image, ImageFont

    family = ImageFont.truetype(str(font), EM).getname()[0]
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_TMP")))
    (folder / "fonts").mkdir()
    (folder / "fonts" / font.name).symlink_to(font.resolve())  # it reads the file again later: the link must stay
    (folder / "chars.txt").write_text("\n".join(f"{char}\t1" for char in chars), encoding="utf-8")
    (folder / "main.txt").write_text(str(family), encoding="utf-8")
    (folder / "paper").mkdir()  # read at the start, though a clean line uses none of it
    Image.new("L", (CANVAS, HEIGHT), 255).save(folder / "paper" / "white.png")
    config = {
        "FONT": {
            "font_dir": str(folder / "fonts"),
            "chinese_ch_file_path": str(folder / "chars.txt"),
            "main_font_list_file_path": str(folder / "main.txt"),
            "font_size": EM,
            "line_height": HEIGHT,
            "font_img_width": CANVAS,
            "font_img_height": HEIGHT,
        },
        "CV": {
            **{f"{name}_prob": 0.0 for name in ("box", "perspective", "blur", "filter", "emboss", "sharp")},
            **{f"perspective_{axis}": [0.0, 0.0, "u"] for axis in "xyz"},
            "blur_sigma": [0.0, 1.0, "u"],
        },
        "MERGE": {
            "bg_dir": str(folder / "paper"),
            "bg_height": HEIGHT,
            "bg_width": CANVAS,
            "height_diff": 2,
            "bg_alpha": [0.5, 1.5, "g"],
            "bg_beta": [-50, 50, "g"],
            "font_alpha": [0.2, 1.0, "u"],
            "reverse_prob": 0.0,
        },
    }
    file = folder / "config.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    generator: Any = importlib.import_module("text_image_generator").Generator(str(file))
    # It also loads the system's fonts and would mix them: keep this one for every character.
    faces = {c: [face for face in found if face[0] == family] for c, found in generator.chinese_ch_dict.items()}

    def draw(text: str) -> Any:
        return generator.gen_image_from_text_with_font_list(
            [(char, faces[char]) for char in text],
            text_color=(0, 0, 0),
            background_color=(255, 255, 255),
            apply_effect=False,
        )

    return draw


def own(font: Path, chars: str) -> Draw:
    """This project's generator on the same kind of line: the one font, 12 characters, no effects, narrow margins.

    Unlike the others it chooses the text itself, within the time measured. The glyphs must be in the cache already.
    """
    sets = ["corpus={balanced: 0, uniform: 1, common: 0, text: 0, repeats: 0, runs: 0}"]
    sets += ["corpus.length={low: 12, below: [13]}", f"layout.sizes=[{EM}]", "layout.tight=1"]
    config: Any = importlib.import_module("gen.config")
    sets += [f"effects.{name}.p=0" for name in config.EFFECTS]
    sample: Any = importlib.import_module("gen.sample")
    source = sample.RecipeSource(
        config.load_recipe(None, sets),
        importlib.import_module("gen.charset").Charset(chars),
        tuple(importlib.import_module("gen.fonts").fonts_from([str(font)])),
        (),
        importlib.import_module("gen.paths").cache_dir(),
    )
    recipe = sample.open_recipe(source)
    stream = sample.Stream(1, "horizontal", "train")
    numbers = iter(range(10**9))

    def draw(text: str) -> Any:
        return sample.render(recipe, stream, next(numbers)).pixels

    draw("")  # compiled code is loaded at the first call
    return draw


PEERS: dict[str, Callable[[Path, str], Draw]] = {
    "pillow": pillow,
    "crnn-shards": own,
    "trdg": trdg,
    "neots": neots,
    "text-image-generator": text_image_generator,
}


def check(draw: Draw, chars: str, length: int) -> list[int]:
    """The shape of a drawn line. Raises RuntimeError when lines are not drawn as asked: cut short, empty or boxes."""
    import numpy as np

    def pixels(text: str) -> Any:
        return np.asarray(draw(text)).astype(int)

    first, second, shorter = pixels(chars[:length]), pixels(chars[length : 2 * length]), pixels(chars[: length // 2])
    if first.ndim < 2 or first.shape[0] != HEIGHT or np.ptp(first) < 128:
        raise RuntimeError(f"its image has the shape {first.shape} and {np.ptp(first)} grey levels of contrast")
    if first.shape == second.shape and np.abs(first - second).mean() < 1:
        raise RuntimeError("two different lines give the same image: the characters are not drawn")
    if first.shape[1] < shorter.shape[1] * 1.6:
        raise RuntimeError(f"{length} characters are {first.shape[1]} px wide, {length // 2} are {shorter.shape[1]}")
    return [int(n) for n in first.shape]


def jpeg_encoder() -> Callable[[Any], Any]:
    """Turns what a peer returns into a grey JPEG of quality 90 (all peers in the fastest way: OpenCV)."""
    import numpy as np

    cv2: Any = importlib.import_module("cv2")

    def encode(image: Any) -> Any:
        pixels = np.asarray(image)
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
        return cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]

    return encode


def run(task: dict[str, Any]) -> dict[str, Any]:
    """The measurement that ``task`` asks for: images per CPU-second at first, after the warm-up, and with JPEG."""
    chars, length = task["chars"], task["length"]
    rng = random.Random(task["seed"])
    draw = PEERS[task["peer"]](Path(task["font"]), chars)
    result: dict[str, Any] = {}

    def rate(count: int, work: Callable[[str], Any]) -> float:
        lines = ["".join(rng.choices(chars, k=length)) for _ in range(count)]
        start = time.process_time()
        for line in lines:
            work(line)
        return count / (time.process_time() - start)

    result["first"] = rate(task["first"], draw)
    # Only then, since looking at the images warms caches. The yardstick's are JPEG files, ours are tested elsewhere.
    if task["peer"] not in ("pillow", "crnn-shards"):
        result["shape"] = check(draw, chars, length)
    for _ in range(task["warmup"]):
        draw("".join(rng.choices(chars, k=length)))
    result["steady"] = statistics.median(rate(task["block"], draw) for _ in range(task["blocks"]))
    if task["peer"] != "pillow":
        encode = jpeg_encoder()
        result["jpeg"] = statistics.median(
            rate(task["block"], lambda line: encode(draw(line))) for _ in range(task["blocks"])
        )
    return result


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    task, answer = Path(sys.argv[1]), Path(sys.argv[2])
    result = run(json.loads(task.read_text(encoding="utf-8")))
    result["versions"] = {"python": sys.version.split()[0]}
    for name in ("PIL", "numpy"):
        result["versions"][name] = getattr(importlib.import_module(name), "__version__", "")
    answer.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
