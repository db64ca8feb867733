"""Threads change no bit, and other people's processes, threads and forks do not disturb them."""

from __future__ import annotations

import importlib.util
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest

import fusedstep as fs

import process
from cases import DTYPES, assert_same_state, pair, random, same_bytes

#: One of each way through the core: with and without state, a ring that is folded, a carried scalar, all four states.
METHODS = [
    ("SGD", {}),
    ("AdamW", {"amsgrad": True}),
    ("NAdam", {}),
    ("WindowedAdagrad", {"window": 3}),
    ("Adaptive", {"phi": "ema", "psi": "window", "window": 2}),
]

#: Sizes that threads share in every way: large, tiny, empty, on and beside the blocks' borders.
SIZES = [300_007, 1, 0, 4096, 4095, 100_001, 4097, 3, 65_536]

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), METHODS, ids=[name for name, _ in METHODS])
def test_any_number_gives_the_same_bytes(name, options, dtype, set_threads):
    rng = np.random.default_rng(1)
    start = [random(rng, size, dtype) for size in SIZES]
    grads = [[random(rng, size, dtype) for size in SIZES] for _ in range(4)]
    grads[2][0] = grads[1][5] = None
    params = {threads: [array.copy() for array in start] for threads in (1, 2, 3, 7)}
    fused = {threads: getattr(fs, name)(arrays, lr=0.05, **options) for threads, arrays in params.items()}
    reference = getattr(fs.reference, name)(start, lr=0.05, **options)
    for step in grads:
        reference.step(step)
        for threads, optimizer in fused.items():
            set_threads(threads)
            optimizer.step(step)
    for threads, optimizer in fused.items():
        for actual, expected in zip(params[threads], start, strict=True):
            assert same_bytes(actual, expected), f"{threads} threads"
        assert_same_state(optimizer, reference)


def test_the_number_may_change_between_steps(set_threads):
    rng = np.random.default_rng(2)
    param = random(rng, 400_000, np.float32)
    copy = param.copy()
    fused, reference = pair("Adam", param, copy, lr=0.05)
    for threads in (1, 5, 2, 16, 1, 3, 3):
        set_threads(threads)
        grad = random(rng, param.size, np.float32)
        fused.step(grad)
        reference.step(grad)
        assert same_bytes(param, copy), f"{threads} threads"


def test_shards_give_the_bytes_of_the_whole(set_threads):
    rng = np.random.default_rng(3)
    whole = random(rng, 300_000, np.float64)
    grad = random(rng, whole.size, np.float64)
    cuts = [0, 77, 4096, 150_001, 300_000]
    shards = {f"{begin}": whole[begin:end].copy() for begin, end in pairwise(cuts)}
    extents = {name: (int(name), whole.size) for name in shards}
    set_threads(3)
    fs.Adam(whole, lr=0.1).step(grad)
    fs.Adam(shards, lr=0.1, extents=extents).step({name: grad[int(name) :][: s.size] for name, s in shards.items()})
    assert np.concatenate(list(shards.values())).tobytes() == whole.tobytes()


def in_threads(work, count: int) -> None:
    """Runs work(0) … work(count − 1) at once; what one of them raises comes out here."""
    start, problems = threading.Barrier(count), []

    def run(index: int) -> None:
        try:
            start.wait(30)
            work(index)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a step hangs"
    if problems:
        raise problems[0]


def test_optimizers_step_at_once_in_many_threads(set_threads):
    """One finds the pool free, the others work alone, and sometimes one changes the number."""
    rng = np.random.default_rng(4)
    size, steps, count = 150_000, 12, 6
    grads = [random(rng, size, np.float32) for _ in range(count)]
    expected = []
    set_threads(1)
    for grad in grads:
        optimizer = fs.Adam(param := np.ones(size, np.float32), lr=0.01)
        for _ in range(steps):
            optimizer.step(grad)
        expected.append(param)
    assert not same_bytes(expected[0], expected[1])

    set_threads(4)
    params = [np.ones(size, np.float32) for _ in range(count)]
    optimizers = [fs.Adam(param, lr=0.01) for param in params]

    def work(index: int) -> None:
        for step in range(steps):
            if index == 0:
                set_threads(2 + step % 3)
            optimizers[index].step(grads[index])

    in_threads(work, count)
    for actual, wanted in zip(params, expected, strict=True):
        assert same_bytes(actual, wanted)


