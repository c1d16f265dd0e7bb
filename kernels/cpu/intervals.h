// The writer's side of a pass: the interval of each coded element, in coding order.
//
// Rule: docs/format.md, section 3, points 1 to 6. Knows nothing of streams or of how intervals become bytes.
#pragma once

#include <vector>

#include "pass.h"

namespace fastlic {

struct Intervals {
    std::vector<uint32_t> left;       // C(slot), Q16
    std::vector<uint32_t> frequency;  // C(slot + 1) - C(slot)
    std::vector<int32_t> excess;      // beyond an outer slot, -1 in the others
};

// values: int16 packed, in: within +-kMaxValue; out: what a reader will see, skipped elements being substituted.
Intervals mixture_intervals(const MixtureTables& tables, const Layout& layout, const int16_t* parameters,
                            int16_t* values);
Intervals row_intervals(const RowTables& tables, const Layout& layout, const int16_t* rows, int16_t* values);

}  // namespace fastlic
