// The tables of a distribution, owned, with what the CPU looks up faster than it computes.
//
// Rule: docs/format.md, section 4. The binding has checked shapes; ranges are checked by runtime/entropy/tables.py.
#pragma once

#include <cstdint>
#include <vector>

#include "fastlic/mixture.h"

namespace fastlic {

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

}  // namespace fastlic
