// Deformable 3x3 convolution, stride 1, padding 1, in one launch: samples, products on tensor cores, bias, LeakyReLU.
//
//   in   x        half [batch][height][width][C]
//        offsets  half [batch][height][width][offset_stride], pairs (dy, dx) per tap, taps row by row; even stride
//        mask     half [batch][height][width][mask_stride]; mask_stride 0: not read, any pointer will do
//        weight   half [9][C][N]
//        bias     half [N]
//   out  y        half [batch][height][width][N], sums in float, rounded once
// C and N are multiples of 8, N at most the instance's channels times the grid's y. slope: the bits of LeakyReLU's
// float slope, 1.0 for none. Pointers are aligned to 16 bytes.
//
// An implicit matrix product [pixels][9 C] x [9 C][N]: each step takes kDepth channels of one tap. The samples of the
// next step are under way in registers, its weights by cp.async, while tensor cores work on this one; one barrier a
// step. Interpolation is in half, as the plain formula's is, with fused additions: never more roundings than it has.
// Launch: grid (tiles, ceil(N / channels), batch), static shared memory; names and shapes in launch.py.
// Twin: twins.deform_conv2d.
#include "deform_sampling.h"
#include "fastlic/ptx.h"

namespace fastlic {
namespace {

constexpr int kVector = 8;  // halves in 16 bytes
constexpr int kWarp = 32;

// Where 16-byte chunk `chunk` of a row of kChunks lies, in halves. ldmatrix reads eight rows at one chunk: they must
// lie in different banks, and a row is a multiple of 64 bytes.
template <int kChunks>
FASTLIC_DEVICE int swizzled(int row, int chunk) {
    static_assert(kChunks % 4 == 0, "rows fill half of the banks or all of them");
    const int moved = kChunks % 8 == 0 ? chunk ^ (row & 7) : chunk ^ (row >> 1 & 3);
    return (row * kChunks + moved) * kVector;
}

// How a block divides its work: pixels by channels, over kWarpsM x kWarpsN warps.
template <int kTileRows_, int kTileColumns_, int kChannels_, int kDepth_, int kWarpsM, int kWarpsN>
struct Tiling {
    static constexpr int kTileRows = kTileRows_, kTileColumns = kTileColumns_;
    static constexpr int kPixels = kTileRows * kTileColumns;
    static constexpr int kChannels = kChannels_;
    static constexpr int kDepth = kDepth_;  // input channels per step
    static constexpr int kWarpsAcross = kWarpsN;
    static constexpr int kThreads = kWarp * kWarpsM * kWarpsN;
    static constexpr int kWarpPixels = kPixels / kWarpsM;
    static constexpr int kWarpChannels = kChannels / kWarpsN;
    static constexpr int kRowBlocks = kWarpPixels / 16;
    static constexpr int kColumnBlocks = kWarpChannels / 16;
    static constexpr int kDepthChunks = kDepth / kVector;
    static constexpr int kChannelChunks = kChannels / kVector;
    static constexpr int kGathers = kPixels * kDepthChunks / kThreads;  // chunks each thread samples in a step
    static constexpr int kCopies = kDepth * kChannelChunks / kThreads;  // chunks of weights it copies
    static_assert(kRowBlocks * 16 * kWarpsM == kPixels && kColumnBlocks * 16 * kWarpsN == kChannels, "whole fragments");
    static_assert(kGathers * kThreads == kPixels * kDepthChunks && kCopies * kThreads == kDepth * kChannelChunks,
                  "every thread has the same number of chunks");
    static_assert(2 * 2 * (kPixels + kChannels) * kDepth + 12 * kTaps * kPixels <= 48 * 1024, "static shared memory");
};

// Four neighbours of one sample, eight channels each.
struct Neighbours {
    Vector16 corner[4];
};

// `origin`: the first of the eight channels at the map's first pixel.
FASTLIC_DEVICE Neighbours gather(const Global<const Half>& x, int64_t origin, int32_t corner, int width, int channels) {
    Neighbours neighbours;
    const int64_t first = origin + static_cast<int64_t>(corner >> 4) * channels;
    const int64_t below = static_cast<int64_t>(width) * channels;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        neighbours.corner[i] =
            ptx::load_or_zero(x, first + (i & 1) * channels + (i >> 1) * below, (corner >> i & 1) != 0);
    }
    return neighbours;
}

// `weights`: two pairs of halves, upper then lower neighbours.
FASTLIC_DEVICE Vector16 interpolate(const Neighbours& neighbours, const uint32_t (&weights)[2]) {
    Vector16 result;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
        uint32_t sum = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const uint32_t half = weights[i >> 1] >> 16 * (i & 1) & 0xffff;
            const uint32_t both = half | half << 16;
            sum = i == 0 ? ptx::half2_multiply(neighbours.corner[i].word[w], both)
                         : ptx::half2_fma(neighbours.corner[i].word[w], both, sum);
        }
        result.word[w] = sum;
    }
    return result;
}

