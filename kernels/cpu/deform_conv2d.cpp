#include "deform_conv2d.h"

#include <algorithm>
#include <cmath>

namespace fastlic {
namespace {

constexpr int64_t kPixels = 48;    // per step; a multiple of kTile
constexpr int64_t kChannels = 64;  // per step: 12 KB of samples, 16 KB of weights and 12 KB of sums are in use at once
constexpr int64_t kBlock = 64;     // outputs per block of packed weights
constexpr int kTile = 6;           // pixels whose sums are in registers
static_assert(kPixels % kTile == 0);

struct Corners {
    float weight[4];
    int64_t at[4];  // into channels_last
};

// Where one tap of `count` pixels samples: four neighbours and their bilinear weights, zero outside the map.
inline void find_corners(
    const DeformConv2d& work, int64_t row, int64_t first, int64_t count, int64_t tap, Corners* corners) {
    const float height = static_cast<float>(work.height), width = static_cast<float>(work.width);
    const int64_t last_row = work.height - 1, last_column = work.width - 1;
    const float* dy = work.offset + 2 * tap * work.pixels() + row * work.width + first;
    const float* dx = dy + work.pixels();
    const float at_row = static_cast<float>(row + tap / work.size - work.size / 2);
    const float at_column = static_cast<float>(first + tap % work.size - work.size / 2);
    for (int64_t p = 0; p < count; ++p) {
        float y = at_row + dy[p], x = at_column + static_cast<float>(p) + dx[p];
        // Written so that what is not a number ends at -1, where everything is zero.
        y = y > -1.0f ? (y < height ? y : height) : -1.0f;
        x = x > -1.0f ? (x < width ? x : width) : -1.0f;
        const float top = std::floor(y), left = std::floor(x);
        const float below = y - top, beside = x - left;
        const int64_t i = static_cast<int32_t>(top), j = static_cast<int32_t>(left);
        const float upper = i >= 0 && i <= last_row ? 1.0f - below : 0.0f;
        const float lower = i < last_row ? below : 0.0f;
        const float near = j >= 0 && j <= last_column ? 1.0f - beside : 0.0f;
        const float far = j < last_column ? beside : 0.0f;
        const int64_t i0 = std::clamp<int64_t>(i, 0, last_row), i1 = std::min(i + 1, last_row);
        const int64_t j0 = std::clamp<int64_t>(j, 0, last_column), j1 = std::min(j + 1, last_column);
        corners[p] = {
            {upper * near, upper * far, lower * near, lower * far},
            {(i0 * work.width + j0) * work.channels, (i0 * work.width + j1) * work.channels,
             (i1 * work.width + j0) * work.channels, (i1 * work.width + j1) * work.channels},
        };
    }
}

#if defined(__GNUC__)
#define FASTLIC_RESTRICT __restrict__
#define FASTLIC_INLINE inline __attribute__((always_inline))
#else
#define FASTLIC_RESTRICT __restrict
#define FASTLIC_INLINE inline
#endif

// samples[p][k] = the weighted sum of the four neighbours' channel k.
FASTLIC_INLINE void blend(
    const float* channels_last, const Corners* corners, int64_t count, int64_t channels, float* samples) {
    for (int64_t p = 0; p < count; ++p) {
        const float *a = channels_last + corners[p].at[0], *b = channels_last + corners[p].at[1];
        const float *c = channels_last + corners[p].at[2], *d = channels_last + corners[p].at[3];
        const float wa = corners[p].weight[0], wb = corners[p].weight[1];
        const float wc = corners[p].weight[2], wd = corners[p].weight[3];
        float* FASTLIC_RESTRICT out = samples + p * channels;
        for (int64_t k = 0; k < channels; ++k) out[k] = wa * a[k] + wb * b[k] + wc * c[k] + wd * d[k];
    }
}

// What depends on the processor's registers.
struct Kernels {
    // sums[p][o] += sum over k of samples[p][k] * weight[k][o], for kTile pixels and a block of outputs
    void (*multiply)(const float* samples, int64_t depth, const float* weight, float* sums);
    void (*blend)(const float* channels_last, const Corners*, int64_t count, int64_t channels, float* samples);
};

#if defined(__GNUC__)
// A macro and not a template: vectors are lowered before functions are inlined, so that those of a template would be the
// oldest processor's whoever calls it. kTile x VECTORS sums are in registers.
#define FASTLIC_KERNELS(NAME, TARGET, LANES, VECTORS)                                                           \
    TARGET void multiply_##NAME(const float* samples, int64_t depth, const float* weight, float* sums) {        \
        typedef float Vector __attribute__((vector_size(4 * (LANES)), aligned(4), may_alias));                  \
        for (int64_t o = 0; o < kBlock; o += (LANES) * (VECTORS)) {                                             \
            Vector total[kTile][VECTORS];                                                                       \
            for (int p = 0; p < kTile; ++p)                                                                     \
                for (int v = 0; v < (VECTORS); ++v)                                                             \
                    total[p][v] = reinterpret_cast<const Vector*>(sums + p * kBlock + o)[v];                    \
            for (int64_t k = 0; k < depth; ++k) {                                                               \
                const Vector* factor = reinterpret_cast<const Vector*>(weight + k * kBlock + o);                \
                for (int p = 0; p < kTile; ++p)                                                                 \
                    for (int v = 0; v < (VECTORS); ++v) total[p][v] += samples[p * depth + k] * factor[v];      \
            }                                                                                                   \
            for (int p = 0; p < kTile; ++p)                                                                     \
                for (int v = 0; v < (VECTORS); ++v)                                                             \
                    reinterpret_cast<Vector*>(sums + p * kBlock + o)[v] = total[p][v];                          \
        }                                                                                                       \
    }                                                                                                           \
    TARGET void blend_##NAME(                                                                                   \
        const float* channels_last, const Corners* corners, int64_t count, int64_t channels, float* samples) {  \
        blend(channels_last, corners, count, channels, samples);                                                \
    }