def test_one_optimizer_in_many_threads_steps_or_says_that_it_is_busy(set_threads):
    set_threads(2)
    param, grad = np.zeros(200_000), np.ones(200_000)
    optimizer, busy, done = fs.SGD(param, lr=1.0), [], []

    def work(index: int) -> None:
        for _ in range(30):
            try:
                optimizer.step(grad)
                done.append(index)
            except RuntimeError as error:
                busy.append(str(error))

    in_threads(work, 4)
    assert len(done) + len(busy) == 120
    assert (param == -len(done)).all()
    assert optimizer.state["0"]["step"] == len(done) > 0
    assert all("SGD: a step or a copy must be over" in message for message in busy)


@linux
def test_threads_start_when_first_needed(tmp_path):
    """None at import, none for little work; then one fewer than were asked for, and they are kept."""
    program = """
        import os
        import numpy as np
        count = lambda: len(os.listdir("/proc/self/task"))
        before = count()
        import fusedstep as fs
        def step(size):
            fs.SGD(np.ones(size), lr=0.1).step(np.ones(size))
            return count() - before
        assert count() == before
        assert fs.set_num_threads(4) == fs.get_num_threads() or fs.get_num_threads() == 4
        print(step(1000), step(60_000), step(1_000_000))
        assert fs.set_num_threads(2) == 4
        print(step(1_000_000))
        fs.set_num_threads(1)
        print(step(1_000_000))
    """
    assert process.output(tmp_path, program).split() == ["0", "0", "3", "3", "3"]


TRAIN = """
    import os, threading
    import numpy as np
    import fusedstep as fs

    def train(seed, threads=3):
        fs.set_num_threads(threads)
        param = np.full(300_000, 1 + seed, np.float32)
        optimizer = fs.Adam(param, lr=0.01)
        for step in range(5):
            optimizer.step(np.linspace(-1, 1, param.size, dtype=np.float32) * (step + 1))
        return param.tobytes()

    def started():
        return len(os.listdir("/proc/self/task"))
"""


@linux
def test_fork_after_threads_were_used(tmp_path):
    """Parent and child both go on with threads, and the child's child too."""
    program = f"""{TRAIN}
    expected = train(1, threads=1)
    assert train(1) == expected
    def child(depth):
        before = started()
        good = before == 1 and train(1) == expected and started() == 3
        return family(depth - 1) if good and depth else good
    def family(depth):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if child(depth) else 1)
        good = train(1) == expected
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 and good
    assert family(2)
    print("well")
    """
    assert process.output(tmp_path, program) == "well"


@linux
def test_fork_while_another_thread_steps(tmp_path):
    """The pool is often in the middle of a step then: the child must not wait for threads that it does not have."""
    program = f"""{TRAIN}
    expected = train(2, threads=1)
    train(2)
    over = False
    def work():
        grad = np.ones(1_000_000)
        optimizer = fs.SGD(np.ones(1_000_000), lr=0.1)
        while not over:
            optimizer.step(grad)
    thread = threading.Thread(target=work)
    thread.start()
    codes = []
    for _ in range(15):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if train(2) == expected else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    over = True
    thread.join()
    print(codes == [0] * 15)
    """
    assert process.output(tmp_path, program, timeout=100) == "True"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(tmp_path, method):
    if method == "fork" and not sys.platform.startswith("linux"):
        pytest.skip("fork is Linux's")
    program = f"""{TRAIN}
    if __name__ == "__main__":
        import multiprocessing
        expected = [train(seed) for seed in range(3)]
        with multiprocessing.get_context({method!r}).Pool(2) as pool:
            print(pool.map(train, range(3)) == expected != expected[::-1])
    """
    assert process.output(tmp_path, program) == "True"


@pytest.mark.parametrize("ending", ["", "sys.exit()", "os._exit(0)", "raise KeyboardInterrupt"])
def test_parked_threads_do_not_hold_up_the_end(tmp_path, ending):
    done = process.start(
        tmp_path, f"{TRAIN}\n    train(1)\n    print('well', flush=True)\n    import sys\n    {ending}"
    )
    assert done.stdout.strip() == "well"
    assert "terminate" not in done.stderr
    assert (done.returncode == 0) == ("Keyboard" not in ending)


#: The end, once each of three threads is in the middle of its steps.
DAEMONS = """
        for index in range(3):
            threading.Thread(target=work, args=(index,), daemon=True).start()
        while min(steps) < 3:
            time.sleep(0.01)
        print("well")
"""


