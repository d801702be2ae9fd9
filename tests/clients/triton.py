"""tritonclient, unmodified, over gRPC and HTTP, waiting and asyncio: `triton.py GRPC HTTP TASK WIDTH`."""

import asyncio
import json
import sys
import urllib.error
import urllib.request

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from tritonclient.utils import InferenceServerException

GRPC, HTTP, TASK, WIDTH = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
ROWS = np.linspace(-2.0, 2.0, 5 * WIDTH, dtype=np.float32).reshape(5, WIDTH)
IDS = []


def ask(module, rows, datatype="FP32", outputs=(), **how):
    """What `infer` of every flavour takes."""
    features = module.InferInput("features", list(rows.shape), datatype)
    features.set_data_from_numpy(rows, **how)
    wanted = [module.InferRequestedOutput(name, **it) for name, it in outputs] or None
    return {"model_name": TASK, "inputs": [features], "outputs": wanted, "request_id": "7"}


def check(result, config, names=("label", "probabilities", "prediction_id"), rows=len(ROWS)):
    """The answer to `rows` rows has these outputs, and they belong together."""
    for name in {"label", "probabilities", "prediction_id"} - set(names):
        assert result.as_numpy(name) is None, name
    labels = shares = None
    if "label" in names:
        labels = [it.decode() if isinstance(it, bytes) else it for it in result.as_numpy("label")]
        assert len(labels) == rows and set(labels) <= set(config["classes"]), labels
    if "probabilities" in names:
        shares = result.as_numpy("probabilities")
        assert shares.dtype == np.float32 and shares.shape == (rows, len(config["classes"]))
    if labels and shares is not None:
        assert labels == [config["classes"][at] for at in shares.argmax(axis=1)]
    if "prediction_id" in names:
        ids = [bytes.fromhex(it.decode() if isinstance(it, bytes) else it)
               for it in result.as_numpy("prediction_id")]
        assert all(len(it) == 16 for it in ids) and len(set(ids)) == rows
        IDS.extend(it.hex() for it in ids)
    response = result.get_response()
    assert (response["id"] if isinstance(response, dict) else response.id) == "7"
    return labels


def refused(call, *texts):
    """The call is refused with one of these texts."""
    try:
        call()
    except InferenceServerException as error:
        assert any(text in error.message() for text in texts), error.message()
    else:
        raise AssertionError(f"not refused: {texts}")


def too_late(call):
    """The call is refused because its time is over; who sees that first says so in its own words."""
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == "StatusCode.DEADLINE_EXCEEDED", (error.status(), error.message())
    else:
        raise AssertionError("not refused")


def waiting(module, client, labels):
    """What both waiting clients can do; the labels of ROWS."""
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(TASK)
    assert not client.is_model_ready("nobody")
    is_grpc = module is over_grpc
    as_json = {"as_json": True} if is_grpc else {}
    assert client.get_server_metadata(**as_json)["name"] == "sensemble"
    about = client.get_model_metadata(TASK, **as_json)
    assert [it["name"] for it in about["inputs"]] == ["features"]
    assert [int(it) for it in about["inputs"][0]["shape"]] == [-1, WIDTH]
    version = about["versions"][0]
    config = client.get_model_config(TASK, **as_json)
    config = config["config"] if is_grpc else config
    assert config["max_batch_size"] > 1 and config["input"][0]["data_type"] == "TYPE_FP32"
    parameters = config["parameters"]
    config = {"classes": json.loads(parameters["classes"]["string_value"])}
    index = client.get_model_repository_index(**as_json)
    index = index["models"] if is_grpc else index
    assert [(it["name"], it["state"]) for it in index] == [(TASK, "READY")], index

    said = check(client.infer(**ask(module, ROWS)), config)
    assert labels is None or said == labels, "the same samples, the same classes"
    assert check(client.infer(**ask(module, ROWS), model_version=version), config) == said
    assert check(client.infer(**ask(module, ROWS.astype(np.float64), "FP64")), config) == said
    check(client.infer(**ask(module, np.ones((5, WIDTH), np.int64), "INT64")), config)
    halves = ROWS.astype(np.float16)
    rounded = check(client.infer(**ask(module, halves.astype(np.float32))), config)
    assert check(client.infer(**ask(module, halves, "FP16")), config) == rounded
    for packing in ("gzip", "deflate"):
        packed = {"compression_algorithm": packing} if is_grpc else {
            "request_compression_algorithm": packing, "response_compression_algorithm": packing}
        assert check(client.infer(**ask(module, ROWS), **packed), config) == said
    best = client.infer(**ask(module, ROWS, outputs=[("probabilities", {"class_count": 2})]))
    best = best.as_numpy("probabilities")
    assert best.shape == (len(ROWS), min(2, len(config["classes"]))), best
    texts = [it.decode() if isinstance(it, bytes) else it for it in best[:, 0]]
    assert [it.split(":")[2] for it in texts] == said, texts
    check(client.infer(**ask(module, ROWS[:0])), config, rows=0)
    only = [("probabilities", {})]
    check(client.infer(**ask(module, ROWS, outputs=only)), config, ["probabilities"])
    assert check(client.infer(**ask(module, ROWS), timeout=30_000_000), config) == said
    waited = client.async_infer(**ask(module, ROWS), **({"callback": results} if is_grpc else {}))
    answer = wait() if is_grpc else waited.get_result()
    assert check(answer, config) == said

    refused(lambda: client.infer(**ask(module, ROWS), model_version="999999"), "is not served here")
    refused(lambda: client.infer(**{**ask(module, ROWS), "model_name": "nobody"}), "not served here")
    refused(lambda: client.infer(**ask(module, ROWS[:, 1:])), f"the task has {WIDTH} features")
    refused(lambda: client.infer(**ask(module, np.full((1, WIDTH), np.nan, np.float32))), "not a finite")
    refused(lambda: client.infer(**ask(module, ROWS, outputs=[("scores", {})])), "the outputs are")
    text = np.full((1, WIDTH), b"1", np.object_)
    refused(lambda: client.infer(**ask(module, text, "BYTES")), "send FP32")
    many = np.zeros((20_000, WIDTH), np.float32)
    refused(lambda: client.infer(**ask(module, many), timeout=1), "deadline has passed")
    refused(lambda: client.load_model(TASK), "the scheduler decides")

    stats = client.get_inference_statistics(TASK, **as_json)["model_stats"][0]
    assert int(stats["inference_stats"]["success"]["count"]) >= 6, stats
    assert int(stats["inference_count"]) >= 30 and int(stats["inference_stats"]["fail"]["count"]) >= 4
    assert int(stats["inference_stats"]["compute_infer"]["ns"]) > 0
    assert len(client.get_inference_statistics(**as_json)["model_stats"]) == 1
    return said, config


