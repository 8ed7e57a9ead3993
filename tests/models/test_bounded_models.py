"""Small files that ask for years or for terabytes: one sentence, before any of it is begun.

Everything is loaded in one process that may take little memory and little time for each file.
"""

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from artefacts import write_pt2, write_torchscript
from nets import tiny_net
from onnx import TensorProto, helper
from safetensors.torch import save_file

from equiaudit.errors import InputError
from equiaudit.models.archives import _check_expression
from equiaudit.models.checkpoint import load_weights_only
from equiaudit.models.fitting import likeliest_view
from equiaudit.models.onnx_functions import check_functions
from equiaudit.models.pickles import MOST_STEPS, check_pickle
from equiaudit.models.torchscript import load_torchscript
from equiaudit.models.weights import found_weights

START = b"\x80\x02"
HUGE = b"\x8a\x05\x00\x00\x00\x00\x10"  # 2**36
LOADER = """
import resource, signal, sys
import torch
from equiaudit.errors import InputError
from equiaudit.models import PreprocessOverrides, load

seen = PreprocessOverrides(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 30),) * 2)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for path in sys.argv[1:]:
    print(path, end=": ", flush=True)
    signal.alarm(60)
    try:
        load(path, preprocess=seen, device="cpu")
        print("loaded", flush=True)
    except InputError as error:
        print(error, flush=True)
    signal.alarm(0)
"""


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def doubled(times: int) -> bytes:
    """x = (x, x), `times` times."""
    return b"K\x01" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(times))


def storage(count: int) -> bytes:
    """A state dict of one tensor of `count` elements, over as many in the storage 0."""
    number = b"\x8a\x08" + struct.pack("<q", count)
    place = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    shape = b"K\x00" + number + b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)R"
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + number + b"tQ" + shape + b"tR"
    return b"}" + text("a") + rebuilt + b"s"


TYPE = "List[" * 100_000 + "int" + "]" * 100_000
PICKLES = {
    "a key whose hash takes years": (b"}" + doubled(40) + b"K\x01s", "unfolds to more than"),
    "a tuple in a tuple in a tuple": (b"N" + b"\x85" * 100_000, "nests its objects deeper"),
    "a list in a list in a list": (b"]" * 9000 + b"a" * 8999, "nests its objects deeper"),
    "nested through the memo": (
        b"("
        + b"".join(b"]r" + struct.pack("<I", i) for i in range(300))
        + b"t"
        + b"".join(
            b"j" + struct.pack("<I", i) + b"j" + struct.pack("<I", i + 1) + b"a\x86"
            for i in range(299)
        ),
        "nests its objects deeper",
    ),
    "a dict in itself": (b"}q\x00" + text("model") + b"h\x00s", "contains itself"),
    "a million empty dicts": (b"(" + b"}" * MOST_STEPS + b"t", "steps to unpickle"),
    "a storm of gets": (b"](}q\x00" + b"h\x00" * MOST_STEPS + b"e", "steps to unpickle"),
    "a high place in the memo": (b")r\xff\xff\xff\xff", "the number 4,294,967,295"),
    "a buffer by its size": (b"c__builtin__\nbytearray\n" + HUGE + b"\x85R", "memory by a number"),
    "a tensor by its size": (b"ctorch\nTensor\n" + HUGE + b"\x85R", "memory by a number"),
    "a storage by its size": (
        b"ctorch.storage\nUntypedStorage\n" + HUGE + b"\x85\x81",
        "memory by a number",
    ),
    "a codec that takes its time": (
        b"c_codecs\nencode\n" + text("e" * 1000) + text("idna") + b"\x86R",
        "converts text",
    ),
}
REFUSED = pytest.mark.parametrize(("content", "said"), PICKLES.values(), ids=PICKLES)


