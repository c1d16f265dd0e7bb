// The tables of a distribution, owned, with what the CPU looks up faster than it computes.
//
// Rule: docs/format.md, section 4. Twin: runtime/entropy/tables.py, which refuses the same tables; tests compare the two.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "fastlic/mixture.h"

namespace fastlic {

// A table or a parameter breaks its rule; the message names both.
struct BadTables : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

struct MixtureTables {
    int families = 0;
    int components = 0;
    uint32_t skip_threshold = kTotal;
    std::vector<uint16_t> exponential;
    std::vector<int16_t> thresholds;
    std::vector<uint32_t> inverse_scale;
    std::vector<int32_t> tail;
    std::vector<uint16_t> half_cdf;
    std::vector<uint8_t> levels;  // [families][65536]: scale_level of every int16, indexed by its bits

    // Numbers per element.
    int parameter_count() const { return 3 * families * components + (families > 1 ? families : 0); }

    // Fills `levels` once the thresholds are there.
    void tabulate_levels() {
        levels.resize(static_cast<size_t>(families) << 16);
        for (int f = 0; f < families; ++f) {
            for (int x = INT16_MIN; x <= INT16_MAX; ++x) {
                levels[(static_cast<size_t>(f) << 16) + static_cast<uint16_t>(x)] =
                    static_cast<uint8_t>(scale_level(thresholds.data() + f * (kLevels - 1), x));
            }
        }
    }

    MixtureView view() const {
        return {exponential.data(), thresholds.data(), inverse_scale.data(), tail.data(), half_cdf.data()};
    }
};

struct RowTables {
    int rows = 0;
    std::vector<int32_t> cdf;     // [rows][513]
    std::vector<uint8_t> window;  // class
    std::vector<int16_t> low;
};

// Tables that hold all that the bounds of mixture.h and the safety of reading rest on; else BadTables. Arrays behind the
// pointers have the sizes that MixtureView and RowTables name.
void check_counts(int64_t families, int64_t components);
MixtureTables checked_mixture(const Counts& counts, int64_t skip_threshold, const MixtureView& tables);
RowTables checked_rows(size_t rows, const int32_t* cdf, const int16_t* window, const int16_t* low);

}  // namespace fastlic
