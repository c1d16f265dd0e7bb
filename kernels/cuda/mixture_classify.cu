// K1: which elements of a mixture pass are coded, in which window class, and what the others are set to. Integers only.
//
//   in   parameters   int16 [height][width][channels][P], aligned to 4 bytes
//        active       uint8 [channels], 0 for channels that are not coded
//        tables       docs/format.md, section 4.2
//   out  kinds        uint8 [channels][height][width], 0 to 6 the window class of a coded element, 7 not coded
//        modes        int16 [channels][height][width], value of the central slot; 0 in inactive channels
//        counts       int32 [7][blocks], coded elements of each class in each block's 256
//
// A thread per element; its components lie in shared memory because they are indexed at run time (an odd number of
// words apart: no bank conflicts). Launch: grid blocks = ceil(size / 256), 256 threads. Twin:
// entropy_twins.mixture_classify.
#include "mixture_pass.h"

namespace fastlic {
namespace {

template <class AnyCounts>
FASTLIC_DEVICE void classify(const int16_t* parameters, const uint8_t* active, const DeviceTables& tables,
                             const PassShape& pass, uint32_t skip_threshold, uint8_t* kinds, int16_t* modes,
                             int32_t* counts) {
    constexpr int kComponents = AnyCounts::families * AnyCounts::components;
    FASTLIC_SHARED(Component, components, kPassThreads * kComponents);
    FASTLIC_SHARED(int32_t, warp_counts, kWindowClasses* kPassWarps);
    const int thread = static_cast<int>(threadIdx.x);
    const int element = static_cast<int>(blockIdx.x) * kPassThreads + thread;
    int kind = kNotCoded;
    if (element < pass.size()) {
        int16_t mode = 0;
        if (Global<const uint8_t>(active).load(element / pass.area()) != 0) {
            const Shared<Component> own = components + thread * kComponents;
            const Shape shape =
                prepare_element<AnyCounts>(tables, Global<const int16_t>(parameters), pass, element, own);
            uint32_t left = 0;
            uint32_t right = 0;
            mixture_middle(tables.half_cdf, own, shape, left, right);
            mode = shape.centre;
            if (right - left < skip_threshold) kind = shape.window;
        }
        Global<uint8_t>(kinds).store(element, static_cast<uint8_t>(kind));
        Global<int16_t>(modes).store(element, mode);
    }
    count_kinds(kind, warp_counts);
    __syncthreads();
    if (thread < kWindowClasses) {
        int32_t sum = 0;
#pragma unroll
        for (int w = 0; w < kPassWarps; ++w) sum += warp_counts.load(thread * kPassWarps + w);
        Global<int32_t>(counts).store(static_cast<int64_t>(thread) * gridDim.x + blockIdx.x, sum);
    }
}

}  // namespace
}  // namespace fastlic

#define FASTLIC_MIXTURE_CLASSIFY(name, families, components)                                                     \
    extern "C" __global__ void __launch_bounds__(256, 3)                                                         \
        name(const int16_t* parameters, const uint8_t* active, FASTLIC_TABLES, int32_t channels, int32_t height, \
             int32_t width, int32_t skip_threshold, uint8_t* kinds, int16_t* modes, int32_t* counts) {           \
        fastlic::classify<fastlic::FixedCounts<families, components>>(                                           \
            parameters, active, FASTLIC_DEVICE_TABLES, fastlic::PassShape{channels, height, width},              \
            static_cast<uint32_t>(skip_threshold), kinds, modes, counts);                                        \
    }

FASTLIC_MIXTURE_CLASSIFY(mixture_classify_1x3, 1, 3)
FASTLIC_MIXTURE_CLASSIFY(mixture_classify_3x3, 3, 3)
