// Where the elements of a packed pass lie in the latent.
//
// Rule: docs/format.md, section 3.
#pragma once

#include <cstdint>

#include "fastlic/memory.h"

namespace fastlic {

enum Parity : int32_t { kAll = 0, kEven = 1, kOdd = 2 };

// Column of the latent that packed column `column` of `row` stands for.
FASTLIC_DEVICE int latent_column(int row, int column, int32_t parity) {
    return parity == kAll ? column : 2 * column + ((row + (parity == kOdd ? 1 : 0)) & 1);
}

FASTLIC_DEVICE int latent_width(int packed_width, int32_t parity) {
    return parity == kAll ? packed_width : 2 * packed_width;
}

}  // namespace fastlic
