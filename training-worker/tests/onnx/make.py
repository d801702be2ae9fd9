"""Makes the ONNX files of this folder, and what onnxruntime answers to the rows of tests/onnx.rs.

    python3 -m venv /tmp/onnx && /tmp/onnx/bin/pip install -r requirements.txt
    /tmp/onnx/bin/python make.py

NAME.onnx is a classifier as a converter writes it. NAME.answers holds one byte for each row: the place of
the class among those of the file, 255 where its scores are not finite, so that its class means nothing;
then the probabilities (or scores) of the first PROBABLE rows, as little-endian f32.
The rows are not stored: `rows` and tests/onnx.rs make the same ones from a seed.
"""

import pathlib
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent
WIDTH, PLAIN, EDGES, PROBABLE = 6, 10_000, 2_000, 200
SPECIAL = np.array(
    [0, 0x80000000, 1, 0x80000001, 0x00800000, 0x80800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7149F2CA, 0xF149F2CA]
    + [0x3F800000, 0xBF800000, 0x007FFFFF, 0x40000000, 0xC0000000, 0x33D6BF95],
    np.uint32,
).view(np.float32)


def draws(count):
    """splitmix64 from seed 29."""
    with np.errstate(over="ignore"):
        z = np.uint64(29) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def rows():
    """PLAIN rows between -4 and 4, then EDGES of which every second value is a special one."""
    z = draws((PLAIN + EDGES) * WIDTH)
    values = (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-21) - np.float32(4)
    special = SPECIAL[((z >> np.uint64(8)) & np.uint64(15)).astype(int)]
    edge = np.arange(len(z)) >= PLAIN * WIDTH
    return np.where(edge & (z & np.uint64(1) == 1), special, values).reshape(-1, WIDTH)


def blobs(classes, names):
    random = np.random.default_rng(29)
    centres = random.uniform(-2, 2, (classes, WIDTH))
    label = random.integers(0, classes, 600)
    samples = centres[label] + random.normal(0, 1.2, (600, WIDTH))
    return samples.astype(np.float32), np.array(names)[label]


FOUR = ["tap", "idle", "microwave", "blender"]
TWO = [3, 8]


def labelled(name, count, seed):
    """Rows like those that taught, with their classes, and what `logistic` says of them."""
    random = np.random.default_rng(29)
    centres = random.uniform(-2, 2, (len(FOUR), WIDTH))
    random = np.random.default_rng(seed)
    label = random.integers(0, len(FOUR), count)
    samples = (centres[label] + random.normal(0, 1.2, (count, WIDTH))).astype(np.float32)
    with open(HERE / f"{name}.csv", "w") as table:
        table.write(",".join(f"f{it}" for it in range(WIDTH)) + ",label\n")
        for row, own in zip(samples, label):
            table.write(",".join(f"{it:.4f}" for it in row) + f",{FOUR[own]}\n")
    samples = np.loadtxt(HERE / f"{name}.csv", delimiter=",", skiprows=1, usecols=range(WIDTH), dtype=np.float32)
    session = onnxruntime.InferenceSession(HERE / "logistic.onnx", providers=["CPUExecutionProvider"])
    labels, scores = session.run(None, {session.get_inputs()[0].name: samples})
    (HERE / f"{name}.expected.csv").write_text("label\n" + "\n".join(labels) + "\n")
    np.save(HERE / f"{name}.expected.npy", np.array([list(row.values()) for row in scores], np.float32))


def keep(name, model, kind=np.float32):
    """Writes a model and what onnxruntime answers."""
    content = model.SerializeToString()
    (HERE / f"{name}.onnx").write_bytes(content)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {session.get_inputs()[0].name: rows().astype(kind)})
    if len(outputs) == 2:
        labels, scores = outputs
        if isinstance(scores, list):
            known = list(scores[0])
            scores = np.array([[row[it] for it in known] for row in scores], np.float32)
        else:
            known = names_of(model) or sorted(set(labels.tolist()))
        place = {it: at for at, it in enumerate(known)}
        labels = np.array([place[it] for it in labels.tolist()])
    else:
        scores = outputs[0]
        if scores.shape[1] == 1:
            labels = (scores[:, 0] > 0.5).astype(int)
            scores = np.hstack([1 - scores, scores])
        else:
            labels = scores.argmax(axis=1)
    scores = np.asarray(scores, np.float32).reshape(len(labels), -1)
    finite = np.isfinite(scores).all(axis=1)
    answers = np.where(finite, labels, 255).astype(np.uint8).tobytes()
    answers += scores[:PROBABLE].astype("<f4").tobytes()
    (HERE / f"{name}.answers").write_bytes(answers)
    producer = f"{model.producer_name} {model.producer_version}"
    steps = " ".join(node.op_type for node in model.graph.node)
    print(f"{name}: {len(content)} bytes, {producer}, {(~finite).sum()} not finite: {steps}")


