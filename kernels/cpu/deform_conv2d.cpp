#include "deform_conv2d.h"

#include "matrix_tile.h"

#include <algorithm>

namespace fastlic {
namespace {

constexpr int64_t kPixels = 48;    // per step; a multiple of kTile
constexpr int64_t kChannels = 64;  // per step: 12 KB of samples, 16 KB of weights and 12 KB of sums are in use at once
constexpr int64_t kBlock = kTileColumns;  // outputs per block of packed weights
constexpr int64_t kTile = kTileRows;      // pixels whose sums are in registers
static_assert(kPixels % kTile == 0);

struct Corners {
    float weight[4][kPixels];
    int32_t at[4][kPixels];  // pixels of channels_last
};

// Where one tap of `count` pixels samples: four neighbours and their bilinear weights, zero outside the map.
FASTLIC_INLINE void find_corners(
    const DeformConv2d& work, int64_t row, int64_t first, int64_t count, int64_t tap, Corners& corners) {
    const float height = static_cast<float>(work.height), width = static_cast<float>(work.width);
    const int32_t last_row = static_cast<int32_t>(work.height - 1), last_column = static_cast<int32_t>(work.width - 1);
    const int32_t stride = static_cast<int32_t>(work.width);
    const float* FASTLIC_RESTRICT dy = work.offset + 2 * tap * work.pixels() + row * work.width + first;
    const float* FASTLIC_RESTRICT dx = dy + work.pixels();
    const float at_row = static_cast<float>(row + tap / work.size - work.size / 2);
    const float at_column = static_cast<float>(first + tap % work.size - work.size / 2);
    for (int32_t p = 0; p < static_cast<int32_t>(count); ++p) {
        float y = at_row + dy[p], x = at_column + static_cast<float>(p) + dx[p];
        // Written so that what is not a number ends at -1, where everything is zero.
        y = y > -1.0f ? y : -1.0f, y = y < height ? y : height;
        x = x > -1.0f ? x : -1.0f, x = x < width ? x : width;
        // Truncated one higher and taken down: floor, as nothing is below -1.
        const int32_t i = static_cast<int32_t>(y + 1.0f) - 1, j = static_cast<int32_t>(x + 1.0f) - 1;
        const float below = y - static_cast<float>(i), beside = x - static_cast<float>(j);
        const float upper = (i >= 0) & (i <= last_row) ? 1.0f - below : 0.0f, lower = i < last_row ? below : 0.0f;
        const float near = (j >= 0) & (j <= last_column) ? 1.0f - beside : 0.0f, far = j < last_column ? beside : 0.0f;
        const int32_t i0 = std::clamp(i, 0, last_row) * stride, i1 = std::min(i + 1, last_row) * stride;
        const int32_t j0 = std::clamp(j, 0, last_column), j1 = std::min(j + 1, last_column);
        corners.weight[0][p] = upper * near, corners.weight[1][p] = upper * far;
        corners.weight[2][p] = lower * near, corners.weight[3][p] = lower * far;
        corners.at[0][p] = i0 + j0, corners.at[1][p] = i0 + j1;
        corners.at[2][p] = i1 + j0, corners.at[3][p] = i1 + j1;
    }
}

// samples[p][k] = the weighted sum of the four neighbours' channel first + k.
FASTLIC_INLINE void blend(const DeformConv2d& work, const float* channels_last, const Corners& corners, int64_t count,
                          int64_t first, int64_t channels, float* samples) {
    for (int64_t p = 0; p < count; ++p) {
        const float* from[4];
        for (int n = 0; n < 4; ++n) from[n] = channels_last + corners.at[n][p] * work.channels + first;
        const float *a = from[0], *b = from[1], *c = from[2], *d = from[3];
        const float wa = corners.weight[0][p], wb = corners.weight[1][p];
        const float wc = corners.weight[2][p], wd = corners.weight[3][p];
        float* FASTLIC_RESTRICT out = samples + p * channels;
        for (int64_t k = 0; k < channels; ++k) out[k] = wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k];
    }
}

struct Kernels {
    void (*find_corners)(
        const DeformConv2d& work, int64_t row, int64_t first, int64_t count, int64_t tap, Corners& corners);
    void (*blend)(const DeformConv2d& work, const float* channels_last, const Corners& corners, int64_t count,
                  int64_t first, int64_t channels, float* samples);
};

#define FASTLIC_SAMPLING(NAME, TARGET, LANES, VECTORS)                                                        \
    TARGET void find_corners_##NAME(                                                                          \
        const DeformConv2d& work, int64_t row, int64_t first, int64_t count, int64_t tap, Corners& corners) { \
        find_corners(work, row, first, count, tap, corners);                                                  \
    }                                                                                                         \
    TARGET void blend_##NAME(const DeformConv2d& work, const float* channels_last, const Corners& corners,    \
                             int64_t count, int64_t first, int64_t channels, float* samples) {                \
        blend(work, channels_last, corners, count, first, channels, samples);                                 \
    }
