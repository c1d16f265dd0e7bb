#include "tables.h"

#include <string>

namespace fastlic {
namespace {

constexpr size_t kMaxRows = size_t{INT16_MAX} + 1;  // rows are addressed by an int16

void require(bool holds, const char* name, const char* rule) {
    if (!holds) throw BadTables(std::string("table ") + name + ": " + rule + ".");
}

template <class T>
std::vector<T> copied(const T* values, size_t count) {
    return {values, values + count};
}

template <class T>
bool ascends(const T* values, size_t count) {
    for (size_t i = 1; i < count; ++i) {
        if (values[i] < values[i - 1]) return false;
    }
    return true;
}

// The class of a width, or kWindowClasses.
int class_of(int width) {
    int window = 0;
    while (window < kWindowClasses && window_width(window) != width) ++window;
    return window;
}

// One row of `cdf`: strictly rising from 0 to kTotal at the width, and kTotal beyond.
bool is_distribution(const int32_t* cdf, int width) {
    for (int j = 1; j <= width; ++j) {
        if (cdf[j] <= cdf[j - 1]) return false;
    }
    for (int j = width; j <= kMaxWindow; ++j) {
        if (cdf[j] != static_cast<int32_t>(kTotal)) return false;
    }
    return cdf[0] == 0;
}

}  // namespace

void check_counts(int64_t families, int64_t components) {
    require(1 <= families && families <= kMaxFamilies, "families", "1 to 3 can be coded");
    require(1 <= components && components <= kMaxComponents / families, "components",
            "1 to 16 over all families can be coded");
}

MixtureTables checked_mixture(const Counts& counts, int64_t skip_threshold, const MixtureView& tables) {
    check_counts(counts.families, counts.components);
    require(1 <= skip_threshold && skip_threshold <= int64_t{kTotal}, "skip_threshold", "it is not in [1, 65536]");
    const size_t families = static_cast<size_t>(counts.families);
    MixtureTables checked;
    checked.families = counts.families;
    checked.components = counts.components;
    checked.skip_threshold = static_cast<uint32_t>(skip_threshold);
    checked.exponential = copied(tables.exponential, kExponentials);
    checked.thresholds = copied(tables.thresholds, families * (kLevels - 1));
    checked.inverse_scale = copied(tables.inverse_scale, families * kLevels);
    checked.tail = copied(tables.tail, families * kLevels);
    checked.half_cdf = copied(tables.half_cdf, families * kHalfCdfEntries);
    require(checked.exponential[0] > 0, "exponential", "the first entry is 0");
    for (size_t d = 1; d < kExponentials; ++d) {
        require(checked.exponential[d] <= checked.exponential[d - 1], "exponential", "it increases somewhere");
    }
    for (const uint32_t scale : checked.inverse_scale) require(scale > 0, "inverse_scale", "an entry is 0");
    for (const int32_t tail : checked.tail) {
        require(0 <= tail && tail <= kMaxTail, "tail", "an entry is not in [0, 2^20]");
    }
    for (size_t f = 0; f < families; ++f) {
        require(ascends(checked.thresholds.data() + f * (kLevels - 1), kLevels - 1), "thresholds",
                "they descend somewhere");
        const uint16_t* half = checked.half_cdf.data() + f * kHalfCdfEntries;
        require(half[0] == 0 && half[kSteps + 1] <= INT16_MAX, "half_cdf", "it is not from 0 to 32767");
        require(ascends(half, kHalfCdfEntries), "half_cdf", "it decreases somewhere");
        require(half[kSteps + 1] == half[kSteps], "half_cdf", "the last entry is not a copy of the one before");
    }
    checked.tabulate_levels();
    return checked;
}

RowTables checked_rows(size_t rows, const int32_t* cdf, const int16_t* window, const int16_t* low) {
    require(1 <= rows && rows <= kMaxRows, "cdf", "1 to 32768 rows can be addressed");
    RowTables checked;
    checked.rows = static_cast<int>(rows);
    for (size_t r = 0; r < rows; ++r) {
        const int index = class_of(window[r]);
        require(index < kWindowClasses, "window", "an entry is no width of a window");
        require(low[r] + 1 >= -kMaxValue && low[r] + window[r] - 2 <= kMaxValue, "low",
                "a window leaves [-16383, 16383]");
        require(is_distribution(cdf + r * (kMaxWindow + 1), window[r]), "cdf",
                "a row does not rise strictly from 0 to 65536 at its window's width");
        checked.window.push_back(static_cast<uint8_t>(index));
    }
    checked.cdf = copied(cdf, rows * (kMaxWindow + 1));
    checked.low = copied(low, rows);
    return checked;
}

}  // namespace fastlic
