#include "conv2d.h"

#include <algorithm>

namespace fastlic {
namespace {

constexpr int64_t kDepth = 128;  // rows of gathered x at a time: 32 KB, of the first-level cache

// Rows `first` to `end` of the product's right side for `count` outputs from `position` on.
void gather(const Conv2d& work, int64_t first, int64_t end, int64_t position, int64_t count, float* right) {
    const int64_t taps = work.size_down * work.size_across;
    for (int64_t k = first; k < end; ++k, right += kTileColumns) {
        const float* plane = work.x + k / taps * work.height * work.width;
        const int64_t tap = k % taps;
        for (int64_t done = 0; done < count;) {  // a stretch of one row of outputs at a time
            const int64_t row = (position + done) / work.out_width, column = (position + done) % work.out_width;
            const int64_t stretch = std::min(count - done, work.out_width - column);
            const int64_t y = row * work.stride_down + tap / work.size_across - work.above;
            const int64_t x = column * work.stride_across + tap % work.size_across - work.beside;
            float* to = right + done;
            done += stretch;
            if (y < 0 || y >= work.height) {
                std::fill_n(to, stretch, 0.0f);
                continue;
            }
            const float* from = plane + y * work.width;
            if (work.stride_across == 1 && x >= 0 && x + stretch <= work.width) {
                std::copy_n(from + x, stretch, to);
                continue;
            }
            for (int64_t i = 0; i < stretch; ++i) {
                const int64_t at = x + i * work.stride_across;
                to[i] = at >= 0 && at < work.width ? from[at] : 0.0f;
            }
        }
    }
}

}  // namespace

PackedWeight::PackedWeight(const Conv2d& work)
    : values(*work.memory,
             work.row_blocks() * kTileRows * (work.by_winograd() ? 36 * work.channels : work.depth())) {}

void pack_rows(const Conv2d& work, PackedWeight& packed, int64_t block) {
    const int64_t depth = work.depth();
    for (int64_t i = 0; i < kTileRows; ++i) {
        const int64_t o = block * kTileRows + i;
        if (work.by_winograd()) {
            float* to = packed.values.get() + (block * 36 * kTileRows + i) * work.channels;
            const int64_t point_stride = kTileRows * work.channels;
            if (o < work.outputs) {
                pack_winograd_row(work.weight + o * depth, work.channels, to, point_stride);
            } else {
                for (int64_t point = 0; point < 36; ++point)
                    std::fill_n(to + point * point_stride, work.channels, 0.0f);
            }
        } else {
            float* to = packed.values.get() + o * depth;
            if (o < work.outputs) {
                std::copy_n(work.weight + o * depth, depth, to);
            } else {
                std::fill_n(to, depth, 0.0f);
            }
        }
    }
}

int64_t part_count(const Conv2d& work) {
    const int64_t positions = work.by_winograd() ? (work.out_height + 3) / 4 * ((work.out_width + 3) / 4)
                                                 : work.out_height * work.out_width;
    return (positions + kTileColumns - 1) / kTileColumns;
}

void convolve_part(const Conv2d& work, const PackedWeight& packed, int64_t part) {
    if (work.by_winograd()) {
        convolve_winograd(work, packed, part);
    } else {
        convolve_gathered(work, packed, part);
    }
}

void convolve_gathered(const Conv2d& work, const PackedWeight& packed, int64_t part) {
    static const MultiplyTile multiply = multiply_tile();
    const int64_t pixels = work.out_height * work.out_width, position = part * kTileColumns, depth = work.depth();
    const int64_t count = std::min(kTileColumns, pixels - position), blocks = work.row_blocks();
    constexpr int64_t kTile = kTileRows * kTileColumns;
    const Buffer sums(*work.memory, blocks * kTile);
    float right[kDepth * kTileColumns];
    std::fill_n(right, kDepth * kTileColumns, 0.0f);  // columns beyond `count` are multiplied too, and not used
    for (int64_t first = 0; first < depth; first += kDepth) {
        const int64_t end = std::min(first + kDepth, depth);
        gather(work, first, end, position, count, right);
        for (int64_t block = 0; block < blocks; ++block)
            multiply(packed.values.get() + block * kTileRows * depth + first, depth, end - first, right,
                     sums.get() + block * kTile, first > 0);
    }
    for (int64_t o = 0; o < work.outputs; ++o) {
        const float bias = work.bias ? work.bias[o] : 0.0f;
        const float* from = sums.get() + o * kTileColumns;
        float* to = work.y + o * pixels + position;
        for (int64_t i = 0; i < count; ++i) to[i] = from[i] + bias;
    }
}

}  // namespace fastlic
