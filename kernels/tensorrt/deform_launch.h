// Which deform_conv2d kernel to launch for a shape, and in what grid: kernels/cuda/launch.py in C++.
//
// Knows names, tiles and grids; knows nothing of TensorRT or CUDA. Twin: launch.deform_conv2d; test_tensorrt_plugin.py
// compares the two.
#pragma once

#include <cstdint>

namespace fastlic::tensorrt {

constexpr int kTileColumns = 8;
constexpr int kTaps = 9;
constexpr int64_t kMaxPixels = (int64_t{1} << 26) - 1;
constexpr int kMaxBatch = 65535;
constexpr int kMaxOutChannels = 256;

// Maps of one call: sizes in pixels and channels.
struct DeformMaps {
    int64_t batch, height, width, in_channels, out_channels;
};

// One instance: its tile of rows x 8 pixels and channels, threads of a block.
struct DeformInstance {
    const char* kernel;
    int rows, channels, threads;
    bool half;
};

// In ascending order of channels; the last but one computes small maps in half precision, the last everything in float.
constexpr DeformInstance kDeformInstances[] = {
    {"deform_conv2d_f16_8x8x64", 8, 64, 128, true},   {"deform_conv2d_f16_8x8x96", 8, 96, 128, true},
    {"deform_conv2d_f16_8x8x128", 8, 128, 128, true}, {"deform_conv2d_f16_8x8x192", 8, 192, 256, true},
    {"deform_conv2d_f16_8x8x256", 8, 256, 256, true}, {"deform_conv2d_f16_2x8x64", 2, 64, 128, true},
    {"deform_conv2d_f32_8x8x64", 8, 64, 128, false},
};
constexpr int kWholeInstances = 5, kSmallInstance = 5, kFloatInstance = 6;

struct DeformLaunch {
    int instance;  // of kDeformInstances
    uint32_t grid[3];
};

constexpr int64_t divided_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Whether a kernel can compute this at all.
inline bool deform_is_supported(const DeformMaps& maps) {
    return maps.in_channels > 0 && maps.in_channels % 8 == 0 && maps.out_channels > 0 && maps.out_channels % 8 == 0 &&
           maps.out_channels <= kMaxOutChannels && maps.height > 0 && maps.width > 0 && maps.batch > 0 &&
           maps.batch <= kMaxBatch && maps.height * maps.width <= kMaxPixels;
}

inline DeformLaunch deform_launch_of(int instance, const DeformMaps& maps) {
    const DeformInstance& chosen = kDeformInstances[instance];
    const int64_t tiles = divided_up(maps.height, chosen.rows) * divided_up(maps.width, kTileColumns);
    return {instance,
            {static_cast<uint32_t>(tiles), static_cast<uint32_t>(divided_up(maps.out_channels, chosen.channels)),
             static_cast<uint32_t>(maps.batch)}};
}

// The launch for maps that are supported. One block has all output channels of its pixels, so that they are sampled
// once; a map with too few tiles to occupy the device is cut into smaller ones, and its channels into slices of 64.
inline DeformLaunch deform_launch(const DeformMaps& maps, bool half, int multiprocessors) {
    if (!half) return deform_launch_of(kFloatInstance, maps);
    int instance = 0;
    while (instance + 1 < kWholeInstances && kDeformInstances[instance].channels < maps.out_channels) ++instance;
    const DeformLaunch whole = deform_launch_of(instance, maps);
    const bool occupies = static_cast<int64_t>(whole.grid[0]) * maps.batch >= multiprocessors;
    return occupies ? whole : deform_launch_of(kSmallInstance, maps);
}

}  // namespace fastlic::tensorrt
