"""An ONNX graph as far as the rules need it. Types of elements are ONNX's numbers for them."""

from dataclasses import dataclass, field

FLOAT, INT32, INT64 = 1, 6, 7
_FLOATS = frozenset({FLOAT, 10, 11, 16})  # and float16, float64, bfloat16


@dataclass(slots=True)
class Tensor:
    """What is known of a constant or an attribute; where the file says two things, both of them."""

    types: set[int] = field(default_factory=set)
    integers: list[int] = field(default_factory=list)  # all of its values, if they are integers
    is_whole: bool = True  # false where there are too many integers to list

    def add(self, other: "Tensor") -> None:
        """Let it be the other one, too."""
        self.types |= other.types
        self.integers += other.integers
        self.is_whole &= other.is_whole

    def is_float(self) -> bool:
        """Return whether its elements are floats for sure."""
        return are_floats(self.types)


@dataclass(slots=True)
class Node:
    """One operation. The attributes are those that hold numbers or a tensor, by name."""

    operator: str = ""
    domains: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Tensor] = field(default_factory=dict)


@dataclass(slots=True)
class Graph:
    """Nodes in the file's order, constants and the types of inputs by name."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, set[int]] = field(default_factory=dict)

    def real_inputs(self) -> set[str]:
        """Return the names of the inputs that a run is given; the others have a constant value."""
        return self.inputs.keys() - self.constants.keys()


def are_floats(types: set[int]) -> bool:
    """Return whether these are types of floats only, and at least one."""
    return bool(types) and types <= _FLOATS
