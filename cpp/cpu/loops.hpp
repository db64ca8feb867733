// What the loops of every target begin with.
//
// Objects compiled for one instruction set hold only their table and its loops. Nothing in them may leave behind a
// function that the linker could merge with one compiled for another processor: no standard containers, no inline
// functions that are not forced into the loop.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../rules/rule.hpp"

#if !defined(FUSEDSTEP_TARGET) || !defined(FUSEDSTEP_TARGET_NAME)
#error "the build names the target"
#endif

#if defined(_MSC_VER)
#define RESTRICT __restrict
#define NOINLINE __declspec(noinline)
#define IN_LINE
#define INDEPENDENT __pragma(loop(ivdep))
#else
#define RESTRICT __restrict__
#define NOINLINE __attribute__((noinline))
#define IN_LINE __attribute__((always_inline))
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif
#endif