ANSWERS = []


def results(result, error):
    ANSWERS.append((result, error))


def wait():
    import time

    end = time.monotonic() + 30
    while not ANSWERS and time.monotonic() < end:
        time.sleep(0.01)
    result, error = ANSWERS.pop(0)
    if error is not None:
        raise error
    return result


async def at_once(module, address, said, config):
    """Many requests at the same time on one asyncio client."""
    async with module.InferenceServerClient(address) as client:
        assert await client.is_server_ready() and await client.is_model_ready(TASK)
        answers = await asyncio.gather(*(client.infer(**ask(module, ROWS)) for _ in range(20)))
        assert all(check(answer, config) == said for answer in answers)
        try:
            await client.infer(**ask(module, ROWS[:, 1:]))
        except InferenceServerException as error:
            assert "features" in error.message()
        else:
            raise AssertionError("not refused")


with over_grpc.InferenceServerClient(GRPC) as client:
    said, config = waiting(over_grpc, client, None)
    # What the call itself allows: the client, the transport, the door or the desk sees it first.
    late = {**ask(over_grpc, np.zeros((20_000, WIDTH), np.float32)), "client_timeout": 0.0005}
    too_late(lambda: client.infer(**late))
    # A stream goes on behind an error.
    client.start_stream(callback=results)
    for rows in (ROWS, ROWS[:, 1:], ROWS):
        client.async_stream_infer(**ask(over_grpc, rows), enable_empty_final_response=True)
    assert check(wait(), config) == said
    try:
        wait()
    except InferenceServerException as error:
        assert f"the task has {WIDTH} features" in error.message(), error
    else:
        raise AssertionError("not refused")
    last = wait()
    assert check(last, config) == said
    assert last.get_response().parameters["triton_final_response"].bool_param
    client.stop_stream()
print("ok gRPC")

with over_http.InferenceServerClient(HTTP, concurrency=4) as client:
    assert waiting(over_http, client, said)[0] == said
    # JSON tensors, and some of each.
    for into in (True, False):
        for outof in (True, False):
            outputs = [(name, {"binary_data": outof}) for name in ("label", "probabilities", "prediction_id")]
            answer = client.infer(**ask(over_http, ROWS, outputs=outputs, binary_data=into))
            assert check(answer, config) == said
    mixed = [("label", {"binary_data": True}), ("prediction_id", {"binary_data": False})]
    check(client.infer(**ask(over_http, ROWS, outputs=mixed)), config, ["label", "prediction_id"])
print("ok HTTP")

asyncio.run(at_once(over_grpc_aio, GRPC, said, config))
print("ok gRPC asyncio")
asyncio.run(at_once(over_http_aio, HTTP, said, config))
print("ok HTTP asyncio")


def feedback(prediction_id, label):
    body = json.dumps({"prediction_id": prediction_id, "label": label}).encode()
    request = urllib.request.Request(f"http://{HTTP}/v1/feedback", data=body, method="POST")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


for prediction_id in (IDS[0], IDS[-1]):
    assert feedback(prediction_id, config["classes"][1])["first"]
try:
    feedback("00" * 16, config["classes"][1])
except urllib.error.HTTPError as error:
    assert error.code == 404 and "no answer with this id" in json.load(error)["error"]
else:
    raise AssertionError("not refused")
print("ok feedback")
