import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from equiaudit.data import Decoded, Geometry, Item, TooSmall, check_sizes, decode, open_dataset
from equiaudit.errors import InputError
from equiaudit.results import Skipped

RNG = np.random.default_rng(0)


def item(path: Path) -> Item:
    return Item(path.name, path, None, 0)


def read(path: Path, window: tuple[int, int], **options: object) -> Decoded:
    decoded = decode(item(path), Geometry(window, **options))
    assert isinstance(decoded, Decoded), decoded
    return decoded


def reason(path: Path, **options: object) -> str:
    skipped = decode(item(path), Geometry((4, 4), **options))
    assert isinstance(skipped, Skipped), skipped
    assert skipped.name == path.name
    return skipped.reason


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def png16(pixels: np.ndarray) -> bytes:
    """A 16-bit PNG, written here because Pillow only writes grey ones."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff16(pixels: np.ndarray, order: str) -> bytes:
    """An uncompressed 16-bit RGB TIFF in byte order "<" or ">"."""
    height, width, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    bits_at = 8 + len(data)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, bits_at + 6)
    directory = struct.pack(f"{order}H", len(tags))
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        field = struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + field
    bits = struct.pack(f"{order}HHH", 16, 16, 16)
    return start + data + bits + directory + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        (suffix, mode)
        for suffix in ("png", "bmp", "tif", "webp")
        for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK")
        if (suffix, mode) not in {("bmp", "LA"), ("bmp", "CMYK"), ("png", "CMYK")}
    ],
)
def test_modes_become_what_pillow_calls_rgb(tmp_path: Path, suffix: str, mode: str) -> None:
    source = Image.fromarray(noise(11, 9, 4), "RGBA").convert("RGB").convert(mode)
    if mode in ("RGBA", "LA"):
        source.putalpha(Image.fromarray(noise(11, 9)))
    path = tmp_path / f"x.{suffix}"
    source.save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    expected = np.asarray(Image.open(path).convert("RGB"))
    pixels = read(path, (11, 9)).pixels
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, expected)


def test_lossless_pixels_survive(tmp_path: Path) -> None:
    source = noise(12, 10, 3)
    for suffix in ("png", "bmp", "tif"):
        Image.fromarray(source).save(tmp_path / f"x.{suffix}")
        np.testing.assert_array_equal(read(tmp_path / f"x.{suffix}", (12, 10)).pixels, source)


def test_alpha_is_dropped_not_composited(tmp_path: Path) -> None:
    source = noise(6, 6, 4)
    Image.fromarray(source, "RGBA").save(tmp_path / "x.png")
    np.testing.assert_array_equal(read(tmp_path / "x.png", (6, 6)).pixels, source[..., :3])


def test_cmyk_jpeg_is_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg")
    red, green, blue = read(tmp_path / "x.jpg", (8, 8)).pixels[4, 4]
    assert red > 200
    assert max(green, blue) < 60


def test_gray_gives_one_channel(tmp_path: Path) -> None:
    source = Image.fromarray(noise(7, 7, 3))
    source.save(tmp_path / "x.png")
    pixels = read(tmp_path / "x.png", (7, 7), gray=True).pixels
    np.testing.assert_array_equal(pixels, np.asarray(source.convert("L"))[..., None])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_keeps_every_bit(tmp_path: Path, channels: int) -> None:
    source = noise(9, 7, channels, dtype=np.uint16)
    (tmp_path / "x.png").write_bytes(png16(source))
    pixels = read(tmp_path / "x.png", (9, 7)).pixels
    expected = source[..., :3] if channels > 2 else np.repeat(source[..., :1], 3, axis=-1)
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_colour_tiff_keeps_every_bit(tmp_path: Path, order: str) -> None:
    source = noise(9, 7, 3, dtype=np.uint16)
    (tmp_path / "x.tif").write_bytes(tiff16(source, order))
    np.testing.assert_array_equal(read(tmp_path / "x.tif", (9, 7)).pixels, source)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_sixteen_bit_grey_tiff(tmp_path: Path, compression: str | None) -> None:
    source = noise(9, 7, dtype=np.uint16)
    Image.fromarray(source).save(tmp_path / "x.tif", compression=compression)
    pixels = read(tmp_path / "x.tif", (9, 7), gray=True).pixels
    np.testing.assert_array_equal(pixels, source[..., None])


def test_sixteen_bit_gray_weights_and_resize(tmp_path: Path) -> None:
    source = noise(16, 16, 3, dtype=np.uint16)
    (tmp_path / "x.png").write_bytes(png16(source))
    gray = read(tmp_path / "x.png", (16, 16), gray=True).pixels[..., 0]
    np.testing.assert_allclose(gray, source @ [0.299, 0.587, 0.114], atol=0.51)
    small = read(tmp_path / "x.png", (8, 8), resize=8).pixels.astype(float)
    eight = Image.fromarray((source >> 8).astype(np.uint8)).resize((8, 8), 2)
    np.testing.assert_allclose(small / 257, np.asarray(eight, float), atol=1.6)
    cubic = read(tmp_path / "x.png", (16, 16), resize=16, interpolation="bicubic").pixels
    np.testing.assert_array_equal(cubic, source)


def test_pixels_without_a_scale_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "float.tif")
    assert "floating-point" in reason(tmp_path / "float.tif")
    Image.fromarray(np.full((8, 8), 70000, np.int32)).save(tmp_path / "int.tif")
    assert "int32 pixels have no known scale" in reason(tmp_path / "int.tif")


UPRIGHT = {  # EXIF orientation -> how the stored array was made from the upright one
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_exif_orientation_is_applied_once(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = noise(6, 9, 3)
    stored = Image.fromarray(np.ascontiguousarray(UPRIGHT[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    stored.save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read(path, (6, 9)).pixels, upright)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_of_sixteen_bits(tmp_path: Path, orientation: int) -> None:
    upright = noise(6, 9, 1, dtype=np.uint16)
    stored = Image.fromarray(np.ascontiguousarray(UPRIGHT[orientation](upright)[..., 0]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix in ("png", "tif"):
        stored.save(tmp_path / f"x.{suffix}", exif=exif)
        pixels = read(tmp_path / f"x.{suffix}", (6, 9), gray=True).pixels
        np.testing.assert_array_equal(pixels, upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_is_not_fatal(tmp_path: Path) -> None:
    source = noise(8, 8, 3)
    Image.fromarray(source).save(tmp_path / "x.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    decoded = read(tmp_path / "x.png", (8, 8))
    np.testing.assert_array_equal(decoded.pixels, source)


def test_margin_surrounds_exactly_the_bare_window(tmp_path: Path) -> None:
    for height in range(12, 20):
        for width in range(12, 20):
            Image.fromarray(noise(height, width, 3)).save(tmp_path / "x.png")
            for margin in (1, 2, 3):
                bare = read(tmp_path / "x.png", (5, 6)).pixels
                wide = read(tmp_path / "x.png", (5, 6), margin=margin).pixels
                assert wide.shape == (5 + 2 * margin, 6 + 2 * margin, 3)
                np.testing.assert_array_equal(wide[margin:-margin, margin:-margin], bare)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(8, 60),
    width=st.integers(8, 60),
    resize=st.one_of(st.none(), st.integers(8, 40), st.tuples(*[st.integers(8, 40)] * 2)),
    crop=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"]),
    seed=st.integers(0, 2**31),
)
def test_resize_and_centre_are_torchvisions(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    width: int,
    resize: int | tuple[int, int] | None,
    crop: tuple[int, int],
    interpolation: str,
    seed: int,
) -> None:
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    source = expected = Image.fromarray(pixels)
    path = tmp_path_factory.getbasetemp() / "torchvision.png"
    source.save(path)
    if resize is not None:
        expected = Resize(resize, InterpolationMode(interpolation))(expected)
    expected = CenterCrop(crop)(expected)
    found = read(path, crop, resize=resize, interpolation=interpolation).pixels
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_too_small_names_file_size_need_and_remedy(tmp_path: Path) -> None:
    Image.fromarray(noise(40, 30, 3)).save(tmp_path / "small.png")
    with pytest.raises(TooSmall) as caught:
        decode(item(tmp_path / "small.png"), Geometry((32, 24), margin=16))
    assert issubclass(TooSmall, InputError)
    for part in (
        "small.png",
        "40x30",
        "64x56",
        "--max-shift 3 or less",
        "--shifts circular,zero-pad",
    ):
        assert part in str(caught.value)
    with pytest.raises(TooSmall, match="window is 50x24"):
        decode(item(tmp_path / "small.png"), Geometry((50, 24)))
    read(tmp_path / "small.png", (32, 24), margin=3)


def test_a_single_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (7, 8, 9)).save(tmp_path / "x.png")
    assert read(tmp_path / "x.png", (1, 1)).pixels.tolist() == [[[7, 8, 9]]]


def test_first_frame_of_an_animation_is_noted(tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(8, 8, 3)) for _ in range(3)]
    for name in ("x.png", "x.tif", "x.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        decoded = read(tmp_path / name, (8, 8))
        assert decoded.notes == ("the first of several frames",)
        np.testing.assert_array_equal(decoded.pixels, np.asarray(frames[0]))


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    source = noise(8, 8, 3)
    Image.fromarray(source).save(tmp_path / "x.jpg", format="PNG")
    np.testing.assert_array_equal(read(tmp_path / "x.jpg", (8, 8)).pixels, source)


def test_formats_that_run_programs_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    assert "not an image" in reason(tmp_path / "x.png")


def test_unreadable_files_are_values(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(whole, "JPEG")
    path = tmp_path / "x.jpg"
    for cut in (0, 1, 10, 200, len(whole.getvalue()) // 2):
        path.write_bytes(whole.getvalue()[:cut])
        assert reason(path)
    path.write_text("no image")
    assert "not an image" in reason(path)
    path.unlink()
    assert "gone" in reason(path)
    path.mkdir()
    assert reason(path)


def test_bombs_are_not_decoded(tmp_path: Path) -> None:
    Image.new("1", (300, 300)).save(tmp_path / "x.png")
    assert "300x300" in reason(tmp_path / "x.png", max_pixels=89_999)
    read(tmp_path / "x.png", (300, 300), max_pixels=90_000)
    claimed = bytearray(png16(noise(2, 2, 3, dtype=np.uint16)))
    claimed[16:24] = struct.pack(">II", 200_000, 200_000)
    claimed[29:33] = struct.pack(">I", zlib.crc32(bytes(claimed[12:29])))
    (tmp_path / "x.png").write_bytes(claimed)
    assert "pixels" in reason(tmp_path / "x.png")


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(data=st.data(), suffix=st.sampled_from(["png", "jpg", "tif", "webp", "bmp"]))
def test_mutated_files_never_raise(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"mutated.{suffix}"
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        decoded = decode(item(path), Geometry((4, 4), max_pixels=10_000))
    except TooSmall:
        return
    assert isinstance(decoded, Decoded | Skipped)


def test_sha256_is_the_files(tmp_path: Path) -> None:
    import hashlib

    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "x.png")
    expected = hashlib.sha256((tmp_path / "x.png").read_bytes()).hexdigest()
    assert read(tmp_path / "x.png", (8, 8)).sha256 == expected


def test_sizes_are_checked_from_the_header(tmp_path):
    Image.new("RGB", (40, 20)).save(tmp_path / "wide.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 40)).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "broken.png").write_bytes(b"no image")
    items = open_dataset(tmp_path).items
    fits = [Geometry((20, 40)), Geometry((20, 20), resize=20), Geometry((10, 30), margin=5)]
    misfits = [Geometry((21, 40)), Geometry((20, 41)), Geometry((10, 30), margin=6)]
    for geometry in fits:
        check_sizes(items, geometry, workers=2)
    for geometry in misfits:
        with pytest.raises(TooSmall, match="turned"):
            check_sizes(items, geometry, workers=2)
