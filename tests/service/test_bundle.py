"""A bundle is loaded completely or refused with one clear line."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamserve.backends.fake import fake_spec
from dreamserve.bundle import content_version, load_bundle, seal, sha256_of
from dreamserve.errors import BundleError
from dreamserve.heads import Categorical
from dreamserve.manifest import WorldSpec
from dreamserve.observations import VectorSpec

Edit = Callable[[Path], None]


def change_manifest(**changed: Any) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return edit


def flip_a_byte(name: str) -> Edit:
    def edit(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return edit


def truncate(name: str) -> Edit:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-10])


def remove(name: str) -> Edit:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: str) -> Edit:
    return lambda folder: (folder / name).write_text(content)


def drop_field(folder: Path) -> None:
    path = folder / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["latent_size"]
    path.write_text(json.dumps(fields))


def test_a_bundle_loads_as_float32_whatever_was_stored(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    assert bundle.manifest.name == "tiny"
    assert {name: array.shape for name, array in bundle.bank.items()} == {
        "mu": (5, 4),
        "logvar": (5, 4),
        "state.h": (5, 16),
        "state.c": (5, 16),
    }
    assert {array.dtype for array in bundle.bank.values()} == {np.dtype(np.float32)}
    assert bundle.controller is not None
    assert bundle.controller["weights"].shape == (3, 20)
    assert bundle.graph_bytes("step", "onnx") == (tiny_bundle / "step.onnx").read_bytes()


def test_a_bundle_without_a_controller_has_none(
    tiny_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    assert load_bundle(rewrite(tiny_bundle, controller=None)).controller is None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (remove("manifest.json"), "has no manifest.json; a bundle is a folder"),
        (write("manifest.json", "{"), "manifest.json: is not JSON"),
        (write("manifest.json", "[1]"), "manifest.json: must be a JSON object, is list"),
        (write("manifest.json", '{"quality": NaN}'), "NaN is not JSON"),
        (write("manifest.json", "[" * 100_000), "manifest.json: is not JSON"),
        (remove("step.onnx"), "step.onnx: cannot be read: No such file"),
        (remove("bank.npz"), "bank.npz: cannot be read: No such file"),
        (flip_a_byte("encode.onnx"), "encode.onnx: .* the manifest says .*damaged"),
        (flip_a_byte("decode.pt"), "decode.pt: .*damaged"),
        (flip_a_byte("controller.npz"), "controller.npz: .*damaged"),
        (truncate("bank.npz"), "bank.npz: .*damaged"),
        (change_manifest(extra=1), "extra: Extra inputs are not permitted"),
        (change_manifest(schema_version=3), "schema_version: Input should be 2"),
        (
            change_manifest(version="0" * 16),
            "declares version 0000000000000000, but its content has",
        ),
        (change_manifest(quality={"better": True}), "declares version"),
        (change_manifest(latent_size=0), "latent_size: Input should be greater"),
        (change_manifest(recurrent_state=[]), "graph step must map"),
        (drop_field, "latent_size: Field required"),
    ],
)
def test_a_bad_bundle_is_refused_with_one_line(tiny_bundle: Path, edit: Edit, message: str) -> None:
    edit(tiny_bundle)
    with pytest.raises(BundleError, match=message) as refused:
        load_bundle(tiny_bundle)
    assert "\n" not in str(refused.value)
    assert str(tiny_bundle) in str(refused.value)


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere: no such folder"):
        load_bundle(tmp_path / "nowhere")


def test_a_file_outside_the_folder_is_refused(
    tiny_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    path = tiny_bundle / "manifest.json"
    fields = json.loads(path.read_text())
    fields["bank"]["file"] = "../secret.npz"
    path.write_text(json.dumps(fields))
    with pytest.raises(BundleError, match="not a plain file name"):
        load_bundle(tiny_bundle)


def bank(folder: Path, **changed: Any) -> None:
    with np.load(folder / "bank.npz") as stored:
        arrays = {**stored, **changed}
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez(folder / "bank.npz", **kept)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mu": None}, r"bank.npz: must hold \['logvar', 'mu', 'state.c', 'state.h'\], holds"),
        ({"more": np.zeros(3)}, "bank.npz: must hold"),
        ({"mu": np.zeros((5, 3), np.float16)}, r"mu must be \(5, 4\), is \(5, 3\)"),
        ({"state.h": np.zeros((4, 16), np.float16)}, r"state.h must be \(5, 16\), is \(4, 16\)"),
        ({"logvar": np.full((5, 4), np.nan, np.float16)}, "logvar holds NaN or infinity"),
        ({"mu": np.zeros((5, 4), np.int64)}, "mu is int64, must be floats"),
        ({"mu": np.array([[None] * 4] * 5)}, "mu is object, must be floats"),
    ],
)
def test_a_bank_that_does_not_fit_is_refused(
    tiny_bundle: Path, rewrite: Callable[..., Path], changed: dict[str, Any], message: str
) -> None:
    bank(tiny_bundle, **changed)
    rewrite(tiny_bundle)
    with pytest.raises(BundleError, match=message):
        load_bundle(tiny_bundle)


def test_a_bank_that_is_no_archive_is_refused(
    tiny_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    (tiny_bundle / "bank.npz").write_bytes(b"nothing")
    with pytest.raises(BundleError, match=r"is not a plain \.npz file"):
        load_bundle(rewrite(tiny_bundle))
    (tiny_bundle / "bank.npz").write_bytes(b"")
    with pytest.raises(BundleError, match=r"is not a plain \.npz file"):
        load_bundle(rewrite(tiny_bundle))


def test_a_bank_that_is_one_array_is_refused(
    tiny_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    (tiny_bundle / "bank.npz").write_bytes(buffer.getvalue())
    with pytest.raises(BundleError, match=r"is not a plain \.npz file"):
        load_bundle(rewrite(tiny_bundle))


def test_a_controller_that_does_not_fit_is_refused(
    tiny_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    manifest = load_bundle(tiny_bundle).manifest.model_dump(mode="json")
    wrong = {**manifest["controller"], "inputs": ["latent", "speed"]}
    with pytest.raises(BundleError, match=r"the world has no \['speed'\], only"):
        load_bundle(rewrite(tiny_bundle, controller=wrong))
    narrow = {**manifest["controller"], "inputs": ["latent"]}
    with pytest.raises(BundleError, match=r"weights must be \(3, 4\), is \(3, 20\)"):
        load_bundle(rewrite(tiny_bundle, controller=narrow))


def test_a_graph_that_changes_after_loading_is_refused_when_it_is_read(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    flip_a_byte("step.onnx")(tiny_bundle)
    with pytest.raises(BundleError, match=r"step\.onnx: .*damaged"):
        bundle.graph_bytes("step", "onnx")


def test_the_version_depends_only_on_the_content(tiny_bundle: Path) -> None:
    fields = json.loads((tiny_bundle / "manifest.json").read_text())
    shuffled = dict(reversed(list(fields.items())))
    assert content_version(fields) == content_version(shuffled) == fields["version"]
    assert content_version({**fields, "quality": {"a": 1}}) != fields["version"]


def test_sealing_fills_in_defaults_and_the_version(tiny_bundle: Path) -> None:
    fields = json.loads((tiny_bundle / "manifest.json").read_text())
    wanted = fields.pop("version")
    del fields["schema_version"], fields["action_alignment"]
    fields["done"] = {"threshold": 0}
    sealed = seal(fields)
    assert sealed.version == wanted
    assert content_version(sealed.model_dump(mode="json")) == wanted


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def in_schema_1(folder: Path) -> dict[str, Any]:
    """Rewrite the manifest of a bundle as the first releases wrote it, and return its fields."""
    path = folder / "manifest.json"
    fields = json.loads(path.read_text())
    for name in ("encode_memory", "has_decode", "has_policy", "signals", "version"):
        del fields[name]
    frame, head = fields.pop("observation"), fields.pop("head")
    assert (frame.pop("kind"), head["kind"]) == ("frame", "gaussian_mixture")
    fields |= {"frame": frame, "mixture": {"head": head["form"], "components": head["components"]}}
    fields["done"] = {"threshold": fields["done"]["threshold"]}
    fields["schema_version"] = 1
    fields["version"] = content_version(fields)
    path.write_text(json.dumps(fields))
    return fields


def test_a_manifest_of_schema_1_is_read_as_schema_2_with_its_own_version(tiny_bundle: Path) -> None:
    before = load_bundle(tiny_bundle).manifest
    fields = in_schema_1(tiny_bundle)
    manifest = load_bundle(tiny_bundle).manifest
    assert (fields["schema_version"], manifest.schema_version) == (1, 2)
    assert manifest.version == fields["version"] != before.version
    assert manifest == before.model_copy(update={"version": manifest.version})


def test_a_manifest_of_schema_1_has_no_field_of_schema_2(tiny_bundle: Path) -> None:
    fields = in_schema_1(tiny_bundle)
    (tiny_bundle / "manifest.json").write_text(json.dumps({**fields, "signals": []}))
    with pytest.raises(BundleError, match="signals is not a field of schema 1"):
        load_bundle(tiny_bundle)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"head": Categorical(groups=2, classes=3)}, "must be groups x classes, 2 x 3 = 6"),
        ({"signals": [{"name": "reward", "description": ""}]}, "may not be named 'reward'"),
        ({"signals": [{"name": "target", "description": ""}]}, "may not be named 'target'"),
        (
            {"signals": [{"name": "temperature", "description": ""}]},
            "may not be named 'temperature'",
        ),
        ({"signals": [{"name": "latent", "description": ""}]}, "may not be named 'latent'"),
        ({"signals": [{"name": "hit", "description": ""}] * 2}, "may not be named 'hit'"),
        (
            {"recurrent_state": [{"name": "action", "shape": [4]}]},
            "tensor may not be named 'action': graph step has action, done_logit, latent, ",
        ),
        ({"recurrent_state": [{"name": "noise", "shape": [4]}]}, "may not be named 'noise'"),
        ({"recurrent_state": [{"name": "latent", "shape": [4]}]}, "may not be named 'latent'"),
        ({"recurrent_state": [{"name": "temperature", "shape": []}]}, "named 'temperature'"),
        ({"recurrent_state": [{"name": "reward", "shape": [4]}]}, "may not be named 'reward'"),
        ({"recurrent_state": [{"name": "mixture_mu", "shape": [4]}]}, "named 'mixture_mu'"),
        (
            {"recurrent_state": [{"name": n, "shape": [4]} for n in ("h", "next_h")]},
            "may not be named 'next_h'",
        ),
        (
            {
                "recurrent_state": [{"name": "hit", "shape": [4]}],
                "signals": [{"name": "hit", "description": ""}],
            },
            "may not be named 'hit'",
        ),
        (
            {"encode_memory": True, "recurrent_state": [{"name": "frames", "shape": [4]}]},
            "may not be named 'frames': graph encode has frames, logvar, mu",
        ),
        (
            {"has_policy": True, "recurrent_state": [{"name": "scores", "shape": [4]}]},
            "may not be named 'scores': graph policy has latent, scores",
        ),
        ({"done": {"rule": "drawn", "threshold": 0.5}}, "drawn has no threshold"),
        (
            {"observation": {"kind": "vector", "names": ["x"], "low": [1], "high": [1]}},
            "x: low 1 must be below high 1",
        ),
        (
            {"observation": {"kind": "vector", "names": ["x"], "low": [], "high": [None]}},
            "must have the same length",
        ),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changed: dict[str, Any], message: str) -> None:
    fields = fake_spec().model_dump()
    WorldSpec.model_validate(fields)
    with pytest.raises(ValueError, match=message):
        WorldSpec.model_validate({**fields, **changed})


def test_graphs_are_named_with_the_shapes_that_follow_from_the_spec() -> None:
    spec = WorldSpec.model_validate(
        {
            **fake_spec().model_dump(),
            "observation": VectorSpec(names=("x", "v"), low=(-1, None), high=(1, None)),
            "head": Categorical(groups=2, classes=2),
            "encode_memory": True,
            "has_decode": False,
            "has_policy": True,
            "signals": [{"name": "value", "description": "What is to come."}],
        }
    )
    assert spec.graph_inputs() == {
        "encode": {"vectors": (2,), "memory": (3,), "n": ()},
        "step": {
            "latent": (4,),
            "action": (),
            "memory": (3,),
            "n": (),
            "temperature": (),
            "noise": (5,),
        },
        "policy": {"latent": (4,), "memory": (3,), "n": ()},
    }
    assert spec.graph_outputs() == {
        "encode": {"logits": (2, 2)},
        "step": {
            "next_latent": (4,),
            "reward": (),
            "done_logit": (),
            "next_memory": (3,),
            "next_n": (),
            "logits": (2, 2),
            "value": (),
        },
        "policy": {"scores": (3,)},
    }


def test_a_bank_says_the_ages_of_its_entries(
    tiny_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    with np.load(tiny_bundle / "bank.npz") as stored:
        bank = dict(stored)

    def with_ages(ages: Any) -> Path:
        np.savez(tiny_bundle / "bank.npz", **bank, age=ages)
        spec = {"file": "bank.npz", "sha256": sha256_of(tiny_bundle / "bank.npz")}
        return rewrite(tiny_bundle, bank={**spec, "size": 5, "ages": True})

    loaded = load_bundle(with_ages(np.array([0, 5, 20, 300, 7])))
    assert loaded.ages is not None
    assert (loaded.ages.dtype, loaded.ages.tolist()) == (np.int64, [0, 5, 20, 300, 7])
    assert "age" not in loaded.bank
    with pytest.raises(BundleError, match="age holds -1"):
        load_bundle(with_ages(np.array([0, 5, 20, -1, 7])))
    with pytest.raises(BundleError, match="age is float64, must be integers"):
        load_bundle(with_ages(np.zeros(5)))


def test_a_bundle_without_torchscript_loads_and_says_what_it_lacks(
    tiny_bundle: Path, rewrite: Callable[..., Path]
) -> None:
    fields = json.loads((tiny_bundle / "manifest.json").read_text())
    graphs = {
        name: None if graph is None else {**graph, "torchscript": None}
        for name, graph in fields["graphs"].items()
    }
    rewrite(tiny_bundle, graphs=graphs)
    for file in tiny_bundle.glob("*.pt"):
        file.unlink()
    bundle = load_bundle(tiny_bundle)
    with pytest.raises(BundleError, match="has no TorchScript of step, which the torch backends"):
        bundle.graph_bytes("step", "torchscript")
