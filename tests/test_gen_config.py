"""Recipes: defaults, files, --set, and the message for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gen.config import RecipeConfig, load_recipe, to_dict
from gen.errors import UserError
from gen.settings import merge, parse_set


def test_the_schema_s_defaults_are_the_default_recipe() -> None:
    assert load_recipe("gen-default") == RecipeConfig() == load_recipe(None)


def test_a_recipe_survives_the_way_through_plain_values(tmp_path: Path) -> None:
    for name in ("gen-default", "gen-classic", "gen-prose", "eval-classic", "eval-default", "eval-uniform"):
        recipe, path = load_recipe(name), tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(to_dict(recipe)), encoding="utf-8")
        assert load_recipe(path) == recipe


def test_the_evaluation_recipes_differ_from_the_training_ones_in_seed_only() -> None:
    for kind in ("classic", "default"):
        train, test = to_dict(load_recipe(f"gen-{kind}")), to_dict(load_recipe(f"eval-{kind}"))
        assert train.pop("seed") != test.pop("seed")
        assert train == test


def test_a_file_states_only_what_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("effects:\n  rotation: {p: 0.9}\n")
    recipe = load_recipe(path, ["effects.jpeg.range=[10, 20]", "seed=7"])
    assert recipe.effects.rotation.p == 0.9
    assert recipe.effects.rotation.range == RecipeConfig().effects.rotation.range
    assert recipe.effects.jpeg.range == (10, 20)
    assert recipe.seed == 7


def test_another_kind_starts_from_its_own_defaults() -> None:
    assert load_recipe(None, ["layout.kind=classic"]).layout.sizes == (30, 25, 20, 18)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["effects.rotatoin.p=1"], "unknown key effects.rotatoin; did you mean effects.rotation?"),
        (["effects.rotation.pp=1"], "unknown key effects.rotation.pp; did you mean effects.rotation.p?"),
        (["efects.rotation.p=1"], "unknown key efects; did you mean effects?"),
        (["layout.kind=classic", "layout.margin=[1, 2]"], "unknown key layout.margin"),
        (["effects.rotation.p=1.5"], "effects.rotation.p 1.5: input should be less than or equal to 1"),
        (["effects.rotation.p=-0.1"], "effects.rotation.p -0.1: input should be greater than or equal to 0"),
        (["effects.rotation.p=.nan"], "effects.rotation.p nan"),
        (["effects.jpeg.range=[80, 20]"], "range goes from 80.0 down to 20.0"),
        (["effects.jpeg.range=[0, 20]"], "must lie within [1, 100]"),
        (["layout.margin=[5, 2]"], "layout.margin goes from 5 down to 2"),
        (["layout.sizes=[40]"], "glyphs would be cut"),
        (["layout.sizes=[]"], "layout.sizes"),
        (["corpus.length.low=40"], "must be greater than length.low (40)"),
        (["corpus.length.below=[200]", "effects.tracking.range=[0, 2]"], "at most 8192"),
        (["corpus.balanced=0", "corpus.common=0", "corpus.text=0"], "give at least one"),
        (["corpus.balanced=-1"], "corpus.balanced -1"),
        (["shard_size=0"], "shard_size 0"),
        (["seed=-1"], "seed -1"),
        (["image.quality=high"], "image.quality 'high'"),
        (["image.format=gif"], "image.format 'gif'"),
        (["effects"], "write it as section.key=value"),
        (["effects..p=1"], "write it as section.key=value"),
        (["seed=[1"], "'[1' is not a YAML value"),
        (["seed=2020-13-01"], "'2020-13-01' is not a YAML value"),
        (["seed=!!timestamp x"], "'!!timestamp x' is not a YAML value"),
        (["layout.sizes.9=28"], "settings with --set: layout.sizes.9: layout.sizes is a list, its places are 0, 1"),
        (["layout.sizes.first=28"], "layout.sizes.first: layout.sizes is a list, its places are 0, 1"),
    ],
)
def test_mistakes_are_named_in_one_line(sets: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(None, sets)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1\n- 2\n", "must be a mapping"),
        (b"a: [", "is not YAML"),
        (b"seed: 2020-13-01", "is not YAML"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_recipe(path)


def test_a_missing_file_lists_what_there_is() -> None:
    with pytest.raises(UserError, match="gen-classic"):
        load_recipe("gen-clasic")


def test_values_merge_by_section() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}}) == {"a": {"b": 4, "c": 2}, "d": 3}
    assert parse_set("a.b=[1, 2]") == {"a": {"b": [1, 2]}}
    listed = {"a": [{"b": 1, "c": 2}, {"b": 3}], "d": [4, 5]}
    assert merge(listed, {"a": {"1": {"b": 6}}, "d": {"0": 7}}) == {"a": [{"b": 1, "c": 2}, {"b": 6}], "d": [7, 5]}
    assert merge(listed, {"a": {1: {"b": 6}}}) == merge(listed, {"a": {"1": {"b": 6}}})
    assert merge(listed, {"a": [8]}) == {"a": [8], "d": [4, 5]}


def test_recipes_are_keys() -> None:
    more = load_recipe(None, ["corpus.fonts.ukai=3"])
    assert len({load_recipe(None), load_recipe(None, []), more}) == 2
    assert more.corpus.fonts == {"ukai": 3}