FASTLIC_KERNELS(plain, , 4, 2)  // 12 of the 16 registers of SSE; NEON has 32
#if defined(__x86_64__)
FASTLIC_KERNELS(fma, __attribute__((target("avx2,fma"))), 8, 2)      // 12 of 16
FASTLIC_KERNELS(avx512, __attribute__((target("avx512f"))), 16, 4)  // 24 of 32
#endif
#else
void multiply_plain(const float* samples, int64_t depth, const float* weight, float* sums) {
    for (int p = 0; p < kTile; ++p)
        for (int64_t k = 0; k < depth; ++k)
            for (int64_t o = 0; o < kBlock; ++o)
                sums[p * kBlock + o] += samples[p * depth + k] * weight[k * kBlock + o];
}
void blend_plain(const float* channels_last, const Corners* corners, int64_t count, int64_t channels, float* samples) {
    blend(channels_last, corners, count, channels, samples);
}
#endif

Kernels kernels_here() {
#if defined(__GNUC__) && defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return {multiply_avx512, blend_avx512};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {multiply_fma, blend_fma};
#endif
    return {multiply_plain, blend_plain};
}

}  // namespace

DeformWorkspace::DeformWorkspace(const DeformConv2d& work)
    : channels_last(static_cast<size_t>(work.pixels() * work.channels)),
      packed_weight(static_cast<size_t>((work.outputs + kBlock - 1) / kBlock * work.taps() * work.channels * kBlock)) {
    const int64_t taps = work.taps(), depth = taps * work.channels;
    for (int64_t o = 0; o < work.outputs; ++o)
        for (int64_t c = 0; c < work.channels; ++c)
            for (int64_t t = 0; t < taps; ++t) {
                const int64_t to = (o / kBlock * depth + t * work.channels + c) * kBlock + o % kBlock;
                packed_weight[static_cast<size_t>(to)] = work.weight[(o * work.channels + c) * taps + t];
            }
}

void transpose_row(const DeformConv2d& work, DeformWorkspace& space, int64_t row) {
    constexpr int64_t kTogether = 16;  // channels: one cache line of the result
    float* out = space.channels_last.data() + row * work.width * work.channels;
    const float* in = work.x + row * work.width;
    for (int64_t first = 0; first < work.channels; first += kTogether) {
        const int64_t end = std::min(first + kTogether, work.channels);
        for (int64_t x = 0; x < work.width; ++x)
            for (int64_t c = first; c < end; ++c) out[x * work.channels + c] = in[c * work.pixels() + x];
    }
}

void deform_row(const DeformConv2d& work, const DeformWorkspace& space, int64_t row) {
    static const Kernels kernels = kernels_here();
    const int64_t blocks = (work.outputs + kBlock - 1) / kBlock, depth = work.taps() * work.channels;
    Corners corners[kPixels];
    // Zero where a last, narrower step leaves a tile without samples: those sums are not used.
    std::vector<float> samples(static_cast<size_t>(kPixels * std::min(kChannels, work.channels)));
    std::vector<float> sums(static_cast<size_t>(blocks * kPixels * kBlock));
    for (int64_t first = 0; first < work.width; first += kPixels) {
        const int64_t count = std::min(kPixels, work.width - first);
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (int64_t tap = 0; tap < work.taps(); ++tap) {
            find_corners(work, row, first, count, tap, corners);
            for (int64_t c = 0; c < work.channels; c += kChannels) {
                const int64_t channels = std::min(kChannels, work.channels - c);
                kernels.blend(space.channels_last.data() + c, corners, count, channels, samples.data());
                for (int64_t block = 0; block < blocks; ++block) {
                    const float* weight =
                        space.packed_weight.data() + (block * depth + tap * work.channels + c) * kBlock;
                    for (int64_t p = 0; p < count; p += kTile)
                        kernels.multiply(samples.data() + p * channels, channels, weight,
                                         sums.data() + (block * kPixels + p) * kBlock);
                }
            }
        }
        for (int64_t o = 0; o < work.outputs; ++o) {
            const float bias = work.bias ? work.bias[o] : 0.0f;
            const float* from = sums.data() + o / kBlock * kPixels * kBlock + o % kBlock;
            float* to = work.y + o * work.pixels() + row * work.width + first;
            for (int64_t p = 0; p < count; ++p) to[p] = from[p * kBlock] + bias;
        }
    }
}

}  // namespace fastlic
