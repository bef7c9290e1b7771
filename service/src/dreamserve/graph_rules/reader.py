"""Reads an ONNX file, which is protobuf (https://protobuf.dev/programming-guides/encoding/).

The reader knows the fields that the rules need, as ONNX numbers them, and skips the others. A
field that occurs several times counts each time, whichever of them a parser would use.
"""

from collections.abc import Iterator

import numpy as np

from dreamserve.graph_rules.graph import FLOAT, INT32, INT64, Graph, Node, Tensor

_MAX_FIELDS = 1_000_000
_MAX_INTEGERS = 1024  # of a tensor whose values are read

# Fields of the messages, by number.
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT = 7, 1, 5, 11
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_TENSORS = 1, (5, 10)
_ATTRIBUTE_FLOATS, _ATTRIBUTE_INTEGERS = (2, 7), (3, 8)
_INPUT_NAME, _INPUT_TYPE, _TYPE_TENSOR, _TENSOR_ELEMENT = 1, 2, 1, 1
_TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_LOCATION = 2, 8, 9, 14
_TENSOR_INTEGERS = (5, 7)
_REFUSED = {
    "model": {20: "training information", 25: "functions of its own"},
    "graph": {15: "sparse tensors"},
    "attribute": {
        6: "a graph inside a node",
        11: "a graph inside a node",
        21: "an attribute of a function",
        22: "sparse tensors",
        23: "sparse tensors",
    },
    "tensor": {13: "external data; save all weights inside the .onnx file"},
}

Span = tuple[int, int]  # of bytes: start, end


