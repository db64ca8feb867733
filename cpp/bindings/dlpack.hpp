// The part of DLPack's memory layout that is read here (github.com/dmlc/dlpack, version 1.3).
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

/// What a class's `__dlpack_c_exchange_api__` points to, a capsule named "dlpack_exchange_api": its library's functions
/// for C. Those that return a number return 0, or set Python's error.
struct Exchange {
    static constexpr uint32_t known = 1;  ///< the major version of what follows
    uint32_t major, minor;
    const Exchange* older;  ///< the table of an older major version; null where there is none
    void (*other_functions[3])();
    int (*describe)(void* object, Tensor* described);  ///< for as long as the array stays as it is; may be null
};

}  // namespace fusedstep::bindings::dlpack
