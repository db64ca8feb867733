// A check that says where it failed. A test is a program that checks and returns result().
#pragma once

#include <atomic>
#include <cstdio>

inline std::atomic<long> checks{0}, failures{0};

inline void check(bool holds, const char* what, const char* file, int line) {
    ++checks;
    if (!holds && ++failures <= 20) std::printf("%s:%d: %s\n", file, line, what);
}

#define CHECK(...) check((__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)

/// A program that checked nothing has failed too.
inline int result() {
    std::printf("%ld checks, %ld failures\n", checks.load(), failures.load());
    return failures > 0 || checks == 0;
}