def read_graph(content: bytes) -> Graph:
    """Return the graph of an ONNX file. Raises ValueError for another file, or refused parts."""
    reader, graph = _Reader(content), Graph()
    for number, value in reader.message((0, len(content)), "model"):
        if number == _MODEL_GRAPH:
            reader.graph(_span(value), graph)
    return graph


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self._fields = content, 0

    def graph(self, span: Span, graph: Graph) -> None:
        """Add what a message says to `graph`: parsers merge several ones."""
        for number, value in self.message(span, "graph"):
            if number == _GRAPH_NODE:
                graph.nodes.append(self._node(_span(value)))
            elif number == _GRAPH_INITIALIZER:
                name, tensor = self._tensor(_span(value))
                graph.constants.setdefault(name, Tensor()).add(tensor)
            elif number == _GRAPH_INPUT:
                self._input(_span(value), graph)

    def _input(self, span: Span, graph: Graph) -> None:
        names, types = [], set()
        for number, value in self.message(span, "input"):
            if number == _INPUT_NAME:
                names.append(self._text(value))
            elif number == _INPUT_TYPE:
                for kind, tensor in self.message(_span(value), "type"):
                    if kind == _TYPE_TENSOR:
                        fields = self.message(_span(tensor), "tensor type")
                        types |= {_number(one) for key, one in fields if key == _TENSOR_ELEMENT}
        for name in names:
            graph.inputs[name] = graph.inputs.get(name, set()) | types

    def _node(self, span: Span) -> Node:
        node = Node()
        for number, value in self.message(span, "node"):
            if number == _NODE_INPUT:
                node.inputs.append(self._text(value))
            elif number == _NODE_OUTPUT:
                node.outputs.append(self._text(value))
            elif number == _NODE_OPERATOR and not node.operator:
                node.operator = self._text(value)
            elif number == _NODE_OPERATOR:
                raise ValueError("has a node with two operators")
            elif number == _NODE_ATTRIBUTE:
                name, tensor = self._attribute(_span(value))
                node.attributes.setdefault(name, Tensor()).add(tensor)
            elif number == _NODE_DOMAIN:
                node.domains.append(self._text(value))
        return node

    def _attribute(self, span: Span) -> tuple[str, Tensor]:
        names, found, integers = [], Tensor(), []
        for number, value in self.message(span, "attribute"):
            if number == _ATTRIBUTE_NAME:
                names.append(self._text(value))
            elif number in _ATTRIBUTE_TENSORS:
                found.add(self._tensor(_span(value))[1])
            elif number in _ATTRIBUTE_FLOATS:
                found.types.add(FLOAT)
            elif number in _ATTRIBUTE_INTEGERS:
                integers.append(value)
        if len(names) > 1:
            raise ValueError("has an attribute with two names")
        if integers:
            found.add(self._integers({INT64}, integers, []))
        return "".join(names), found

    def _tensor(self, span: Span) -> tuple[str, Tensor]:
        names, types, integers, raw = [""], set(), [], []
        for number, value in self.message(span, "tensor"):
            if number == _TENSOR_LOCATION and value != 0:
                raise ValueError(f"has {_REFUSED['tensor'][13]}")
            if number == _TENSOR_NAME:
                names.append(self._text(value))
            elif number == _TENSOR_TYPE:
                types.add(_number(value))
            elif number in _TENSOR_INTEGERS:
                integers.append(value)
            elif number == _TENSOR_RAW:
                raw.append(_span(value))
        return names[-1], self._integers(types, integers, raw)

    def _integers(self, types: set[int], packed: list[int | Span], raw: list[Span]) -> Tensor:
        """Return a tensor with its values, of any of its fields, if they are few integers."""
        found = Tensor(types)
        if types not in ({INT32}, {INT64}):
            return found
        size = sum(1 if isinstance(part, int) else part[1] - part[0] for part in packed)
        size += sum(end - start for start, end in raw)
        if size > 8 * _MAX_INTEGERS:
            found.is_whole = False
            return found
        bits = 32 if types == {INT32} else 64
        for part in packed:
            found.integers += [_signed(value, bits) for value in self._unpacked(part)]
        for start, end in raw:
            whole = self._content[start : end - (end - start) % (bits // 8)]
            found.integers += np.frombuffer(whole, f"<i{bits // 8}").tolist()
        return found

    def _unpacked(self, part: int | Span) -> Iterator[int]:
        if isinstance(part, int):
            yield part
            return
        position, end = part
        while position < end:
            value, position = self._integer(position, end)
            yield value

    def message(self, span: Span, kind: str) -> Iterator[tuple[int, int | Span]]:
        """Yield each field of a message: its number, and its integer or its bytes' span."""
        refused = _REFUSED.get(kind, {})
        position, end = span
        while position < end:
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise ValueError(f"has more than {_MAX_FIELDS:,} fields")
            tag, position = self._integer(position, end)
            number, wire_type = tag >> 3, tag & 7
            if number in refused:
                raise ValueError(f"has {refused[number]}")
            if wire_type == 0:
                value, position = self._integer(position, end)
                yield number, value
                continue
            length = {1: 8, 5: 4}.get(wire_type)
            if wire_type == 2:
                length, position = self._integer(position, end)
            if length is None or length > end - position or number == 0 or tag >= 2**32:
                raise ValueError("is not an ONNX file")
            yield number, (position, position + length)
            position += length

    def _integer(self, position: int, end: int) -> tuple[int, int]:
        """Return the integer of variable length at a position, and the position after it."""
        value = 0
        for index in range(position, min(end, position + 10)):
            byte = self._content[index]
            value |= (byte & 0x7F) << (7 * (index - position))
            if byte < 0x80:
                return value & (2**64 - 1), index + 1
        raise ValueError("is not an ONNX file")

    def _text(self, value: int | Span) -> str:
        start, end = _span(value)
        return self._content[start:end].decode()  # UnicodeDecodeError is a ValueError


def _span(value: int | Span) -> Span:
    if isinstance(value, int):
        raise ValueError("is not an ONNX file")
    return value


def _number(value: int | Span) -> int:
    if not isinstance(value, int):
        raise ValueError("is not an ONNX file")
    return value


def _signed(value: int, bits: int) -> int:
    """Return an integer of two's complement, of which a parser keeps so many bits."""
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value
