#include "machine.hpp"

#include <algorithm>
#include <cfenv>
#include <sstream>

namespace fusedstep::ptx {
namespace {

/// A device rounds as it always does, whatever the process is set to.
class OwnRounding {
public:
    OwnRounding() {
        std::fegetenv(&before_);
        std::fesetenv(FE_DFL_ENV);
    }
    ~OwnRounding() { std::fesetenv(&before_); }

private:
    std::fenv_t before_;
};

unsigned product(const Size& size) { return size[0] * size[1] * size[2]; }

Size place(unsigned number, const Size& size) {
    return {number % size[0], number / size[0] % size[1], number / size[0] / size[1]};
}

std::string text(const Size& place) {
    std::ostringstream made;
    made << "(" << place[0] << ", " << place[1] << ", " << place[2] << ")";
    return made.str();
}

void fill(Home& home, const Launch& launch, unsigned block, unsigned first) {
    const Size where = place(block, launch.blocks);
    for (const auto& [what, axis, at] : launch.kernel->filled)
        for (unsigned i = 0; i < lanes; ++i) {
            const Size thread = place(first + i, launch.threads);
            const auto n = size_t(axis);
            const unsigned value = what == Kernel::Filled::thread    ? thread[n]
                                   : what == Kernel::Filled::threads ? launch.threads[n]
                                   : what == Kernel::Filled::block   ? where[n]
                                   : what == Kernel::Filled::blocks  ? launch.blocks[n]
                                                                     : i;
            std::memcpy(home.frame() + at + i * sizeof value, &value, sizeof value);
        }
}

/// Runs one warp until it has left or waits for its block.
void advance(Warp& warp, const Launch& launch, unsigned block) {
    const auto& code = launch.kernel->code;
    const auto fail = [&](uint32_t at, const std::string& why) {
        throw Fault(launch.kernel->name + ", block " + text(place(block, launch.blocks)) + ", warp from thread " +
                    text(place(warp.first(), launch.threads)) + ", " + std::string(code[at].text) + ": " + why);
    };
    try {
        warp.run();
    } catch (const Fault& fault) {
        fail(warp.next() - 1, fault.what());
    }
    if (!warp.done() && !warp.at_barrier()) {
        std::string others;
        for (const Warp::Group& group : warp.groups()) others += " | " + std::string(code[group.at].text);
        fail(warp.groups()[0].at, "threads wait for others that do not come:" + others);
    }
}

}  // namespace

Home::Home(const Kernel& kernel)
    : frame_(kernel.frame_bytes / sizeof(Line)), local_(lanes * kernel.local_bytes, std::byte(0xff)) {
    for (const auto& [place, bytes, value] : kernel.constants)
        if (bytes == 0)
            std::memcpy(frame() + place, &value, sizeof(Mask));
        else
            for (int i = 0; i < lanes; ++i) std::memcpy(frame() + place + size_t(i * bytes), &value, size_t(bytes));
}

void Machine::run(const Launch& launch) {
    const OwnRounding rounding;
    const Kernel& kernel = *launch.kernel;
    std::vector<Home>& homes = homes_[&kernel];
    // Warps that never wait for each other follow each other in one place, which stays near
    const size_t warps = kernel.has_barriers ? (product(launch.threads) + lanes - 1) / lanes : 1;
    homes.resize(std::max(homes.size(), warps), Home(kernel));
    std::vector<std::byte> param = launch.param;
    backwards_ = !backwards_;  // nothing is promised of who goes first
    const unsigned blocks = product(launch.blocks);
    for (unsigned i = 0; i < blocks; ++i) run(launch, backwards_ ? blocks - 1 - i : i, homes, param.data());
}

void Machine::run(const Launch& launch, unsigned number, std::vector<Home>& homes, std::byte* param) {
    const Kernel& kernel = *launch.kernel;
    const unsigned threads = product(launch.threads), warps = (threads + lanes - 1) / lanes;
    const size_t shared = kernel.shared_bytes + launch.shared_bytes;
    Block block{kernel, memory_, param, std::vector(shared, std::byte(0xff)), Races(shared)};
    std::vector<Warp> waiting;
    for (unsigned n = 0; n < warps; ++n) {
        const unsigned first = (backwards_ ? warps - 1 - n : n) * lanes,
                       members = std::min(threads - first, unsigned(lanes));
        Home& home = homes[kernel.has_barriers ? n : 0];
        fill(home, launch, number, first);
        Warp warp(block, first, home.frame(), home.local());
        warp.start(everyone >> (lanes - members));
        advance(warp, launch, number);
        if (kernel.has_barriers)
            waiting.push_back(std::move(warp));
        else
            instructions_ += warp.instructions();
    }
    while (std::ranges::any_of(waiting, [](const Warp& warp) { return !warp.done(); })) {
        for (const Warp& warp : waiting)
            if (warp.done() || warp.place() != waiting[0].place())
                throw Fault(kernel.name + ", block " + text(place(number, launch.blocks)) +
                            ": not all threads come to the same barrier");
        for (Warp& warp : waiting) warp.pass_barrier();
        for (Warp& warp : waiting) advance(warp, launch, number);
    }
    for (const Warp& warp : waiting) instructions_ += warp.instructions();
}

}  // namespace fusedstep::ptx
