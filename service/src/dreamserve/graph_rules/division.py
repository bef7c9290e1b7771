"""Integers are divided by constants other than 0 and -1, or by sizes, only.

The smallest integer divided by -1 overflows: x86 traps, and onnxruntime does not check for it (it
does for 0), so a value would end the process. Exporters divide integers by constants, and by sizes
of tensors, which are not negative. Floats may be divided by anything.
"""

from collections import defaultdict

from dreamserve.graph_rules.graph import INT32, INT64, Graph, Node, Tensor, are_floats

DIVISIONS = ("Div", "Mod")
# Outputs have the type of the first input, of this one instead, or another type.
TYPE_OF = {"CastLike": 1, "DequantizeLinear": 1, "OneHot": 2, "Where": 1}
_OTHER = """
    And ArgMax ArgMin Cast Constant ConstantOfShape ConvInteger DynamicQuantizeLinear Equal EyeLike
    Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual MatMulInteger Not Or QLinearConv
    QLinearMatMul QuantizeLinear Shape Size Xor
"""
OTHER_TYPES = frozenset(_OTHER.split())
_PARTS = ("Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze")  # of the first input
FIRST_OUTPUT_ONLY = ("MaxPool", "TopK")  # the second one holds indices


def check_division(graph: Graph) -> None:
    """Raise ValueError if integers may be divided by 0, by -1, or by what is computed."""
    divisions = [node for node in graph.nodes if node.operator in DIVISIONS]
    if not divisions:
        return
    floats, divisors = _floats(graph), _divisors(graph)
    for node in divisions:
        if floats.isdisjoint(node.inputs) and divisors.isdisjoint(node.inputs[1:2]):
            raise ValueError(
                f"has the operator {node.operator!r} on integers; these are divided by constants of"
                " 32 or 64 bits other than 0 and -1, or by sizes, only; convert the numbers to"
                " floats first"
            )


def _is_safe(divisor: Tensor) -> bool:
    """Return whether all values are known, and none of them traps or fails."""
    known = divisor.is_whole and divisor.types <= {INT32, INT64} and bool(divisor.integers)
    return known and not {0, -1} & set(divisor.integers)


def _divisors(graph: Graph) -> set[str]:
    """Return the names of tensors of integers that may divide: constants, sizes, and parts."""
    names = {name for name, constant in graph.constants.items() if _is_safe(constant)}
    for node in graph.nodes:  # a file lists what a node needs before it
        if node.operator == "Constant":
            merged = Tensor()
            for value in node.attributes.values():
                merged.add(value)
            is_safe = _is_safe(merged)
        elif node.operator == "Concat":
            is_safe = names.issuperset(node.inputs)
        elif node.operator in _PARTS:
            is_safe = bool(node.inputs) and node.inputs[0] in names
        else:
            is_safe = node.operator in ("Shape", "Size")
        names |= set(node.outputs if is_safe else ())
    return names - {""}


def _floats(graph: Graph) -> set[str]:
    """Return the names of tensors whose elements are floats for sure."""
    floats = {name for name, constant in graph.constants.items() if constant.is_float()}
    floats -= {name for name, types in graph.inputs.items() if not are_floats(types)}
    floats |= {name for name in graph.real_inputs() if are_floats(graph.inputs[name])}
    users: dict[str, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        source = TYPE_OF.get(node.operator, 0)
        if node.operator not in OTHER_TYPES and source < len(node.inputs):
            users[node.inputs[source]].append(node)
        elif _makes_floats(node):
            floats |= set(node.outputs)
    new = list(floats)
    while new:
        for node in users.pop(new.pop(), ()):
            last = 1 if node.operator in FIRST_OUTPUT_ONLY else None
            made = set(node.outputs[:last]) - floats
            floats |= made
            new += made
    return floats - {""}


def _makes_floats(node: Node) -> bool:
    """Return whether attributes say that an operator's output are floats."""
    match node.operator:
        case "Cast":
            return are_floats(set(node.attributes.get("to", Tensor()).integers))
        case "Constant":
            return bool(node.attributes) and all(
                name in ("value_float", "value_floats") or (name == "value" and value.is_float())
                for name, value in node.attributes.items()
            )
        case "ConstantOfShape":
            value = node.attributes.get("value")
            return value is None or value.is_float()  # by default it holds float32 zeros
    return False