def names_of(model):
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("classlabels_strings", "classlabels_int64s", "classlabels_ints"):
                names = list(attribute.strings) or list(attribute.ints)
                if names:
                    return [it.decode() if isinstance(it, bytes) else it for it in names]
    return None


KEPT = []


def fitted(name, model, names=FOUR, zipmap=False, kind=FloatTensorType, opset=None):
    samples, labels = blobs(len(names), names)
    model.fit(samples, labels)
    KEPT.append(model)  # skl2onnx knows models by id(), which a later one may have again
    final = model.steps[-1][1] if hasattr(model, "steps") else model
    plain = isinstance(final, (LinearSVC, RidgeClassifier))
    options = None if plain else {id(final): {"zipmap": zipmap}}
    types = [("X", kind([None, WIDTH]))]
    written = to_onnx(model, initial_types=types, options=options, target_opset=opset)
    keep(name, written, np.float64 if kind is DoubleTensorType else np.float32)


def scikit_learn():
    fitted("logistic", make_pipeline(StandardScaler(), LogisticRegression()), zipmap=True)
    fitted("logistic-binary", make_pipeline(StandardScaler(), LogisticRegression()), TWO)
    fitted("logistic-minmax", make_pipeline(MinMaxScaler(), LogisticRegression()))
    fitted("logistic-imputed", make_pipeline(SimpleImputer(), LogisticRegression()))
    fitted("linear-svc", LinearSVC())
    fitted("ridge", RidgeClassifier())
    fitted("lda", LinearDiscriminantAnalysis())
    fitted("svc-pca", make_pipeline(StandardScaler(), PCA(4), SVC()))
    fitted("svc-binary", make_pipeline(StandardScaler(), SVC()), TWO)
    fitted("svc-probability", make_pipeline(StandardScaler(), SVC(probability=True, random_state=1)))
    fitted("svc-linear-binary", SVC(kernel="linear"), TWO)
    small = {"n_estimators": 9, "max_depth": 5, "random_state": 1}
    fitted("forest", RandomForestClassifier(**small))
    fitted("forest-binary", RandomForestClassifier(**small), TWO)
    fitted("forest-double", RandomForestClassifier(**small), kind=DoubleTensorType)
    fitted("extra-trees", ExtraTreesClassifier(**small))
    fitted("tree", DecisionTreeClassifier(max_depth=6, random_state=1))
    boosted = {"n_estimators": 8, "max_depth": 3, "random_state": 1}
    fitted("boosting", GradientBoostingClassifier(**boosted))
    fitted("boosting-binary", GradientBoostingClassifier(**boosted), TWO)
    network = {"hidden_layer_sizes": (16, 8), "max_iter": 200, "random_state": 1}
    fitted("mlp", make_pipeline(StandardScaler(), MLPClassifier(**network)))
    fitted("mlp-binary", make_pipeline(StandardScaler(), MLPClassifier(**network)), TWO)


def tables():
    labelled("early", 400, 1)
    labelled("late", 600, 2)


def others():
    import lightgbm
    import xgboost
    from onnxmltools.convert import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType as Floats

    types = [("X", Floats([None, WIDTH]))]
    for suffix, names in (("", FOUR), ("-binary", TWO)):
        samples, labels = blobs(len(names), names)
        labels = np.searchsorted(np.unique(labels), labels)
        model = xgboost.XGBClassifier(n_estimators=8, max_depth=3, random_state=1).fit(samples, labels)
        keep(f"xgboost{suffix}", convert_xgboost(model, initial_types=types, target_opset=15))
        model = lightgbm.LGBMClassifier(n_estimators=8, max_depth=3, random_state=1, verbose=-1)
        model.fit(samples, labels)
        keep(f"lightgbm{suffix}", convert_lightgbm(model, initial_types=types, target_opset=15, zipmap=False))


