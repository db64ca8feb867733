"""The lab's data: every format as it is read, every way in which a file can be wrong, and the tasks that use them."""

from __future__ import annotations

import gzip
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fusedstep import lab
from fusedstep.lab.batch import batches
from fusedstep.lab.data import Malformed, cifar, gratings, idx, keras, mnist
from fusedstep.lab.data.images import Images
from fusedstep.lab.data.place import choose, roots

RNG = np.random.default_rng(0)
TRAIN, TEST = 6, 3
IMAGES = {part: RNG.integers(0, 256, (count, 28, 28), np.uint8) for part, count in (("train", TRAIN), ("t10k", TEST))}
LABELS = {"train": np.arange(TRAIN, dtype=np.uint8), "t10k": np.arange(TEST, dtype=np.uint8) + 7}


@pytest.fixture(autouse=True)
def nothing_at_home(tmp_path, monkeypatch):
    """No data of the machine's own is found."""
    for name in ("FUSEDSTEP_DATA", "KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")


def packed(array):
    """An array as IDX."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_idx(folder, *, dot="-", compressed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for part in IMAGES:
        for name, array in (("images", IMAGES[part]), ("labels", LABELS[part])):
            path = folder / f"{part}-{name}{dot}idx{array.ndim}-ubyte{'.gz' if compressed else ''}"
            path.write_bytes(gzip.compress(packed(array)) if compressed else packed(array))


def keras_arrays():
    return dict(zip(keras.NAMES, (IMAGES["train"], LABELS["train"], IMAGES["t10k"], LABELS["t10k"]), strict=True))


def check_mnist(found):
    for part, (images, labels) in zip(IMAGES, (found.train, found.test), strict=True):
        assert np.array_equal(images, IMAGES[part])
        assert np.array_equal(labels, LABELS[part])


def refused(call, path, *words):
    """The error names the file, what was expected and what came."""
    with pytest.raises(Malformed) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert ", got " in message
    for word in words:
        assert word in message, message


# IDX


@pytest.mark.parametrize("layout", mnist.LAYOUTS)
@pytest.mark.parametrize(("dot", "compressed"), [("-", False), ("-", True), (".", False)])
def test_mnist_is_found_as_idx(layout, dot, compressed, tmp_path, monkeypatch):
    write_idx(tmp_path / "own" / layout, dot=dot, compressed=compressed)
    monkeypatch.setenv("FUSEDSTEP_DATA", str(tmp_path / "own"))
    found = mnist.find()
    check_mnist(found)
    assert found.source == "MNIST, IDX files"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"", ("magic number 00000803", "an empty file")),
        (lambda data: data[:3], ("magic number 00000803", "got 000008")),
        (lambda data: data[:10], ("a head of 16 bytes", "got 10")),
        (lambda data: data[:-1], ("16 bytes and 6 × 28 × 28 more", f"{16 + TRAIN * 784 - 1} bytes")),
        (lambda data: data + b"\0", ("16 bytes and 6 × 28 × 28 more", f"{16 + TRAIN * 784 + 1} bytes")),
        (lambda data: packed(LABELS["train"]), ("magic number 00000803", "got 00000801")),
        (lambda data: b"\0\0\x0d" + data[3:], ("magic number 00000803", "got 00000d03")),
        (lambda data: data[:4] + b"\xff" * 12 + data[16:], ("4294967295 × 4294967295 × 4294967295 more",)),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_wrong_idx_file_is_refused(damage, words, compressed, tmp_path):
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' if compressed else ''}"
    data = damage(packed(IMAGES["train"]))
    path.write_bytes(gzip.compress(data) if compressed else data)
    refused(lambda: idx.read(path, 3), path, *words)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-12], lambda data: b"no gzip", lambda data: data[:10] + b"\xff" * 40]
)
def test_a_wrong_gzip_file_is_refused(damage, tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(gzip.compress(packed(IMAGES["train"]))))
    refused(lambda: idx.read(path, 3), path, "a file that can be read to its end")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("train-labels-idx1-ubyte", LABELS["train"][:-1], ("6 labels, one for each image", "got 5")),
        ("train-labels-idx1-ubyte", LABELS["train"].repeat(2), ("6 labels, one for each image", "got 12")),
        ("train-labels-idx1-ubyte", np.full(TRAIN, 10, np.uint8), ("labels from 0 to 9", "got 10")),
        ("t10k-images-idx3-ubyte", IMAGES["t10k"][:, :27], ("28 × 28", "27 × 28")),
        ("t10k-labels-idx1-ubyte", IMAGES["t10k"], ("magic number 00000801", "00000803")),
    ],
)
def test_idx_files_that_do_not_belong_together_are_refused(name, array, words, tmp_path):
    write_idx(tmp_path)
    (tmp_path / name).write_bytes(packed(array))
    refused(lambda: mnist.read(tmp_path), tmp_path / name, *words)


def test_no_images_are_refused(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(packed(IMAGES["t10k"][:0]))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(packed(LABELS["t10k"][:0]))
    refused(lambda: mnist.read(tmp_path), tmp_path / "t10k-labels-idx1-ubyte", "at least one image", "none")


def test_a_missing_idx_file_is_named(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    refused(lambda: mnist.read(tmp_path), tmp_path, "t10k-labels-idx1-ubyte", "no such file")


# Keras


def test_mnist_is_found_as_keras_keeps_it(tmp_path, monkeypatch):
    folder = tmp_path / "home" / ".keras" / "datasets"
    folder.mkdir(parents=True)
    np.savez(folder / "mnist.npz", **keras_arrays())
    check_mnist(mnist.find())
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "elsewhere"))
    assert mnist.find() is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y_test": None}, ("x_train, y_train, x_test, y_test", "got x_train, y_train, x_test")),
        ({"x_train": IMAGES["train"].astype(float)}, ("x_train to be uint8 in 3 dimensions", "float64 in 3")),
        ({"x_train": IMAGES["train"].reshape(TRAIN, -1)}, ("x_train to be uint8 in 3 dimensions", "uint8 in 2")),
        ({"x_test": IMAGES["t10k"][:, :, :27]}, ("28 × 28", "28 × 27")),
        ({"y_train": LABELS["train"].astype(np.int64)}, ("y_train to be uint8 in 1 dimensions", "int64 in 1")),
        ({"y_train": LABELS["train"][1:]}, ("6 labels", "got 5")),
        ({"y_train": LABELS["train"] + np.uint8(5)}, ("labels from 0 to 9", "got 10")),
    ],
)
def test_a_wrong_keras_archive_is_refused(change, words, tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, **{name: array for name, array in {**keras_arrays(), **change}.items() if array is not None})
    refused(lambda: mnist.read_archive(path), path, *words)


class Trap:
    """Whoever unpickles it is caught."""

    def __reduce__(self):
        return pytest.fail, ("something was unpickled",)


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, **{**keras_arrays(), "y_train": np.array([Trap()] * TRAIN, object)})
    refused(lambda: mnist.read_archive(path), path, "y_train to be a whole array of numbers")


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"\x93NUMPY"])
def test_what_is_no_archive_is_refused(damage, tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, **keras_arrays())
    path.write_bytes(damage(path.read_bytes()))
    refused(lambda: mnist.read_archive(path), path, "an archive of NumPy's arrays")


def test_an_archive_with_wrong_bytes_is_refused(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, **keras_arrays())
    data = bytearray(path.read_bytes())
    data[300] ^= 255
    path.write_bytes(data)
    refused(lambda: mnist.read_archive(path), path, "x_train to be a whole array of numbers", "CRC")


def test_an_archive_may_be_damaged_anywhere(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez_compressed(path, **{name: array // 10 for name, array in keras_arrays().items()})
    whole = path.read_bytes()
    for place in (*range(200), *range(len(whole) - 400, len(whole))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with suppress(Malformed):  # not every byte matters
            mnist.read_archive(path)


def test_members_that_are_no_arrays_are_refused(tmp_path):
    path = tmp_path / "mnist.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in keras.NAMES:
            archive.writestr(name, "text")
    refused(lambda: mnist.read_archive(path), path, "x_train to be uint8 in 3 dimensions", "got bytes")


# CIFAR-10


def write_cifar(folder, batches=2):
    folder.mkdir(parents=True, exist_ok=True)
    parts = [gratings.draw(5, np.random.default_rng(number)) for number in range(batches + 1)]
    for number, part in enumerate(parts[1:], 1):
        cifar.write(folder / f"data_batch_{number}.bin", part)
    cifar.write(folder / "test_batch.bin", parts[0])
    return parts


@pytest.mark.parametrize("layout", cifar.LAYOUTS)
def test_cifar_is_found(layout, tmp_path, monkeypatch):
    test, *train = write_cifar(tmp_path / "own" / layout)
    monkeypatch.setenv("FUSEDSTEP_DATA", str(tmp_path / "own"))
    found = cifar.find()
    for index in range(2):
        assert np.array_equal(found.train[index], np.concatenate([part[index] for part in train]))
        assert np.array_equal(found.test[index], test[index])
    assert found.source == "CIFAR-10"


def test_cifar_lies_as_its_page_says(tmp_path):
    """A byte with the label, 1024 of red, 1024 of green, 1024 of blue; rows one after the other."""
    record = bytearray(3073)
    record[0], record[1 + 33], record[1 + 1024 + 2], record[1 + 2048 + 1023] = 9, 11, 12, 13
    (tmp_path / "x.bin").write_bytes(record)
    images, labels = cifar.batch(tmp_path / "x.bin")
    assert labels.tolist() == [9]
    assert labels.dtype == np.int64  # which torch wants
    assert {tuple(map(int, place)) for place in np.argwhere(images[0])} == {(0, 1, 1), (1, 0, 2), (2, 31, 31)}
    assert (images[0, 0, 1, 1], images[0, 1, 0, 2], images[0, 2, 31, 31]) == (11, 12, 13)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], ("a multiple of 3073 bytes", f"{5 * 3073 - 1} bytes")),
        (lambda data: data + b"\0", ("a multiple of 3073 bytes", f"{5 * 3073 + 1} bytes")),
        (lambda data: b"", ("at least one image", "none")),
        (lambda data: b"\x0a" + data[1:], ("labels from 0 to 9", "got 10")),
    ],
)
@pytest.mark.parametrize("name", ["data_batch_2.bin", "test_batch.bin"])
def test_a_wrong_cifar_file_is_refused(name, damage, words, tmp_path):
    write_cifar(tmp_path)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    refused(lambda: cifar.read(tmp_path, ""), path, *words)


def test_a_missing_test_batch_is_named(tmp_path):
    write_cifar(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    refused(lambda: cifar.read(tmp_path, ""), tmp_path, "test_batch.bin", "no such file")


def test_gratings_come_again():
    first, again, other = gratings.gratings(40, 0), gratings.gratings(40, 0), gratings.gratings(40, 1)
    assert first.train[0].shape == (40, 3, 32, 32)
    assert first.train[0].dtype == np.uint8
    assert len(first.test[1]) == 10
    assert np.array_equal(first.train[0], again.train[0])
    assert not np.array_equal(first.train[0], other.train[0])
    assert len(gratings.gratings(1, 0).test[1]) == 1


def test_gratings_differ_by_class():
    images, labels = gratings.draw(600, np.random.default_rng(0))
    power = np.abs(np.fft.fft2(images.astype(float))).sum(axis=1)[:, :, :16]
    power[:, 0, 0] = 0  # the ground
    peaks = [np.unravel_index(power[labels == label].mean(axis=0).argmax(), (32, 16)) for label in range(10)]
    assert len(set(peaks)) == 10
    waves = [np.hypot(min(y, 32 - y), x) for y, x in peaks]
    assert waves == pytest.approx([3] * 5 + [6] * 5, abs=0.5)


# Where data is looked for


def test_the_users_folder_comes_first(tmp_path, monkeypatch):
    write_idx(tmp_path / "home" / ".cache" / "fusedstep" / "mnist")
    check_mnist(mnist.find())
    monkeypatch.setenv("FUSEDSTEP_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    caches = [tmp_path / "cache" / name for name in ("fusedstep", "torchvision", "torch", "mnist", "cifar")]
    assert list(roots()) == [tmp_path, tmp_path / "home" / ".keras" / "datasets", *caches, Path("data")]
    monkeypatch.setenv("FUSEDSTEP_DATA", str(tmp_path / "nowhere"))
    refused(mnist.find, tmp_path / "nowhere", "the folder that $FUSEDSTEP_DATA names", "none")


def test_choice_between_the_data_and_its_stand_in():
    real, other = object(), object()
    assert choose("any", "X", lambda: real, lambda: other) is real
    assert choose("real", "X", lambda: real, lambda: other) is real
    assert choose("any", "X", lambda: None, lambda: other) is other
    assert choose("stand-in", "X", lambda: real, lambda: other) is other
    with pytest.raises(lab.Unavailable, match=r"no X in .*\.keras.*FUSEDSTEP_DATA"):
        choose("real", "X", lambda: None, lambda: other)


def test_batches_are_all_examples_once_in_a_random_order():
    examples = np.arange(10) * 2, np.arange(10)
    parts = list(batches(examples, 4, np.random.default_rng(0)))
    assert [len(targets) for _, targets in parts] == [4, 4, 2]
    inputs, targets = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    assert np.array_equal(inputs, targets * 2)
    assert sorted(targets) == list(range(10)) != targets.tolist()


def test_images_in_other_forms():
    images = Images((RNG.integers(0, 256, (20, 3, 4, 4), np.uint8), np.arange(20) % 10), gratings.draw(8, RNG), "some")
    drawn = images.drawn(12, np.random.default_rng(0))
    assert (len(drawn.train[1]), len(drawn.test[1])) == (12, 3)
    assert drawn.source == "some: 12 of its 20 images for training, 3 for the test"
    for image, label in zip(*drawn.train, strict=True):
        (place,) = np.flatnonzero((images.train[0] == image).all(axis=(1, 2, 3)))
        assert images.train[1][place] == label
    assert not np.array_equal(drawn.train[0], images.train[0][:12])
    assert len(images.drawn(1, np.random.default_rng(0)).test[1]) == 1
    flat = images.flat(np.float32).train[0]
    assert flat.dtype == np.float32
    assert np.array_equal(flat, images.train[0].reshape(20, 48) / np.float32(255))
    standard = images.standard(np.float32).train[0]
    assert standard.mean(axis=(0, 2, 3)) == pytest.approx(0, abs=1e-6)
    assert standard.std(axis=(0, 2, 3)) == pytest.approx(1, abs=1e-6)
    images.train[0][:, 1] = 7
    assert not images.standard(np.float32).train[0][:, 1].any()


# The tasks


def slope(task, weights, batch, name, place):
    """The loss's derivative by one weight, from differences."""
    step, unused = 1e-5, {key: np.zeros_like(array) for key, array in weights.items()}
    losses = []
    for sign in (1, -1):
        moved = {key: array.copy() for key, array in weights.items()}
        moved[name][place] += sign * step
        losses.append(task.gradient(moved, batch, unused))
    return (losses[0] - losses[1]) / (2 * step)


