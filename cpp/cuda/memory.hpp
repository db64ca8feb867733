// Memory of the current device.
#pragma once

#include "runtime.hpp"

namespace fusedstep::cuda {

class Memory {
public:
    Memory() = default;
    ~Memory() { release(data_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    /// Room for so many bytes; what was there is lost where that is more than before.
    void reserve(size_t bytes) {
        if (bytes <= bytes_) return;
        release(data_);
        data_ = nullptr;
        bytes_ = 0;
        data_ = allocate(bytes);
        bytes_ = bytes;
    }
    void* data() const { return data_; }
    template <class Element>
    Element* as() const {
        return static_cast<Element*>(data_);
    }

    /// Holds a copy, which is made when the stream comes to it.
    void put(const void* from, size_t bytes, Stream stream) {
        reserve(bytes);
        if (bytes) upload(data_, from, bytes, stream);
    }

private:
    void* data_ = nullptr;
    size_t bytes_ = 0;
};

}  // namespace fusedstep::cuda
