"""Where the parameters of a run begin: from glyphs, from the weights of another run, or where it was stopped.

python -m train --init runs/h/weights.pt --data shards/new --out runs/new
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gen.charset import Charset, describe
from gen.errors import UserError
from gen.identity import differences
from gen.sample import Recipe, open_recipe
from gen.settings import to_dict
from train.checkpoint import Weights
from train.classes import first_rows, glyph_images, rows_like
from train.codec import Codec
from train.config import TrainConfig
from train.lite import Lite, parts
from train.model import Net
from train.rendered import PREFIX, Ingredients, RenderedSource
from train.setting import Setting
from train.source import Source


def check_continues(values: dict[str, Any], here: dict[str, Any], setting: Setting) -> list[str]:
    """What is to be told of a checkpoint from which a run that is described as ``here`` is to go on.

    Raises `UserError` when it is of another network or charset.
    """
    for key in ("charset_sha256", "space", "model", "directions"):
        if values[key] != here[key]:
            told = differences({key: values[key]}, {key: here[key]})
            raise UserError(
                f"the checkpoint in {setting.out} is of another run, {told}: "
                "give another --out, or also --init with its weights to start from them"
            )
    if setting.config.learning.keep_origin and not values.get("origin"):
        raise UserError(
            f"the checkpoint in {setting.out} has not kept what the run began with, of which learning.keep_origin is a "
            "share: leave it at 0, or give another --out"
        )
    notes = []
    if changed := differences(values["config"], to_dict(setting.config)):
        notes.append(f"the configuration has changed since the checkpoint, and the new one holds: {changed}")
    if changed := differences({"data": values["about"]["data"]}, {"data": setting.about["data"]}):
        notes.append(f"the data have changed since the checkpoint: {changed}")
    return notes


def glyph_recipe(sources: Sequence[Source], codec: Codec, ingredients: Ingredients, workers: int) -> Recipe:
    """A recipe whose glyphs show what the classes look like: that of rendered lines, else the default one's with the
    fonts that are here. Raises `UserError` when there are none."""
    for source in sources:
        if isinstance(source, RenderedSource) and source.charset.sha256 == codec.charset.sha256:
            return source.recipe
    wanted = Ingredients(codec.charset, ingredients.fonts)
    return open_recipe(wanted.source(PREFIX), workers)


def start_from_glyphs(net: Net, codec: Codec, recipe: Recipe, seed: int) -> int:
    """Give every class the row that its glyphs suggest; how many characters have none in the recipe's fonts."""
    assert isinstance(net, Lite)
    images, drawn = glyph_images(recipe)
    rows = first_rows(images, drawn, codec.classes, net.matrix.shape[1], seed)
    with torch.no_grad():
        net.matrix.copy_(torch.from_numpy(rows))
    return int((~drawn).sum())


