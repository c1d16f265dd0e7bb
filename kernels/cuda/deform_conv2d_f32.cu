// Deformable 3x3 convolution, stride 1, padding 1, in float: deform_conv2d.cu for graphs that stay in float.
//
//   in   x        float [batch][height][width][C]
//        offsets  float [batch][height][width][offset_stride], pairs (dy, dx) per tap, taps row by row; even stride
//        mask     float [batch][height][width][mask_stride]; mask_stride 0: not read, any pointer will do
//        weight   float [9][C][N]
//        bias     float [N]
//   out  y        float [batch][height][width][N]
// C and N are multiples of 4. slope: the bits of LeakyReLU's float slope, 1.0 for none. Pointers are aligned to
// 16 bytes.
//
// No tensor cores: their float format keeps 10 bits. A thread sums 8 pixels by 4 channels; samples lie transposed so
// that a thread's 8 pixels are two 16-byte loads.
// Launch: grid (tiles, ceil(N / 64), batch), 128 threads, static shared memory. Twin: twins.deform_conv2d.
#include "deform_sampling.h"

namespace fastlic {
namespace {

constexpr int kTileRows = 8, kTileColumns = 8, kPixels = kTileRows * kTileColumns;
constexpr int kChannels = 64;
constexpr int kDepth = 16;  // input channels per step
constexpr int kVector = 4;  // floats in 16 bytes
constexpr int kThreads = 128;
constexpr int kPixelsEach = 8, kChannelsEach = 4;
constexpr int kRow = kPixels + 4;  // of the transposed samples: the padding spreads stores over the banks
static_assert(kPixels * kChannels == kThreads * kPixelsEach * kChannelsEach, "every sum has one thread");
static_assert(kPixels * kDepth % (kVector * kThreads) == 0 && kDepth * kChannels % (kVector * kThreads) == 0,
              "every thread has the same number of chunks");

struct alignas(16) Vector4 {
    float value[4];
};

FASTLIC_DEVICE Vector4 interpolate(const Global<const float>& x, int64_t origin, int32_t corner, const Vector4& weights,
                                   int width, int channels) {
    const int64_t first = origin + static_cast<int64_t>(corner >> 4) * channels;
    const int64_t below = static_cast<int64_t>(width) * channels;
    Vector4 sum{{0.0f, 0.0f, 0.0f, 0.0f}};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if ((corner >> i & 1) == 0) continue;
        const auto neighbour = x.load_as<Vector4>(first + (i & 1) * channels + (i >> 1) * below);
#pragma unroll
        for (int c = 0; c < 4; ++c) sum.value[c] += weights.value[i] * neighbour.value[c];
    }
    return sum;
}

FASTLIC_DEVICE void deform_conv2d(const float* x_pointer, const float* offsets_pointer, const float* mask_pointer,
                                  const float* weight_pointer, const float* bias_pointer, const DeformShape& shape,
                                  float slope, float* y_pointer) {
    FASTLIC_SHARED(float, samples, kDepth* kRow);
    FASTLIC_SHARED(float, factors, kDepth* kChannels);
    FASTLIC_SHARED(Vector4, interpolation, kTaps * kPixels);
    FASTLIC_SHARED(int32_t, corners, kTaps* kPixels);

    const int thread = static_cast<int>(threadIdx.x);
    const int C = shape.in_channels, N = shape.out_channels;
    const int first_channel = static_cast<int>(blockIdx.y) * kChannels;
    const int64_t map = static_cast<int64_t>(blockIdx.z) * shape.height * shape.width;  // pixels before this map
    const PixelTile<kTileRows, kTileColumns> tile(static_cast<int>(blockIdx.x), shape.width);
    const Global<const float> x(x_pointer), weight(weight_pointer), offsets(offsets_pointer), bias(bias_pointer);
    const Global<const float> mask(shape.mask_stride > 0 ? mask_pointer : offsets_pointer);

    const auto read_offset = [&](int64_t pixel, int tap) {
        const int64_t pair = pixel * shape.offset_stride + 2 * tap;
        const float modulation = shape.mask_stride > 0 ? mask.load(pixel * shape.mask_stride + tap) : 1.0f;
        return Offset{offsets.load(pair), offsets.load(pair + 1), modulation};
    };
    const auto keep_sample = [&](int i, const Sample& sample) {
        corners.store(i, sample.corner);
        interpolation.store(i, Vector4{{sample.weight[0], sample.weight[1], sample.weight[2], sample.weight[3]}});
    };
    sample_tile<kPixels, kThreads>(tile, shape, map, read_offset, keep_sample);

    float sums[kPixelsEach][kChannelsEach] = {};
    const int my_pixel = thread / (kChannels / kChannelsEach) * kPixelsEach;
    const int my_channel = thread % (kChannels / kChannelsEach) * kChannelsEach;
    const int slices = (C + kDepth - 1) / kDepth;
    for (int tap = 0; tap < kTaps; ++tap) {
        for (int slice = 0; slice < slices; ++slice) {
            __syncthreads();  // positions are there; the step before has been read
#pragma unroll
            for (int i = 0; i < kPixels * kDepth / kVector / kThreads; ++i) {
                const int chunk = thread + i * kThreads;
                const int pixel = chunk / (kDepth / kVector), k = chunk % (kDepth / kVector) * kVector;
                const int at = tap * kPixels + pixel, c = slice * kDepth + k;
                const Vector4 sampled =
                    interpolate(x, map * C + c, c < C ? corners.load(at) : 0, interpolation.load(at), shape.width, C);
#pragma unroll
                for (int j = 0; j < kVector; ++j) samples.store((k + j) * kRow + pixel, sampled.value[j]);
            }
#pragma unroll
            for (int i = 0; i < kDepth * kChannels / kVector / kThreads; ++i) {
                const int chunk = thread + i * kThreads;
                const int k = chunk / (kChannels / kVector), n = chunk % (kChannels / kVector) * kVector;
                const int c = slice * kDepth + k;
                Vector4 row{{0.0f, 0.0f, 0.0f, 0.0f}};
                if (c < C && first_channel + n < N) {
                    row = weight.load_as<Vector4>((static_cast<int64_t>(tap) * C + c) * N + first_channel + n);
                }
                factors.store_as(k * kChannels + n, row);
            }
            __syncthreads();
#pragma unroll
            for (int k = 0; k < kDepth; ++k) {
                const auto upper = samples.load_as<Vector4>(k * kRow + my_pixel);
                const auto lower = samples.load_as<Vector4>(k * kRow + my_pixel + 4);
                const auto row = factors.load_as<Vector4>(k * kChannels + my_channel);
#pragma unroll
                for (int p = 0; p < kPixelsEach; ++p) {
                    const float sampled = p < 4 ? upper.value[p] : lower.value[p - 4];
#pragma unroll
                    for (int n = 0; n < kChannelsEach; ++n) sums[p][n] += sampled * row.value[n];
                }
            }
        }
    }

    if (first_channel + my_channel >= N) return;
    const Global<float> y(y_pointer);
    const auto added = bias.load_as<Vector4>(first_channel + my_channel);
#pragma unroll
    for (int p = 0; p < kPixelsEach; ++p) {
        const int py = tile.y(my_pixel + p), px = tile.x(my_pixel + p);
        if (py >= shape.height || px >= shape.width) continue;
        Vector4 out;
#pragma unroll
        for (int n = 0; n < kChannelsEach; ++n) {
            const float value = sums[p][n] + added.value[n];
            out.value[n] = value < 0.0f ? value * slope : value;
        }
        y.store_as((map + static_cast<int64_t>(py) * shape.width + px) * N + first_channel + my_channel, out);
    }
}

}  // namespace
}  // namespace fastlic

extern "C" __global__ void __launch_bounds__(128, 4)
    deform_conv2d_f32_8x8x64(const float* x, const float* offsets, const float* mask, const float* weight,
                             const float* bias, int32_t height, int32_t width, int32_t in_channels,
                             int32_t out_channels, int32_t offset_stride, int32_t mask_stride, int32_t slope,
                             float* y) {
    fastlic::deform_conv2d(x, offsets, mask, weight, bias,
                           fastlic::DeformShape{height, width, in_channels, out_channels, offset_stride, mask_stride},
                           __int_as_float(slope), y);
}
