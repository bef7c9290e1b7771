"""Graphs that a process of their own does not survive are not loaded; TorchScript needs trust."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dreamserve.backends import trial, trial_process, trial_start
from dreamserve.backends.onnx import OnnxBackend
from dreamserve.bundle import load_bundle
from dreamserve.errors import BackendError, BundleError
from dreamserve.loading import load_world
from dreamserve.local import LocalClient
from dreamserve.trust import Trust

Rewrite = Callable[..., Path]
TIGHT = Trust(max_graph_bytes=2**28, load_timeout_s=20)


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_passed", {})


def decoder(*nodes: onnx.NodeProto, **constants: Any) -> bytes:
    """Return the tiny world's `decode` with all pixels `extra`, which `nodes` compute."""
    tensors = {
        "w": np.zeros((4, 48), np.float32),
        "frame": np.array([-1, 4, 4, 3]),
        "one": np.ones((1, 1, 1, 1), np.float32),
        **constants,
    }
    graph = helper.make_graph(
        [
            *nodes,
            helper.make_node("MatMul", ["latent", "w"], ["black"]),
            helper.make_node("Add", ["black", "extra"], ["flat"]),
            helper.make_node("Reshape", ["flat", "frame"], ["frames"]),
        ],
        "decode",
        [helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["b", 4])],
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["b", 4, 4, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()


SUM = helper.make_node("ReduceSum", ["large"], ["extra"], keepdims=0)
EXPAND = helper.make_node("Expand", ["one", "shape"], ["large"])


def with_decoder(folder: Path, rewrite: Rewrite, content: bytes) -> Path:
    (folder / "decode.onnx").write_bytes(content)
    return rewrite(folder)


@pytest.mark.parametrize("numbers", [2**27, 2**40])
def test_a_small_file_that_takes_much_memory_is_refused(
    tiny_bundle: Path, rewrite: Rewrite, numbers: int
) -> None:
    content = decoder(EXPAND, SUM, shape=np.array([1, 1, 1, numbers]))
    with pytest.raises(BundleError) as refused:
        load_world(with_decoder(tiny_bundle, rewrite, content), "onnx", trust=TIGHT)
    message = str(refused.value)
    assert message.startswith(f"{tiny_bundle}: graph decode of tiny cannot be run: ")
    assert "memory" in message
    assert message.endswith("it may take 268,435,456 bytes (max_graph_bytes)")


def test_a_graph_that_takes_too_long_is_ended(tiny_bundle: Path, rewrite: Rewrite) -> None:
    pool = helper.make_node("MaxPool", ["wide"], ["large"], kernel_shape=[999] * 2, pads=[499] * 4)
    wide = helper.make_node("Expand", ["one", "shape"], ["wide"])
    content = decoder(wide, pool, SUM, shape=np.array([1, 1, 4000, 4000]))
    path, began_s = with_decoder(tiny_bundle, rewrite, content), time.monotonic()
    with pytest.raises(BundleError, match=r"decode of tiny does not load and run within 2 s"):
        load_world(path, "onnx", trust=Trust(load_timeout_s=2))
    assert time.monotonic() - began_s < 12


def test_memory_that_grows_with_a_power_of_the_batch_is_bounded_as_the_graph_runs(
    tiny_bundle: Path, rewrite: Rewrite
) -> None:
    content = decoder(
        helper.make_node("Shape", ["latent"], ["shape_of_latent"]),
        helper.make_node("Gather", ["shape_of_latent", "zero"], ["b"]),
        helper.make_node("Concat", ["b", "b", "b", "b"], ["shape"], axis=0),
        EXPAND,
        SUM,
        zero=np.array([0]),
    )
    bundle = load_bundle(with_decoder(tiny_bundle, rewrite, content), TIGHT)
    backend = OnnxBackend.from_bundle(bundle)
    assert backend.decode(np.zeros((4, 4), np.float32)).shape == (4, 4, 4, 3)
    with pytest.raises(Exception, match=r"Available memory of .* is smaller than requested"):
        backend.decode(np.zeros((128, 4), np.float32))
    assert backend.decode(np.zeros((4, 4), np.float32)).shape == (4, 4, 4, 3)


def test_graphs_are_tried_with_the_numbers_that_the_server_checks_them_with(
    tiny_bundle: Path, rewrite: Rewrite
) -> None:
    model = onnx.load_from_string((tiny_bundle / "step.onnx").read_bytes())
    (done,) = (node for node in model.graph.node if "done_logit" in node.output)
    done.output[:] = ["ends"]
    constants = {"one_number": np.zeros(1, np.float32)}
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    model.graph.node.extend(
        [  # element 1 of an array of one, if the temperature is 1
            helper.make_node("Cast", ["temperature"], ["warm"], to=TensorProto.INT64),
            helper.make_node("Gather", ["one_number", "warm"], ["missing"]),
            helper.make_node("Add", ["ends", "missing"], ["done_logit"]),
        ]
    )
    (tiny_bundle / "step.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"graph step of tiny cannot be run: .*indices element"):
        load_world(rewrite(tiny_bundle), "onnx")


def test_states_too_large_for_the_memory_are_refused(tiny_bundle: Path, rewrite: Rewrite) -> None:
    huge = [{"name": "h", "shape": [2**30]}, {"name": "c", "shape": [16]}]
    path = rewrite(tiny_bundle, recurrent_state=huge)
    with pytest.raises(BundleError, match=r"bank.npz: its arrays, .* more than max_bundle_bytes"):
        load_world(path, "onnx")


def test_a_file_in_onnxruntimes_own_format_is_refused(
    tiny_bundle: Path, rewrite: Rewrite, tmp_path: Path
) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "decode.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession((tiny_bundle / "decode.onnx").read_bytes(), options)
    own_format = (tmp_path / "decode.ort").read_bytes()
    ort.InferenceSession(own_format)  # valid, if it is not told which format to expect
    bundle = load_bundle(tiny_bundle)
    parts = {name: bundle.graph_bytes(name, "onnx") for name in ("encode", "step")}
    with pytest.raises(BundleError, match="graph decode cannot be run"):
        OnnxBackend(bundle.manifest, {**parts, "decode": own_format})


def test_a_crash_of_the_process_is_an_error_of_the_graph(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_start, "PROGRAM", "crash")
    crash = 'import os; print(\'{"graph": "encode"}\', flush=True); os.abort()'
    (tiny_bundle / "crash.py").write_text(crash)
    monkeypatch.setenv("PYTHONPATH", str(tiny_bundle))
    with pytest.raises(BundleError, match="graph encode of tiny cannot be run: onnxruntime ended"):
        load_world(tiny_bundle, "onnx")


def test_a_process_that_cannot_start_is_reported(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_start, "PROGRAM", "no_such_module")
    with pytest.raises(BackendError, match=r"cannot run .*: status 1"):
        load_world(tiny_bundle, "onnx")


def test_no_module_is_imported_from_the_working_directory(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "numpy", "onnxruntime", "dreamserve"):
        (tiny_bundle / f"{name}.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tiny_bundle)
    assert load_world(tiny_bundle, "onnx").name == "tiny"


def test_graphs_are_tried_once(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_world(tiny_bundle, "onnx")
    monkeypatch.setattr(trial, "start", None)
    assert load_world(tiny_bundle, "onnx").name == "tiny"
    with pytest.raises(TypeError):
        load_world(tiny_bundle, "onnx", trust=TIGHT)  # other limits are another trial


def test_a_ready_process_is_used_by_the_first_trial_or_ended(tiny_bundle: Path) -> None:
    with trial_start.ready_process():
        (process,) = trial_start._ready
        load_world(tiny_bundle, "onnx")
        assert process.returncode == 0
    with trial_start.ready_process():
        (unused,) = trial_start._ready
    assert unused.returncode is not None
    assert not trial_start._ready


def test_a_process_without_a_trial_ends() -> None:
    with trial_start.start() as process:
        assert process.communicate(timeout=60) == (b"", None)
    assert process.returncode == 0


def test_the_process_takes_little_to_start() -> None:
    code = "import sys, dreamserve.backends.trial_process; print(sorted(sys.modules))"
    with os.popen(f"{sys.executable} -c '{code}'") as output:
        loaded = output.read()
    assert "'onnxruntime'" in loaded
    assert not [name for name in ("pydantic", "fastapi", "torch") if f"'{name}'" in loaded]


class Writes(nn.Module):
    """Writes a file when it runs, as `torch.from_file` does if the mapping is shared."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, latent: Tensor) -> Tensor:
        mapped = torch.from_file(self.path, True, 4)
        mapped.fill_(1.0)
        return latent.new_zeros(latent.size(0), 4, 4, 3) + mapped.sum()


@pytest.fixture
def writing_bundle(tiny_bundle: Path, rewrite: Rewrite, tmp_path: Path) -> Path:
    """Return a bundle whose TorchScript writes the file `written` beside it."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit.*", DeprecationWarning)
        scripted: Any = torch.jit.script(Writes(str(tmp_path / "written")))
        scripted.save(str(tiny_bundle / "decode.pt"))
    return rewrite(tiny_bundle)


@pytest.mark.parametrize("backend", ["torch", "torch-cuda"])
def test_torchscript_runs_only_if_it_is_trusted(writing_bundle: Path, backend: Any) -> None:
    written = writing_bundle.parent / "written"
    for load in (load_world, LocalClient):
        with pytest.raises(BackendError) as refused:
            load(writing_bundle, backend)
        assert str(writing_bundle) in str(refused.value)
        assert "use --trust-torchscript (trust_torchscript), or else backend onnx" in str(
            refused.value
        )
    load_world(writing_bundle, "onnx")
    assert not written.exists()


def test_what_trust_in_torchscript_means(writing_bundle: Path) -> None:
    load_world(writing_bundle, "torch", trust=Trust(trust_torchscript=True))
    assert (writing_bundle.parent / "written").stat().st_size == 16


def test_limits_of_the_process_are_those_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (0, resource.RLIM_INFINITY))
    trial_process._limit(2**30, 2.5)
    assert limits[resource.RLIMIT_CPU] == (3, 3)
    assert limits[resource.RLIMIT_FSIZE] == (0, 0)
    assert limits[resource.RLIMIT_AS][0] > 2**30
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (0, 5))
    trial_process._limit(2**30, 2.5)
    assert limits[resource.RLIMIT_AS] == (5, 5)
