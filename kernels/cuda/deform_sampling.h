// Where a deformable 3x3 convolution samples: the four neighbours of a fractional position and their weights.
//
// Rule: Dai et al. 2017 (DCNv1), Zhu et al. 2019 (DCNv2, the mask); borders as in torchvision and ONNX DeformConv: a
// neighbour outside the map counts as 0, and so does a sample whose position is NaN, infinite or a pixel or more
// outside. Knows positions; knows nothing of channels.
#pragma once

#include <cmath>
#include <cstdint>

#include "fastlic/memory.h"

namespace fastlic {

constexpr int kTaps = 9;
constexpr int kOffsetChannels = 2 * kTaps;  // dy, dx of tap 0, dy, dx of tap 1, ...
constexpr int kMaxPixels = 1 << 26;         // of one map, so that a corner fits 32 bits

// The pixel of the upper left neighbour, 16 * (y * width + x), may lie left of or above the map; its low four bits tell
// which of upper left, upper right, lower left, lower right are inside. Bound: |corner| < 2^4 * (2^26 + 2^26).
struct Sample {
    int32_t corner;
    float weight[4];
};

// The sample of one (output pixel, tap). `base_*` is where the tap lies without offset, at most 1 outside the map.
//
// The integer part of the offset is taken before anything is added, so the fraction is exact on maps of any size. The
// first comparison is false for NaN and leaves only offsets that fit an integer.
FASTLIC_DEVICE Sample sample_at(int base_y, int base_x, float offset_y, float offset_x, float modulation, int height,
                                int width) {
    Sample sample{0, {0.0f, 0.0f, 0.0f, 0.0f}};
    const float y = static_cast<float>(base_y) + offset_y, x = static_cast<float>(base_x) + offset_x;
    if (!(y > -1.0f && y < static_cast<float>(height) && x > -1.0f && x < static_cast<float>(width))) return sample;
    const float floor_y = floorf(offset_y), floor_x = floorf(offset_x);
    const int top = base_y + static_cast<int>(floor_y), left = base_x + static_cast<int>(floor_x);
    const float down = offset_y - floor_y, right = offset_x - floor_x;
    const bool top_inside = top >= 0 && top < height, bottom_inside = top >= -1 && top < height - 1;
    const bool left_inside = left >= 0 && left < width, right_inside = left >= -1 && left < width - 1;
    const int inside = (top_inside && left_inside ? 1 : 0) | (top_inside && right_inside ? 2 : 0) |
                       (bottom_inside && left_inside ? 4 : 0) | (bottom_inside && right_inside ? 8 : 0);
    if (inside == 0) return sample;  // rounding of y or x brought it here
    sample.corner = 16 * (top * width + left) + inside;
    sample.weight[0] = (1.0f - down) * (1.0f - right) * modulation;
    sample.weight[1] = (1.0f - down) * right * modulation;
    sample.weight[2] = down * (1.0f - right) * modulation;
    sample.weight[3] = down * right * modulation;
    return sample;
}

// Shapes of one call; passed by value, all in registers.
struct DeformShape {
    int height, width;
    int in_channels, out_channels;
    int offset_stride;  // numbers per pixel of the offsets, at least kOffsetChannels: engines pad channels
    int mask_stride;    // of the mask, at least kTaps; 0: there is no mask
};

// A block's pixels: kRows rows of kColumns, numbered row by row, tiles row by row over the map.
template <int kRows, int kColumns>
struct PixelTile {
    int top, left;

    FASTLIC_DEVICE PixelTile(int tile, int width) {
        const int across = (width + kColumns - 1) / kColumns;
        top = tile / across * kRows;
        left = tile % across * kColumns;
    }
    FASTLIC_DEVICE int y(int pixel) const { return top + pixel / kColumns; }
    FASTLIC_DEVICE int x(int pixel) const { return left + pixel % kColumns; }
};

struct Offset {
    float y, x, modulation;
};

// Works out every (pixel, tap) of a tile: `read(pixel of the batch, tap)` gives its Offset, `store(i, sample)` keeps it
// at i = tap * kPixels + pixel. Neighbouring threads take neighbouring taps, as offsets lie. `map`: pixels before this
// map.
template <int kPixels, int kThreads, class Tile, class Read, class Store>
FASTLIC_DEVICE void sample_tile(const Tile& tile, const DeformShape& shape, int64_t map, const Read& read,
                                const Store& store) {
    for (int i = static_cast<int>(threadIdx.x); i < kPixels * kTaps; i += kThreads) {
        const int pixel = i / kTaps, tap = i % kTaps;
        const int y = tile.y(pixel), x = tile.x(pixel);
        Sample sample{0, {0.0f, 0.0f, 0.0f, 0.0f}};
        if (y < shape.height && x < shape.width) {
            const Offset offset = read(map + static_cast<int64_t>(y) * shape.width + x, tap);
            sample = sample_at(y - 1 + tap / 3, x - 1 + tap % 3, offset.y, offset.x, offset.modulation, shape.height,
                               shape.width);
        }
        store(tap * kPixels + pixel, sample);
    }
}

}  // namespace fastlic