def zipped(path: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        archive.writestr("net/byteorder", "little")
        archive.writestr("net/version", "3\n")
        archive.writestr("net/data/0", bytes(64))
    return path


def legacy(path: Path, pickled: bytes, rest: bytes = b"") -> Path:
    """The format before archives: five pickles, the fourth with the value, and the storages."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    before = (0x1950A86A20F9469CFC6C, 1001, system)
    head = b"".join(pickle.dumps(value, protocol=2) for value in before)
    path.write_bytes(head + pickled + (rest or pickle.dumps([], protocol=2)))
    return path


def changed(source: Path, target: Path, member: str, content: bytes) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith(member) else old.read(name))
    return target


@REFUSED
def test_a_pickle_that_would_not_end_is_refused_before_it_is_run(content, said):
    with pytest.raises(InputError, match=said) as caught:
        check_pickle(START + content + b".", what="net.pt")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@REFUSED
@pytest.mark.parametrize("write", [zipped, legacy], ids=["zip", "legacy"])
def test_it_is_refused_in_every_kind_of_file(tmp_path, write, content, said):
    with pytest.raises(InputError, match=said):
        load_weights_only(write(tmp_path / "net.pt", START + content + b"."), what="net.pt")


def test_the_later_pickles_of_a_legacy_file_are_checked_too(tmp_path):
    bomb = START + PICKLES["a key whose hash takes years"][0] + b"."
    with pytest.raises(InputError, match="unfolds to"):
        load_weights_only(legacy(tmp_path / "net.th", START + b"}.", bomb), what="net.th")


def test_a_pickle_is_checked_from_where_the_one_before_it_ended():
    first, second = pickle.dumps([1, "a", 2.5], 2), pickle.dumps({"b": (None, True)}, 2)
    found = check_pickle(first + second, what="a")
    assert found.end == len(first)
    rest = check_pickle(first + second, what="a", start=found.end, steps=found.steps)
    assert rest.end == len(first + second)


def test_control_what_is_saved_passes_and_loads(tmp_path):
    net = tiny_net()
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.zeros(2, 3, 16, 16)).sum().backward()
    optimizer.step()
    saved = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "more": [{"epoch": 3, "best": 0.5, "names": ["a"] * 1000, "seed": (1, (2, (3, b"x")))}],
        "tensor with attributes": torch.nn.Parameter(torch.ones(2)),
        "set": {1, 2},
    }
    for new in (True, False):
        path = tmp_path / f"{new}.pt"
        torch.save(saved, path, _use_new_zipfile_serialization=new)
        loaded = load_weights_only(path, what=str(path))
        assert loaded["more"] == saved["more"]
        (weights,) = found_weights(loaded, what="a")
        assert weights.value.keys() == net.state_dict().keys()


@pytest.mark.parametrize("count", [1 << 20, 1 << 40, 1 << 60, -5])
@pytest.mark.parametrize("write", [zipped, legacy], ids=["zip", "legacy"])
def test_a_storage_that_claims_more_than_the_file_holds_is_damaged(tmp_path, write, count):
    path = write(tmp_path / "net.pt", START + storage(count) + b".")
    with pytest.raises(InputError, match="damaged or truncated"):
        load_weights_only(path, what="net.pt")


def test_a_tensor_that_repeats_what_it_holds_is_refused():
    wide = torch.ones(1).expand(1 << 40)
    with pytest.raises(InputError, match=r"a in net.pt claims 4,398,046,511,104 bytes.*holds 4"):
        found_weights({"a": wide}, what="net.pt")


@pytest.mark.parametrize(
    "tensor",
    [torch.eye(3).to_sparse(), torch.empty(2, device="meta")],
    ids=["sparse", "meta"],
)
def test_a_tensor_that_is_no_array_of_numbers_is_refused(tensor):
    with pytest.raises(InputError, match=r"a in net\.pt is not a plain tensor"):
        found_weights({"a": tensor}, what="net.pt")


@pytest.mark.parametrize(
    "saved",
    [{0: torch.ones(1)}, {b"a": torch.ones(1)}, {2**2000: 1}, {"k" * 10**6: 1}, {"model": {}}],
    ids=["number", "bytes", "large", "long", "empty"],
)
def test_keys_that_are_no_names_are_described_briefly(saved):
    with pytest.raises(InputError, match="holds no state dict") as caught:
        found_weights(saved, what="net.pt")
    assert len(str(caught.value)) < 300


def test_a_prefix_repeated_ten_thousand_times_is_taken_off():
    one = torch.ones(1)
    assert likeliest_view({"x": one}, {"module." * 10_000 + "x": one}).keys() == {"x"}


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("script")
    return write_torchscript(tiny_net().eval(), folder / "good.pt", torch.zeros(2, 3, 16, 16))


def typed(name: str) -> bytes:
    return b"ctorch.jit._pickle\nrestore_type_tag\n]" + text(name) + b"\x86R"


def loaded_apart(*paths: Path) -> dict[str, str]:
    """What loading each file said, in one process with limits."""
    tests = Path(__file__).parent.parent
    found = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *map(str, paths)],
        env={**os.environ, "PYTHONPATH": found, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-2000:]
    lines = done.stdout.splitlines()
    return {path.name: line for path, line in zip(paths, lines, strict=True)}


def test_what_would_crash_or_fill_memory_ends_in_a_sentence(tmp_path, scripted):
    """Each of these stopped the process, or took gigabytes, when torch was given it unchecked."""
    contents = {
        "deep": b"N" + b"\x85" * 1_000_000,
        "type": typed(TYPE),
        "memo": b")r\xff\xff\xff\xff",
        "string": b"X\xff\xff\xff\xff",
        "long string": b"\x8d" + b"\xff" * 7 + b"\x7f",
    }
    paths = [
        changed(scripted, tmp_path / f"{name} {member}.pt", f"{member}.pkl", START + content + b".")
        for name, content in contents.items()
        for member in ("data", "constants")
    ]
    header = {
        f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(150_000)
    }
    written = json.dumps(header).encode()
    many = tmp_path / "many.safetensors"
    many.write_bytes(struct.pack("<Q", len(written)) + written)
    members = tmp_path / "members.pt"
    with zipfile.ZipFile(members, "w") as archive:
        for i in range(500):
            archive.writestr(f"a/{'x' * 30_000}{i}", b"")
    said = loaded_apart(*paths, many, members)
    refusals = [line for name, line in said.items() if "--trust" in line or "damaged" in line]
    assert len(refusals) == len(paths)
    assert "header of more than" in said["many.safetensors"]
    assert "lists more members" in said["members.pt"]


@pytest.mark.parametrize("kept", [0, 4])
def test_a_tensor_that_ends_before_its_elements_do_is_not_read(scripted, tmp_path, kept):
    with zipfile.ZipFile(scripted) as archive:
        members = [
            n for n in archive.namelist() if "/data/" in n and archive.getinfo(n).file_size > 8
        ]
        for at, member in enumerate(members):
            bad = tmp_path / f"{at}.pt"
            changed(scripted, bad, member, archive.read(member)[:kept])
            with pytest.raises(InputError, match=rf"elements in {kept} bytes"):
                load_torchscript(bad, trust=False)
    assert members


def test_control_the_archive_loads_when_nothing_is_changed(scripted, tmp_path):
    same = changed(scripted, tmp_path / "same.pt", "no such member", b"")
    assert loaded_apart(same)["same.pt"].endswith(": loaded")


def test_a_type_of_torchscript_may_nest_as_types_do():
    check_pickle(START + typed("Dict[str, Tuple[int, List[Tensor]]]") + b".", what="a", whole=True)
    with pytest.raises(InputError, match="names a type"):
        check_pickle(START + typed("-" * 5000 + "int") + b".", what="a")


@pytest.mark.parametrize(
    "expression",
    ["9**9**9**9", "2**(10**9)", "(s0**64)**64", "9**s0", "PowByNatural(9, 999999999)",
     "LShift(1, 10**12)", "1 << 999999999", "Max(" + ", ".join(f"s{i}" for i in range(40)) + ")",
     "+".join(["s0"] * 2000), "(" * 500 + "1" + ")" * 500],
)  # fmt: skip
def test_an_expression_that_grows_is_not_evaluated(expression):
    with pytest.raises(InputError, match="where a graph of operators has none"):
        _check_expression(expression, "net.pt2")


@pytest.mark.parametrize(
    "expression",
    ["s0", "2*s0 + 1", "s0**2", "Max(1, s0 // 2)", "Mod(PowByNatural(s0, 2), 7)", "((s0 - 1)//2)"],
)
def test_control_what_shapes_need_is_let_through(expression):
    _check_expression(expression, "net.pt2")


def test_an_archive_inside_an_export_that_unpacks_to_far_more_is_not_opened(tmp_path):
    good = write_pt2(tiny_net().eval(), tmp_path / "good.pt2", torch.zeros(2, 3, 16, 16))
    inner = tmp_path / "inner.zip"
    with (
        zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a/data.pkl", "w", force_zip64=True) as member,
    ):
        for _ in range(300):
            member.write(bytes(1 << 20))
    bad = changed(good, tmp_path / "bad.pt2", "sample_inputs/model.pt", inner.read_bytes())
    assert "would unpack to" in loaded_apart(bad)["bad.pt2"]


def functions(count: int, calls: int = 2) -> list[onnx.FunctionProto]:
    """Each calls the one before it `calls` times."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    made = [helper.make_function("f", "f0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
                                 opsets)]  # fmt: skip
    for i in range(1, count):
        names = ["a", *(f"c{k}" for k in range(calls - 1)), "b"]
        nodes = [
            helper.make_node(f"f{i - 1}", [names[k]], [names[k + 1]], domain="f")
            for k in range(calls)
        ]
        made.append(helper.make_function("f", f"f{i}", ["a"], ["b"], nodes, opsets))
    return made


