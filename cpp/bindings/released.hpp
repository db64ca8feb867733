// The interpreter's lock, let go while the core works or what it calls is slow.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace fusedstep::bindings {

namespace py = pybind11;

/// The interpreter is ending, and ends its daemon threads by unwinding them (up to Python 3.13). What would be unwound
/// here are owners of its objects, so such a thread waits for the process to end.
[[noreturn]] inline void wait_for_the_end() {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

/// Calls something that may be written in Python, which lets other threads have the interpreter as well.
inline py::object call_python(py::handle function, const py::tuple& arguments = py::tuple(), py::handle keywords = {}) {
    PyObject* result = nullptr;
    try {
        result = PyObject_Call(function.ptr(), arguments.ptr(), keywords.ptr());
    } catch (...) {  // no exception: those of C++ have become Python's
        wait_for_the_end();
    }
    if (!result) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
}

/// Lets other threads have the interpreter for a scope.
class Released {
public:
    Released() : thread_(PyEval_SaveThread()) {}
    ~Released() {
        try {
            PyEval_RestoreThread(thread_);
        } catch (...) {
            wait_for_the_end();
        }
    }
    Released(const Released&) = delete;
    Released& operator=(const Released&) = delete;

private:
    PyThreadState* thread_;
};

}  // namespace fusedstep::bindings
