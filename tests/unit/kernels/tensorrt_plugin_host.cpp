// Drive the plugin library's creator and plugin as TensorRT does, without a GPU: launches are printed instead of made.
// Compiled by test_tensorrt_plugin.py together with deform_plugin.cpp against TensorRT's public headers.
#include <NvInferRuntime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "deform_kernels.h"

using namespace nvinfer1;

extern "C" IPluginCreatorInterface* const* getCreators(int32_t& count);

static int multiprocessors = 1;

cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = multiprocessors, cudaSuccess; }

namespace fastlic::tensorrt {
cudaError_t enqueue_deform_conv2d(const DeformLaunch& launch, DeformArguments a, cudaStream_t stream) {
    std::printf("launch %s %u %u %u %d", kDeformInstances[launch.instance].kernel, launch.grid[0], launch.grid[1],
                launch.grid[2], kDeformInstances[launch.instance].threads);
    std::printf(" scalars %d %d %d %d %d %d %d", a.height, a.width, a.in_channels, a.out_channels, a.offset_stride,
                a.mask_stride, a.slope);
    std::printf(" pointers %ld %ld %ld %ld %ld %ld %ld\n", (long)a.x, (long)a.offsets, (long)a.mask, (long)a.weight,
                (long)a.bias, (long)a.y, (long)stream);
    return cudaSuccess;
}
}  // namespace fastlic::tensorrt

static DynamicPluginTensorDesc described(DataType type, TensorFormat format, std::initializer_list<int64_t> sizes) {
    DynamicPluginTensorDesc result{};
    result.desc.type = type;
    result.desc.format = format;
    for (int64_t size : sizes) result.desc.dims.d[result.desc.dims.nbDims++] = size;
    return result;
}

// The plugin needs no arithmetic on extents, so this has none.
class NoExpressions : public IExprBuilder {};

// batch height width in_channels out_channels half masked multiprocessors
int main(int count, char** words) {
    long n[8];
    for (int i = 0; i < 8 && i + 1 < count; ++i) n[i] = std::atol(words[i + 1]);
    const bool half = n[5] != 0;
    multiprocessors = static_cast<int>(n[7]);

    int32_t creators = 0;
    auto* creator = static_cast<IPluginCreatorV3One*>(getCreators(creators)[0]);
    std::printf("creator %d %s %s %s", creators, creator->getPluginName(), creator->getPluginVersion(),
                creator->getPluginNamespace());
    const PluginFieldCollection* names = creator->getFieldNames();
    for (int32_t i = 0; i < names->nbFields; ++i) std::printf(" %s", names->fields[i].name);
    std::printf("\n");

    const int32_t masked = static_cast<int32_t>(n[6]), slope = 0x3e800000;
    const PluginField fields[] = {PluginField("masked", &masked, PluginFieldType::kINT32, 1),
                                  PluginField("slope", &slope, PluginFieldType::kINT32, 1)};
    const PluginFieldCollection given{2, fields};
    IPluginV3* made = creator->createPlugin("p", &given, TensorRTPhase::kBUILD);
    // What TensorRT does with an engine: serialise the fields, and make the plugin of them again.
    auto* runtime = static_cast<IPluginV3OneRuntime*>(made->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    IPluginV3* again = creator->createPlugin("p", runtime->getFieldsToSerialize(), TensorRTPhase::kRUNTIME);
    auto* build = static_cast<IPluginV3OneBuild*>(made->getCapabilityInterface(PluginCapabilityType::kBUILD));

    const DataType type = half ? DataType::kHALF : DataType::kFLOAT;
    const TensorFormat formats[] = {TensorFormat::kLINEAR, TensorFormat::kHWC8, TensorFormat::kHWC};
    for (int position = 0; position < 6; ++position) {
        for (TensorFormat format : formats) {
            DynamicPluginTensorDesc tensors[6];
            for (auto& tensor : tensors) tensor = described(type, TensorFormat::kLINEAR, {1});
            tensors[position].desc.format = format;
            if (build->supportsFormatCombination(position, tensors, 5, 1)) {
                std::printf("format %d %d\n", position, static_cast<int>(format));
            }
        }
    }
    DataType out = DataType::kBOOL;
    const DataType types[] = {type, type, type, type, type};
    const int32_t typed = build->getOutputDataTypes(&out, 1, types, 5);
    std::printf("type %d %d\n", typed, out == type);
    DimsExprs symbols[5], shape;
    const char letters[] = "BChw" "BOhw" "BMhw" "9CN." "N...";  // what stands for an extent: the address of its letter
    for (int i = 0; i < 5; ++i) {
        symbols[i].nbDims = i < 3 ? 4 : i == 3 ? 3 : 1;
        for (int j = 0; j < 4; ++j) symbols[i].d[j] = reinterpret_cast<const IDimensionExpr*>(letters + 4 * i + j);
    }
    NoExpressions none;
    const int32_t shaped = build->getOutputShapes(symbols, 5, nullptr, 0, &shape, 1, none);
    std::printf("shape %d ", shaped);
    for (int i = 0; i < shape.nbDims; ++i) std::putchar(*reinterpret_cast<const char*>(shape.d[i]));
    std::printf("\n");

    const TensorFormat map = half ? TensorFormat::kHWC8 : TensorFormat::kHWC;
    const int64_t offsets = 18, masks = masked ? 9 : offsets;
    const DynamicPluginTensorDesc tensors[] = {
        described(type, map, {n[0], n[3], n[1], n[2]}),    described(type, map, {n[0], offsets, n[1], n[2]}),
        described(type, map, {n[0], masks, n[1], n[2]}),   described(type, TensorFormat::kLINEAR, {9, n[3], n[4]}),
        described(type, TensorFormat::kLINEAR, {n[4]}),
    };
    PluginTensorDesc plain[5];
    for (int i = 0; i < 5; ++i) plain[i] = tensors[i].desc;
    IPluginV3* attached = static_cast<IPluginV3OneRuntime*>(
                              again->getCapabilityInterface(PluginCapabilityType::kRUNTIME))->attachToContext(nullptr);
    auto* running = static_cast<IPluginV3OneRuntime*>(attached->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    const int32_t accepted = running->onShapeChange(plain, 5, nullptr, 0);
    std::printf("accepted %d\n", accepted);
    if (accepted == 0) {
        const void* from[] = {(void*)1, (void*)2, (void*)3, (void*)4, (void*)5};
        void* to[] = {(void*)6};
        std::printf("enqueued %d\n", running->enqueue(plain, nullptr, from, to, nullptr, (cudaStream_t)7));
    }
}
