"""The peers' side of `cargo xtask bench serve`: the same members behind the servers that people use.

    serve.py convert FOLDER                       the members as ONNX files, where that can be done
    serve.py SERVER FOLDER MEMBERS PORT           answers until it is killed

FOLDER holds the members that `learn.py families` fitted, as pickles. MEMBERS are names with commas between
them. A server answers `ModelInfer` of the Open Inference Protocol at PORT; its task is called `hapt`, what
comes in `features` and what goes out `label`. Every one of them votes with equal weights.

    mlserver       MLServer's gRPC server, in one process
    kserve         KServe's Python server
    sklearn        a bare grpcio server over scikit-learn and XGBoost
    onnx           a bare grpcio server over ONNX Runtime
    mix            the best that can be made by hand: ONNX Runtime, and scikit-learn for the neighbours
"""

import asyncio
import os
import pickle
import sys
import types
from concurrent import futures

import numpy as np

TASK = "hapt"


def pickled(folder, name):
    with open(os.path.join(folder, "peers", name + ".pickle"), "rb") as file:
        return pickle.load(file)


def convert(folder):
    """Each member as an ONNX file beside its pickle."""
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType as XgbFloats
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    for name in ["knn", "ridge", "forest", "linear-svm", "rbf-svm", "mlp", "boosted"]:
        model = pickled(folder, name)
        width = model.n_features_in_
        if name == "boosted":
            converted = convert_xgboost(model, initial_types=[("x", XgbFloats([None, width]))])
        else:
            options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
            kinds = [("x", FloatTensorType([None, width]))]
            converted = convert_sklearn(model, initial_types=kinds, options=options, target_opset=17)
        with open(os.path.join(folder, "peers", name + ".onnx"), "wb") as file:
            file.write(converted.SerializeToString())


def in_python(folder, name):
    return pickled(folder, name).predict


def in_onnx(folder, name):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    path = os.path.join(folder, "peers", name + ".onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    label = session.get_outputs()[0].name
    return lambda rows: session.run([label], {"x": rows})[0]


def in_mix(folder, name):
    return in_python(folder, name) if name == "knn" else in_onnx(folder, name)


class Vote:
    """The class that most members say; of equal ones the smallest."""

    def __init__(self, folder, names, how):
        self.members = [how(folder, name) for name in names]
        self.classes = 1 + max(int(c) for name in names for c in pickled(folder, name).classes_)

    def __call__(self, rows):
        tally = np.zeros((len(rows), self.classes), dtype=np.int32)
        every = np.arange(len(rows))
        for member in self.members:
            tally[every, np.asarray(member(rows)).reshape(-1)] += 1
        return tally.argmax(axis=1).astype(np.int64)


def mlserver(vote, port):
    from mlserver import MLModel, MLServer
    from mlserver.codecs import NumpyCodec
    from mlserver.settings import ModelSettings, Settings
    from mlserver.types import InferenceResponse

    class Ensemble(MLModel):
        async def load(self):
            return True

        async def predict(self, payload):
            rows = NumpyCodec.decode_input(payload.inputs[0])
            label = NumpyCodec.encode_output("label", vote(rows))
            return InferenceResponse(model_name=self.name, outputs=[label])

    settings = Settings(
        parallel_workers=0,
        host="127.0.0.1",
        http_port=port + 1,
        grpc_port=port,
        metrics_port=port + 2,
        debug=False,
    )

    # It wants to import what it serves by name.
    votes = types.ModuleType("votes")
    votes.Ensemble = Ensemble
    sys.modules["votes"] = votes

    async def run():
        await MLServer(settings).start([ModelSettings(name=TASK, implementation="votes.Ensemble")])

    asyncio.run(run())


def kserve(vote, port):
    from kserve import InferOutput, InferResponse, Model, ModelServer

    class Ensemble(Model):
        def __init__(self):
            super().__init__(TASK)
            self.ready = True

        def predict(self, payload, headers=None, response_headers=None):
            labels = vote(payload.inputs[0].as_numpy())
            label = InferOutput("label", list(labels.shape), "INT64")
            label.set_data_from_numpy(labels, binary_data=True)
            return InferResponse(payload.id, TASK, [label])

    server = ModelServer(http_port=port + 1, grpc_port=port, workers=1, enable_latency_logging=False)
    server.start([Ensemble()])


def bare(vote, port):
    import grpc
    from mlserver.grpc import dataplane_pb2 as pb
    from mlserver.grpc import dataplane_pb2_grpc as rpc

    class Service(rpc.GRPCInferenceServiceServicer):
        def ModelInfer(self, request, context):
            rows = np.frombuffer(request.raw_input_contents[0], dtype="<f4")
            labels = vote(rows.reshape(request.inputs[0].shape))
            label = pb.ModelInferResponse.InferOutputTensor(
                name="label", datatype="INT64", shape=list(labels.shape)
            )
            return pb.ModelInferResponse(
                model_name=TASK, outputs=[label], raw_output_contents=[labels.tobytes()]
            )

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    rpc.add_GRPCInferenceServiceServicer_to_server(Service(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


SERVERS = {
    "mlserver": (mlserver, in_python),
    "kserve": (kserve, in_python),
    "sklearn": (bare, in_python),
    "onnx": (bare, in_onnx),
    "mix": (bare, in_mix),
}


def main(words):
    if words[0] == "convert":
        convert(words[1])
        return
    server, folder, names, port = words
    serve, how = SERVERS[server]
    serve(Vote(folder, names.split(","), how), int(port))


if __name__ == "__main__":
    main(sys.argv[1:])