def graph_of(name: str, made: list[onnx.FunctionProto]) -> onnx.ModelProto:
    image = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])]
    scores = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(
        [helper.make_node(name, ["x"], ["y"], domain="f")], "g", image, scores
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=made, ir_version=9)


def test_functions_that_stand_for_a_billion_nodes_are_not_inlined(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(graph_of("f30", functions(31)).SerializeToString())
    assert "more than 100,000 nodes" in loaded_apart(path)["net.onnx"]


def test_functions_that_call_themselves_are_refused_and_long_chains_counted():
    opsets = [helper.make_opsetid("f", 1)]
    nodes = [helper.make_node("r", ["a"], ["b"], domain="f")]
    ring = helper.make_function("f", "r", ["a"], ["b"], nodes, opsets)
    with pytest.raises(InputError, match="'r' of net calls itself"):
        check_functions(graph_of("r", [ring]), what="net")
    check_functions(graph_of("f2999", functions(3000, calls=1)), what="net")
    check_functions(graph_of("f16", functions(17)), what="net")  # 65,536 nodes
    with pytest.raises(InputError, match="more than 100,000 nodes"):
        check_functions(graph_of("f17", functions(18)), what="net")


@pytest.mark.parametrize("place", ["d\0.bin", "d" * 5000, ".", ""])
def test_places_of_external_data_that_are_no_file_names(tmp_path, place):
    model = graph_of("f0", functions(1))
    data = model.graph.initializer.add(name="w", data_type=1, dims=[3], data_location=1)
    data.external_data.add(key="location", value=place)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    from equiaudit.models.onnx import open_onnx

    with pytest.raises(InputError, match=r"is missing|outside the model's folder") as caught:
        open_onnx(path)
    assert len(str(caught.value)) < 2200


def test_more_classes_than_a_net_has_do_not_become_a_net(tmp_path):
    save_file({"fc.bias": torch.zeros(1 << 20)}, tmp_path / "net.safetensors")
    from equiaudit.models import PreprocessOverrides, load

    with pytest.raises(InputError, match="does not fit torchvision:resnet18"):
        load(
            tmp_path / "net.safetensors",
            arch="torchvision:resnet18",
            normalisation=False,
            preprocess=PreprocessOverrides(size=(8, 8)),
        )
