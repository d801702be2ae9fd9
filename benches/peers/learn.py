"""The peers' side of `cargo xtask bench learn`: the same rows, their own libraries, one thread.

    learn.py families FOLDER [FAMILY...]    each family alone, then the vote of all of them
    learn.py automl FOLDER SECONDS JOBS     FLAML for so many seconds

FOLDER was written by the Rust side: `meta.json`, and `train` and `test` as raw little-endian
numbers (`.f32` the rows, `.u16` the labels). Every finding is one line of JSON on the standard
output. A family is fitted in a child process of its own, so that its memory is its own.
"""

import json
import os
import pickle
import sys
import time
import traceback
import warnings

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC, LinearSVC
from xgboost import XGBClassifier

WARM_UP = 20
CALLS_MIN = 200
SEED = 1


def families(epochs):
    """The settings of YARDSTICKS, in the order of our families."""
    return {
        "knn": KNeighborsClassifier(5, n_jobs=1),
        "ridge": RidgeClassifier(),
        "forest": RandomForestClassifier(100, n_jobs=1, random_state=SEED),
        "linear-svm": LinearSVC(C=0.1, dual=True, random_state=SEED),
        "rbf-svm": SVC(C=5.0, gamma="scale", random_state=SEED),
        "mlp": MLPClassifier((256,), max_iter=epochs, random_state=SEED),
        "boosted": XGBClassifier(
            n_estimators=100, max_depth=6, tree_method="hist", max_bin=256, n_jobs=1, random_state=SEED
        ),
    }


class Rows:
    """Both parts of a data set, scaled by what the training part knows."""

    def __init__(self, folder):
        with open(os.path.join(folder, "meta.json"), encoding="utf-8") as file:
            self.meta = json.load(file)
        width = self.meta["width"]

        def part(name):
            path = os.path.join(folder, name)
            values = np.fromfile(path + ".f32", dtype="<f4").reshape(-1, width)
            return values, np.fromfile(path + ".u16", dtype="<u2").astype(np.int64)

        self.train, self.train_labels = part("train")
        self.test, self.test_labels = part("test")
        self.scale(self.meta["scale"])

    def scale(self, how):
        """`none`, `unit` (to [-1, 1] by the training part) or `standard` (mean 0, deviation 1)."""
        if how == "none":
            return
        if how == "unit":
            low, high = self.train.min(axis=0), self.train.max(axis=0)
            middle, half = (low + high) / 2, (high - low) / 2
        else:
            middle, half = self.train.mean(axis=0), self.train.std(axis=0)
        half[half == 0] = 1
        self.train = ((self.train - middle) / half).astype(np.float32)
        self.test = ((self.test - middle) / half).astype(np.float32)


def memory_kib(field):
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


def forget_peak():
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def single_calls(answer, rows):
    """Single answers in microseconds: the median of their processor time, which other processes do
    not change, and the 99th percentile by the clock."""
    busy, clock = [], []
    for number in range(WARM_UP + CALLS_MIN):
        row = rows[number % len(rows)][np.newaxis]
        began, began_busy = time.perf_counter(), time.process_time()
        answer(row)
        busy.append(1e6 * (time.process_time() - began_busy))
        clock.append(1e6 * (time.perf_counter() - began))
    return {"median": float(np.median(busy[WARM_UP:])), "p99": float(np.percentile(clock[WARM_UP:], 99))}


def shares(model, rows):
    """The class of each row, and a share of each class: softmax where a member has no probabilities."""
    if hasattr(model, "predict_proba"):
        shares = model.predict_proba(rows)
        return model.classes_[shares.argmax(axis=1)], shares
    scores = model.decision_function(rows)
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return model.predict(rows), powers / powers.sum(axis=1, keepdims=True)


