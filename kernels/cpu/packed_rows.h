// The coded elements of a pass as a GPU hands them over: rows of cumulative frequencies, already in coding order.
//
// Layout: kernels/cuda/mixture_rows.cu. A row of class k has W = 8 << k entries: low, C(1), ..., C(W - 1). Rows follow
// each other without gaps, classes ascending; starts[k] is the first element of class k, starts[7] their number.
// Rows that do not rise are safe: the decoder finds its stream corrupt.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "pass.h"

namespace fastlic {

struct PackedRow {
    const uint16_t* entries;
    int window;

    int width() const { return window_width(window); }
    int low() const { return static_cast<int16_t>(entries[0]); }
    uint32_t left() const { return entries[width() / 2]; }
    uint32_t right() const { return entries[width() / 2 + 1]; }
    uint32_t operator()(int j) const { return entries[j]; }  // 1 <= j <= width - 1
};

// By key: where the row begins, which is a multiple of 8, plus its class.
struct PackedRows {
    const uint16_t* entries;

    static_assert(kMinWindow == 8 && kWindowClasses <= 8, "a key has room for the class");
    PackedRow operator()(uint32_t key) const { return {entries + (key & ~7u), static_cast<int>(key & 7u)}; }
    void prefetch(uint32_t key) const {
#if defined(__GNUC__)
        const PackedRow row = (*this)(key);
        __builtin_prefetch(row.entries);
        __builtin_prefetch(row.entries + row.width() / 2);  // where the search begins
#else
        (void)key;
#endif
    }
};

// Fills scratch.coded; an element's index is its place in coding order. std::invalid_argument: `starts` descends, or
// asks for more than `size` entries.
inline PackedRows prepare_packed_rows(const uint16_t* entries, size_t size, const int32_t* starts, Scratch& scratch) {
    uint64_t end = 0;
    for (int k = 0; k < kWindowClasses; ++k) {
        if (starts[0] != 0 || starts[k + 1] < starts[k]) throw std::invalid_argument("starts");
        end += static_cast<uint64_t>(starts[k + 1] - starts[k]) * static_cast<uint64_t>(window_width(k));
    }
    if (end > size || end > UINT32_MAX) {
        throw std::invalid_argument("rows: " + std::to_string(size) + " entries, " + std::to_string(end) + " needed");
    }
    scratch.coded.clear();
    scratch.coded.reserve(static_cast<size_t>(starts[kWindowClasses]));
    uint32_t key = 0;
    for (int k = 0; k < kWindowClasses; ++k) {
        for (int32_t i = starts[k]; i < starts[k + 1]; ++i, key += static_cast<uint32_t>(window_width(k))) {
            scratch.coded.push_back({key | static_cast<uint32_t>(k), static_cast<uint32_t>(i)});
        }
    }
    return {entries};
}

}  // namespace fastlic
