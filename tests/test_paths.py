"""One grammar of paths, wherever one is typed."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from pgen.data import open_images
from pgen.data.io.sources import parse
from pgen.errors import PgenError, listed
from pgen.utils.paths import expand, find_matches, walk


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_home_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert expand("~/x") == tmp_path / "x" and expand("~") == tmp_path and expand("a/~/x") == Path("a/~/x")
    with pytest.raises(PgenError, match=r"~nobody-here/x: there is no user 'nobody-here'.*write \./~nobody-here"):
        expand("~nobody-here/x")
    with pytest.raises(PgenError, match=f"the folder {tmp_path}/digits has no train-images"):
        open_images("mnist:root=~/digits")
    touch(tmp_path, "~odd.h5")
    assert expand("~odd.h5") == Path("~odd.h5")


@pytest.mark.parametrize("address", ["root://host//store/x.root:plane=2", "https://zenodo.org/x.h5", "s3://bucket/a*.h5", "file:///x.h5"])
def test_addresses_of_remote_files(address: str, tmp_path: Path) -> None:
    for root in (None, tmp_path):
        with pytest.raises(PgenError, match="Copy it to this machine first"):
            open_images(address, data_root=root)
    with pytest.raises(PgenError, match="Copy it"):
        expand(Path(address))


def test_null_characters() -> None:
    for place in ("a\0b", "a\0*", "~\0/x"):
        with pytest.raises(PgenError, match="null character"):
            open_images(place)


@pytest.mark.parametrize(
    ("source", "place", "options"),
    [
        ("run:2/x.h5", "run:2/x.h5", {}),
        ("run:2/x.h5:limit=3", "run:2/x.h5", {"limit": "3"}),
        ("run:2/*.h5:limit=3,plane=1", "run:2/*.h5", {"limit": "3", "plane": "1"}),
        ("run:2/*.h5", "run:2/*.h5", {}),
        ("r[4]/x.h5:key=a:b", "r[4]/x.h5", {"key": "a:b"}),
        ("r[4]/*.h5", "r[4]/*.h5", {}),
        ("a=1:b=2.h5", "a=1:b=2.h5", {}),
        ("a=1:b=2.h5:limit=1", "a=1:b=2.h5", {"limit": "1"}),
        ("gone.h5:limit=1", "gone.h5", {"limit": "1"}),
        ("mnist:root=/a:b", "mnist", {"root": "/a:b"}),
        ("./mnist", "./mnist", {}),
    ],
)
def test_where_a_path_ends(tmp_path: Path, source: str, place: str, options: dict[str, str]) -> None:
    touch(tmp_path, "run:2/x.h5", "r[4]/x.h5", "a=1:b=2.h5")
    assert parse(source, tmp_path) == (place, options)


def test_patterns(tmp_path: Path) -> None:
    touch(tmp_path, "r[4]/a.h5", "r4/b.h5", "r4/deep/er/c.h5", "r4/.hidden.h5", "r4/.git/d.h5", "x10.h5", "x9.h5")
    (tmp_path / "r4/loop").symlink_to("..", target_is_directory=True)
    (tmp_path / "link").symlink_to("r4/deep", target_is_directory=True)

    def found(pattern: str) -> list[str]:
        return [str(path.relative_to(tmp_path)) for path in find_matches(pattern, tmp_path)]

    assert found("x*.h5") == ["x9.h5", "x10.h5"] and found("r[4]/*.h5") == ["r[4]/a.h5"] and found("r?/*.h5") == ["r4/b.h5"]
    # Each file once, though a link leads in a circle and another to a folder that is found anyway.
    assert sorted(os.path.realpath(tmp_path / name) for name in found("**/*.h5")) == sorted(
        os.path.realpath(path)
        for path in tmp_path.rglob("*.h5")
        if not any(part.startswith(".") for part in path.relative_to(tmp_path).parts)
    )
    assert found("r4/**/c.h5") == ["r4/deep/er/c.h5"] and find_matches(f"{tmp_path}/r?/b.h5") == [tmp_path / "r4/b.h5"]
    assert sum(path.suffix == ".h5" for path in walk(tmp_path)) == 5 and found("nothing*") == []


def test_sources(tmp_path: Path) -> None:
    for folder in ("run:1", "r[2]", "pngs"):
        (tmp_path / folder).mkdir()
    for folder in ("run:1", "r[2]"):
        for k in range(2):
            with h5py.File(tmp_path / folder / f"{k}.h5", "w") as file:
                file["deep/images"] = np.full((3, 4, 5), k)
    assert len(open_images("run:1/*.h5", data_root=tmp_path)) == len(open_images("*.h5", data_root=tmp_path / "r[2]")) == 6
    assert len(open_images("run:1/0.h5:dataset=/deep/images", data_root=tmp_path)) == 3
    Image.fromarray(np.ones((4, 5), np.uint8)).save(tmp_path / "pngs/0.png")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/a").symlink_to("../pngs")
    (tmp_path / "links/again").symlink_to(".")
    assert open_images("links", data_root=tmp_path).ids.tolist() == ["a/0"]


def test_options_with_a_home_folder(pgen, refuses, tmp_path: Path) -> None:
    """As a shell leaves them in --option=~/path."""
    home = {**os.environ, "HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()

    def run(*words: object) -> None:
        pgen(*words, env=home, cwd=tmp_path / "work")

    run("data", "simulate", "-n", 24, "--size", 16, "--out=~/a.h5")
    run("data", "split", "~/a.h5:limit=20", "--held-out", 4, "--out=~/s")
    run("data", "info", "a.h5", "--data-root=~", "--preview=~/p.png")
    (tmp_path / "home/o.toml").write_text('n_hidden = 4\nsave_root = "~/runs"\n')
    train = ("train", "gan", "--config=~/o.toml", "--data=~/s/train.h5:limit=10", "--max-steps", 1, "--sample-size", 0, "--batch-size", 4)
    run(*train, "--name", "gan")
    run("train", "gan", "--resume=~/runs/gan", "--max-steps", 2)
    run("sample", "~/runs/gan", "-n", 3, "--out=~/n.h5", "--grid=~/n.png")
    run("evaluate", "losses", "~/runs/gan", "--out=~/l.png")
    assert not list((tmp_path / "work").iterdir())
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"a.h5", "s", "p.png", "o.toml", "runs", "n.h5", "n.png", "l.png"}
    refuses("data", "simulate", "--out=~nobody-here/x.h5", saying="there is no user 'nobody-here'", cwd=tmp_path)
    refuses(*train[:2], "--data", "simulate", "--save-root=~nobody-here/x", saying="there is no user 'nobody-here'", cwd=tmp_path)
    refuses("sample", "x", "--out", "https://a.org/x.h5", saying="remote file", cwd=tmp_path)


def test_lists_are_cut() -> None:
    assert listed(range(4)) == "0, 1, 2, 3" and listed(range(3000), 2) == "0, 1, ... and 2,998 more" and listed([]) == "none"