def alone(name, model, rows, kept):
    """Fits one family, asks it about every test row, and keeps it for the vote."""
    forget_peak()
    before = memory_kib("VmRSS")
    began, began_wall = time.process_time(), time.perf_counter()
    model.fit(rows.train, rows.train_labels)
    fit_cpu_s = time.process_time() - began
    fit_wall_s = time.perf_counter() - began_wall
    peak_kib = memory_kib("VmHWM") - before
    one_us = single_calls(model.predict, rows.test)
    classes, share = shares(model, rows.test)
    known = np.zeros((len(classes), rows.meta["classes"]), dtype=np.float32)
    known[:, model.classes_] = share
    np.save(kept + ".classes.npy", classes)
    np.save(kept + ".shares.npy", known)
    with open(kept + ".pickle", "wb") as file:
        pickle.dump(model, file, protocol=5)
    return {
        "family": name,
        "hits": int((classes == rows.test_labels).sum()),
        "of": len(classes),
        "fit_cpu_s": fit_cpu_s,
        "fit_wall_s": fit_wall_s,
        "peak_mib": max(peak_kib, 0) / 1024,
        "one_us": one_us,
        "kb": os.path.getsize(kept + ".pickle") / 1024,
    }


def apart(work):
    """What `work` returns, from a child process; None when that ended badly."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = json.dumps(work())
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                pipe.write(found)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if status == 0 and text else None


def vote(names, rows, kept):
    """The vote of all families: hard with weights, hard without, and of shares.

    The weights are accuracies on the test rows themselves: more than a deployment could know, so
    an upper estimate of what the plain vote reaches.
    """
    classes, count, of = rows.meta["classes"], len(names), len(rows.test_labels)
    votes = np.stack([np.load(kept(name) + ".classes.npy") for name in names])
    weights = (votes == rows.test_labels).mean(axis=1)

    def hits(weights):
        tally = np.zeros((of, classes))
        for voted, weight in zip(votes, weights, strict=True):
            tally[np.arange(of), voted] += weight
        return int((tally.argmax(axis=1) == rows.test_labels).sum())

    soft = sum(np.load(kept(name) + ".shares.npy") for name in names)
    models = []
    for name in names:
        with open(kept(name) + ".pickle", "rb") as file:
            models.append(pickle.load(file))

    def answer(row):
        tally = np.zeros(classes)
        for model, weight in zip(models, weights, strict=True):
            tally[model.predict(row)[0]] += weight
        return tally.argmax()

    return {
        "members": count,
        "of": of,
        "weighted": hits(weights),
        "unweighted": hits(np.ones(count)),
        "soft": int((soft.argmax(axis=1) == rows.test_labels).sum()),
        "one_us": single_calls(answer, rows.test),
    }


def automl(rows, seconds, jobs):
    """FLAML, told how long it may search."""
    from flaml import AutoML

    search = AutoML()
    began, began_wall = time.process_time(), time.perf_counter()
    search.fit(
        rows.train,
        rows.train_labels,
        task="classification",
        metric="accuracy",
        time_budget=seconds,
        n_jobs=jobs,
        seed=SEED,
        verbose=0,
    )
    cpu_s, wall_s = time.process_time() - began, time.perf_counter() - began_wall
    hits = int((search.predict(rows.test) == rows.test_labels).sum())
    return {
        "automl": str(search.best_estimator),
        "hits": hits,
        "of": len(rows.test_labels),
        "cpu_s": cpu_s,
        "wall_s": wall_s,
    }


def say(finding):
    print(json.dumps(finding), flush=True)


def main(words):
    what, folder, *rest = words
    rows = Rows(folder)
    if what == "automl":
        say(automl(rows, float(rest[0]), int(rest[1])))
        return
    kept_in = os.path.join(folder, "peers")
    os.makedirs(kept_in, exist_ok=True)

    def kept(name):
        return os.path.join(kept_in, name)

    models = families(rows.meta["mlp_epochs"])
    names = rest or list(models)
    stand = []
    for name in names:
        found = apart(lambda name=name: alone(name, models[name], rows, kept(name)))
        if found is None:
            say({"failed": name})
        else:
            say(found)
            stand.append(name)
    if stand:
        say(apart(lambda: vote(stand, rows, kept)) or {"failed": "vote"})


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main(sys.argv[1:])
