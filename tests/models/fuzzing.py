"""Mutations of real model files, loaded one after the other under limits of time and memory.

    python fuzzing.py FOLDER SEED COUNT

mutates every file of FOLDER/good COUNT times and prints a JSON line per try: its name before,
its outcome after it was loaded. A process that dies has named the file it died of.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import torch

from equiaudit.errors import InputError, RunError
from equiaudit.models import PreprocessOverrides, load
from equiaudit.models.hashing import file_sha256
from equiaudit.models.preprocess import read_preprocess_file

SEEN = PreprocessOverrides(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
SECONDS = 60
ROOM = 3 << 30
NUMBERS = [
    0,
    1,
    0xFF,
    1 << 16,
    (1 << 31) - 1,
    1 << 32,
    1 << 40,
    1 << 60,
    (1 << 63) - 1,
    (1 << 64) - 1,
]
PAYLOAD = b"\x80\x02cos\nsystem\nX\x09\x00\x00\x00touch ranq\x00\x85q\x01Rq\x02."


def flipped(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def spliced(content: bytes, rng: random.Random) -> bytes:
    """A piece taken out, doubled or put elsewhere."""
    a, b = sorted(rng.randrange(len(content)) for _ in range(2))
    piece, place = content[a : min(b, a + 64)], rng.randrange(len(content))
    return content[:place] + piece + content[place + rng.choice([0, len(piece)]) :]


def renumbered(content: bytes, rng: random.Random) -> bytes:
    """A number in text, or the bytes of one, become another."""
    digits = list(re.finditer(rb"\d+", content))
    value = rng.choice(NUMBERS)
    if digits and rng.random() < 0.5:
        found = rng.choice(digits)
        new = str(value * rng.choice([1, 1, -1])).encode()
        return content[: found.start()] + new + content[found.end() :]
    size = rng.choice([2, 4, 8])
    place = rng.randrange(max(1, len(content) - size))
    new = (value % (1 << 8 * size)).to_bytes(size, "little")
    return content[:place] + new + content[place + size :]


def nested(content: bytes, rng: random.Random) -> bytes:
    """Brackets without end, where some were."""
    places = [m.start() for m in re.finditer(rb"[\[{(]", content)] or [0]
    place = rng.choice(places)
    return content[:place] + rng.choice([b"[", b'{"a":', b"("]) * 20_000 + content[place:]


def loaded_with_code(content: bytes, rng: random.Random) -> bytes:
    """A pickle that calls a program, in place of what was there or before it."""
    return PAYLOAD if rng.random() < 0.5 else PAYLOAD[:-1] + content[2:]


MUTATIONS = [flipped, cut, spliced, renumbered, renumbered, nested, loaded_with_code]


def repacked(source: Path, target: Path, rng: random.Random) -> None:
    """An archive with one member mutated, renamed, doubled or taken out."""
    with zipfile.ZipFile(source) as old:
        members = [(name, old.read(name)) for name in old.namelist()]
    at = rng.randrange(len(members))
    name, content = members[at]
    how = rng.choice(["content"] * 6 + ["rename", "double", "drop", "bomb"])
    root = name.partition("/")[0]
    if how == "content" and content:
        members[at] = (name, rng.choice(MUTATIONS)(content, rng))
    elif how == "rename":
        places = ["../ran", "/tmp/../ran", name.upper(), "x/" + name, f"{root}/../../ran"]
        members[at] = (rng.choice(places), content)
    elif how == "double":
        members.append((name, PAYLOAD))
    elif how == "drop":
        del members[at]
    else:
        members[at] = (name, bytes(rng.choice([1 << 20, 1 << 29])))
    kind = zipfile.ZIP_DEFLATED if how == "bomb" or rng.random() < 0.2 else zipfile.ZIP_STORED
    with zipfile.ZipFile(target, "w", kind, compresslevel=1) as new:
        for each, text in members:
            new.writestr(each, text)


def mutate(source: Path, target: Path, rng: random.Random) -> None:
    if zipfile.is_zipfile(source) and rng.random() < 0.8:
        repacked(source, target, rng)
    else:
        target.write_bytes(rng.choice(MUTATIONS[:-1])(source.read_bytes(), rng))


def outcome(path: Path, arch: str | None) -> str:
    """ "loaded", or the sentence that a user would read after its exit code."""
    try:
        if path.suffix == ".toml":
            read_preprocess_file(path)
        else:
            load(path, arch=arch, preprocess=SEEN, device="cpu")
    except (InputError, RunError) as error:
        return f"{error.exit_code} {error}"
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    return "loaded"


def companions(source: Path) -> list[Path]:
    """The files that belong to a converted checkpoint."""
    return [p for p in source.parent.iterdir() if p.name.split(".")[0] == source.name.split(".")[0]]


def described_again(folder: Path) -> None:
    """The digests of the configuration, of the files as they are now, so that they are read."""
    place = folder / "converted.json"
    config = json.loads(place.read_text())
    for name in ("graph", "weights"):
        config[f"{name}_sha256"] = file_sha256(folder / config[name])
    place.write_text(json.dumps(config))


def attempts(folder: Path, seed: int, count: int):
    for source in sorted((folder / "good").iterdir()):
        for number in range(count):
            yield source, random.Random(f"{source.name} {seed} {number}"), number


def main(folder: Path, seed: int, count: int) -> None:
    os.chdir(folder)
    torch.set_num_threads(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    for source, rng, number in attempts(folder, seed, count):
        shutil.rmtree("tried", ignore_errors=True)
        Path("tried").mkdir()
        for each in companions(source):
            shutil.copy(each, "tried")
        target = Path("tried", source.name)
        mutate(source, target, rng)
        if source.name.startswith("converted") and source.suffix != ".json":
            described_again(target.parent)
        print(json.dumps({"try": f"{source.name} {number}"}), flush=True)
        before = sorted(p.name for p in Path("tried").iterdir())
        whole = next(
            (p for p in Path("tried").iterdir() if p.name.startswith("converted.saf")), target
        )
        arch = "nets:tiny_net" if source.name.startswith("weights") else None
        signal.alarm(SECONDS)
        said = outcome(target if source.name.split(".")[0] != "converted" else whole, arch)
        signal.alarm(0)
        left = sorted(p.name for p in Path("tried").iterdir())
        print(json.dumps({"said": said, "same": before == left}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
