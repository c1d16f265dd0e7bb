// Plain convolution (one group, no dilation) in float32, 64 output positions at a time, planes in and planes out.
//
// 3x3 with stride 1 goes by Winograd's F(4x4, 3x3), a quarter of the multiplications; others gather a column of the
// product's right side for each position. Sums are rounded in another order than the textbook's, so certified graphs
// do not come here (docs/exactness.md).
// Rule: ONNX Conv. Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
#pragma once

#include "matrix_tile.h"
#include "memory.h"

#include <cstdint>

namespace fastlic {

struct Conv2d {
    int64_t channels = 0, height = 0, width = 0;            // of the input
    int64_t outputs = 0, out_height = 0, out_width = 0;
    int64_t size_down = 0, size_across = 0;                 // of the kernel
    int64_t stride_down = 1, stride_across = 1;
    int64_t above = 0, beside = 0;                          // padding, zeros
    const float* x = nullptr;                               // [channels, height, width]
    const float* weight = nullptr;                          // [outputs, channels, size_down, size_across]
    const float* bias = nullptr;                            // [outputs], or null
    float* y = nullptr;                                     // [outputs, out_height, out_width]
    Memory* memory = nullptr;                               // for everything else

    int64_t depth() const { return channels * size_down * size_across; }
    int64_t row_blocks() const { return (outputs + kTileRows - 1) / kTileRows; }
    bool by_winograd() const {
        return size_down == 3 && size_across == 3 && stride_down == 1 && stride_across == 1;
    }
};

// Weights as the products want them: rows in blocks of six, zeros below the last.
struct PackedWeight {
    Buffer values;  // plain: [row_blocks, 6, depth]; Winograd: [row_blocks, 36, 6, channels]

    explicit PackedWeight(const Conv2d& work);
};

// Fills the six rows of one block; all must be filled before the first `convolve_part`.
void pack_rows(const Conv2d& work, PackedWeight& packed, int64_t block);

// Into how many parts `convolve_part` divides the output; they are independent.
int64_t part_count(const Conv2d& work);

// One part of y, for all outputs.
void convolve_part(const Conv2d& work, const PackedWeight& packed, int64_t part);

// The two ways, each part of 64 positions: pixels, or 4x4 tiles of them.
void convolve_gathered(const Conv2d& work, const PackedWeight& packed, int64_t part);
void convolve_winograd(const Conv2d& work, const PackedWeight& packed, int64_t part);
void pack_winograd_row(const float* filters, int64_t channels, float* to, int64_t point_stride);

}  // namespace fastlic
