"""How large a tensor is depends on the inputs' shapes, never on their values.

Every input of an operator that decides how large its output is must not depend on the values of
the graph's inputs. Therefore no tensor has a shape that does, and what `Shape` returns is free of
them.
"""

from collections import defaultdict

from dreamserve.graph_rules.graph import Graph, Node

# The inputs, by index, whose values determine the output's shape, in any version of the operator.
# Those of `Resize` moved, and with `roi` it is as large as its region.
SIZES = {
    "AffineGrid": (1,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1, 2),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"
SIZES |= {f"Reduce{kind}": (1,) for kind in _REDUCTIONS.split()}  # their axes
_SHAPES = ("Shape", "Size")  # whose outputs depend on the input's shape only


def check_sizes(graph: Graph) -> None:
    """Raise ValueError if how large a tensor is depends on the values of the inputs."""
    depends = _dependent(graph)
    for node in graph.nodes:
        for index in SIZES.get(node.operator, ()):
            if index < len(node.inputs) and node.inputs[index] in depends:
                raise ValueError(
                    f"has the operator {node.operator!r} with a size that depends on the inputs'"
                    " values; it may depend on their shapes only"
                )


def _dependent(graph: Graph) -> set[str]:
    """Return the names of the tensors whose values depend on those of the inputs."""
    users: dict[str, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        for name in node.inputs:
            users[name].append(node)
    depends = graph.real_inputs()
    new = list(depends)
    while new:
        for node in users.pop(new.pop(), ()):
            if node.operator not in _SHAPES:
                made = set(node.outputs) - depends - {""}  # "" is an output that is not wanted
                depends |= made
                new += made
    return depends
