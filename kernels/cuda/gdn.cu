// (Inverse) generalised divisive normalisation and the addition of a shortcut, in one launch, on tensor cores.
//
//   in   x         half [pixels][N]
//        gamma     half [N][N], of input channel and output channel, not negative
//        beta      float [N], positive
//        residual  half [pixels][N]; has_residual 0: not read, any pointer will do
//   out  y         half [pixels][N]: x / sqrt(beta + sum of gamma x^2), or x * sqrt(...) when inverse, plus residual
// N is a multiple of 8, at most the instance's channels. Pointers are aligned to 16 bytes.
//
// Squares are factors in half, which holds 2^-24 to 65504: each pixel is scaled by the power of two that brings its
// largest magnitude to [2^6, 2^7), and the sum is scaled back in float. A warp takes whole pixels, so that its maximum
// is five shuffles; then the block multiplies as in deform_conv2d.cu, with all squares in shared memory. Launch: grid
// ceil(pixels / tile), 128 threads, static shared memory. Twin: twins.gdn.
#include "matrix_tile.h"

namespace fastlic {
namespace {

constexpr int kLargestExponent = 6;  // of scaled magnitudes: squares stay below 2^14
constexpr int kLeastExponent = -24;  // of a half
constexpr unsigned kAllLanes = 0xffffffffu;

template <int kPixels, int kChannels, int kDepth, int kWarpsM, int kWarpsN>
struct GdnTile : MatrixTile<kPixels, kChannels, kDepth, kWarpsM, kWarpsN> {
    static constexpr int kSlices = kChannels / kDepth;
    static_assert(kSlices * kDepth == kChannels, "whole slices");
    static_assert(kChannels <= kWarp * kVector, "a warp holds a pixel");
};

FASTLIC_DEVICE float half_of(const Vector16& vector, int i) {
    return ptx::float_from_half({static_cast<uint16_t>(vector.word[i / 2] >> 16 * (i % 2))});
}

// 2^-exponent that brings `largest` to [2^6, 2^7); infinity and NaN keep what they are.
FASTLIC_DEVICE float scale_of(float largest) {
    const int exponent = (__float_as_int(largest) >> 23) - 127;
    const int used = exponent < kLeastExponent ? kLeastExponent : exponent;
    return __int_as_float((127 + kLargestExponent - used) << 23);
}

template <class T>
FASTLIC_DEVICE void gdn(const Half* x_pointer, const Half* gamma_pointer, const float* beta_pointer,
                        const Half* residual_pointer, int32_t pixels, int32_t N, bool inverse, bool has_residual,
                        Half* y_pointer) {
    FASTLIC_SHARED(Half, squares, T::kSlices * T::kLeftSize);
    FASTLIC_SHARED(Half, factors, 2 * T::kRightSize);
    FASTLIC_SHARED(float, scales, T::kPixels);
    const Global<const Half> x(x_pointer), gamma(gamma_pointer);
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const int first_pixel = static_cast<int>(blockIdx.x) * T::kPixels;
    const int slices = (N + T::kDepth - 1) / T::kDepth;

    copy_right<T>(factors, gamma, 0, N, N, N);
#pragma unroll 4
    for (int p = warp; p < T::kPixels; p += T::kThreads / kWarp) {
        const int channel = lane * kVector;
        const bool here = first_pixel + p < pixels && channel < N;
        const Vector16 own = ptx::load_or_zero(x, static_cast<int64_t>(first_pixel + p) * N + channel, here);
        float largest = 0.0f;
#pragma unroll
        for (int i = 0; i < kVector; ++i) largest = fmaxf(largest, fabsf(half_of(own, i)));
#pragma unroll
        for (int bits = kWarp / 2; bits > 0; bits /= 2) {
            largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, bits));
        }
        const float scale = scale_of(largest);
        if (lane == 0) scales.store(p, scale);
        if (channel < T::kChannels) {
            Vector16 out;
#pragma unroll
            for (int w = 0; w < 4; ++w) {
                const float low = half_of(own, 2 * w) * scale, high = half_of(own, 2 * w + 1) * scale;
                out.word[w] =
                    ptx::half2_from_halves(ptx::half_from_float(low * low), ptx::half_from_float(high * high));
            }
            squares.store_as(
                channel / T::kDepth * T::kLeftSize + swizzled<T::kDepthChunks>(p, channel % T::kDepth / kVector), out);
        }
    }