struct alignas(8) PackedWeights {
    uint32_t pair[2];
};

template <class T>
FASTLIC_DEVICE void deform_conv2d(const Half* x_pointer, const Half* offsets_pointer, const Half* mask_pointer,
                                  const Half* weight_pointer, const Half* bias_pointer, const DeformShape& shape,
                                  float slope, Half* y_pointer) {
    FASTLIC_SHARED(Half, samples, 2 * T::kPixels * T::kDepth);
    FASTLIC_SHARED(Half, factors, 2 * T::kDepth * T::kChannels);
    FASTLIC_SHARED(PackedWeights, interpolation, kTaps * T::kPixels);
    FASTLIC_SHARED(int32_t, corners, kTaps* T::kPixels);

    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarp, warp = thread / kWarp;
    const int C = shape.in_channels, N = shape.out_channels;
    const int first_channel = static_cast<int>(blockIdx.y) * T::kChannels;
    const int64_t map = static_cast<int64_t>(blockIdx.z) * shape.height * shape.width;  // pixels before this map
    const PixelTile<T::kTileRows, T::kTileColumns> tile(static_cast<int>(blockIdx.x), shape.width);
    const Global<const Half> x(x_pointer), weight(weight_pointer);

    // Positions, once per pixel and tap. Neighbouring threads take neighbouring taps: that is how offsets lie.
    {
        const Global<const Half> offsets(offsets_pointer), mask(shape.mask_stride > 0 ? mask_pointer : offsets_pointer);
        for (int i = thread; i < T::kPixels * kTaps; i += T::kThreads) {
            const int pixel = i / kTaps, tap = i % kTaps;
            const int py = tile.y(pixel), px = tile.x(pixel);
            Sample sample{0, {0.0f, 0.0f, 0.0f, 0.0f}};
            if (py < shape.height && px < shape.width) {
                const int64_t at = map + static_cast<int64_t>(py) * shape.width + px;
                const auto both = offsets.load_as<uint32_t>(at * shape.offset_stride + 2 * tap);
                const float dy = ptx::float_from_half({static_cast<uint16_t>(both)});
                const float dx = ptx::float_from_half({static_cast<uint16_t>(both >> 16)});
                const float modulation =
                    shape.mask_stride > 0 ? ptx::float_from_half(mask.load(at * shape.mask_stride + tap)) : 1.0f;
                sample = sample_at(py - 1 + tap / 3, px - 1 + tap % 3, dy, dx, modulation, shape.height, shape.width);
            }
            corners.store(tap * T::kPixels + pixel, sample.corner);
            const PackedWeights packed{
                {ptx::half2_from_halves(ptx::half_from_float(sample.weight[0]), ptx::half_from_float(sample.weight[1])),
                 ptx::half2_from_halves(ptx::half_from_float(sample.weight[2]),
                                        ptx::half_from_float(sample.weight[3]))}};
            interpolation.store(tap * T::kPixels + pixel, packed);
        }
    }

    const int slices = (C + T::kDepth - 1) / T::kDepth;
    Neighbours ahead[T::kGathers];

    const auto copy_weights = [&](int tap, int slice, int stage) {
#pragma unroll
        for (int i = 0; i < T::kCopies; ++i) {
            const int chunk = thread + i * T::kThreads;
            const int k = chunk / T::kChannelChunks, n_chunk = chunk % T::kChannelChunks;
            const int c = slice * T::kDepth + k, n = first_channel + n_chunk * kVector;
            ptx::copy_async(factors, stage * T::kDepth * T::kChannels + swizzled<T::kChannelChunks>(k, n_chunk), weight,
                            (static_cast<int64_t>(tap) * C + c) * N + n, c < C && n < N);
        }
        ptx::copy_async_commit();
    };
    const auto start_samples = [&](int tap, int slice) {
#pragma unroll
        for (int i = 0; i < T::kGathers; ++i) {
            const int chunk = thread + i * T::kThreads;
            const int pixel = chunk / T::kDepthChunks;
            const int c = slice * T::kDepth + chunk % T::kDepthChunks * kVector;
            const int32_t corner = c < C ? corners.load(tap * T::kPixels + pixel) : 0;
            ahead[i] = gather(x, map * C + c, corner, shape.width, C);
        }
    };
    const auto finish_samples = [&](int tap, int stage) {
#pragma unroll
        for (int i = 0; i < T::kGathers; ++i) {
            const int chunk = thread + i * T::kThreads;
            const int pixel = chunk / T::kDepthChunks;
            const PackedWeights packed = interpolation.load(tap * T::kPixels + pixel);
            samples.store_as(stage * T::kPixels * T::kDepth + swizzled<T::kDepthChunks>(pixel, chunk % T::kDepthChunks),
                             interpolate(ahead[i], packed.pair));
        }
    };

    float sums[T::kRowBlocks][2 * T::kColumnBlocks][4] = {};
    const int warp_pixel = warp / T::kWarpsAcross * T::kWarpPixels;
    const int warp_channel = warp % T::kWarpsAcross * T::kWarpChannels;

    copy_weights(0, 0, 0);
    __syncthreads();  // positions
    start_samples(0, 0);
    finish_samples(0, 0);
    ptx::copy_async_wait<0>();
    __syncthreads();
    for (int tap = 0, slice = 0, stage = 0; tap < kTaps; stage ^= 1) {
        if (++slice == slices) {  // tap and slice are now those of the next step
            slice = 0;
            ++tap;
        }
        const bool last = tap == kTaps;
        if (!last) {
            copy_weights(tap, slice, stage ^ 1);
            start_samples(tap, slice);
        }
#pragma unroll
        for (int k = 0; k < T::kDepth / 16; ++k) {
            uint32_t a[T::kRowBlocks][4];
#pragma unroll
            for (int m = 0; m < T::kRowBlocks; ++m) {
                ptx::load_matrices(a[m], samples,
                                   stage * T::kPixels * T::kDepth +
                                       swizzled<T::kDepthChunks>(warp_pixel + 16 * m + lane % 16, 2 * k + lane / 16));
            }
#pragma unroll
            for (int n = 0; n < T::kColumnBlocks; ++n) {
                uint32_t b[4];
                ptx::load_matrices_transposed(
                    b, factors,
                    stage * T::kDepth * T::kChannels +
                        swizzled<T::kChannelChunks>(16 * k + lane % 16, warp_channel / kVector + 2 * n + lane / 16));
#pragma unroll
                for (int m = 0; m < T::kRowBlocks; ++m) {
                    ptx::multiply_add(sums[m][2 * n], a[m], b[0], b[1]);
                    ptx::multiply_add(sums[m][2 * n + 1], a[m], b[2], b[3]);
                }
            }
        }
        if (!last) {
            finish_samples(tap, stage ^ 1);
            ptx::copy_async_wait<0>();
        }
        __syncthreads();
    }

    const Global<const Half> bias(bias_pointer);
    const Global<Half> y(y_pointer);
#pragma unroll
    for (int n = 0; n < 2 * T::kColumnBlocks; ++n) {
        const int channel = first_channel + warp_channel + 8 * n + 2 * (lane % 4);
        if (channel >= N) continue;
        const uint32_t pair = bias.load_as<uint32_t>(channel);
        const float bias_low = ptx::float_from_half({static_cast<uint16_t>(pair)});
        const float bias_high = ptx::float_from_half({static_cast<uint16_t>(pair >> 16)});
#pragma unroll
        for (int m = 0; m < 2 * T::kRowBlocks; ++m) {
            const int pixel = warp_pixel + 8 * m + lane / 4;
            const int py = tile.y(pixel), px = tile.x(pixel);
            if (py >= shape.height || px >= shape.width) continue;
            const float low = sums[m / 2][n][2 * (m % 2)] + bias_low;
            const float high = sums[m / 2][n][2 * (m % 2) + 1] + bias_high;
            const uint32_t out = ptx::half2_from_halves(ptx::half_from_float(low < 0.0f ? low * slope : low),
                                                        ptx::half_from_float(high < 0.0f ? high * slope : high));
            y.store_as((map + static_cast<int64_t>(py) * shape.width + px) * N + channel, out);
        }
    }
}

}  // namespace
}  // namespace fastlic

