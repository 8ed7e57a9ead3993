"""Rolling to a canonical position: exact for any model, and cut where the picture was cut."""

import pytest
import torch
import torch.nn.functional as F
from pictures import PositionNet, photographs, rolled
from torch import nn

from equiaudit.repair.verify.synthetic import synthetic_images
from equiaudit.sampling import seam_contrast
from equiaudit.sampling.canonical import (
    Canonical,
    CanonicalPosition,
    canonical_origin,
    canonical_report,
)
from equiaudit.sampling.seam_evidence import border_strength, seam_evidence

SIZE = (48, 40)
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def prepared(pixels):
    return (pixels.float() / 255 - MEAN.reshape(1, 3, 1, 1)) / STD.reshape(1, 3, 1, 1)


def every_kind(pixels):
    floats = prepared(pixels)
    return {
        "uint8": pixels,
        "float32": floats,
        "float64": floats.double(),
        "float16": floats.half(),
        "channels_last": floats.contiguous(memory_format=torch.channels_last),
    }


def random_shifts(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(0, n, (count,), generator=generator) for n in size], 1)


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "float16", "channels_last"])
def test_the_origin_moves_with_the_image(kind):
    images = every_kind(photographs(4))[kind]
    origin = CanonicalPosition()(images)
    assert origin.dtype == torch.int64
    for seed in range(8):
        shifts = random_shifts(4, SIZE, seed)
        moved = CanonicalPosition()(rolled(images, shifts))
        assert torch.equal(moved, (origin + shifts) % torch.tensor(SIZE))


def test_the_origin_moves_with_the_image_at_every_shift():
    image = prepared(photographs(1, (9, 12)))
    shifts = torch.cartesian_prod(torch.arange(9), torch.arange(12))
    origin = CanonicalPosition()(image)
    found = CanonicalPosition()(rolled(image.expand(len(shifts), -1, -1, -1), shifts))
    assert torch.equal(found, (origin + shifts) % torch.tensor([9, 12]))


def test_evidence_is_bit_equal_at_every_column():
    image = prepared(photographs(1))
    rows, columns = seam_evidence(image, 3, SIZE)
    for shift in range(SIZE[1]):
        moved = seam_evidence(torch.roll(image, shift, 3), 3, SIZE)
        assert torch.equal(moved[0], rows)
        assert torch.equal(moved[1], torch.roll(columns, shift, 1))


def test_float_sums_would_not_do():
    """The control: the same kind of sum over unrounded floats depends on where it starts."""
    image = prepared(photographs(1, (224, 224)))

    def line_sums(x):
        return (x - torch.roll(x, 1, 2)).abs().sum(1).sqrt().sum(2)

    sums = [line_sums(torch.roll(image, shift, 3)) for shift in range(20)]
    assert not all(torch.equal(found, sums[0]) for found in sums)


def test_first_index_on_ties_would_not_do():
    """The control: with evidence alone, ties fall to the first index, which does not move."""
    image = synthetic_images((32, 32))["disk"][None]
    image = torch.maximum(image, torch.roll(image, (16, 16), (2, 3)))
    image[..., 3, 5] = 0.7

    def by_index(x):
        return torch.stack([e.argmax(1) for e in seam_evidence(x, 3, (32, 32))], 1)

    blank = torch.zeros(1, 3, 32, 32)
    blank[..., 7, 9] = 1.0
    blank[..., 23, 9] = 1.0
    blank[..., 23, 12] = 0.999
    failures = 0
    for x in (image, blank):
        for shift in ((0, 1), (5, 0), (20, 11), (3, 30)):
            moved = torch.roll(x, shift, (2, 3))
            aligned = [
                torch.equal(rolled(x, -place(x)), rolled(moved, -place(moved)))
                for place in (by_index, CanonicalPosition())
            ]
            assert aligned[1]
            failures += not aligned[0]
    assert failures > 0


