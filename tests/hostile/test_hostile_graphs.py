"""Graphs that name files outside themselves, in every place where ONNX keeps tensors, and what only looks like one."""

import random
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.errors import EngineError
from edge_runtime.onnx_file import check_external_data


def outside(*entries, place=TensorProto.EXTERNAL):
    """A tensor with these keys and values as external data."""
    data = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=place)
    for key, value in entries:
        data.external_data.add(key=key, value=value)
    return data


def tensor(external=True):
    data = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    if external:
        return outside(("location", "../secret"), ("offset", "0"), ("length", "4"))
    data.raw_data = b"\x6a\x00\x70\x01"  # would be external data and a location, were it a message
    return data


def graph(external, **parts):
    return helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor(external))], "g", [], [], **parts)


def sparse(external):
    return onnx.SparseTensorProto(values=tensor(external), indices=tensor(False), dims=[1])


def model(place, external):
    """A model with one tensor in the place named."""
    empty = helper.make_graph([], "g", [], [])
    if place == "initialiser":
        empty.initializer.append(tensor(external))
    elif place == "sparse initialiser":
        empty.sparse_initializer.append(sparse(external))
    elif place == "constant":
        empty = graph(external)
    elif place == "list of tensors":
        node = helper.make_node("X", [], [])
        node.attribute.add(name="t", type=onnx.AttributeProto.TENSORS).tensors.append(tensor(external))
        empty.node.append(node)
    elif place == "sparse constant":
        empty.node.append(helper.make_node("Constant", [], ["y"], sparse_value=sparse(external)))
    elif place == "branch":
        empty.node.append(helper.make_node("If", ["c"], ["y"], then_branch=graph(external), else_branch=graph(False)))
    elif place == "list of graphs":
        empty.node.append(helper.make_node("X", [], [], graphs=[graph(False), graph(external)]))
    whole = helper.make_model(empty)
    if place == "function":
        whole.functions.append(helper.make_function("d", "f", [], ["y"], graph(external).node, []))
    elif place == "default of a function":
        function = helper.make_function("d", "f", [], ["y"], [], [])
        function.attribute_proto.append(helper.make_attribute("t", tensor(external)))
        whole.functions.append(function)
    elif place == "training":
        whole.training_info.add(algorithm=graph(external))
    return whole.SerializeToString()


PLACES = [
    "initialiser", "sparse initialiser", "constant", "list of tensors", "sparse constant", "branch", "list of graphs",
    "function", "default of a function", "training",
]  # fmt: skip


def check(tmp_path, data, **allowed):
    file = tmp_path / "graph.onnx"
    file.write_bytes(data)
    check_external_data(file, {f"{name}.data": size for name, size in allowed.items()})


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_everywhere(tmp_path, place):
    check(tmp_path, model(place, external=False))
    with pytest.raises(EngineError, match="weights in another file"):
        check(tmp_path, model(place, external=True))
    with pytest.raises(EngineError, match=r"Got location b'\.\./secret'"):
        check(tmp_path, model(place, external=True), vision=100)


def wrapped(*fields):
    """A message: each field is (number, bytes)."""
    return b"".join(bytes([number << 3 | 2, len(data)]) + data for number, data in fields)


LOCATIONS = {
    "1": b"\x70\x01",
    "1, long": b"\x70\x81\x80\x80\x80\x00",
    "1 + 2^32": b"\x70\x81\x80\x80\x80\x10",
    "long tag": b"\xf0\x80\x00\x01",
    "twice": b"\x70\x00\x70\x01",
    "2": b"\x70\x02",
}


@pytest.mark.parametrize("location", LOCATIONS.values(), ids=LOCATIONS.keys())
def test_every_spelling_of_the_location_is_found(tmp_path, location):
    with pytest.raises(EngineError, match="weights in another file"):
        check(tmp_path, wrapped((7, wrapped((5, location)))))
    whole = outside(*entries()).SerializeToString()
    assert whole.count(LOCATIONS["1"]) == 1
    spelled = whole.replace(LOCATIONS["1"], location)
    if location == LOCATIONS["1"]:
        check(tmp_path, wrapped((7, wrapped((5, spelled)))), vision=100)
    else:
        with pytest.raises(EngineError, match="not plainly 1"):
            check(tmp_path, wrapped((7, wrapped((5, spelled)))), vision=100)


