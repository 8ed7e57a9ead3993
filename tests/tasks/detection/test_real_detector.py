"""YOLOX-nano on real photos: the figures are those of a plain loop that was run by itself."""

import cases

import equiaudit
from equiaudit.shifts import plan as plans

LOST, BOXES, MEDIAN, P95 = 28, 207, 2.29, 21.1
"""Of a plain loop: Pillow's bilinear letterbox, greedy matching, rolls by (1,0), (0,1), (3,2)."""
HOW = """
mean = [0, 0, 0]
std = [1, 1, 1]
pixel_range = 255
channels = "bgr"
fit = "letterbox"
place = "top-left"

[detector]
preset = "yolox"
"""


def test_yolox_nano_loses_and_moves_boxes_as_in_a_plain_loop(tmp_path, monkeypatch):
    case = cases.path("detection")
    (tmp_path / "how.toml").write_text(HOW)
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((case / "helmets" / "images").iterdir())[:30]:
        (photos / path.name).symlink_to(path)
    monkeypatch.setattr(
        plans.ShiftPlan,
        "offsets",
        lambda self, series, index: plans.np.array([[1, 0], [0, 1], [3, 2]]),
    )
    result = equiaudit.scan(
        case / "yolox_nano.onnx",
        photos,
        preprocess=tmp_path / "how.toml",
        shifts=("circular",),
        max_shift=3,
        offsets=3,
        images=False,
    )
    kept, median, p95 = (
        result.metric(f"circular.{name}") for name in ("boxes_kept", "jitter_median", "jitter_p95")
    )
    assert kept.low <= 1 - LOST / BOXES <= kept.high
    assert median.low <= MEDIAN <= median.high
    assert p95.low <= P95 <= p95.high
    assert abs(kept.value - (1 - LOST / BOXES)) < 0.05
    assert any("grid" in note or "cell" in note for note in result.notes)


def test_yolox_nano_finds_the_elephants_that_are_annotated(tmp_path):
    """A wrong frame of boxes, letterbox or count of pixels would halve AP75."""
    case = cases.path("detection")
    (tmp_path / "how.toml").write_text(HOW)
    names = ["elephant" if i == 20 else f"class {i}" for i in range(80)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    result = equiaudit.scan(
        case / "yolox_nano.onnx",
        case / "voc",
        preprocess=tmp_path / "how.toml",
        class_names=tmp_path / "names.txt",
        shifts=("circular",),
        max_shift=3,
        offsets=2,
        limit=4,
        images=False,
    )
    assert result.layout == "voc"
    assert result.metric("circular.ap75_clean").value > 0.9
    assert result.metric("circular.ap75_shifted").value > 0.9
