// Between registers and memory, and from one place of memory to another.
#include <cstring>
#include <type_traits>

#include "forms.hpp"

namespace fusedstep::ptx {
namespace {

/// Vectors' elements are the first operands, the address the fifth.
template <class T>
void load(Warp& warp, const Instruction& in) {
    std::byte* at[lanes];
    warp.locate(in, 0, in.space, in.count * sizeof(T), Touch::reads, at);
    for (int element = 0; element < in.count; ++element) {
        const size_t offset = element * sizeof(T);
        if (in.stride[0] == sizeof(T)) {
            T* const to = warp.reg<T>(in.operand[element]);
            at_once(warp.active, [&](int i) { std::memcpy(&to[i], at[i] + offset, sizeof(T)); });
        } else {
            std::byte* const to = warp.reg<std::byte>(in.operand[element]);
            each(warp.active, [&](int i) {
                T x;
                std::memcpy(&x, at[i] + offset, sizeof(T));
                const int64_t extended = int64_t(x);
                std::memcpy(to + i * in.stride[0], &extended, in.stride[0]);
            });
        }
    }
}

template <class T>
void store(Warp& warp, const Instruction& in) {
    std::byte* at[lanes];
    warp.locate(in, 0, in.space, in.count * sizeof(T), Touch::writes, at);
    for (int element = 0; element < in.count; ++element) {
        const std::byte* const from = warp.reg<std::byte>(in.operand[element]);
        each(warp.active, [&](int i) { std::memcpy(at[i] + element * sizeof(T), from + i * in.stride[0], sizeof(T)); });
    }
}

/// One thread after the other.
template <auto f, class T>
void exchange(Warp& warp, const Instruction& in) {
    std::byte* at[lanes];
    warp.locate(in, 0, in.space, sizeof(T), Touch::exchanges, at);
    T* const before = warp.reg<T>(in.operand[0]);
    const T* const with = warp.reg<T>(in.operand[1]);
    each(warp.active, [&](int i) {
        T held;
        std::memcpy(&held, at[i], sizeof(T));
        const T made = f(held, with[i]);
        std::memcpy(at[i], &made, sizeof(T));
        before[i] = held;
    });
}

template <int sign>
void shift(Warp& warp, const Instruction& in) {
    uint64_t* const to = warp.reg<uint64_t>(in.operand[0]);
    const uint64_t* const from = warp.reg<uint64_t>(in.operand[1]);
    const Address window = in.space == Space::shared ? shared_window : in.space == Space::local ? local_window : 0;
    at_once(warp.active, [&](int i) { to[i] = from[i] + uint64_t(sign) * window; });
}

template <int elements>
void pack(Warp& warp, const Instruction& in) {
    std::byte* const to = warp.reg<std::byte>(in.operand[0]);
    const size_t bytes = in.stride[0];
    for (int element = 0; element < elements; ++element) {
        const std::byte* const from = warp.reg<std::byte>(in.operand[1 + element]);
        each(warp.active, [&](int i) { std::memcpy(to + (i * elements + element) * bytes, from + i * bytes, bytes); });
    }
}
template <int elements>
void unpack(Warp& warp, const Instruction& in) {
    const std::byte* const from = warp.reg<std::byte>(in.operand[elements]);
    const size_t bytes = in.stride[0];
    for (int element = 0; element < elements; ++element) {
        std::byte* const to = warp.reg<std::byte>(in.operand[element]);
        each(warp.active, [&](int i) { std::memcpy(to + i * bytes, from + (i * elements + element) * bytes, bytes); });
    }
}

/// Where nothing is, hardware may not mind.
void ask(Warp& warp, const Instruction& in) {
    std::byte* at[lanes];
    warp.locate(in, 0, in.space, 1, Touch::reads, at);
}

void nothing(Warp&, const Instruction&) {}

struct Named {
    const char* name;
    Space space;
};
constexpr Named spaces[] = {{"", Space::generic},
                            {".global", Space::global},
                            {".shared", Space::shared},
                            {".local", Space::local},
                            {".param", Space::param}};

template <class T>
void add_type(Forms& forms, const std::string& type) {
    for (const auto& [name, space] : spaces)
        for (const char* cached : {"", ".nc", ".ca", ".cg", ".cs", ".lu", ".cv", ".wb", ".wt"})
            for (int count : {1, 2, 4}) {
                const std::string vector = count == 1 ? "" : ".v" + std::to_string(count);
                const std::string last = name + std::string(cached) + vector + "." + type;
                forms["ld" + last] = {load<T>, "va", sizeof(T), space, uint8_t(count)};
                forms["st" + last] = {store<T>, "av", sizeof(T), space, uint8_t(count)};
            }
}

template <class T>
void add_atomics(Forms& forms, const std::string& type) {
    for (const auto& [name, space] : spaces) {
        const std::string first = "atom" + std::string(name);
        const std::string shape{char('0' + sizeof(T)), 'a', char('0' + sizeof(T))};
        forms[first + ".add." + type] = {exchange<[](T a, T b) { return T(a + b); }, T>, shape, 0, space};
    }
}

}  // namespace

void add_transfers(Forms& forms) {
    for (const std::string kind : {"b", "u", "f"}) {
        if (kind != "f") {
            add_type<uint8_t>(forms, kind + "8");
            add_type<uint16_t>(forms, kind + "16");
        }
        add_type<uint32_t>(forms, kind + "32");
        add_type<uint64_t>(forms, kind + "64");
    }
    add_type<int8_t>(forms, "s8");
    add_type<int16_t>(forms, "s16");
    add_type<int32_t>(forms, "s32");
    add_type<int64_t>(forms, "s64");
    add_atomics<uint32_t>(forms, "u32");
    add_atomics<uint64_t>(forms, "u64");
    for (const auto& [name, space] : spaces) {
        forms["cvta" + std::string(name) + ".u64"] = {shift<1>, "88", 0, space};
        forms["cvta.to" + std::string(name) + ".u64"] = {shift<-1>, "88", 0, space};
    }
    forms["prefetch.global.L2"] = {ask, "a", 0, Space::global};
    forms["mov.b64 pack"] = {pack<2>, "8v", 4, Space::generic, 2};
    forms["mov.b64 unpack"] = {unpack<2>, "v8", 4, Space::generic, 2};
    forms["mov.b32 pack"] = {pack<2>, "4v", 2, Space::generic, 2};
    forms["mov.b32 unpack"] = {unpack<2>, "v4", 2, Space::generic, 2};
    for (const char* fence : {"membar.cta", "membar.gl", "membar.sys"}) forms[fence] = {nothing, ""};
}

}  // namespace fusedstep::ptx
