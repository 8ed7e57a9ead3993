"""Tables of labels as people have them, each against the labels it was written from."""

from pathlib import Path

import pandas as pd
import pytest

from equiaudit.data import open_dataset
from equiaudit.errors import InputError

TRUTH = {"a.jpg": "cat", "b.jpg": "dog", "sub/c.jpg": "cat", "d.JPG": "eel"}
NAMES = ["cat", "dog", "eel"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in TRUTH:
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(b"x")
    return tmp_path / "d"


def read(images: Path, table: Path) -> dict[str, str]:
    data = open_dataset(images, labels=table, class_names=NAMES, num_classes=3)
    return {item.file: NAMES[item.label] for item in data.items if item.label is not None}


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def lines(between: str, header: tuple[str, str] | None, name=lambda n: n) -> str:
    rows = [(name(n), label) for n, label in TRUTH.items()]
    return "\n".join(between.join(row) for row in ([header] if header else []) + rows)


HEADERS = [
    None,
    ("file", "label"),
    ("Filename", "Class"),
    ("file_name", "target"),
    ("image", "category"),
    ("path", "y"),
    ("Image_Label", "label"),
    ("photo", "animal"),
]


@pytest.mark.parametrize("between", [",", ";", "\t", " "])
@pytest.mark.parametrize("header", HEADERS)
def test_delimiters_and_headers(
    images: Path, tmp_path: Path, between: str, header: tuple[str, str] | None
) -> None:
    assert read(images, write(tmp_path / "l.txt", lines(between, header))) == TRUTH


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(images: Path, tmp_path: Path, encoding: str) -> None:
    table = write(tmp_path / "l.csv", lines(",", ("file", "label")), encoding)
    assert read(images, table) == TRUTH


@pytest.mark.parametrize(
    "name",
    [
        lambda n: n.rpartition(".")[0],
        lambda n: n.lower(),
        lambda n: n.upper(),
        lambda n: n.replace(".jpg", ".JPG"),
        lambda n: n.rpartition("/")[2],
        lambda n: n.rpartition("/")[2].rpartition(".")[0],
        lambda n: f"/home/them/photos/{n.rpartition('/')[2]}",
        lambda n: n.replace("/", "\\"),
        lambda n: f"./{n}",
    ],
)
def test_names_with_and_without_ending_folder_and_case(images: Path, tmp_path: Path, name) -> None:
    table = write(tmp_path / "l.csv", lines(",", ("file", "label"), name))
    assert read(images, table) == TRUTH


def test_a_name_that_fits_two_images_is_refused(images: Path, tmp_path: Path) -> None:
    (images / "other").mkdir()
    (images / "other" / "c.jpg").write_bytes(b"x")
    table = write(tmp_path / "l.csv", lines(",", ("file", "label"), lambda n: n[-5:]))
    with pytest.raises(InputError, match=r"Line 4 .*'c.jpg', which may be"):
        read(images, table)


def test_what_was_read_is_said(images: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "l.csv", lines(";", ("image", "category")))
    (note, *_) = open_dataset(images, labels=table, class_names=NAMES).notes
    assert note == "4 of 4 images labelled from columns image, category of l.csv."
    table = write(tmp_path / "l.txt", lines(" ", None))
    (note, *_) = open_dataset(images, labels=table, class_names=NAMES).notes
    assert note == "4 of 4 images labelled from columns 1 and 2 of l.txt."


def test_label_before_file(images: Path, tmp_path: Path) -> None:
    text = "\n".join(f"{label},{name}" for name, label in TRUTH.items())
    assert read(images, write(tmp_path / "l.csv", text)) == TRUTH


def hot(row: str) -> str:
    return ",".join("1" if name == row else "0" for name in NAMES)


def test_one_column_per_class(images: Path, tmp_path: Path) -> None:
    rows = [f"image_id,{','.join(NAMES)}", *(f"{n},{hot(label)}" for n, label in TRUTH.items())]
    assert read(images, write(tmp_path / "l.csv", "\n".join(rows))) == TRUTH


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,cat,dog\na.jpg,1,0\nb.jpg,1,1", r"Line 3 .* 2 classes \(cat and dog\)"),
        ("image,cat,dog\na.jpg,1,0\nb.jpg,0,0", r"Line 3 .* 0 classes \(none\)"),
        ("file,label\na.jpg,cat|dog\nb.jpg,dog", r"Line 2 .*several labels, 'cat\|dog'"),
        ("file,label\na.jpg,cat\na.jpg,dog", "twice: 'cat' in line 2 and 'dog' in line 3"),
        ("file,label,class\na.jpg,cat,1\nb.jpg,dog,1", "columns label and class"),
    ],
)
def test_several_classes_for_one_image_are_refused(
    images: Path, tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read(images, write(tmp_path / "l.csv", text))


def test_a_second_column_that_says_the_same_is_no_matter(images: Path, tmp_path: Path) -> None:
    text = "file,label,class\n" + "\n".join(f"{n},{c},{c.upper()}" for n, c in TRUTH.items())
    assert read(images, write(tmp_path / "l.csv", text)) == TRUTH


def test_json_lines(images: Path, tmp_path: Path) -> None:
    rows = [f'{{"file_name": "{n}", "label": "{c}"}}' for n, c in TRUTH.items()]
    assert read(images, write(tmp_path / "l.jsonl", "\n".join(rows))) == TRUTH
    with pytest.raises(InputError, match=r"Line 2 of .* is not JSON"):
        read(images, write(tmp_path / "l.jsonl", rows[0] + "\n{"))


def test_parquet(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame(list(TRUTH.items()), columns=["file_name", "label"]).to_parquet(tmp_path / "l.pq")
    assert read(images, tmp_path / "l.pq") == TRUTH


def test_a_table_of_other_things_names_its_first_line(images: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "l.csv", "a.jpg,1,2,3\nb.jpg,1,2,3")
    with pytest.raises(InputError, match=r"no column file .*its first line is 'a.jpg, 1, 2, 3'"):
        read(images, table)


def test_a_class_index_is_no_name_of_an_image(tmp_path: Path) -> None:
    """`9.png,0` beside 0.png: the second column names images too, without their ending."""
    for place in range(4):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / f"{place}.png").write_bytes(b"x")
    table = write(tmp_path / "l.csv", "0.png,2\n1.png,1\n2.png,0\n9.png,1\n")
    assert read(tmp_path / "d", table) == {"0.png": "eel", "1.png": "dog", "2.png": "cat"}
    with pytest.raises(InputError) as caught:
        read(tmp_path / "d", write(tmp_path / "l.csv", "8.png,0\n9.png,0\n"))
    assert "twice" not in str(caught.value)


def test_who_gave_a_table_is_not_told_to_give_one(images: Path, tmp_path: Path) -> None:
    for label in ("7", "bird"):
        with pytest.raises(InputError) as caught:
            read(images, write(tmp_path / "l.csv", f"file,label\na.jpg,{label}\n"))
        assert "--labels" not in str(caught.value)
        assert "--class-names FILE" in str(caught.value)


def test_quotes_after_blanks_and_the_first_line_of_excel(images: Path, tmp_path: Path) -> None:
    quoted = lines('" ; "', ("file", "label")).replace("\n", '"\n"')
    table = write(tmp_path / "l.csv", f'sep=;\r\n"{quoted}"')
    assert read(images, table) == TRUTH


def test_a_class_called_as_columns_of_labels_are(images: Path, tmp_path: Path) -> None:
    """One column per class, of which one is called y."""
    rows = [f"{name},{','.join(str(int(k == own)) for k in NAMES)}" for name, own in TRUTH.items()]
    names = ["x", "y", "z"]
    table = write(tmp_path / "l.csv", "\n".join(["file,x,y,z", *rows]))
    data = open_dataset(images, labels=table, class_names=names, num_classes=3)
    assert {i.file: NAMES[i.label] for i in data.items} == TRUTH
    with pytest.raises(InputError, match=r"column y .* may hold the labels, or be one of 3"):
        open_dataset(images, labels=table, num_classes=3)


def test_columns_of_classes_without_names_have_two_orders(images: Path, tmp_path: Path) -> None:
    rows = [f"{name},{','.join(str(int(k == own)) for k in NAMES)}" for name, own in TRUTH.items()]
    table = write(tmp_path / "l.csv", "\n".join(["file,r,q,p", *rows]))
    data = open_dataset(images, labels=table, num_classes=3)
    assert data.doubt is not None
    found = [[NAMES[i] for i in labels] for labels in data.doubt.labels]
    truth = [TRUTH[item.file] for item in data.items]
    swapped = [NAMES[2 - NAMES.index(name)] for name in truth]
    assert found == [swapped, truth]
    own = open_dataset(images, labels=table, num_classes=3, class_order="index")
    assert [NAMES[item.label] for item in own.items] == truth
