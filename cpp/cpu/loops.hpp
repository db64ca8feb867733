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

// Several vectors a turn. A load is expected to wait for an earlier store whose address ends alike, and processors
// learn for each instruction how far back that store is: small arrays that lie badly take three times as long with one
// vector of 64 bytes a turn, and half of that with four (Zen 4). Smaller vectors gain nothing; clang takes several
// anyway.
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#define BY_FOUR _Pragma("GCC unroll 4")
#else
#define BY_FOUR
#endif
