// The interpreter's lock, let go while the core works.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace fusedstep::bindings {

/// Lets other threads have the interpreter for a scope.
class Released {
public:
    Released() : thread_(PyEval_SaveThread()) {}
    ~Released() {
        try {
            PyEval_RestoreThread(thread_);
        } catch (...) {
            // The interpreter is ending, and ends its daemon threads by unwinding them. What would be unwound here are
            // owners of its objects, so this thread waits for the process to end.
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }
    Released(const Released&) = delete;
    Released& operator=(const Released&) = delete;

private:
    PyThreadState* thread_;
};

}  // namespace fusedstep::bindings