@pytest.mark.parametrize("size", [(32, 32), (30, 21), (17, 40)])
def test_the_model_sees_the_same_bits_of_synthetic_images(size):
    images = torch.stack(list(synthetic_images(size).values()))
    still = rolled(images, -CanonicalPosition()(images))
    for seed in range(6):
        moved = rolled(images, random_shifts(len(images), size, seed))
        assert torch.equal(rolled(moved, -CanonicalPosition()(moved)), still)


def test_the_border_of_pictures_is_found():
    origins = CanonicalPosition()(photographs(20))
    assert (origins == 0).all(1).double().mean() >= 0.9


def stripes_with_a_line(value, seed):
    """Brushed metal of 128 px: no border between its columns, but for one line of `value`."""
    generator = torch.Generator().manual_seed(seed)
    columns = torch.rand(128, generator=generator).expand(1, 1, 128, 128)
    x = columns + torch.rand(1, 1, 128, 128, generator=generator)
    x[..., 0] = value
    return x


def cut_beside_the_line(value):
    """Of ten such images, how many are cut at one of the line's two sides."""
    images = torch.cat([stripes_with_a_line(value, seed) for seed in range(10)])
    moved = torch.roll(images, 50, 3)
    return sum(column in (50, 51) for column in canonical_origin(moved, 1, (128, 128))[:, 1])


@pytest.mark.parametrize("value", [-2.0, 4.0])
def test_a_line_of_black_or_white_is_a_border(value, monkeypatch):
    assert cut_beside_the_line(value) == 10
    monkeypatch.setattr(
        seam_contrast, "_at_fill", lambda whole, axis, size: torch.zeros(1, 1, dtype=torch.bool)
    )
    assert cut_beside_the_line(value) < 10  # its two sides hide each other


def test_size_one_and_two_work():
    for size in ((1, 1), (1, 8), (2, 2), (3, 5)):
        x = torch.rand(2, 1, *size)
        moved = torch.roll(x, (1, 1), (2, 3))
        assert torch.equal(
            rolled(x, -CanonicalPosition()(x)), rolled(moved, -CanonicalPosition()(moved))
        )


def test_a_sample_does_not_depend_on_its_companions():
    images = prepared(photographs(5))
    whole = CanonicalPosition()(images)
    assert torch.equal(whole, torch.cat([CanonicalPosition()(x[None]) for x in images]))


def test_nan_and_infinity_do_not_raise():
    image = prepared(photographs(2))
    image[0, 0, 3, 3], image[1, 1, 4, 4] = float("nan"), float("inf")
    origin = CanonicalPosition()(image)
    assert ((origin >= 0) & (origin < torch.tensor(SIZE))).all()


def test_any_model_becomes_bit_equal_and_the_unmodified_one_is_not():
    images, net = prepared(photographs(4)), PositionNet()
    fixed, still = Canonical(net), net(images)
    expected = fixed(images)
    for seed in range(5):
        moved = rolled(images, random_shifts(4, SIZE, seed))
        assert torch.equal(fixed(moved), expected)
        assert not torch.allclose(net(moved), still, atol=1e-3)


def test_what_the_model_sees_is_the_image_where_the_border_is_found():
    images, net = prepared(photographs(4)), PositionNet()
    assert (CanonicalPosition()(images) == 0).all()
    assert torch.equal(Canonical(net)(images), net(images))


def test_gradients_flow_to_the_image_and_the_weights():
    image = prepared(photographs(1)).requires_grad_()
    net = PositionNet()
    Canonical(net)(torch.roll(image, (3, 4), (2, 3))).sum().backward()
    plain = image.detach().clone().requires_grad_()
    net(plain).sum().backward()
    assert torch.equal(image.grad, plain.grad)
    assert net.head.weight.grad is not None


def stepped(image):
    """A map that knows places: zero padding, one step per pixel."""
    return F.avg_pool2d(image, 3, 1, 1)