// How many blocks a multiprocessor shall hold, which bounds the registers; sm_75 has less shared memory.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define FASTLIC_RESIDENT(blocks) ((blocks) < 3 ? 1 : 2)
#else
#define FASTLIC_RESIDENT(blocks) (blocks)
#endif

// name, tile rows, tile columns, channels, depth, warps over pixels, warps over channels, blocks per multiprocessor
#define FASTLIC_DEFORM_CONV2D(name, rows, columns, channels, depth, warps_m, warps_n, blocks)                         \
    extern "C" __global__ void __launch_bounds__(32 * (warps_m) * (warps_n), FASTLIC_RESIDENT(blocks)) name(          \
        const fastlic::Half* x, const fastlic::Half* offsets, const fastlic::Half* mask, const fastlic::Half* weight, \
        const fastlic::Half* bias, int32_t height, int32_t width, int32_t in_channels, int32_t out_channels,          \
        int32_t offset_stride, int32_t mask_stride, int32_t slope, fastlic::Half* y) {                                \
        fastlic::deform_conv2d<fastlic::Tiling<rows, columns, channels, depth, warps_m, warps_n>>(                    \
            x, offsets, mask, weight, bias,                                                                           \
            fastlic::DeformShape{height, width, in_channels, out_channels, offset_stride, mask_stride},               \
            __int_as_float(slope), y);                                                                                \
    }

FASTLIC_DEFORM_CONV2D(deform_conv2d_f16_8x8x64, 8, 8, 64, 32, 2, 2, 3)
FASTLIC_DEFORM_CONV2D(deform_conv2d_f16_8x8x96, 8, 8, 96, 32, 2, 2, 3)
FASTLIC_DEFORM_CONV2D(deform_conv2d_f16_8x8x128, 8, 8, 128, 32, 2, 2, 3)
FASTLIC_DEFORM_CONV2D(deform_conv2d_f16_8x8x192, 8, 8, 192, 32, 2, 4, 2)
FASTLIC_DEFORM_CONV2D(deform_conv2d_f16_8x8x256, 8, 8, 256, 32, 2, 4, 1)
FASTLIC_DEFORM_CONV2D(deform_conv2d_f16_2x8x64, 2, 8, 64, 64, 1, 4, 4)