@pytest.mark.parametrize("call", ["optimizer.step(grad)", "fs.stats(grad)"])
def test_a_daemon_thread_in_a_kernel_does_not_hold_up_the_end(tmp_path, call):
    """The interpreter goes down while the thread is in the kernel and comes back for it."""
    program = f"""
        import threading, time
        import numpy as np
        import fusedstep as fs
        fs.set_num_threads(2)
        steps = [0] * 3
        def work(index):
            optimizer, grad = fs.SGD(np.ones(3_000_000), lr=0.1), np.ones(3_000_000)
            while True:
                {call}
                steps[index] += 1
{DAEMONS}
    """
    assert process.output(tmp_path, program) == "well"


@pytest.mark.parametrize(
    ("before", "given"),
    [
        ("optimizer.param_groups[0]['amsgrad'] ^= True", "grad"),
        ("optimizer.param_groups[0]['lr'] = lambda step: sum(range(40)) * 1e-3", "grad"),
        ("pass", "Described()"),
    ],
    ids=["options", "schedule", "array"],
)
def test_a_daemon_thread_in_python_does_not_break_the_end(tmp_path, before, given):
    """The interpreter goes down while the thread is in the part of a step that is Python, and unwinds that."""
    program = f"""
        import sys, threading, time
        import numpy as np
        import fusedstep as fs
        sys.setswitchinterval(1e-5)
        steps = [0] * 3
        grad = np.ones(3)
        class Described:
            def __dlpack__(self):
                return sum(range(40)) and grad.__dlpack__()
            def __dlpack_device__(self):
                return sum(range(40)) and grad.__dlpack_device__()
        def work(index):
            optimizer = fs.Adam(np.ones(3))
            while True:
                {before}
                optimizer.step({given})
                steps[index] += 1
{DAEMONS}
    """
    for _ in range(4):
        assert process.output(tmp_path, program) == "well"


@linux
def test_signals_are_left_to_the_program(tmp_path):
    """A signal that the program blocks, to fetch it itself, must not end it by way of a parked thread."""
    program = f"""{TRAIN}
    import signal
    train(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGUSR1}})
    os.kill(os.getpid(), signal.SIGUSR1)
    print(signal.sigwait({{signal.SIGUSR1}}) == signal.SIGUSR1)
    """
    assert process.output(tmp_path, program, OPENBLAS_NUM_THREADS="1") == "True"


@pytest.mark.parametrize("other", ["torch", "sklearn"])
def test_beside_another_pool_of_threads(tmp_path, other):
    """torch and scikit-learn each bring an OpenMP runtime of their own, and both work before and after a step."""
    if not importlib.util.find_spec(other):
        pytest.skip(f"{other} is not installed")
    work = {
        "torch": "torch.set_num_threads(3); assert (torch.ones(10**6) * 2).sum() == 2e6",
        "sklearn": "from sklearn.cluster import KMeans; KMeans(3, n_init=1).fit(np.eye(500)[:, :9])",
    }[other]
    program = f"""{TRAIN}
    expected = train(1, threads=1)
    import {other}
    {work}
    assert train(1) == expected
    {work}
    threads = [threading.Thread(target=train, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    {work}
    for thread in threads:
        thread.join()
    assert train(1) == expected
    print("well")
    """
    assert process.output(tmp_path, program, timeout=100) == "well"


@linux
def test_a_system_that_gives_fewer_threads(tmp_path):
    """Where there is no address space for more stacks, the caller does what the missing threads would have done."""
    program = f"""{TRAIN}
    import resource
    expected = train(1, threads=1)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    stack = 2**23 if stack == resource.RLIM_INFINITY else stack
    before, hard = started(), resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**27 + 3 * stack, hard))
    param, grad = np.zeros(100 * 32_768, np.float32), np.ones(100 * 32_768, np.float32)
    optimizer = fs.SGD(param, lr=1.0)
    fs.set_num_threads(100)
    for _ in range(3):
        optimizer.step(grad)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    print(started() - before < 99, (param == -3).all())
    """
    assert process.output(tmp_path, program) == "True True"


def test_the_number_is_set_and_returned(set_threads):
    before = fs.get_num_threads()
    assert set_threads(5) == before
    assert fs.get_num_threads() == 5
    assert set_threads(1024) == 5
    assert set_threads(5) == 1024
    for error, refused in ((ValueError, (0, -1, 1025)), (TypeError, (2.0, "2", None, True))):
        for wrong in refused:
            with pytest.raises(error) as raised:
                set_threads(wrong)
            assert str(raised.value) == f"set_num_threads: n must be an integer in 1 … 1024, got {wrong!r}"
    assert fs.get_num_threads() == 5