def test_sparse_gradients_are_the_losses_derivatives():
    pytest.importorskip("scipy")
    from scipy.sparse import issparse

    from fusedstep.lab.logistic import Logistic

    task = Logistic(64, 30, 16, 0)
    rng = np.random.default_rng(1)
    weights, out = {"w": rng.standard_normal(30)}, {"w": np.full(30, np.nan)}
    inputs, labels = batch = next(task.batches(rng))
    assert issparse(inputs)
    assert inputs.format == "csr"
    assert set(labels.tolist()) <= {0.0, 1.0}
    gradient = out["w"]
    task.gradient(weights, batch, out)
    assert out["w"] is gradient
    for place in range(30):
        assert slope(task, weights, batch, "w", place) == pytest.approx(gradient[place], abs=1e-8)
    absent = ~(inputs.toarray() != 0).any(axis=0)
    assert absent.any()
    assert not gradient[absent].any()


def test_rare_features_are_the_rarest():
    pytest.importorskip("scipy")
    from fusedstep.lab.logistic import Logistic

    task = Logistic(2000, 40, 16, 0)
    counts = task.train[0].sum(axis=0)
    found = task.errors({"w": counts})
    assert found["rare"] < counts.mean() < found["frequent"]


def test_convolutions_gradients_lie_in_the_given_arrays():
    for extra in ("torch", "matplotlib"):
        pytest.importorskip(extra)
    from fusedstep.lab.convnet import ConvNet

    images = gratings.gratings(8, 0).standard(np.float64)
    task = ConvNet(images, (2, 3), 5, 4)
    weights = {name: array.astype(np.float64) for name, array in task.weights(np.random.default_rng(0)).items()}
    out = {name: np.full_like(array, 7.0) for name, array in weights.items()}
    places = {name: array.ctypes.data for name, array in {**weights, **out}.items()}
    batch = next(task.batches(np.random.default_rng(0)))
    for _ in range(2):
        task.gradient(weights, batch, out)
    assert {name: array.ctypes.data for name, array in {**weights, **out}.items()} == places
    for name, array in out.items():
        for place in zip(*np.unravel_index(np.linspace(0, array.size - 1, 4).astype(int), array.shape), strict=True):
            assert slope(task, weights, batch, name, place) == pytest.approx(array[place], rel=1e-4, abs=1e-7)
    assert set(task.errors(weights)) == {"loss", "test loss", "test error"}


