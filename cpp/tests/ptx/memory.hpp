// The device's memory. Its addresses are not the process's: neither side reads the other's by accident.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <stdexcept>
#include <unordered_map>

namespace fusedstep::ptx {

using Address = uint64_t;

/// What a program does that a device answers with an error.
class Fault : public std::runtime_error {
    using runtime_error::runtime_error;
};

enum class Touch : uint8_t { reads, writes, exchanges };

/// One piece of memory, while it lives.
struct Stretch {
    Address begin = 0, end = 0;
    uint64_t age = 0;  ///< how many pieces had been released when it was looked up
};

class Memory {
public:
    Memory();
    ~Memory();
    Memory(const Memory&) = delete;

    Address allocate(size_t bytes);
    void release(Address address);

    bool holds(Address address) const { return address - first_ < room; }

    /// The piece that an address lies in. `known` is asked first, which serves whoever comes back.
    const Stretch& stretch(Address address, Stretch& known) const;

    /// Where the process has what the device has at an address.
    std::byte* at(Address address) const { return reinterpret_cast<std::byte*>(address + room); }

    /// The same for bytes that must lie in one piece and are touched.
    std::byte* at(Address address, size_t bytes, Touch touch) const;

    /// What nobody has written to is not read, even where nothing comes of it.
    void note(Address address, size_t bytes, Touch touch) const {
        auto* const marks = reinterpret_cast<uint8_t*>(address + 2 * room);
        if (touch == Touch::writes) {
            std::memset(marks, 1, bytes);
        } else if (std::memchr(marks, 0, bytes)) {
            throw Fault("memory is read before anybody writes to it");
        }
    }

    uint64_t released() const { return released_; }

private:
    static constexpr uint64_t room = uint64_t(1) << 36;

    Address first_, next_;
    uint64_t released_ = 0;
    std::map<Address, size_t> pieces_;
    std::unordered_map<size_t, std::deque<Address>> left_;  ///< by size
};

}  // namespace fusedstep::ptx
