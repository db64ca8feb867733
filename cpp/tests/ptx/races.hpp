// Who was at each byte of a block's memory, and since when everybody knows.
#pragma once

#include <string>
#include <vector>

#include "memory.hpp"

namespace fusedstep::ptx {

/// A thread, and how often its block and its warp had met.
struct Moment {
    unsigned thread, barriers, meetings;

    bool after(const Moment& other) const {
        return thread == other.thread || barriers > other.barriers ||
               (thread / 32 == other.thread / 32 && meetings > other.meetings);
    }
};

/// Between two threads of which one writes there has to be a meeting.
class Races {
public:
    explicit Races(size_t bytes) : bytes_(bytes) {}

    void note(size_t address, size_t bytes, Touch touch, const Moment& now) {
        for (size_t at = address; at < address + bytes; ++at) {
            Byte& byte = bytes_[at];
            const bool both_exchange = touch == Touch::exchanges && byte.exchanged;
            if (byte.written && !both_exchange && !now.after(byte.writer)) race(at, "wrote", byte.writer, now);
            if (touch != Touch::writes && !byte.written)
                throw Fault("a block's memory is read before anybody writes to it");
            if (touch == Touch::reads) {
                // Of several readers one stands for all of the same time, unless they are of several warps
                byte.several = byte.read && byte.reader.barriers == now.barriers &&
                               (byte.several || byte.reader.thread != now.thread);
                byte.reader = now;
                byte.read = true;
                continue;
            }
            if (byte.read && (byte.several ? now.barriers <= byte.reader.barriers : !now.after(byte.reader)))
                race(at, "read", byte.reader, now);
            byte.writer = now;
            byte.written = true;
            byte.exchanged = touch == Touch::exchanges;
        }
    }

private:
    struct Byte {
        Moment reader, writer;
        bool read = false, written = false, exchanged = false, several = false;
    };

    [[noreturn]] static void race(size_t at, const char* did, const Moment& before, const Moment& now) {
        throw Fault("thread " + std::to_string(now.thread) + " is at byte " + std::to_string(at) +
                    " of the block's memory, which thread " + std::to_string(before.thread) + " " + did +
                    " with no meeting between them");
    }

    std::vector<Byte> bytes_;
};

}  // namespace fusedstep::ptx
