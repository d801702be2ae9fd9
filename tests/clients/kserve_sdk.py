"""The KServe SDK, unmodified, over gRPC and REST: `kserve_sdk.py GRPC HTTP TASK WIDTH`."""

import asyncio
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

GRPC, HTTP, TASK, WIDTH = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
ROWS = np.linspace(-2.0, 2.0, 5 * WIDTH, dtype=np.float32).reshape(5, WIDTH)
OUTPUTS = ["label", "probabilities", "prediction_id"]


def ask(rows, typed, width=WIDTH):
    """Rows in binary, or typed as a list."""
    data = None if not typed else rows.flatten().tolist()
    features = InferInput(name="features", shape=list(rows.shape), datatype="FP32", data=data)
    if not typed:
        features.set_data_from_numpy(rows, binary_data=True)
    return InferRequest(model_name=TASK, infer_inputs=[features], request_id="7")


def check(response):
    assert response.model_name == TASK and response.id == "7", response
    outputs = {it.name: it.as_numpy() for it in response.outputs}
    assert list(outputs) == OUTPUTS, outputs
    labels = [it.decode() if isinstance(it, bytes) else it for it in outputs["label"]]
    assert len(labels) == len(ROWS) and outputs["probabilities"].shape[0] == len(ROWS)
    ids = [it.decode() if isinstance(it, bytes) else it for it in outputs["prediction_id"]]
    assert all(len(bytes.fromhex(it)) == 16 for it in ids)
    return labels


async def over_grpc():
    async with InferenceGRPCClient(GRPC) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready(TASK) and not await client.is_model_ready("nobody")
        raw = check(await client.infer(ask(ROWS, False)))
        assert check(await client.infer(ask(ROWS, True))) == raw
        try:
            await client.infer(ask(ROWS[:, 1:], True))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        else:
            raise AssertionError("not refused")
    return raw


async def over_rest(labels):
    base = f"http://{HTTP}"
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=30)) as client:
        assert await client.is_server_live(base) and await client.is_server_ready(base)
        assert await client.is_model_ready(base, TASK)
        assert not await client.is_model_ready(base, "nobody")
        for typed in (True, False):
            response = await client.infer(base, ask(ROWS, typed), model_name=TASK)
            assert check(response) == labels
        try:
            await client.infer(base, ask(ROWS[:, 1:], True), model_name=TASK)
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == 400 and "features" in str(error), error
        else:
            raise AssertionError("not refused")


async def main():
    labels = await over_grpc()
    print("ok gRPC")
    await over_rest(labels)
    print("ok REST")


asyncio.run(main())
