// What the kernels of a mixture pass share: how elements are numbered, and one element's parameters.
//
// Rule: docs/format.md, sections 3 and 4.2; the arithmetic is fastlic/mixture.h, as on the CPU.
#pragma once

#include <cstdint>

#include "fastlic/memory.h"
#include "fastlic/mixture.h"

namespace fastlic {

constexpr int kWarp = 32;
constexpr int kPassThreads = 256;  // of a block, an element each
constexpr int kPassWarps = kPassThreads / kWarp;
constexpr uint8_t kNotCoded =
    kWindowClasses;  // kind of skipped and inactive elements; smaller kinds are window classes
constexpr unsigned kAllLanes = 0xffffffffu;

// The packed array (channels, height, width) of a pass. Elements are numbered by channel, row, column: within a window
// class that is the order of coding.
struct PassShape {
    int channels, height, width;

    FASTLIC_DEVICE int area() const { return height * width; }
    FASTLIC_DEVICE int size() const { return channels * height * width; }
};

// MixtureView of fastlic/mixture.h over device memory.
struct DeviceTables {
    Global<const uint16_t> exponential;
    Global<const int16_t> thresholds;
    Global<const uint32_t> inverse_scale;
    Global<const int32_t> tail;
    Global<const uint16_t> half_cdf;
};

// Works out one element; its live components go to `components`, which has room for all.
template <class AnyCounts>
FASTLIC_DEVICE Shape prepare_element(const DeviceTables& tables, const Global<const int16_t>& parameters,
                                     const PassShape& pass, int element, const Shared<Component>& components) {
    constexpr int kComponents = AnyCounts::families * AnyCounts::components;
    constexpr int kParameters = 3 * kComponents + (AnyCounts::families > 1 ? AnyCounts::families : 0);
    const int channel = element / pass.area(), position = element % pass.area();
    const Global<const int16_t> own =
        parameters + (static_cast<int64_t>(position) * pass.channels + channel) * kParameters;
    int16_t numbers[kParameters];
    if constexpr (kParameters % 2 == 0) {  // every element begins at a multiple of 4 bytes
#pragma unroll
        for (int i = 0; i < kParameters; i += 2) {
            const auto pair = own.template load_as<uint32_t>(i);
            numbers[i] = static_cast<int16_t>(pair);
            numbers[i + 1] = static_cast<int16_t>(pair >> 16);
        }
    } else {
#pragma unroll
        for (int i = 0; i < kParameters; ++i) numbers[i] = own.load(i);
    }
    const auto level = [&tables](int family, int16_t x) {
        return scale_level(tables.thresholds + family * (kLevels - 1), x);
    };
    int live = 0;
    const auto append = [&components, &live](const Component& component) { components.store(live++, component); };
    return mixture_components(tables, AnyCounts(), numbers, level, append);
}

// How many threads of each warp have each kind, as [kind][warp]; the caller puts a barrier behind it. Returns the
// threads of this warp that have the caller's kind.
FASTLIC_DEVICE unsigned count_kinds(int kind, const Shared<int32_t>& warp_counts) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    unsigned mine = 0;
#pragma unroll
    for (int k = 0; k < kWindowClasses; ++k) {
        const unsigned votes = __ballot_sync(kAllLanes, kind == k);
        if (lane == 0) warp_counts.store(k * kPassWarps + warp, __popc(votes));
        mine = kind == k ? votes : mine;
    }
    return mine;
}

}  // namespace fastlic

// Arguments of every kernel that evaluates a mixture, in the order of the plugin ABI.
#define FASTLIC_TABLES                                                                                          \
    const uint16_t *exponential, const int16_t *thresholds, const uint32_t *inverse_scale, const int32_t *tail, \
        const uint16_t *half_cdf
#define FASTLIC_DEVICE_TABLES                                                                     \
    fastlic::DeviceTables {                                                                       \
        fastlic::Global<const uint16_t>(exponential), fastlic::Global<const int16_t>(thresholds), \
            fastlic::Global<const uint32_t>(inverse_scale), fastlic::Global<const int32_t>(tail), \
            fastlic::Global<const uint16_t>(half_cdf)                                             \
    }
