// Between K1 and K2: where the coded elements of each class and block go. Integers only.
//
//   in   counts   int32 [7][blocks], of K1
//   out  offsets  int32 [7][blocks], sum of all counts before
//        starts   int32 [8], first coded element of each class; then the number of coded elements
//
// One block walks over the counts, 1024 at a time; each warp sums up its 32 with shuffles. Launch: one block of 1024
// threads. Twin: entropy_twins.scan_counts.
#include "mixture_pass.h"

namespace fastlic {
namespace {

constexpr int kScanThreads = 1024;
constexpr int kScanWarps = kScanThreads / kWarp;

}  // namespace
}  // namespace fastlic

extern "C" __global__ void __launch_bounds__(1024)
    scan_counts(const int32_t* counts_pointer, int32_t blocks, int32_t* offsets_pointer, int32_t* starts_pointer) {
    using namespace fastlic;
    FASTLIC_SHARED(int32_t, warp_sums, kScanWarps);
    const Global<const int32_t> counts(counts_pointer);
    const Global<int32_t> offsets(offsets_pointer), starts(starts_pointer);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    const int size = kWindowClasses * blocks;
    int32_t before = 0;  // of all rounds so far
    for (int round = 0; round < size; round += kScanThreads) {
        const int i = round + thread;
        const int32_t own = i < size ? counts.load(i) : 0;
        int32_t sum = own;  // of the warp up to this lane
#pragma unroll
        for (int distance = 1; distance < kWarp; distance *= 2) {
            const int32_t other = __shfl_up_sync(kAllLanes, sum, distance);
            sum += lane >= distance ? other : 0;
        }
        if (lane == kWarp - 1) warp_sums.store(warp, sum);
        __syncthreads();
        int32_t total = 0;
#pragma unroll
        for (int w = 0; w < kScanWarps; ++w) {
            const int32_t warp_sum = warp_sums.load(w);
            sum += w < warp ? warp_sum : 0;
            total += warp_sum;
        }
        if (i < size) {
            const int32_t offset = before + sum - own;
            offsets.store(i, offset);
            if (i % blocks == 0) starts.store(i / blocks, offset);
            if (i == size - 1) starts.store(kWindowClasses, offset + own);
        }
        before += total;
        __syncthreads();  // the sums have been read
    }
}
