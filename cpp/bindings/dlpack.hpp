// The part of DLPack's memory layout that is read here (github.com/dmlc/dlpack, version 0.8).
#pragma once

#include <cstdint>

namespace fusedstep::bindings::dlpack {

struct Device {
    int32_t kind, index;
};

struct DataType {
    enum Code : uint8_t { integer = 0, natural = 1, floating = 2, bfloat = 4, complex = 5, boolean = 6 };
    uint8_t code, bits;
    uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    int32_t ndim;
    DataType type;
    int64_t* shape;
    int64_t* strides;  ///< in elements; null in C order
    uint64_t byte_offset;
};

/// What a capsule named "dltensor" holds, and frees when nobody has taken it.
struct Managed {
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);
};

}  // namespace fusedstep::bindings::dlpack
