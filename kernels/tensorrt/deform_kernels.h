// Enqueue a deform_conv2d kernel: the seam between the plugin, which knows TensorRT, and the kernels, which do not.
#pragma once

#include <cuda_runtime_api.h>

#include "deform_launch.h"

namespace fastlic::tensorrt {

// Arguments in the kernels' order; the comment at the top of kernels/cuda/deform_conv2d.cu is their contract.
struct DeformArguments {
    const void *x, *offsets, *mask, *weight, *bias;
    int32_t height, width, in_channels, out_channels, offset_stride, mask_stride, slope;
    void* y;
};

// Returns what the CUDA runtime says of the launch.
cudaError_t enqueue_deform_conv2d(const DeformLaunch& launch, DeformArguments arguments, cudaStream_t stream);

}  // namespace fastlic::tensorrt
