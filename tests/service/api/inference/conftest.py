"""Requests of the Open Inference Protocol, built and read byte by byte."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

DTYPES = {"BOOL": "?", "UINT8": "u1", "INT64": "<i8", "FP32": "<f4"}
LENGTH = "inference-header-content-length"


def infer_body(
    action: Any = None, *, binary: bool = True, **fields: Any
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of an inference request with this action, a number or a list."""
    data = b""
    if action is not None:
        array = np.atleast_1d(np.array(action))
        dtype = "INT64" if array.dtype.kind == "i" else "FP32"
        array = array.astype(DTYPES[dtype])
        given: dict[str, Any] = {"name": "action", "datatype": dtype, "shape": list(array.shape)}
        if binary:
            data = array.tobytes()
            given["parameters"] = {"binary_data_size": len(data)}
        else:
            given["data"] = array.tolist()
        fields = {"inputs": [given], **fields}
    json = orjson.dumps(fields)
    return json + data, {LENGTH: str(len(json))} if data else {}


def outputs_of(response: httpx.Response) -> dict[str, np.ndarray]:
    """Return the tensors of a response by name."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get(LENGTH, len(response.content)))
    document, binary = orjson.loads(response.content[:length]), response.content[length:]
    tensors = {}
    for output in document["outputs"]:
        dtype = np.dtype(DTYPES[output["datatype"]])
        if "data" in output:
            flat = np.array(output["data"], dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            flat, binary = np.frombuffer(binary[:size], dtype), binary[size:]
        tensors[output["name"]] = flat.reshape(output["shape"])
    assert not binary, "bytes that no output names"
    return tensors


@pytest.fixture(scope="session")
def body_of() -> Callable[..., tuple[bytes, dict[str, str]]]:
    """Return what builds a request's body and headers."""
    return infer_body


@pytest.fixture
def infer(client) -> Callable[..., Any]:
    """Return what sends a request of one sequence: `parameters` by name, other fields in `more`."""

    async def send(
        action: Any = None,
        *,
        world: str = "fake",
        binary: bool = True,
        more: dict[str, Any] | None = None,
        **parameters: Any,
    ) -> httpx.Response:
        parameters = {"sequence_id": 1, "binary_data_output": True, **parameters}
        body, headers = infer_body(action, binary=binary, parameters=parameters, **(more or {}))
        path = f"/v2/models/{world}/infer"
        return await client.http.post(path, content=body, headers=headers)

    return send


@pytest.fixture(scope="session")
def tensors_of() -> Callable[[httpx.Response], dict[str, np.ndarray]]:
    """Return what reads a response's tensors."""
    return outputs_of