FASTLIC_FOR_PROCESSORS(FASTLIC_SAMPLING)

Kernels kernels_here() {
#if defined(__GNUC__) && defined(__x86_64__)
    switch (processor_here()) {
        case Processor::avx512: return {find_corners_avx512, blend_avx512};
        case Processor::fma: return {find_corners_fma, blend_fma};
        case Processor::plain: break;
    }
#endif
    return {find_corners_plain, blend_plain};
}

}  // namespace

DeformWorkspace::DeformWorkspace(const DeformConv2d& work)
    : channels_last(*work.memory, work.pixels() * work.channels),
      packed_weight(*work.memory, (work.outputs + kBlock - 1) / kBlock * work.taps() * work.channels * kBlock) {
    const int64_t taps = work.taps(), depth = taps * work.channels;
    std::fill_n(packed_weight.get(), (work.outputs + kBlock - 1) / kBlock * depth * kBlock, 0.0f);
    for (int64_t o = 0; o < work.outputs; ++o)
        for (int64_t c = 0; c < work.channels; ++c)
            for (int64_t t = 0; t < taps; ++t) {
                const int64_t to = (o / kBlock * depth + t * work.channels + c) * kBlock + o % kBlock;
                packed_weight.get()[to] = work.weight[(o * work.channels + c) * taps + t];
            }
}

void transpose_row(const DeformConv2d& work, DeformWorkspace& space, int64_t row) {
    // Pixels: one cache line of x, read once, as planes are often a multiple of 4 KB apart and drive each other out.
    constexpr int64_t kTogether = 16;
    float* out = space.channels_last.get() + row * work.width * work.channels;
    const float* in = work.x + row * work.width;
    for (int64_t first = 0; first < work.width; first += kTogether) {
        const int64_t end = std::min(first + kTogether, work.width);
        for (int64_t c = 0; c < work.channels; ++c)
            for (int64_t x = first; x < end; ++x) out[x * work.channels + c] = in[c * work.pixels() + x];
    }
}

void deform_row(const DeformConv2d& work, const DeformWorkspace& space, int64_t row) {
    static const Kernels kernels = kernels_here();
    static const MultiplyTile multiply = multiply_tile();
    const int64_t blocks = (work.outputs + kBlock - 1) / kBlock, depth = work.taps() * work.channels;
    Corners corners;
    // Zero where a last, narrower step leaves a tile without samples: those sums are not used.
    const int64_t sampled = kPixels * std::min(kChannels, work.channels);
    const Buffer samples(*work.memory, sampled), sums(*work.memory, blocks * kPixels * kBlock);
    std::fill_n(samples.get(), sampled, 0.0f);
    for (int64_t first = 0; first < work.width; first += kPixels) {
        const int64_t count = std::min(kPixels, work.width - first);
        for (int64_t tap = 0; tap < work.taps(); ++tap) {
            kernels.find_corners(work, row, first, count, tap, corners);
            for (int64_t c = 0; c < work.channels; c += kChannels) {
                const int64_t channels = std::min(kChannels, work.channels - c);
                kernels.blend(work, space.channels_last.get(), corners, count, c, channels, samples.get());
                for (int64_t block = 0; block < blocks; ++block) {
                    const float* weight =
                        space.packed_weight.get() + (block * depth + tap * work.channels + c) * kBlock;
                    for (int64_t p = 0; p < count; p += kTile)
                        multiply(samples.get() + p * channels, channels, channels, weight,
                                 sums.get() + (block * kPixels + p) * kBlock, tap > 0 || c > 0);
                }
            }
        }
        for (int64_t o = 0; o < work.outputs; ++o) {
            const float bias = work.bias ? work.bias[o] : 0.0f;
            const float* from = sums.get() + o / kBlock * kPixels * kBlock + o % kBlock;
            float* to = work.y + o * work.pixels() + row * work.width + first;
            for (int64_t p = 0; p < count; ++p) to[p] = from[p * kBlock] + bias;
        }
    }
}

}  // namespace fastlic
