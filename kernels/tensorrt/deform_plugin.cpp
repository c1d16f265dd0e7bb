// Deformable convolution as a TensorRT plugin in a library, for shapes that vary and for trtexec --dynamicPlugins.
//
// The same node, name and ports as the plugin of plugin.py, which needs no library at run time but has fixed shapes:
//   inputs   x (B, C, h, w), offset (B, 18, h, w), mask (the offset again when `masked` is 0), weight (9, C, N),
//            bias (N)
//   output   (B, N, h, w)
//   fields   masked int32 0 or 1, slope int32: the bits of LeakyReLU's float slope
// In half precision maps are HWC8 and in float HWC, which is how the kernels lie in memory; weights are linear.
// Compiled against the headers of TensorRT 10 or 11 alone: nothing of its libraries is linked.
// Rules: docs of IPluginV3, and of trtexec for the two functions at the end.
#include <NvInferRuntime.h>

#include <cstring>
#include <new>
#include <string_view>

#include "deform_kernels.h"

namespace fastlic::tensorrt {
namespace {

using namespace nvinfer1;

constexpr char kName[] = "deform_conv2d", kVersion[] = "1", kNamespace[] = "fastlic";
constexpr int kInputs = 5, kOutputs = 1;
constexpr int kX = 0, kOffset = 1, kMask = 2, kWeight = 3, kBias = 4;
constexpr int kVector = 8;  // channels that HWC8 pads to
constexpr int32_t kFailed = 1;

struct Fields {
    int32_t masked = 0;
    int32_t slope = 0x3f800000;  // 1.0f
};

// Numbers per pixel of a map with its channels last.
int32_t stride_of(const PluginTensorDesc& map) {
    const auto channels = static_cast<int32_t>(map.dims.d[1]);
    return map.format == TensorFormat::kHWC8 ? static_cast<int32_t>(divided_up(channels, kVector)) * kVector : channels;
}

class DeformPlugin final : public IPluginV3,
                           public IPluginV3OneCore,
                           public IPluginV3OneBuild,
                           public IPluginV3OneRuntime {
   public:
    explicit DeformPlugin(const Fields& fields) : fields_(fields) {
        serialized_[0] = PluginField("masked", &fields_.masked, PluginFieldType::kINT32, 1);
        serialized_[1] = PluginField("slope", &fields_.slope, PluginFieldType::kINT32, 1);
        collection_ = {2, serialized_};
    }
    DeformPlugin(const DeformPlugin& other) : DeformPlugin(other.fields_) { multiprocessors_ = other.multiprocessors_; }

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
        switch (type) {
            case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
            case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
            case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }
    IPluginV3* clone() noexcept override { return new (std::nothrow) DeformPlugin(*this); }

    const char* getPluginName() const noexcept override { return kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

    int32_t getNbOutputs() const noexcept override { return kOutputs; }
    int32_t configurePlugin(const DynamicPluginTensorDesc*, int32_t, const DynamicPluginTensorDesc*,
                            int32_t) noexcept override {
        return 0;
    }
    int32_t getOutputDataTypes(DataType* outputs, int32_t output_count, const DataType* inputs,
                               int32_t input_count) const noexcept override {
        if (input_count != kInputs || output_count != kOutputs) return kFailed;
        outputs[0] = inputs[kX];
        return 0;
    }
    int32_t getOutputShapes(const DimsExprs* inputs, int32_t input_count, const DimsExprs*, int32_t, DimsExprs* outputs,
                            int32_t output_count, IExprBuilder&) noexcept override {
        if (input_count != kInputs || output_count != kOutputs) return kFailed;
        if (inputs[kX].nbDims != 4 || inputs[kWeight].nbDims != 3) return kFailed;
        outputs[0] = inputs[kX];
        outputs[0].d[1] = inputs[kWeight].d[2];
        return 0;
    }
    bool supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* tensors, int32_t,
                                   int32_t) noexcept override {
        const PluginTensorDesc &x = tensors[kX].desc, &tensor = tensors[position].desc;
        const bool half = x.type == DataType::kHALF;
        if (tensor.type != x.type || (!half && x.type != DataType::kFLOAT)) return false;
        if (position == kWeight || position == kBias) return tensor.format == TensorFormat::kLINEAR;
        return tensor.format == (half ? TensorFormat::kHWC8 : TensorFormat::kHWC);
    }

    int32_t onShapeChange(const PluginTensorDesc* inputs, int32_t, const PluginTensorDesc*, int32_t) noexcept override {
        return deform_is_supported(maps_of(inputs)) ? 0 : kFailed;
    }
    int32_t enqueue(const PluginTensorDesc* inputs, const PluginTensorDesc*, const void* const* from, void* const* to,
                    void*, cudaStream_t stream) noexcept override {
        const DeformMaps maps = maps_of(inputs);
        const bool half = inputs[kX].type == DataType::kHALF;
        const DeformArguments arguments{from[kX],
                                        from[kOffset],
                                        from[kMask],
                                        from[kWeight],
                                        from[kBias],
                                        static_cast<int32_t>(maps.height),
                                        static_cast<int32_t>(maps.width),
                                        static_cast<int32_t>(maps.in_channels),
                                        static_cast<int32_t>(maps.out_channels),
                                        stride_of(inputs[kOffset]),
                                        fields_.masked ? stride_of(inputs[kMask]) : 0,
                                        fields_.slope,
                                        to[0]};
        const DeformLaunch launch = deform_launch(maps, half, multiprocessors_);
        return enqueue_deform_conv2d(launch, arguments, stream) == cudaSuccess ? 0 : kFailed;
    }
    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override {
        auto* attached = static_cast<DeformPlugin*>(clone());
        int device = 0;
        if (attached != nullptr && cudaGetDevice(&device) == cudaSuccess) {
            cudaDeviceGetAttribute(&attached->multiprocessors_, cudaDevAttrMultiProcessorCount, device);
        }
        return attached;
    }
    const PluginFieldCollection* getFieldsToSerialize() noexcept override { return &collection_; }

   private:
    static DeformMaps maps_of(const PluginTensorDesc* inputs) {
        const Dims &x = inputs[kX].dims, &weight = inputs[kWeight].dims;
        return {x.d[0], x.d[2], x.d[3], x.d[1], weight.d[2]};
    }

    Fields fields_;
    int multiprocessors_ = 1;
    PluginField serialized_[2];
    PluginFieldCollection collection_{};
};

class DeformCreator final : public IPluginCreatorV3One {
   public:
    IPluginV3* createPlugin(const char*, const PluginFieldCollection* given, TensorRTPhase) noexcept override {
        Fields fields;
        for (int32_t i = 0; given != nullptr && i < given->nbFields; ++i) {
            const PluginField& field = given->fields[i];
            const std::string_view name(field.name);
            int32_t* target = name == "masked" ? &fields.masked : name == "slope" ? &fields.slope : nullptr;
            if (target != nullptr && field.data != nullptr) std::memcpy(target, field.data, sizeof *target);
        }
        return new (std::nothrow) DeformPlugin(fields);
    }
    const PluginFieldCollection* getFieldNames() noexcept override {
        static const PluginField names[] = {PluginField("masked", nullptr, PluginFieldType::kINT32, 1),
                                            PluginField("slope", nullptr, PluginFieldType::kINT32, 1)};
        static const PluginFieldCollection collection{2, names};
        return &collection;
    }
    const char* getPluginName() const noexcept override { return kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }
};

}  // namespace
}  // namespace fastlic::tensorrt

#if defined(_WIN32)
#define FASTLIC_EXPORT extern "C" __declspec(dllexport)
#else
#define FASTLIC_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// What TensorRT calls when it loads the library; nothing here logs.
FASTLIC_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder*) {}

FASTLIC_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static fastlic::tensorrt::DeformCreator creator;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
    count = 1;
    return creators;
}