def test_dense_outputs_come_back_in_place():
    images = prepared(photographs(3))
    fixed = Canonical(_Apply(stepped), dense=True)
    still = fixed(images)
    shifts = random_shifts(3, SIZE, 4)
    assert torch.equal(fixed(rolled(images, shifts)), rolled(still, shifts))
    plain = stepped(rolled(images, shifts))
    assert not torch.equal(plain, rolled(stepped(images), shifts))


def test_finer_maps_come_back_in_place():
    images = prepared(photographs(3))
    fixed = Canonical(_Apply(lambda x: F.interpolate(stepped(x), scale_factor=2)), dense=True)
    shifts = random_shifts(3, SIZE, 4)
    assert torch.equal(fixed(rolled(images, shifts)), rolled(fixed(images), 2 * shifts))


def test_coarser_maps_come_back_to_the_nearest_step():
    images = prepared(photographs(3))
    fixed = Canonical(_Apply(lambda x: F.avg_pool2d(stepped(x), 4)), dense=True)
    still = fixed(images)
    whole = 4 * random_shifts(3, (12, 10), 4)
    assert torch.equal(fixed(rolled(images, whole)), rolled(still, whole // 4))
    parts = random_shifts(3, SIZE, 5)
    found = fixed(rolled(images, parts))
    for one, before, shift in zip(found, still, parts, strict=True):
        steps = [(int(r), int(c)) for r in _around(shift[0]) for c in _around(shift[1])]
        assert any(torch.equal(one, torch.roll(before, s, (1, 2))) for s in steps)


def _around(shift):
    return (shift // 4, shift // 4 + 1)


def test_nested_outputs_keep_their_shape():
    fixed = Canonical(_Apply(lambda x: {"out": x, "more": (x, [x])}), dense=True)
    image = prepared(photographs(1))
    found = fixed(torch.roll(image, (2, 5), (2, 3)))
    assert torch.equal(found["out"], torch.roll(image, (2, 5), (2, 3)))
    assert torch.equal(found["more"][1][0], found["out"])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.mean((2, 3)), "must be a map .* not 2-D"),
        (lambda x: {"out": x, "score": 3.0}, "made of maps, not float"),
        (lambda x: x[:, :, :31], "31 rows cannot be put back"),
    ],
)
def test_what_cannot_be_put_back_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        Canonical(_Apply(function), dense=True)(prepared(photographs(1)))


def test_the_report_says_where_the_cut_is_and_what_was_found():
    pixels = torch.roll(photographs(3, (64, 64)), (7, 30), (2, 3))
    for finding in canonical_report(pixels):
        assert (finding.row, finding.column) == (7, 30)
        assert finding.summary == "border found"
    origin = canonical_origin(pixels, 3, (64, 64)).tolist()
    assert [[f.row, f.column] for f in canonical_report(pixels)] == origin


def test_the_report_tells_images_without_a_border():
    rows = torch.arange(64)[:, None] * torch.ones(64)
    smooth = torch.sin(rows * 2 * torch.pi / 64) * 80 + 128
    (blank,) = canonical_report(torch.full((1, 3, 64, 64), 0.5))
    (wave,) = canonical_report(smooth.expand(1, 3, 64, 64))
    assert blank.summary == wave.summary == "no border: any position does"


def test_the_report_tells_a_panorama():
    """Columns that fade into those beyond the other end: they close on themselves, rows do not."""
    picture = photographs(3, (64, 96)).float()
    fade = torch.linspace(0, 1, 32)
    start = picture[..., :32] * fade + picture[..., 64:] * (1 - fade)
    for finding in canonical_report(torch.cat([start, picture[..., 32:64]], 3)):
        assert finding.summary == "border between rows only"


def test_strength_is_measured_in_spreads_of_the_others():
    evidence = torch.tensor([[0, 2, 0, 2, 11]])
    assert border_strength(evidence, torch.tensor([4])).tolist() == [10.0]


class _Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)
