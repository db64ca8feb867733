#include "memory.hpp"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <sstream>

namespace fusedstep::ptx {
namespace {

constexpr size_t page = 4096;

size_t pages(size_t bytes) { return (bytes + page - 1) / page * page; }

}  // namespace

Memory::Memory() {
    void* const all = mmap(nullptr, 3 * room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) throw std::bad_alloc();
    first_ = next_ = reinterpret_cast<Address>(all);
    if (mprotect(at(first_), 2 * room, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
}

Memory::~Memory() { munmap(reinterpret_cast<void*>(first_), 3 * room); }

Address Memory::allocate(size_t bytes) {
    const size_t all = pages(bytes);
    Address address;
    // An address is given again as late as possible, and a page between two pieces belongs to none
    if (auto& old = left_[all]; old.size() > 256) {
        address = old.front();
        old.pop_front();
    } else {
        address = next_ + page;
        next_ = address + all;
        if (next_ > first_ + room) throw std::bad_alloc();
    }
    std::memset(at(address), 0xff, bytes);  // as on a device, nothing is promised of it
    std::memset(at(address) + room, 0, bytes);
    pieces_[address] = bytes;
    return address;
}

void Memory::release(Address address) {
    const auto found = pieces_.find(address);
    if (found == pieces_.end()) throw Fault("memory that was never allocated, or released before, is released");
    left_[pages(found->second)].push_back(address);
    pieces_.erase(found);
    ++released_;
}

const Stretch& Memory::stretch(Address address, Stretch& known) const {
    if (known.age == released_ && address >= known.begin && address < known.end) return known;
    auto next = pieces_.upper_bound(address);
    if (next != pieces_.begin() && address < (--next)->first + next->second)
        return known = {next->first, next->first + next->second, released_};
    std::ostringstream message;
    message << std::hex << "0x" << address << " lies in no memory of the device";
    throw Fault(message.str());
}

std::byte* Memory::at(Address address, size_t bytes, Touch touch) const {
    Stretch known;
    if (bytes > stretch(address, known).end - address)
        throw Fault("bytes behind the end of a piece of memory are asked for");
    note(address, bytes, touch);
    return at(address);
}

}  // namespace fusedstep::ptx
