"""Where a run begins: rows from glyphs, and weights of another run whose charset was another."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gen.charset import Charset, describe, group_of
from gen.config import load_recipe
from gen.errors import UserError
from gen.fonts import Font
from gen.sample import Recipe, RecipeSource, Stream, open_recipe
from train.checkpoint import Weights
from train.codec import Codec
from train.config import Crnn as CrnnConfig
from train.config import Lite as LiteConfig
from train.image import ImageSpec
from train.lite import Block, Lite
from train.model import Net, build
from train.rendered import Ingredients, RenderedSource
from train.start import drawn_before, glyph_recipe, start_from_glyphs, start_from_weights

DIM = 32
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def chars(full_charset: Charset) -> str:
    return "".join([char for char in full_charset.chars if group_of(char) == "gb2312-1"][::8])


@pytest.fixture(scope="module")
def open_for(pip_fonts: tuple[Font, ...], cache: Path) -> Callable[[str], Recipe]:
    def opened(chars: str) -> Recipe:
        config = load_recipe(None, ["layout.sizes=[28]"])
        return open_recipe(RecipeSource(config, Charset(chars), pip_fonts, (), cache))

    return opened


def make(chars: str, seed: int = 0, space: bool = False, **changes: object) -> tuple[Net, Codec]:
    torch.manual_seed(seed)
    codec = Codec(Charset(chars), space)
    sizes = {"widths": (4, 4, 4, 4), "depths": (0, 1, 0, 0), **changes}
    config = LiteConfig(dim=DIM, space=space, **sizes)  # type: ignore[arg-type]
    return build(config, codec.classes), codec


def weights(net: Net, codec: Codec) -> Weights:
    return Weights(net, codec, ("horizontal",), ImageSpec(), {})


def row(net: Net, codec: Codec, char: str) -> torch.Tensor:
    return net.get_parameter("matrix")[codec.characters.index(char)].detach()


def no_recipe() -> Recipe:
    raise AssertionError("nothing is to be drawn")


def full(chars: str, open_for: Callable[[str], Recipe], space: bool = False) -> tuple[Net, Codec]:
    """A network that started from its glyphs, and moved a little since."""
    net, codec = make(chars, seed=1, space=space)
    start_from_glyphs(net, codec, open_for(chars), 3)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.02 * torch.randn_like(tensor))
    return net, codec


def test_every_class_gets_the_row_of_its_glyphs(chars: str, open_for: Callable[[str], Recipe]) -> None:
    net, codec = make(chars + "\ue000", space=True)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert start_from_glyphs(net, codec, open_for(chars + "\ue000"), 3) == 1
    assert isinstance(net, Lite)
    torch.testing.assert_close(net.matrix.norm(dim=1), torch.ones(codec.classes))
    same = [name for name, tensor in net.state_dict().items() if torch.equal(tensor, before[name])]
    assert set(before) - set(same) == {"matrix"}
    again, _ = make(chars + "\ue000", seed=9, space=True)
    start_from_glyphs(again, codec, open_for(chars + "\ue000"), 3)
    assert torch.equal(again.get_parameter("matrix"), net.matrix)


def test_the_same_charset_takes_everything(chars: str, open_for: Callable[[str], Recipe]) -> None:
    old, codec = full(chars, open_for, space=True)
    net, _ = make(chars, seed=2, space=True)
    assert start_from_weights(net, codec, weights(old, codec), no_recipe) == []
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in old.state_dict().items())
    x = torch.randn(1, 1, 32, 40)
    assert torch.equal(net.eval().log_probs(x), old.eval().log_probs(x))


@pytest.mark.parametrize("change", ["reordered", "fewer", "more"])
def test_rows_follow_their_characters(chars: str, open_for: Callable[[str], Recipe], change: str) -> None:
    old, old_codec = full(chars, open_for)
    new = {"reordered": chars[::-1], "fewer": chars[5::3], "more": "abc" + chars[::-1] + "，"}[change]
    net, codec = make(new, seed=2)
    notes = start_from_weights(
        net, codec, weights(old, old_codec), (lambda: open_for(new)) if change == "more" else no_recipe
    )
    for char in set(chars) & set(new):
        assert torch.equal(row(net, codec, char), row(old, old_codec, char)), char
    for name, tensor in old.state_dict().items():
        if name != "matrix":
            assert torch.equal(net.state_dict()[name], tensor), name
    expected = {
        "reordered": [],
        "fewer": [
            f"{len(chars) - len(new)} characters that the weights read are not in this run's charset and will not be "
            f"read, {describe(chars[0])} first: --charset names all that are to be read"
        ],
        "more": [f"4 of {codec.classes} classes are new to the weights"],
    }
    assert notes == expected[change]


def test_new_characters_start_where_the_whole_network_has_them(chars: str, open_for: Callable[[str], Recipe]) -> None:
    """Leave thirty out, put them back: their rows are much like those they had."""
    whole, whole_codec = full(chars, open_for)
    added = chars[3::15][:30]
    known = "".join(char for char in chars if char not in added)
    old, old_codec = make(known)
    start_from_weights(old, old_codec, weights(whole, whole_codec), no_recipe)
    net, codec = make(added + known, seed=2)
    start_from_weights(net, codec, weights(old, old_codec), lambda: open_for(added + known))
    assert isinstance(whole, Lite)
    rows = whole.rows().detach() / whole.scale
    similar = torch.stack([torch.nn.functional.normalize(row(net, codec, char), dim=0) for char in added]) @ rows.T
    places = torch.tensor([whole_codec.characters.index(char) for char in added])
    assert float(similar.gather(1, places[:, None]).mean()) > 0.85
    assert int((similar.argmax(1) == places).sum()) >= 25


def test_a_new_character_without_a_glyph_stays_random(chars: str, open_for: Callable[[str], Recipe]) -> None:
    old, old_codec = full(chars, open_for)
    net, codec = make(chars + "\ue000丂", seed=2)
    before = row(net, codec, "\ue000").clone()
    start_from_weights(net, codec, weights(old, old_codec), lambda: open_for(chars + "\ue000丂"))
    assert torch.equal(row(net, codec, "\ue000"), before)
    assert np.isfinite(net.get_parameter("matrix").detach().numpy()).all()


def test_the_space_is_a_class_like_others(chars: str, open_for: Callable[[str], Recipe]) -> None:
    spaced, spaced_codec = full(chars, open_for, space=True)
    other, other_codec = make(chars[::-1], seed=2, space=True)
    start_from_weights(other, other_codec, weights(spaced, spaced_codec), no_recipe)
    assert torch.equal(row(other, other_codec, " "), row(spaced, spaced_codec, " "))
    plain, codec = make(chars, seed=2)
    start_from_weights(plain, codec, weights(spaced, spaced_codec), no_recipe)
    assert torch.equal(plain.get_parameter("matrix"), spaced.get_parameter("matrix")[:-1])
    again, _ = make(chars, seed=2, space=True)
    notes = start_from_weights(again, spaced_codec, weights(plain, codec), no_recipe)  # no glyph shows a space
    assert torch.equal(again.get_parameter("matrix")[:-1], plain.get_parameter("matrix"))
    assert notes == [f"1 of {spaced_codec.classes} classes are new to the weights"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"neck": "gru"}, 'model.neck is "conv" there and "gru" here'),
        ({"widths": (4, 4, 8, 4)}, "model.widths is [4, 4, 12, 4] there and [4, 4, 8, 4] here"),
        ({"depths": (0, 0, 2, 0)}, "model.depths is [0, 1, 0, 0] there and [0, 0, 2, 0] here"),
        ({"depths": (0, 0, 0, 0)}, "model.depths is"),
        ({"dim": 16}, "model.dim is"),
        ({"stride": 8}, "model.stride is 4 there and 8 here"),
        ({"scale": 9.0}, "model.scale is 24.0 there and 9.0 here"),
    ],
)
def test_another_network_is_refused(change: dict[str, object], told: str) -> None:
    """Whole: nothing of it is taken over."""
    old, codec = make("天地人", widths=(4, 4, 12, 4))
    torch.manual_seed(2)
    sizes = {"widths": (4, 4, 12, 4), "depths": (0, 1, 0, 0), "dim": DIM, **change}
    net = build(LiteConfig(**sizes), 3)  # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(UserError, match=re.escape(f"--init: its network is another one, {told}")):
        start_from_weights(net, codec, weights(old, codec), no_recipe)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("depths", [(0, 1, 0, 0), (0, 2, 0, 0), (1, 1, 0, 2), (2, 3, 1, 1)])
@pytest.mark.parametrize("widths", [(4, 4, 4, 4), (4, 4, 8, 12), (8, 12, 8, 4)])
def test_a_larger_network_begins_as_the_one_it_grew_from(depths: tuple[int, ...], widths: tuple[int, ...]) -> None:
    old, codec = make("天地人")
    for module in old.modules():  # as after some training
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
        if isinstance(module, torch.nn.Conv1d):
            torch.nn.init.normal_(module.weight)
    net, _ = make("天地人", seed=3, depths=depths, widths=widths)
    assert start_from_weights(net, codec, weights(old, codec), no_recipe) == []
    x = torch.rand(2, 1, 32, 64)
    for there, here in zip(old.eval()(x), net.eval()(x)):
        torch.testing.assert_close(there, here)
    features, gate = net.train()(x)
    (features.sum() + gate.sum()).backward()
    for block in (module for module in net.modules() if isinstance(module, Block)):
        assert block.out.weight.grad is not None
        assert block.out.weight.grad.any()


def test_the_older_network_starts_from_its_own() -> None:
    """Its class matrix has a row for the blank, and a bias."""
    torch.manual_seed(0)
    config = CrnnConfig(kind="crnn", direction="vertical")
    old, net = build(config, 3), build(config, 3)
    start_from_weights(net, Codec(Charset("人天大")), weights(old, Codec(Charset("天地人"))), no_recipe)
    for name in ("transcript.weight", "transcript.bias"):
        there, here = old.state_dict()[name], net.state_dict()[name]
        assert torch.equal(here[:3], there[[0, 3, 1]])
    assert torch.equal(net.state_dict()["rnn2.weight_ih_l0"], old.state_dict()["rnn2.weight_ih_l0"])
    with pytest.raises(UserError, match="is lite there and crnn here"):
        start_from_weights(build(config, 3), Codec(Charset("天地人")), weights(*make("天地人")), no_recipe)


def test_glyphs_come_from_the_rendered_lines(
    open_for: Callable[[str], Recipe], pip_fonts: tuple[Font, ...], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If they show this charset; else from the fonts that the user names."""
    monkeypatch.setenv("CRNN_SHARDS_CACHE", str(cache))
    opened = open_for("天地人")
    source = RenderedSource("gen:", "horizontal", opened.source, Stream(1, "horizontal", "train"), _recipe=opened)
    assert glyph_recipe([source], Codec(Charset("天地人"), True), Ingredients(), 1) is opened
    font = Ingredients(Charset("天"), (str(pip_fonts[0].path),))
    other = glyph_recipe([source], Codec(Charset("天地大")), font, 1)
    assert other.charset.chars == "天地大"
    assert [each.path for each in other.fonts] == [pip_fonts[0].path]


@pytest.mark.parametrize(
    ("name", "seed", "told"),
    [
        ("gen:a", 2, True),
        ("gen:b", 12, True),  # what the weights began with counts too
        ("gen:a", 3, False),
        ("gen:a", 7, False),  # that run drew nothing
        ("shards", 2, False),  # shards hold what they hold, whatever the seed
    ],
)
def test_lines_that_come_again_are_told(name: str, seed: int, told: bool) -> None:
    odd: dict[str, object] = {"data": [{}], "init": {"seed": None, "data": None, "init": "the older project"}}
    read: dict[str, object] = {"seed": 7, "data": [{"name": "shards"}], "init": odd}
    first: dict[str, object] = {"seed": 12, "data": [{"name": "shards"}, {"name": "gen:a"}], "init": read}
    notes = drawn_before(
        {"seed": 2, "data": [{"name": "gen:a"}], "init": first}, {"seed": seed, "data": [{"name": name}]}
    )
    assert len(notes) == told
    assert all(f"with seed {seed} " in note and "--seed 13 draws others" in note for note in notes)
