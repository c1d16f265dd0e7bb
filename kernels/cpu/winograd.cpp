// Winograd's F(4x4, 3x3): of a 6x6 piece of x and a 3x3 filter, 36 products give 4x4 sums that take 144 otherwise.
//
// y = A' [(G w G') * (B' x B)] A with the matrices of interpolation at 0, 1, -1, 2, -2 and infinity; the product in the
// middle is, for each of the 36 points, one matrix product over channels. Lanes are 64 tiles side by side, so none of
// the transforms depends on a processor's registers.
// Error: at most some 20 roundings of the magnitudes summed; tests hold it against float64.
// Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4.3.
#include "conv2d.h"

#include <algorithm>

namespace fastlic {
namespace {

constexpr int kPoints = 36;
constexpr int64_t kOutputs = 24;  // at a time: their sums at all points take 221 KB, of the second-level cache
constexpr int64_t kLanes = kTileColumns;
static_assert(kOutputs % kTileRows == 0);

// Consecutive tiles of one row of tiles; `row` and `column` are of the first, in tiles.
struct Stretch {
    int64_t row, column, lane, count;
};

// The up to 64 tiles of a part.
struct Tiles {
    Stretch stretches[kLanes];
    int64_t count = 0;

    Tiles(const Conv2d& work, int64_t part) {
        const int64_t across = (work.out_width + 3) / 4, down = (work.out_height + 3) / 4;
        const int64_t first = part * kLanes, end = std::min(first + kLanes, across * down);
        for (int64_t tile = first; tile < end; tile += stretches[count++].count)
            stretches[count] = {tile / across, tile % across, tile - first,
                                std::min(end - tile, across - tile % across)};
    }
};

// A stretch's pixels by column modulo 4, so that tiles next to each other lie next to each other: column c of tile t is
// [row][c % 4][t + c / 4].
constexpr int64_t kRow = kLanes + 16, kRows = 4 * kRow;

FASTLIC_INLINE void load_stretch(const Conv2d& work, const Stretch& at, const float* plane, float* pixels) {
    float line[4 * kRow] = {};
    const int64_t length = 4 * at.count + 2, left = 4 * at.column - work.beside;
    const int64_t begin = left < 0 ? -left : 0, end = std::min(work.width - left, length);
    for (int64_t r = 0; r < 6; ++r) {
        const int64_t y = 4 * at.row + r - work.above;
        float* FASTLIC_RESTRICT to = pixels + r * kRows;
        if (y < 0 || y >= work.height) {
            std::fill_n(to, kRows, 0.0f);
            continue;
        }
        const float* from = plane + y * work.width + left;
        for (int64_t i = begin; i < end; ++i) line[i] = from[i];
        for (int64_t t = 0; t < at.count + 1; ++t)  // all four at once: compilers make shuffles of it
            for (int64_t c = 0; c < 4; ++c) to[c * kRow + t] = line[4 * t + c];
    }
}

// The tiles' 4x4 sums, m[4 r + c][lane], and the bias into a plane of y.
FASTLIC_INLINE void store_tiles(const Conv2d& work, const Tiles& tiles, const float* m, float bias, float* plane) {
    float line[4 * kLanes];
    for (int64_t s = 0; s < tiles.count; ++s) {
        const Stretch at = tiles.stretches[s];
        const int64_t rows = std::min<int64_t>(4, work.out_height - 4 * at.row);
        const int64_t length = std::min(4 * at.count, work.out_width - 4 * at.column);
        for (int64_t r = 0; r < rows; ++r) {
            const float* FASTLIC_RESTRICT from = m + 4 * r * kLanes + at.lane;
            for (int64_t t = 0; t < at.count; ++t)
                for (int64_t c = 0; c < 4; ++c) line[4 * t + c] = from[c * kLanes + t] + bias;
            std::copy_n(line, length, plane + (4 * at.row + r) * work.out_width + 4 * at.column);
        }
    }
}

// B' times six values, of each lane.
FASTLIC_INLINE void transform_in(const float* const (&in)[6], float* FASTLIC_RESTRICT out, int64_t to, int64_t lanes) {
    const float *in0 = in[0], *in1 = in[1], *in2 = in[2], *in3 = in[3], *in4 = in[4], *in5 = in[5];
    for (int64_t t = 0; t < lanes; ++t) {
        const float a = in0[t], b = in1[t], c = in2[t], d = in3[t], e = in4[t], f = in5[t];
        const float even = e - 4.0f * c, odd = d - 4.0f * b, wide = e - c, steep = 2.0f * (d - b);
        out[t] = 4.0f * (a - c) + wide;
        out[to + t] = even + odd;
        out[2 * to + t] = even - odd;
        out[3 * to + t] = wide + steep;
        out[4 * to + t] = wide - steep;
        out[5 * to + t] = 4.0f * (b - d) + (f - d);
    }
}

// A' times six values, of each of 64 lanes.
FASTLIC_INLINE void transform_out(
    const float* FASTLIC_RESTRICT in, float* FASTLIC_RESTRICT out, int64_t from, int64_t to) {
    for (int64_t t = 0; t < kLanes; ++t) {
        const float b = in[from + t], c = in[2 * from + t], d = in[3 * from + t], e = in[4 * from + t];
        const float sum = b + c, difference = b - c, wide = d + e, steep = d - e;
        out[t] = in[t] + sum + wide;
        out[to + t] = difference + 2.0f * steep;
        out[2 * to + t] = sum + 4.0f * wide;
        out[3 * to + t] = difference + 8.0f * steep + in[5 * from + t];
    }
}

struct Kernels {
    // A plane's tiles into v[point][lane].
    void (*in)(const Conv2d& work, const Tiles& tiles, const float* plane, float* v, int64_t point_stride);
    // The sums m[point][lane] into a plane of y.
    void (*out)(const Conv2d& work, const Tiles& tiles, const float* m, int64_t point_stride, float bias, float* plane);
};

#define FASTLIC_TRANSFORMS(NAME, TARGET, LANES, VECTORS)                                                          \
    TARGET void in_##NAME(                                                                                        \
        const Conv2d& work, const Tiles& tiles, const float* plane, float* v, int64_t point_stride) {             \
        float pixels[6 * kRows], half[6 * kRows];                                                                 \
        for (int64_t s = 0; s < tiles.count; ++s) {                                                               \
            const Stretch& at = tiles.stretches[s];                                                               \
            load_stretch(work, at, plane, pixels);                                                                \
            for (int64_t c = 0; c < 4; ++c) {                                                                     \
                const float* p = pixels + c * kRow;                                                               \
                transform_in({p, p + kRows, p + 2 * kRows, p + 3 * kRows, p + 4 * kRows, p + 5 * kRows},          \
                             half + c * kRow, kRows, at.count + (c < 2));                                         \
            }                                                                                                     \
            for (int64_t r = 0; r < 6; ++r) {                                                                     \
                const float* p = half + r * kRows;                                                                \
                transform_in({p, p + kRow, p + 2 * kRow, p + 3 * kRow, p + 1, p + kRow + 1},                      \
                             v + 6 * r * point_stride + at.lane, point_stride, at.count);                         \
            }                                                                                                     \
        }                                                                                                         \
    }                                                                                                             \
    TARGET void out_##NAME(                                                                                       \
        const Conv2d& work, const Tiles& tiles, const float* m, int64_t point_stride, float bias, float* plane) { \
        float half[24 * kLanes], y[16 * kLanes];                                                                  \
        for (int64_t c = 0; c < 6; ++c)                                                                           \
            transform_out(m + c * point_stride, half + c * kLanes, 6 * point_stride, 6 * kLanes);                 \
        for (int64_t r = 0; r < 4; ++r)                                                                           \
            transform_out(half + 6 * r * kLanes, y + 4 * r * kLanes, kLanes, kLanes);                             \
        store_tiles(work, tiles, y, bias, plane);                                                                 \
    }
