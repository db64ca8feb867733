// Runs kernels, block by block.
#pragma once

#include <array>
#include <unordered_map>
#include <vector>

#include "program.hpp"

namespace fusedstep::ptx {

using Size = std::array<unsigned, 3>;

struct Launch {
    const Kernel* kernel;
    Size blocks, threads;
    size_t shared_bytes;
    std::vector<std::byte> param;
};

/// What a warp has to itself: registers, and the memory of its threads.
class Home {
public:
    explicit Home(const Kernel& kernel);

    std::byte* frame() { return frame_.data()->bytes; }
    std::byte* local() { return local_.data(); }

private:
    struct alignas(64) Line {
        std::byte bytes[64];
    };

    std::vector<Line> frame_;
    std::vector<std::byte> local_;
};

class Machine {
public:
    explicit Machine(const Memory& memory) : memory_(memory) {}

    /// Returns when all of it is done. What a device would answer with an error is thrown. Kernels stay where they are.
    void run(const Launch& launch);

    /// How many instructions warps have done.
    uint64_t instructions() const { return instructions_; }

private:
    void run(const Launch& launch, unsigned block, std::vector<Home>& homes, std::byte* param);

    const Memory& memory_;
    std::unordered_map<const Kernel*, std::vector<Home>> homes_;  ///< kept from launch to launch
    bool backwards_ = false;                                      ///< the last blocks and warps go first
    uint64_t instructions_ = 0;
};

}  // namespace fusedstep::ptx
