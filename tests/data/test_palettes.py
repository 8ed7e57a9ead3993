"""Palettes whose places are no class ids, several masks in one file, and TIFFs whose 0 is white."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from equiaudit.data import Decoded, Geometry, MaskReader, decode, open_dense_dataset
from equiaudit.data.class_table import ClassTable
from equiaudit.errors import InputError

SIZE = (8, 12)
IDS = np.arange(96).reshape(SIZE) // 7 % 2
BLACK, WHITE = (0, 0, 0), (255, 255, 255)

Write = Callable[[Path], None]


def read(root: Path, writes: Sequence[Write], ending: str, count: int = 2, **how: object):
    """The ids of each mask; InputError where they are refused."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for i, write in enumerate(writes):
        noise = np.random.default_rng(i).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        Image.fromarray(noise).save(root / "images" / f"{i}.jpg")
        write(root / "masks" / f"{i}{ending}")
    data = open_dense_dataset(root, "segmentation", MaskReader(count, **how))
    found = [decode(item, Geometry(SIZE), data.truth) for item in data.items]
    assert all(isinstance(one, Decoded) for one in found), found
    return [one.truth.values for one in found]


def palette(ids: np.ndarray, *colours: tuple[int, int, int]) -> Write:
    def write(path: Path) -> None:
        image = Image.fromarray(ids.astype(np.uint8), "P")
        image.putpalette([part for colour in colours for part in colour])
        image.save(path)

    return write


def grey(values: np.ndarray) -> Write:
    return lambda path: Image.fromarray(values.astype(np.uint8)).save(path)


def test_levels_of_a_gif_are_its_values(tmp_path: Path) -> None:
    """Its writer renumbers the levels in use, here 2 as 1."""
    found = read(tmp_path / "a", [grey(IDS * 2), grey(IDS + 1)], ".gif", 3)
    np.testing.assert_array_equal(found, [IDS * 2, IDS + 1])
    inverted = palette(1 - IDS, WHITE, BLACK)
    np.testing.assert_array_equal(read(tmp_path / "b", [inverted], ".gif"), [IDS])


def test_indices_shown_as_other_ids_are_asked_about(tmp_path: Path) -> None:
    """As of grey masks that a program made smaller."""
    with pytest.raises(InputError, match=r"index 1 as the grey level 2.*--classes"):
        read(tmp_path / "a", [palette(IDS, BLACK, (2, 2, 2))], ".png", 3)
    inverted = palette(1 - IDS, WHITE, BLACK)
    with pytest.raises(InputError, match="index 0 as the grey level 255"):
        read(tmp_path / "b", [inverted], ".png")
    table = ClassTable({0: "good", 1: "bad"}, {BLACK: 0, WHITE: 1})
    found = read(tmp_path / "c", [inverted], ".png", table=table)
    np.testing.assert_array_equal(found, [IDS])


@pytest.mark.parametrize(
    ("colours", "count"),
    [
        ((BLACK, WHITE), 2),
        ((BLACK, (1, 1, 1)), 2),
        ((BLACK, (127, 127, 127), WHITE), 3),
        ((BLACK, (128, 0, 0)), 21),
    ],
)
def test_others_are_indices(colours, count: int, tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read(tmp_path, [palette(IDS, *colours), palette(IDS * (len(colours) - 1), *colours)],
             ".png", count),
        [IDS, IDS * (len(colours) - 1)],
    )  # fmt: skip


def test_palettes_made_for_each_file_are_refused(tmp_path: Path) -> None:
    red, blue = (200, 0, 0), (0, 0, 200)
    writes = [palette(IDS, BLACK, red), palette(IDS, BLACK, blue)]
    with pytest.raises(InputError, match=r"shows index 1 as #.* and others show it as"):
        read(tmp_path / "a", writes, ".png")
    late = [palette(IDS, BLACK, red)] * 60 + [palette(IDS, BLACK, blue)]
    with pytest.raises(InputError, match="shows index 1 as #0000c8"):
        read(tmp_path / "b", late, ".png")


@pytest.mark.parametrize("ending", [".tif", ".png", ".gif"])
def test_several_masks_in_a_file_are_refused(ending: str, tmp_path: Path) -> None:
    def write(path: Path) -> None:
        first, second = (Image.fromarray((m * 255).astype(np.uint8)) for m in (IDS, 1 - IDS))
        first.save(path, save_all=True, append_images=[second])

    with pytest.raises(InputError, match="holds several frames"):
        read(tmp_path, [write], ending)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_refused(dtype: type, tmp_path: Path) -> None:
    """Pillow inverts 8 bits and not 16, tifffile neither."""

    def write(path: Path) -> None:
        tifffile.imwrite(path, IDS.astype(dtype), photometric="miniswhite")

    with pytest.raises(InputError, match="calls 0 white"):
        read(tmp_path, [write], ".tif")