    Sums<T> sums = {};
    for (int slice = 0; slice < slices; ++slice) {
        ptx::copy_async_wait<0>();
        __syncthreads();  // this slice of gamma is there; the one before has been read
        const int next = slice + 1;
        if (next < slices) {
            copy_right<T>(factors + (next & 1) * T::kRightSize, gamma, static_cast<int64_t>(next) * T::kDepth * N,
                          N - next * T::kDepth, N, N);
        }
        multiply_slice<T>(sums, squares + slice * T::kLeftSize, factors + (slice & 1) * T::kRightSize);
    }

    const Global<const float> beta(beta_pointer);
    const Global<const Half> residual(has_residual ? residual_pointer : x_pointer);
    const Global<Half> y(y_pointer);
#pragma unroll
    for (int m = 0; m < Sums<T>::kRows; ++m) {
        const int p = Sums<T>::pixel(m);
        if (first_pixel + p >= pixels) continue;
        const float scale = scales.load(p);
        const float back = 1.0f / (scale * scale);  // a power of two: exact
#pragma unroll
        for (int n = 0; n < Sums<T>::kPairs; ++n) {
            const int channel = Sums<T>::channel(n);
            if (channel >= N) continue;
            const int64_t at = static_cast<int64_t>(first_pixel + p) * N + channel;
            const auto inputs = x.load_as<uint32_t>(at);
            const auto added = has_residual ? residual.load_as<uint32_t>(at) : 0u;
            uint32_t out = 0;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const float power = beta.load(channel + i) + (i == 0 ? sums.low(m, n) : sums.high(m, n)) * back;
                const float input = ptx::float_from_half({static_cast<uint16_t>(inputs >> 16 * i)});
                const float shortcut = ptx::float_from_half({static_cast<uint16_t>(added >> 16 * i)});
                const float normalised = input * (inverse ? sqrtf(power) : rsqrtf(power));
                out |= static_cast<uint32_t>(ptx::half_from_float(normalised + shortcut).bits) << 16 * i;
            }
            y.store_as(at, out);
        }
    }
}

}  // namespace
}  // namespace fastlic

// name, pixels, channels, depth, warps over pixels, warps over channels
#define FASTLIC_GDN(name, tile_pixels, tile_channels, depth, warps_m, warps_n)                                     \
    extern "C" __global__ void __launch_bounds__(32 * (warps_m) * (warps_n), 2)                                    \
        name(const fastlic::Half* x, const fastlic::Half* gamma, const float* beta, const fastlic::Half* residual, \
             int32_t pixels, int32_t channels, int32_t inverse, int32_t has_residual, fastlic::Half* y) {          \
        fastlic::gdn<fastlic::GdnTile<tile_pixels, tile_channels, depth, warps_m, warps_n>>(                       \
            x, gamma, beta, residual, pixels, channels, inverse != 0, has_residual != 0, y);                       \
    }

FASTLIC_GDN(gdn_f16_64x64, 64, 64, 32, 2, 2)
FASTLIC_GDN(gdn_f16_64x96, 64, 96, 32, 2, 2)
FASTLIC_GDN(gdn_f16_64x128, 64, 128, 32, 2, 2)
FASTLIC_GDN(gdn_f16_32x192, 32, 192, 32, 1, 4)
FASTLIC_GDN(gdn_f16_32x256, 32, 256, 16, 1, 4)