def torch_like():
    """Graphs as torch.onnx.export writes them, by onnx.helper: torch itself is a download of 200 MB."""
    random = np.random.default_rng(7)

    def weights(name, *shape):
        return numpy_helper.from_array(random.normal(0, 0.5, shape).astype(np.float32), name)

    def positive(name, size):
        return numpy_helper.from_array(random.uniform(0.5, 2, size).astype(np.float32), name)

    def model(nodes, initialisers, outputs):
        x = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", WIDTH])
        y = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", outputs])
        graph = helper.make_graph(nodes, "main_graph", [x], [y], initialisers)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        made.producer_name, made.producer_version = "pytorch", "as 2.x writes it"
        onnx.checker.check_model(made)
        return made

    gemm = {"alpha": 1.0, "beta": 1.0, "transB": 1}
    norm = {"epsilon": 1e-5, "momentum": 0.9, "training_mode": 0}
    layers = [
        weights("net.0.weight", 16, WIDTH), weights("net.0.bias", 16),
        positive("net.1.weight", 16), weights("net.1.bias", 16),
        weights("net.1.running_mean", 16), positive("net.1.running_var", 16),
        weights("net.4.weight", 8, 16), weights("net.4.bias", 8),
        weights("net.6.weight", 3, 8), weights("net.6.bias", 3),
    ]
    names = [it.name for it in layers]
    nodes = [
        helper.make_node("Flatten", ["input"], ["/net/0/Flatten_output_0"], "/Flatten", axis=1),
        helper.make_node("Gemm", ["/net/0/Flatten_output_0", *names[:2]], ["a"], "/net/net.0/Gemm", **gemm),
        helper.make_node("BatchNormalization", ["a", *names[2:6]], ["b"], "/net/net.1/BatchNormalization", **norm),
        helper.make_node("Relu", ["b"], ["c"], "/net/net.2/Relu"),
        helper.make_node("Gemm", ["c", *names[6:8]], ["d"], "/net/net.4/Gemm", **gemm),
        helper.make_node("Relu", ["d"], ["e"], "/net/net.5/Relu"),
        helper.make_node("Gemm", ["e", *names[8:]], ["output"], "/net/net.6/Gemm", **gemm),
    ]
    keep("torch-mlp", model(nodes, layers, 3))

    # Batch normalisation of the input and behind an activation, MatMul and Add, and log-softmax.
    layers = [
        positive("n.weight", WIDTH), weights("n.bias", WIDTH), weights("n.mean", WIDTH), positive("n.var", WIDTH),
        weights("w1", WIDTH, 12), weights("b1", 12),
        positive("m.weight", 12), weights("m.bias", 12), weights("m.mean", 12), positive("m.var", 12),
        weights("w2", 12, 3), weights("b2", 3),
    ]
    names = [it.name for it in layers]
    nodes = [
        helper.make_node("BatchNormalization", ["input", *names[:4]], ["a"], "/norm", **norm),
        helper.make_node("MatMul", ["a", "w1"], ["b"], "/l1/MatMul"),
        helper.make_node("Add", ["b1", "b"], ["c"], "/l1/Add"),
        helper.make_node("Relu", ["c"], ["d"], "/relu"),
        helper.make_node("BatchNormalization", ["d", *names[6:10]], ["e"], "/norm2", **norm),
        helper.make_node("MatMul", ["e", "w2"], ["f"], "/l2/MatMul"),
        helper.make_node("Add", ["f", "b2"], ["g"], "/l2/Add"),
        helper.make_node("LogSoftmax", ["g"], ["output"], "/LogSoftmax", axis=1),
    ]
    keep("torch-norm", model(nodes, layers, 3))

    layers = [weights("fc.weight", 1, WIDTH), weights("fc.bias", 1)]
    nodes = [
        helper.make_node("Gemm", ["input", "fc.weight", "fc.bias"], ["a"], "/fc/Gemm", **gemm),
        helper.make_node("Sigmoid", ["a"], ["output"], "/Sigmoid"),
    ]
    keep("torch-sigmoid", model(nodes, layers, 1))

    layers = [weights("w", 3, WIDTH), weights("b", 3)]
    nodes = [
        helper.make_node("Gemm", ["input", "w", "b"], ["a"], "/fc/Gemm", **gemm),
        helper.make_node("Elu", ["a"], ["output"], "/elu/Elu"),
    ]
    refuse("elu", model(nodes, layers, 3))


def refuse(name, model):
    (HERE / f"refused-{name}.onnx").write_bytes(model.SerializeToString())
    print(f"refused-{name}: " + " ".join(node.op_type for node in model.graph.node))


def refused():
    """What no member can hold."""
    types = [("X", FloatTensorType([None, WIDTH]))]

    def made(name, model):
        samples, labels = blobs(4, FOUR)
        model.fit(samples[:60], labels[:60])
        refuse(name, to_onnx(model, initial_types=types, options={id(model): {"zipmap": False}}))

    made("tanh", MLPClassifier((4,), activation="tanh", max_iter=20))
    made("neighbours", KNeighborsClassifier(3))
    made("bayes", GaussianNB())
    made("linear-pairs", SVC(kernel="linear"))
    made("polynomial", SVC(kernel="poly"))


if __name__ == "__main__":
    for part in (scikit_learn, tables, torch_like, refused, others):
        if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]:
            part()
