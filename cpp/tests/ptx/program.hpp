// The text that nvcc makes of a source file, read into kernels that can be run.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "warp.hpp"

namespace fusedstep::ptx {

struct Kernel {
    /// A register that each thread finds filled.
    struct Filled {
        enum What { thread, threads, block, blocks, lane } what;
        int axis;
        uint32_t place;
    };
    struct Constant {
        uint32_t place;
        int bytes;  ///< none of a predicate
        uint64_t value;
    };
    struct Parameter {
        size_t offset, bytes;
    };

    std::string name;
    std::vector<Instruction> code;
    std::vector<Parameter> parameters;
    std::vector<Filled> filled;
    std::vector<Constant> constants;
    size_t param_bytes = 0, shared_bytes = 0, local_bytes = 0, frame_bytes = 0;
    unsigned most_threads = 1024;
    bool has_barriers = false;
};

/// By name. The text must outlive them.
std::map<std::string, Kernel, std::less<>> kernels_of(std::string_view text);

}  // namespace fusedstep::ptx
