// K2: the coded elements of a mixture pass in coding order, and a row of cumulative frequencies for each. Integers
// only.
//
//   in   parameters  int16 [height][width][channels][P], aligned to 4 bytes
//        tables      docs/format.md, section 4.2
//        kinds       uint8 [channels][height][width], of K1
//        offsets     int32 [7][blocks] and starts int32 [8], of scan_counts
//   out  elements    int32 [size], of which the first starts[7] are written: numbers of the coded elements in coding
//   order
//        rows        uint16 [capacity]: the rows in coding order without gaps, W entries each: low (int16), C(1), ... ,
//                    C(W - 1). C(0) = 0 and C(W) = 2^16 are not stored. A row that does not fit is left out; starts
//                    tell.
//
// Ranks come from votes, so nothing depends on the order in which blocks run. Each thread works out its own element
// into shared memory; then eight lanes fill each row, since W is at least 8. Launch: grid as K1, 256 threads. Twin:
// entropy_twins.mixture_rows.
#include "mixture_pass.h"

namespace fastlic {
namespace {

constexpr int kLanesPerRow = kMinWindow;

// Entries of all rows before the one of coded element `position`, which is of class `window`.
FASTLIC_DEVICE int64_t row_offset(const Global<const int32_t>& starts, int window, int position) {
    int64_t offset = static_cast<int64_t>(position - starts.load(window)) * window_width(window);
#pragma unroll
    for (int k = 0; k < kWindowClasses - 1; ++k) {
        if (k < window) offset += static_cast<int64_t>(starts.load(k + 1) - starts.load(k)) * window_width(k);
    }
    return offset;
}

template <class AnyCounts>
FASTLIC_DEVICE void fill_rows(const int16_t* parameters, const DeviceTables& tables, const uint8_t* kinds,
                              const int32_t* offsets, const int32_t* starts_pointer, const PassShape& pass,
                              int32_t capacity, int32_t* elements, uint16_t* rows_pointer) {
    constexpr int kComponents = AnyCounts::families * AnyCounts::components;
    FASTLIC_SHARED(Component, components, kPassThreads * kComponents);
    FASTLIC_SHARED(Shape, shapes, kPassThreads);
    FASTLIC_SHARED(int32_t, positions, kPassThreads);
    FASTLIC_SHARED(int32_t, warp_counts, kWindowClasses* kPassWarps);
    const Global<const int32_t> starts(starts_pointer);
    const Global<uint16_t> rows(rows_pointer);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    const int element = static_cast<int>(blockIdx.x) * kPassThreads + thread;
    const int kind = element < pass.size() ? Global<const uint8_t>(kinds).load(element) : kNotCoded;
    const unsigned same = count_kinds(kind, warp_counts);
    __syncthreads();

    // Coded elements are gathered at `slot`, so that later no lanes idle over those that are not.
    int slot = 0;
    int coded = 0;
#pragma unroll
    for (int w = 0; w < kPassWarps; ++w) {
        int in_warp = 0;
#pragma unroll
        for (int k = 0; k < kWindowClasses; ++k) in_warp += warp_counts.load(k * kPassWarps + w);
        slot += w < warp ? in_warp : 0;
        coded += in_warp;
    }
    const unsigned lower_lanes = (1u << lane) - 1;
    slot += __popc(__ballot_sync(kAllLanes, kind != kNotCoded) & lower_lanes);
    if (kind != kNotCoded) {
        int position = Global<const int32_t>(offsets).load(static_cast<int64_t>(kind) * gridDim.x + blockIdx.x);
        for (int w = 0; w < warp; ++w) position += warp_counts.load(kind * kPassWarps + w);
        position += __popc(same & lower_lanes);
        Global<int32_t>(elements).store(position, element);
        positions.store(slot, position);
        shapes.store(slot, prepare_element<AnyCounts>(tables, Global<const int16_t>(parameters), pass, element,
                                                      components + slot * kComponents));
    }
    __syncthreads();

    for (int s = thread / kLanesPerRow; s < coded; s += kPassThreads / kLanesPerRow) {
        const Shape shape = shapes.load(s);
        const Shared<Component> own = components + s * kComponents;
        const int width = window_width(shape.window);
        const int64_t offset = row_offset(starts, shape.window, positions.load(s));
        if (offset + width > capacity) continue;
        for (int j = thread % kLanesPerRow; j < width; j += kLanesPerRow) {
            const uint32_t entry =
                j == 0 ? static_cast<uint32_t>(shape.centre - width / 2) : mixture_cdf(tables.half_cdf, own, shape, j);
            rows.store(offset + j, static_cast<uint16_t>(entry));
        }
    }
}

}  // namespace
}  // namespace fastlic

#define FASTLIC_MIXTURE_ROWS(name, families, components)                                                            \
    extern "C" __global__ void __launch_bounds__(256, 3)                                                            \
        name(const int16_t* parameters, FASTLIC_TABLES, const uint8_t* kinds, const int32_t* offsets,               \
             const int32_t* starts, int32_t channels, int32_t height, int32_t width, int32_t capacity,              \
             int32_t* elements, uint16_t* rows) {                                                                   \
        fastlic::fill_rows<fastlic::FixedCounts<families, components>>(                                             \
            parameters, FASTLIC_DEVICE_TABLES, kinds, offsets, starts, fastlic::PassShape{channels, height, width}, \
            capacity, elements, rows);                                                                              \
    }

FASTLIC_MIXTURE_ROWS(mixture_rows_1x3, 1, 3)
FASTLIC_MIXTURE_ROWS(mixture_rows_3x3, 3, 3)
