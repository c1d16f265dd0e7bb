// The kernels of kernels/cuda by number. They are compiled on their own; here are only their C names.
#include "deform_kernels.h"

#define FASTLIC_DEFORM_KERNELS(apply)  \
    apply(deform_conv2d_f16_8x8x64)    \
    apply(deform_conv2d_f16_8x8x96)    \
    apply(deform_conv2d_f16_8x8x128)   \
    apply(deform_conv2d_f16_8x8x192)   \
    apply(deform_conv2d_f16_8x8x256)   \
    apply(deform_conv2d_f16_2x8x64)    \
    apply(deform_conv2d_f32_8x8x64)

#define FASTLIC_DECLARE(name)                                                                                      \
    extern "C" __global__ void name(const void*, const void*, const void*, const void*, const void*, int32_t,      \
                                    int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, void*);
#define FASTLIC_ADDRESS(name) reinterpret_cast<const void*>(name),

FASTLIC_DEFORM_KERNELS(FASTLIC_DECLARE)

namespace fastlic::tensorrt {

cudaError_t enqueue_deform_conv2d(const DeformLaunch& launch, DeformArguments arguments, cudaStream_t stream) {
    static const void* const kernels[] = {FASTLIC_DEFORM_KERNELS(FASTLIC_ADDRESS)};
    static_assert(sizeof(kernels) / sizeof(*kernels) == sizeof(kDeformInstances) / sizeof(*kDeformInstances),
                  "one kernel per instance, in the same order");
    DeformArguments& a = arguments;
    void* values[] = {&a.x,           &a.offsets,      &a.mask,          &a.weight,      &a.bias,  &a.height, &a.width,
                      &a.in_channels, &a.out_channels, &a.offset_stride, &a.mask_stride, &a.slope, &a.y};
    const dim3 grid(launch.grid[0], launch.grid[1], launch.grid[2]);
    const dim3 block(static_cast<unsigned>(kDeformInstances[launch.instance].threads));
    return cudaLaunchKernel(kernels[launch.instance], grid, block, values, 0, stream);
}

}  // namespace fastlic::tensorrt
