// A block's share of a matrix product on tensor cores: pixels by channels, a slice of kDepth at a time.
//
// Left factors lie as [pixels][kDepth] halves, right ones as [kDepth][channels], both swizzled; sums stay in registers.
// Knows fragments and banks; knows nothing of where factors come from or what becomes of the sums.
#pragma once

#include <cstdint>

#include "fastlic/ptx.h"

namespace fastlic {

constexpr int kVector = 8;  // halves in 16 bytes
constexpr int kWarp = 32;

// How a block divides its work over kWarpsM x kWarpsN warps.
template <int kPixels_, int kChannels_, int kDepth_, int kWarpsM, int kWarpsN>
struct MatrixTile {
    static constexpr int kPixels = kPixels_, kChannels = kChannels_, kDepth = kDepth_;
    static constexpr int kThreads = kWarp * kWarpsM * kWarpsN;
    static constexpr int kWarpPixels = kPixels / kWarpsM;
    static constexpr int kWarpChannels = kChannels / kWarpsN;
    static constexpr int kRowBlocks = kWarpPixels / 16;
    static constexpr int kColumnBlocks = kWarpChannels / 16;
    static constexpr int kDepthChunks = kDepth / kVector;
    static constexpr int kChannelChunks = kChannels / kVector;
    static constexpr int kLeftSize = kPixels * kDepth;  // halves of a slice
    static constexpr int kRightSize = kDepth * kChannels;
    static constexpr int kCopies = kRightSize / kVector / kThreads;  // chunks of right factors per thread
    static_assert(kRowBlocks * 16 * kWarpsM == kPixels && kColumnBlocks * 16 * kWarpsN == kChannels, "whole fragments");
    static_assert(kCopies * kThreads * kVector == kRightSize, "every thread copies the same number of chunks");

    // First pixel and channel of the running warp.
    FASTLIC_DEVICE static int warp_pixel() { return static_cast<int>(threadIdx.x) / kWarp / kWarpsN * kWarpPixels; }
    FASTLIC_DEVICE static int warp_channel() { return static_cast<int>(threadIdx.x) / kWarp % kWarpsN * kWarpChannels; }
};

// Sums of a thread: of pixels pixel(m) and channels channel(n), channel(n) + 1, at [m / 2][n][2 (m % 2)] and the next.
template <class T>
struct Sums {
    static constexpr int kRows = 2 * T::kRowBlocks, kPairs = 2 * T::kColumnBlocks;
    float value[T::kRowBlocks][kPairs][4];

    FASTLIC_DEVICE static int pixel(int m) {
        return T::warp_pixel() + 8 * m + static_cast<int>(threadIdx.x) % kWarp / 4;
    }
    FASTLIC_DEVICE static int channel(int n) {
        return T::warp_channel() + 8 * n + 2 * (static_cast<int>(threadIdx.x) % 4);
    }
    FASTLIC_DEVICE float low(int m, int n) const { return value[m / 2][n][2 * (m % 2)]; }
    FASTLIC_DEVICE float high(int m, int n) const { return value[m / 2][n][2 * (m % 2) + 1]; }
};

// Where 16-byte chunk `chunk` of a row of kChunks lies, in halves. ldmatrix reads eight rows at one chunk: they must
// lie in different banks, and a row is a multiple of 32 bytes.
template <int kChunks>
FASTLIC_DEVICE int swizzled(int row, int chunk) {
    static_assert(kChunks % 2 == 0, "rows are whole k16 steps");
    int moved = chunk;
    if (kChunks % 8 == 0) {
        moved = chunk ^ (row & 7);
    } else if (kChunks % 4 == 0) {
        moved = chunk ^ (row >> 1 & 3);
    } else {
        moved = chunk ^ (row >> 2 & 1);
    }
    return (row * kChunks + moved) * kVector;
}

// Starts the copy of a slice of a matrix with `stride` columns to shared memory: rows [0, kDepth) from `origin` on,
// zeros beyond `rows` and `columns`. To be completed by ptx::copy_async_wait and a barrier.
template <class T>
FASTLIC_DEVICE void copy_right(const Shared<Half>& right, const Global<const Half>& matrix, int64_t origin, int rows,
                               int columns, int stride) {
#pragma unroll
    for (int i = 0; i < T::kCopies; ++i) {
        const int chunk = static_cast<int>(threadIdx.x) + i * T::kThreads;
        const int k = chunk / T::kChannelChunks, n = chunk % T::kChannelChunks;
        ptx::copy_async(right, swizzled<T::kChannelChunks>(k, n), matrix,
                        origin + static_cast<int64_t>(k) * stride + n * kVector, k < rows && n * kVector < columns);
    }
    ptx::copy_async_commit();
}

// sums += left * right for one slice.
template <class T>
FASTLIC_DEVICE void multiply_slice(Sums<T>& sums, const Shared<Half>& left, const Shared<Half>& right) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int k = 0; k < T::kDepth / 16; ++k) {
        uint32_t a[T::kRowBlocks][4];
#pragma unroll
        for (int m = 0; m < T::kRowBlocks; ++m) {
            ptx::load_matrices(a[m], left,
                               swizzled<T::kDepthChunks>(T::warp_pixel() + 16 * m + lane % 16, 2 * k + lane / 16));
        }
#pragma unroll
        for (int n = 0; n < T::kColumnBlocks; ++n) {
            uint32_t b[4];
            ptx::load_matrices_transposed(
                b, right,
                swizzled<T::kChannelChunks>(16 * k + lane % 16, T::warp_channel() / kVector + 2 * n + lane / 16));
#pragma unroll
            for (int m = 0; m < T::kRowBlocks; ++m) {
                ptx::multiply_add(sums.value[m][2 * n], a[m], b[0], b[1]);
                ptx::multiply_add(sums.value[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

}  // namespace fastlic