def test_torch_is_named_when_it_is_missing(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("rich")
    from fusedstep.__main__ import main

    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["lab", "run", "cifar", "--quick", "--out", str(tmp_path)]) == 2
    assert "Not run: it needs torch" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mlp", "cifar"])
def test_experiments_say_what_data_they_lack_or_cannot_read(name, tmp_path, monkeypatch, capsys):
    for extra in ("matplotlib", "rich", "sklearn", *(["torch"] if name == "cifar" else [])):
        pytest.importorskip(extra)
    from fusedstep.__main__ import main

    words = ["lab", "run", name, "--quick", "--out", str(tmp_path / "out")]
    assert main([*words, "--set", "data=real"]) == 2
    assert "Not run: no " in capsys.readouterr().out
    path = tmp_path / ("train-images-idx3-ubyte" if name == "mlp" else "data_batch_1.bin")
    write_idx(tmp_path)
    write_cifar(tmp_path)
    path.write_bytes(b"\0" * 100)
    monkeypatch.setenv("FUSEDSTEP_DATA", str(tmp_path))
    assert main(words) == 2
    assert f"Not run: {path}: expected " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mlp", "cifar"])
def test_experiments_learn_from_the_users_files(name, tmp_path, monkeypatch, capsys):
    for extra in ("matplotlib", "rich", "sklearn", *(["torch"] if name == "cifar" else [])):
        pytest.importorskip(extra)
    from fusedstep.__main__ import main

    write_idx(tmp_path)
    write_cifar(tmp_path)
    monkeypatch.setenv("FUSEDSTEP_DATA", str(tmp_path))
    small = {"mlp": ["hidden=(8,)"], "cifar": ["channels=(2,)", "units=4"]}[name]
    words = [word for change in ("epochs=1", *small) for word in ("--set", change)]
    assert main(["lab", "run", name, "--out", str(tmp_path / "out"), *words]) == 0
    expected = {"mlp": "Data: MNIST, IDX files: 6 of its 6", "cifar": "Data: CIFAR-10: 10 of its 10"}[name]
    assert expected in capsys.readouterr().out