def drawn_before(about: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What is to be told of weights that tell ``about`` themselves, when lines of ``--data`` are drawn for a run that
    tells ``here`` with a seed with which some were drawn for the weights, or for those that they began with. Whether
    the recipe was the same is not asked: its identity also holds versions that change no line."""

    def draws(link: Mapping[str, Any]) -> bool:
        return any(str(data.get("name")).startswith(PREFIX) for data in link.get("data") or ())

    link: Any = about
    seeds = set()
    while isinstance(link, Mapping):
        if draws(link) and isinstance(link.get("seed"), int):
            seeds.add(link["seed"])
        link = link.get("init")
    if here["seed"] not in seeds or not draws(here):
        return []
    return [
        f"lines were drawn with seed {here['seed']} for these weights before, and the same may come again: "
        f"--seed {max(seeds) + 1} draws others"
    ]


def start_from_weights(net: Net, codec: Codec, weights: Weights, recipe: Callable[[], Recipe]) -> list[str]:
    """Take over parameters by name, and rows of the class matrix by character; what is to be told about it.

    Blocks and channels that only the new network has change nothing at first: it reads as the old one did. Rows of
    characters that the weights do not know are made from their glyphs in the recipe, as the known ones' rows follow
    from theirs. Raises `UserError` when the networks differ otherwise.
    """
    if told := _another(weights.net, net):
        raise UserError(f"--init: its network is another one, {told}: only model.depths and widths may be larger")
    there, here = _grown(weights.net, net), net.state_dict()
    per_class = {"matrix": 0, "transcript.weight": 1, "transcript.bias": 1}  # name: rows before the first class
    old, new = weights.codec, codec
    known = {char: k for k, char in enumerate(old.characters)}
    source = torch.tensor([known.get(char, -1) for char in new.characters])
    kept = source >= 0
    net.fresh = ~kept
    for name, tensor in here.items():
        if name not in per_class:
            tensor.copy_(there[name])
            continue
        skip = per_class[name]
        tensor[:skip].copy_(there[name][:skip])
        tensor[skip:][kept] = there[name][skip:][source[kept]]
    notes = []
    here_too = set(new.characters)
    if lost := [char for char in old.characters if char not in here_too]:
        notes.append(
            f"{len(lost)} characters that the weights read are not in this run's charset and will not be read, "
            f"{describe(lost[0])} first: --charset names all that are to be read"
        )
    if not bool(kept.all()):
        count = int((~kept).sum())
        notes.append(f"{count} of {new.classes} classes are new to the weights")
        if "matrix" in here and not bool(kept[: len(new.charset)].all()):  # the space has no glyph
            _fit_new(here["matrix"], kept, new.charset, recipe())
    net.load_state_dict(here)
    return notes


def _another(old: Net, net: Net) -> str:
    """What keeps a network from being another one, or from growing into it; "" when nothing does."""
    if type(old) is not type(net):
        kinds = [each.__class__.__name__.lower() for each in (old, net)]
        return f"model.kind is {kinds[0]} there and {kinds[1]} here"
    if not isinstance(old, Lite) or not isinstance(net, Lite):
        return ""
    there, here = to_dict(old.config), to_dict(net.config)
    del there["space"], here["space"]  # a class like others
    for name in ("depths", "widths"):
        pairs = list(zip(there[name], here[name]))
        if name == "widths" and there["neck"] != "conv" and pairs[-1][0] != pairs[-1][1]:
            continue  # such a neck has one width
        if all(before <= now for before, now in pairs):
            del there[name], here[name]
    return differences({"model": there}, {"model": here})


def _grown(old: Net, net: Net) -> dict[str, torch.Tensor]:
    """The parameters of a network under the names, and in the shapes, that they have in another one, which may have
    more blocks and wider ones and reads the same: its new blocks are as it has them, which is skip connections; its new
    channels too, but nothing that was there before looks at them yet."""
    there = old.state_dict()
    if not isinstance(old, Lite) or not isinstance(net, Lite):
        return there
    before, now = parts(old.config.depths), parts(net.config.depths)
    here = net.state_dict()
    added = tuple(f"backbone.{k}." for k, part in enumerate(now) if part not in before)
    result = {name: tensor for name, tensor in here.items() if name.startswith(added)}
    for name, tensor in there.items():
        module, _, rest = name.partition(".")
        if module == "backbone":
            place, _, rest = rest.partition(".")
            name = f"backbone.{now.index(before[int(place)])}.{rest}"
        result[name] = tensor if name == "matrix" else _widened(tensor, here[name])
    return result


def _widened(tensor: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """A tensor with more outputs and inputs, the new ones as ``to`` has them: outputs that it had take nothing from new
    inputs."""
    result = to.clone()
    if tensor.ndim > 1:
        result[: len(tensor)] = 0
    result[tuple(map(slice, tensor.shape))] = tensor
    return result


def check_fresh(net: Net, config: TrainConfig) -> None:
    """Raise `UserError` when a stage is to learn new classes only, or something is to be kept, and there is none."""
    if config.learning.keep_origin and net.fresh is None:
        raise UserError("learning.keep_origin is about the parameters of --init: give it, or leave keep_origin at 0")
    for stage in config.stages:
        if stage.learn == "new" and not (isinstance(net, Lite) and net.fresh is not None and bool(net.fresh.any())):
            raise UserError(
                f"stage {stage.name} learns new classes only (learn: new), and there is none: give --init weights of a "
                "lite network, and a --charset with characters that these lack"
            )


def _fit_new(matrix: torch.Tensor, kept: torch.Tensor, charset: Charset, recipe: Recipe) -> None:
    images, drawn = glyph_images(recipe)
    count = len(charset)
    fit = (kept[:count].numpy()) & drawn
    wanted = (~kept[:count].numpy()) & drawn
    if fit.sum() < 2 or not wanted.any():
        return
    rows = torch.nn.functional.normalize(matrix[:count], dim=1).numpy()
    chosen = fit | wanted
    rows[chosen] = rows_like(rows[chosen], images[chosen], fit[chosen])
    matrix[:count][torch.from_numpy(wanted)] = torch.from_numpy(rows[wanted])