FASTLIC_FOR_PROCESSORS(FASTLIC_TRANSFORMS)

Kernels kernels_here() {
#if defined(__GNUC__) && defined(__x86_64__)
    switch (processor_here()) {
        case Processor::avx512: return {in_avx512, out_avx512};
        case Processor::fma: return {in_fma, out_fma};
        case Processor::plain: break;
    }
#endif
    return {in_plain, out_plain};
}

// Three weights in, G times them out.
inline void transform_filter(const float* in, int64_t from, float* out, int64_t to) {
    const float a = in[0], b = in[from], c = in[2 * from];
    const float outer = a + c, far = a / 24.0f + c / 6.0f;
    out[0] = a / 4.0f;
    out[to] = -(outer + b) / 6.0f;
    out[2 * to] = -(outer - b) / 6.0f;
    out[3 * to] = far + b / 12.0f;
    out[4 * to] = far - b / 12.0f;
    out[5 * to] = c;
}

}  // namespace

void pack_winograd_row(const float* filters, int64_t channels, float* to, int64_t point_stride) {
    for (int64_t channel = 0; channel < channels; ++channel) {
        float columns[18], points[kPoints];
        for (int64_t c = 0; c < 3; ++c) transform_filter(filters + 9 * channel + c, 3, columns + c, 3);
        for (int64_t r = 0; r < 6; ++r) transform_filter(columns + 3 * r, 1, points + 6 * r, 1);
        for (int64_t point = 0; point < kPoints; ++point) to[point * point_stride + channel] = points[point];
    }
}

void convolve_winograd(const Conv2d& work, const PackedWeight& packed, int64_t part) {
    static const MultiplyTile multiply = multiply_tile();
    static const Kernels kernels = kernels_here();
    constexpr int64_t kTile = kTileRows * kLanes;
    const int64_t point_stride = work.channels * kLanes, blocks = work.row_blocks();
    const int64_t pixels = work.out_height * work.out_width;
    const Buffer v(*work.memory, kPoints * point_stride), m(*work.memory, kPoints * kOutputs * kLanes);
    const Tiles tiles(work, part);
    const Stretch& last = tiles.stretches[tiles.count - 1];
    if (last.lane + last.count < kLanes)  // lanes without a tile are multiplied too, and not used
        std::fill_n(v.get(), kPoints * point_stride, 0.0f);
    for (int64_t channel = 0; channel < work.channels; ++channel)
        kernels.in(work, tiles, work.x + channel * work.height * work.width, v.get() + channel * kLanes, point_stride);
    for (int64_t first = 0; first < blocks; first += kOutputs / kTileRows) {
        const int64_t end = std::min(first + kOutputs / kTileRows, blocks);
        for (int64_t point = 0; point < kPoints; ++point)
            for (int64_t block = first; block < end; ++block)
                multiply(packed.values.get() + (block * kPoints + point) * kTileRows * work.channels, work.channels,
                         work.channels, v.get() + point * point_stride,
                         m.get() + point * kOutputs * kLanes + (block - first) * kTile, false);
        for (int64_t o = first * kTileRows; o < std::min(end * kTileRows, work.outputs); ++o)
            kernels.out(work, tiles, m.get() + (o - first * kTileRows) * kLanes, kOutputs * kLanes,
                        work.bias ? work.bias[o] : 0.0f, work.y + o * pixels);
    }
}

}  // namespace fastlic
