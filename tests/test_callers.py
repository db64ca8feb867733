"""Threads of the caller: one step of an optimizer at a time, and others beside it."""

from __future__ import annotations

import sys
import threading
import time

import pytest

import fusedstep as fs

from cases import same_bytes
from scenes import LR, small


def run_together(*works):
    """Run functions in threads of their own; what one of them raises is raised here."""
    failures = []

    def guarded(work):
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_second_thread_in_a_step():
    """It gets an error that says so, and the step that it disturbed is none the worse."""
    inside, tried = threading.Event(), threading.Event()

    def schedule(step):
        inside.set()
        assert tried.wait(60)
        return LR

    w = small(200_000)
    expected, grad = w.copy(), small(200_000)
    opt = fs.SGD(w, lr=schedule, momentum=0.9)

    def disturb():
        assert inside.wait(60)
        try:
            with pytest.raises(RuntimeError, match=r"^SGD: a step or a copy must be over before the next begins"):
                opt.step(grad)
        finally:
            tried.set()

    run_together(lambda: opt.step(grad), disturb)
    fs.reference.SGD(expected, lr=LR, momentum=0.9).step(grad)
    assert same_bytes(w, expected)
    assert opt.state["0"]["step"] == 1


def test_threads_on_one_optimizer():
    """Each step happens whole or not at all, whatever the threads."""
    w = small(300_000)
    expected, grad = w.copy(), small(300_000)
    opt = fs.SGD(w, lr=LR, momentum=0.9)
    done = []

    def work():
        for _ in range(30):
            try:
                opt.step(grad)
            except RuntimeError as error:
                assert "a step or a copy must be over" in str(error)  # noqa: PT017
            else:
                done.append(1)

    run_together(work, work, work)
    assert len(done) >= 1
    assert opt.state["0"]["step"] == opt.state_dict()["calls"] == len(done)
    reference = fs.reference.SGD(expected, lr=LR, momentum=0.9)
    for _ in done:
        reference.step(grad)
    assert same_bytes(w, expected)
    assert same_bytes(opt.state["0"]["momentum_buffer"], reference.state["0"]["momentum_buffer"])


def test_threads_on_different_optimizers(set_threads):
    """They share the pool of threads, and nothing else."""
    set_threads(3)
    names = ["SGD", "Adam", "Lion", "WindowedAdagrad"]
    params = [small(150_000 + i) for i in range(len(names))]
    copies = [param.copy() for param in params]
    grads = [small(param.size) for param in params]

    def work(i):
        opt = getattr(fs, names[i])(params[i], lr=LR)
        for _ in range(20):
            opt.step(grads[i])

    run_together(*(lambda i=i: work(i) for i in range(len(names))))
    for name, param, expected, grad in zip(names, params, copies, grads, strict=True):
        reference = getattr(fs.reference, name)(expected, lr=LR)
        for _ in range(20):
            reference.step(grad)
        assert same_bytes(param, expected)


def test_large_steps_let_others_run():
    """The interpreter is released: another thread gets on between the beginning and the end of a step.

    With the switch interval out of reach, the interpreter is handed over only where it is given away, so that a step
    that keeps it can never pass.
    """
    w, grad = small(2_000_000), small(2_000_000)
    opt = fs.Adam(w, lr=LR)
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(1e-4)  # gives the interpreter away

    interval = sys.getswitchinterval()
    counter = threading.Thread(target=count)
    counter.start()
    try:
        sys.setswitchinterval(1000)
        for _ in range(500):
            before = counted[0]
            opt.step(grad)
            if counted[0] > before:
                break
        else:
            pytest.fail("no other thread ran during 500 steps")
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        counter.join(60)
