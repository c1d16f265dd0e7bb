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
#include "matrix_tile.h"

namespace fastlic {
namespace {

// The pixels of a block are a tile of the map; kDepth counts input channels of one tap.
template <int kTileRows_, int kTileColumns_, int kChannels, int kDepth, int kWarpsM, int kWarpsN>
struct DeformTile : MatrixTile<kTileRows_ * kTileColumns_, kChannels, kDepth, kWarpsM, kWarpsN> {
    using Base = MatrixTile<kTileRows_ * kTileColumns_, kChannels, kDepth, kWarpsM, kWarpsN>;
    static constexpr int kTileRows = kTileRows_, kTileColumns = kTileColumns_;
    static constexpr int kSamples = kTaps * Base::kPixels;
    static constexpr int kGathers = Base::kLeftSize / kVector / Base::kThreads;  // chunks a thread samples in a step
    static_assert(kGathers * Base::kThreads * kVector == Base::kLeftSize, "every thread has the same number of chunks");
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
    FASTLIC_SHARED(Half, samples, 2 * T::kLeftSize);
    FASTLIC_SHARED(Half, factors, 2 * T::kRightSize);
    FASTLIC_SHARED(PackedWeights, interpolation, T::kSamples);
    FASTLIC_SHARED(int32_t, corners, T::kSamples);

    const int thread = static_cast<int>(threadIdx.x);
    const int C = shape.in_channels, N = shape.out_channels;
    const int first_channel = static_cast<int>(blockIdx.y) * T::kChannels;
    const int64_t map = static_cast<int64_t>(blockIdx.z) * shape.height * shape.width;  // pixels before this map
    const PixelTile<T::kTileRows, T::kTileColumns> tile(static_cast<int>(blockIdx.x), shape.width);
    const Global<const Half> x(x_pointer), weight(weight_pointer), offsets(offsets_pointer);
    const Global<const Half> mask(shape.mask_stride > 0 ? mask_pointer : offsets_pointer);

    const auto read_offset = [&](int64_t pixel, int tap) {
        const auto pair = offsets.load_as<uint32_t>(pixel * shape.offset_stride + 2 * tap);
        const float modulation =
            shape.mask_stride > 0 ? ptx::float_from_half(mask.load(pixel * shape.mask_stride + tap)) : 1.0f;
        return Offset{ptx::float_from_half({static_cast<uint16_t>(pair)}),
                      ptx::float_from_half({static_cast<uint16_t>(pair >> 16)}), modulation};
    };
    const auto keep_sample = [&](int i, const Sample& sample) {
        Half weights[4];
        for (int corner = 0; corner < 4; ++corner) weights[corner] = ptx::half_from_float(sample.weight[corner]);
        corners.store(i, sample.corner);
        interpolation.store(i, PackedWeights{{ptx::half2_from_halves(weights[0], weights[1]),
                                              ptx::half2_from_halves(weights[2], weights[3])}});
    };
    sample_tile<T::kPixels, T::kThreads>(tile, shape, map, read_offset, keep_sample);

    Neighbours ahead[T::kGathers];
    const auto copy_weights = [&](int tap, int slice, int stage) {
        const int c = slice * T::kDepth;
        copy_right<T>(factors + stage * T::kRightSize, weight, (static_cast<int64_t>(tap) * C + c) * N + first_channel,
                      C - c, N - first_channel, N);
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
            samples.store_as(stage * T::kLeftSize + swizzled<T::kDepthChunks>(pixel, chunk % T::kDepthChunks),
                             interpolate(ahead[i], packed.pair));
        }
    };

    Sums<T> sums = {};
    const int slices = (C + T::kDepth - 1) / T::kDepth;
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
        multiply_slice<T>(sums, samples + stage * T::kLeftSize, factors + stage * T::kRightSize);
        if (!last) {
            finish_samples(tap, stage ^ 1);
            ptx::copy_async_wait<0>();
        }
        __syncthreads();
    }

    const Global<const Half> bias(bias_pointer);
    const Global<Half> y(y_pointer);
#pragma unroll
    for (int n = 0; n < Sums<T>::kPairs; ++n) {
        const int channel = first_channel + Sums<T>::channel(n);
        if (channel >= N) continue;
        const auto pair = bias.load_as<uint32_t>(channel);
        const float bias_low = ptx::float_from_half({static_cast<uint16_t>(pair)});
        const float bias_high = ptx::float_from_half({static_cast<uint16_t>(pair >> 16)});
#pragma unroll
        for (int m = 0; m < Sums<T>::kRows; ++m) {
            const int py = tile.y(Sums<T>::pixel(m)), px = tile.x(Sums<T>::pixel(m));
            if (py >= shape.height || px >= shape.width) continue;
            const float low = sums.low(m, n) + bias_low, high = sums.high(m, n) + bias_high;
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
        fastlic::deform_conv2d<fastlic::DeformTile<rows, columns, channels, depth, warps_m, warps_n>>(                \
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