def test_a_second_graph_which_parsers_merge_is_searched_too(tmp_path):
    with pytest.raises(EngineError, match="weights in another file"):
        check(tmp_path, wrapped((7, b""), (7, wrapped((5, b"\x70\x01")))))


BROKEN = {
    "empty": b"",
    "long number": b"\xff" * 20,
    "field 0": b"\x00\x00",
    "group": b"\x3b\x3c",
    "longer than the file": b"\x3a\x05ab",
    "no size": b"\x3a",
    "half a number": b"\x08\x80",
    "half a double": b"\x09\x00",
    "tag of more than 32 bits": b"\x80" * 5 + b"\x01",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_not_protobuf(tmp_path, data):
    with pytest.raises(EngineError, match="not an ONNX file"):
        check(tmp_path, data)


def test_graphs_nested_deeper_than_any_stack(tmp_path):
    data = b"\x70\x01"
    for number in (5, *(6, 5, 1) * 3000, 7):  # from the tensor outwards: attribute, node, graph, ...
        size, length = len(data), b""
        while size >= 0x80:
            length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
        data = bytes([number << 3 | 2]) + length + bytes([size]) + data
    with pytest.raises(EngineError, match="weights in another file"):
        check(tmp_path, data)


def test_damaged_graphs_raise_nothing_else(tmp_path):
    sound, dice = model("branch", external=False), random.Random(7)
    for _ in range(300):
        damaged = bytearray(sound[: dice.randrange(1, len(sound) + 1)])
        damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            check(tmp_path, bytes(damaged))
        except EngineError:
            continue


# --- with data files -------------------------------------------------------------------------------------------


def holding(*tensors):
    return helper.make_model(helper.make_graph([], "g", [], [], list(tensors))).SerializeToString()


def entries(location="vision.data", offset="0", length="4", **more):
    return [("location", location), ("offset", offset), ("length", length), *more.items()]


FINE = {
    "whole": entries(length="100"),
    "end": entries(offset="96"),
    "nothing at the end": entries(offset="100", length="0"),
    "another file": entries("more.data", length="8"),
    "another order": entries()[::-1],
    "checksum": entries(checksum="0" * 40),
}


@pytest.mark.parametrize("external", FINE.values(), ids=FINE.keys())
def test_ranges_of_data_files(tmp_path, external):
    check(tmp_path, holding(tensor(False), outside(*external), tensor(False)), vision=100, more=8)
    with pytest.raises(EngineError, match="weights in another file"):
        check(tmp_path, holding(outside(*external)))


NOT_FINE = {
    "unknown file": entries("other.data"),
    "manifest": entries("manifest.json"),
    "itself": entries("graph.onnx"),
    "other case": entries("Vision.data"),
    "above": entries("../vision.data"),
    "here": entries("./vision.data"),
    "below": entries("graphs/vision.data"),
    "backslash": entries("graphs\\vision.data"),
    "absolute": entries("/vision.data"),
    "drive": entries("C:vision.data"),
    "stream": entries("vision.data::$DATA"),
    "url": entries("file:vision.data"),
    "memory": entries("*/_ORT_MEM_ADDR_/*", offset="1"),
    "space": entries("vision.data "),
    "nul": entries("vision.data\0"),
    "no name": entries(""),
    "dots": entries(".."),
    "long": entries("x" * 2000),
    "escape": entries("\x1b[2J"),
    "beyond": entries(offset="97"),
    "far beyond": entries(offset="101", length="0"),
    "longer": entries(length="101"),
    "negative offset": entries(offset="-4"),
    "negative length": entries(offset="8", length="-4"),
    "huge offset": entries(offset=str(2**63)),
    "huge length": entries(length=str(2**64)),
    "sum that overflows 64 bits": entries(offset="4", length=str(2**64 - 4)),
    "a thousand digits": entries(offset="9" * 1000),
    "no offset": entries()[:1] + entries()[2:],
    "no length": entries()[:2],
    "no location": entries()[1:],
    "nothing": [],
    "empty offset": entries(offset=""),
    "plus": entries(offset="+4"),
    "spaces": entries(offset=" 4"),
    "line break": entries(offset="4\n"),
    "leading zero": entries(offset="04"),
    "hexadecimal": entries(offset="0x4"),
    "float": entries(offset="4.0"),
    "exponent": entries(offset="4e0"),
    "underscore": entries(offset="1_0"),
    "other digits": entries(offset="\u0664"),
    "location twice": [*entries(), ("location", "vision.data")],
    "offset twice": [*entries(), ("offset", "0")],
    "unknown key": entries(basepath="/etc"),
    "packed by an engine": entries(prepacked_0="x"),
    "key with a space": [*entries()[:2], ("length ", "4")],
    "empty key": [*entries(), ("", "")],
}


@pytest.mark.parametrize("external", NOT_FINE.values(), ids=NOT_FINE.keys())
def test_what_is_not_in_a_data_file(tmp_path, external):
    with pytest.raises(EngineError, match="weights where its data files have none") as caught:
        check(tmp_path, holding(outside(*entries()), outside(*external)), vision=100, more=8)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_external_data_of_a_tensor_that_says_it_is_inside(tmp_path):
    with pytest.raises(EngineError, match="not plainly 1"):
        check(tmp_path, holding(outside(*entries(), place=TensorProto.DEFAULT)), vision=100)


WHOLE = [(key.encode(), value.encode()) for key, value in entries()]
ODD_ENTRIES = {
    "key twice": wrapped((1, b"location"), (1, b"location"), (2, b"vision.data")),
    "value twice": wrapped((1, b"location"), (2, b"vision.data"), (2, b"vision.data")),
    "no value": wrapped((1, b"location")),
    "no key": wrapped((2, b"vision.data")),
    "empty": b"",
    "unknown field": wrapped((1, b"location"), (2, b"vision.data"), (3, b"")),
    "key as a number": b"\x08\x01" + wrapped((2, b"vision.data")),
    "value as a number": wrapped((1, b"location")) + b"\x10\x01",
}


@pytest.mark.parametrize("odd", ODD_ENTRIES.values(), ids=ODD_ENTRIES.keys())
def test_entries_that_parsers_may_understand_differently(tmp_path, odd):
    parts = [(13, wrapped((1, key), (2, value))) for key, value in WHOLE]
    check(tmp_path, wrapped((7, wrapped((5, wrapped(*parts) + b"\x70\x01")))), vision=100)
    with pytest.raises(EngineError, match="unknown or for the second time"):
        check(tmp_path, wrapped((7, wrapped((5, wrapped((13, odd), *parts[1:]) + b"\x70\x01")))), vision=100)


def test_an_entry_that_claims_more_than_its_tensor(tmp_path):
    with pytest.raises(EngineError, match="not an ONNX file"):
        check(tmp_path, wrapped((7, wrapped((5, wrapped((13, b"\x0a\x7flocation")))))), vision=100)


def test_entries_that_parsers_merge_are_right_each_by_itself(tmp_path):
    halves = [wrapped(*((13, wrapped((1, key), (2, value))) for key, value in part)) for part in (WHOLE[:1], WHOLE[1:])]
    attribute = b"".join(wrapped((5, half + b"\x70\x01")) for half in halves)  # a tensor in two parts
    with pytest.raises(EngineError, match="data files have none"):
        check(tmp_path, wrapped((7, wrapped((1, wrapped((5, attribute)))))), vision=100)


def test_thousands_of_tensors_take_no_time(tmp_path):
    tensors = [outside(*entries(offset=str(4 * index))) for index in range(5000)]
    large = numpy_helper.from_array(np.zeros(10_000_000, np.float32), "zeros")
    content = holding(large, *tensors)
    start = time.process_time()
    check(tmp_path, content, vision=20_000)
    assert time.process_time() - start < 5


def test_damaged_graphs_with_data_raise_nothing_else(tmp_path):
    sound, dice = holding(outside(*entries())), random.Random(8)
    check(tmp_path, sound, vision=100)
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            check(tmp_path, bytes(damaged), vision=100)
        except EngineError:
            continue
