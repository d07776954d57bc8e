"""Graphs that name files outside themselves, in every place where ONNX keeps tensors, and what only looks like one."""

import random

import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime.errors import EngineError
from edge_runtime.onnx_file import check_self_contained


def tensor(external=True):
    data = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    if external:
        data.data_location = TensorProto.EXTERNAL
        data.external_data.add(key="location", value="../secret")
    else:
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


def check(tmp_path, data):
    file = tmp_path / "graph.onnx"
    file.write_bytes(data)
    check_self_contained(file)


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_everywhere(tmp_path, place):
    check(tmp_path, model(place, external=False))
    with pytest.raises(EngineError, match="weights in another file"):
        check(tmp_path, model(place, external=True))


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
