// Deformable convolution (DCNv1, stride 1, one group, no mask) in float32, rows at a time.
//
// What engines do is a gather into 9 times the map (226 MB for a 768x512 picture at 64 channels) and one large product.
// Here the gather of 48 pixels and one tap, and the product with it, stay in the first-level cache.
// Rule: ONNX DeformConv, opset 22. Twin: `deform_conv2d_reference` in export/students/deform.py.
#pragma once

#include "memory.h"

#include <cstddef>
#include <cstdint>

namespace fastlic {

struct DeformConv2d {
    int64_t channels = 0, height = 0, width = 0;  // of the input
    int64_t outputs = 0;
    int64_t size = 0;                // taps per axis, odd; padding is size / 2
    const float* x = nullptr;        // [channels, height, width]
    const float* weight = nullptr;   // [outputs, channels, size, size]
    const float* offset = nullptr;   // [2 size^2, height, width], pixels: 2t is dy, 2t + 1 is dx of tap t
    const float* bias = nullptr;     // [outputs], or null
    float* y = nullptr;              // [outputs, height, width]
    Memory* memory = nullptr;        // for everything else

    int64_t taps() const { return size * size; }
    int64_t pixels() const { return height * width; }
};

// The arguments laid out for the rows: x with channels innermost, weights in blocks of 64 outputs.
struct DeformWorkspace {
    Buffer channels_last;  // [height, width, channels]
    Buffer packed_weight;  // [ceil(outputs / 64), taps, channels, 64], zero beyond the outputs

    // Allocates both and fills the weights; channels_last is filled row by row.
    explicit DeformWorkspace(const DeformConv2d& work);
};

// Row `row` of x to channels last. All rows must be done before the first `deform_row`.
void transpose_row(const DeformConv2d& work, DeformWorkspace& space, int64_t row);

// Row `row` of y. Sums run over taps, then channels, whatever the number of threads.
// Samples beyond one pixel outside the map, and those of offsets that are not numbers, are zero.
void deform_row(const DeformConv2d& work, const DeformWorkspace& space, int64_t row);

}  // namespace fastlic
