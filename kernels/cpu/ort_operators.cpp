// Gives ONNX Runtime our deformable convolution in place of its own: same operator, same graphs.
//
// An operator registered under ONNX's own domain comes before the built-in one. Nodes of a form that we do not have are
// refused when a session is created, and the engine then creates it without us.
#include "deform_conv2d.h"
#include "ort_abi.h"

#include <exception>
#include <memory>
#include <mutex>
#include <string>

namespace fastlic::ort {
namespace {

const Api* api = nullptr;  // set once, by the first registration; the table is the library's own and constant

template <class Result, class... Arguments>
Result call(Entry entry, Arguments... arguments) {
    return reinterpret_cast<Result (*)(Arguments...)>(api->entries[entry])(arguments...);
}

Status* fail(int code, const std::string& message) {
    return call<Status*>(kCreateStatus, code, message.c_str());
}

// Thrown by value inside this file only.
struct Failure {
    Status* status;
};

void check(Status* status) {
    if (status) throw Failure{status};
}

struct Tensor {
    float* data = nullptr;
    size_t rank = 0;
    int64_t shape[4] = {0, 0, 0, 0};
};

float* data_of(Value* value) {
    void* data = nullptr;
    check(call<Status*>(kGetTensorMutableData, value, &data));
    return static_cast<float*>(data);
}

// The input at `index`; no data where it is absent.
Tensor input(Context* context, size_t index, size_t rank) {
    const Value* value = nullptr;
    check(call<Status*>(kGetInput, static_cast<const Context*>(context), index, &value));
    if (!value) return {};
    Tensor tensor;
    Shape* shape = nullptr;
    check(call<Status*>(kGetTensorTypeAndShape, value, &shape));
    const auto release = [](Shape* held) { call<void>(kReleaseTensorTypeAndShape, held); };
    const std::unique_ptr<Shape, decltype(release)> held(shape, release);
    check(call<Status*>(kGetDimensionsCount, static_cast<const Shape*>(shape), &tensor.rank));
    if (tensor.rank != rank) throw Failure{fail(kInvalidArgument, "DeformConv: an input of another rank")};
    check(call<Status*>(kGetDimensions, static_cast<const Shape*>(shape), &tensor.shape[0], rank));
    tensor.data = data_of(const_cast<Value*>(value));
    return tensor;
}

// Runs f(row) for all rows on the session's threads; f must not throw.
template <class Function>
void for_rows(Context* context, int64_t rows, const Function& f) {
    using Body = void (*)(void*, size_t);
    const Body body = [](void* data, size_t row) { (*static_cast<const Function*>(data))(static_cast<int64_t>(row)); };
    check(call<Status*>(kParallelFor, static_cast<const Context*>(context), body, static_cast<size_t>(rows),
                        static_cast<size_t>(0), const_cast<void*>(static_cast<const void*>(&f))));
}

void compute(Context* context) {
    const Tensor x = input(context, 0, 4), weight = input(context, 1, 4), offset = input(context, 2, 4);
    const Tensor bias = input(context, 3, 1);
    DeformConv2d work;
    work.channels = x.shape[1], work.height = x.shape[2], work.width = x.shape[3];
    work.outputs = weight.shape[0], work.size = weight.shape[2];
    const bool fits = weight.shape[1] == work.channels && weight.shape[3] == work.size && work.size % 2 == 1 &&
                      offset.shape[0] == x.shape[0] && offset.shape[1] == 2 * work.taps() &&
                      offset.shape[2] == work.height && offset.shape[3] == work.width &&
                      (!bias.data || bias.shape[0] == work.outputs);
    if (!fits) throw Failure{fail(kInvalidArgument, "DeformConv: inputs do not fit together")};
    const int64_t shape[4] = {x.shape[0], work.outputs, work.height, work.width};
    Value* output = nullptr;
    check(call<Status*>(kGetOutput, context, static_cast<size_t>(0), &shape[0], static_cast<size_t>(4), &output));
    float* y = data_of(output);
    work.weight = weight.data, work.bias = bias.data;
    if (work.pixels() == 0 || work.outputs == 0) return;
    for (int64_t picture = 0; picture < x.shape[0]; ++picture) {
        work.x = x.data + picture * work.channels * work.pixels();
        work.offset = offset.data + picture * 2 * work.taps() * work.pixels();
        work.y = y + picture * work.outputs * work.pixels();
        DeformWorkspace space(work);
        std::exception_ptr failure;
        std::mutex failing;
        const auto transpose = [&](int64_t row) { transpose_row(work, space, row); };
        const auto deform = [&](int64_t row) {
            try {
                deform_row(work, space, row);
            } catch (...) {  // no memory for a row's sums
                const std::lock_guard<std::mutex> lock(failing);
                failure = std::current_exception();
            }
        };
        for_rows(context, work.height, transpose);
        for_rows(context, work.height, deform);
        if (failure) std::rethrow_exception(failure);
    }
}

Status* compute_checked(void*, Context* context) {
    try {
        compute(context);
        return nullptr;
    } catch (const Failure& failure) {
        return failure.status;
    } catch (const std::exception& failure) {
        return fail(kFail, std::string("DeformConv: ") + failure.what() + " (allocate memory)");
    }
}

// An integer attribute, or `standard` where the node has none.
int64_t attribute(const Info* info, const char* name, int64_t standard) {
    int64_t value = standard;
    if (Status* absent = call<Status*>(kGetAttributeInt, info, name, &value)) {
        call<void>(kReleaseStatus, absent);
        return standard;
    }
    return value;
}

// Whether all entries of a list attribute (absent: `standard`) are `wanted`.
bool all_are(const Info* info, const char* name, int64_t standard, int64_t wanted) {
    int64_t values[4] = {standard, standard, standard, standard};
    size_t count = 4;
    if (Status* absent = call<Status*>(kGetAttributeInts, info, name, &values[0], &count)) {
        call<void>(kReleaseStatus, absent);
        return standard == wanted;
    }
    for (size_t i = 0; i < count && i < 4; ++i)
        if (values[i] != wanted) return false;
    return true;
}

Status* create_checked(const Operator*, const Api*, const Info* info, void** kernel) {
    int64_t sizes[4] = {0, 0, 0, 0};
    size_t count = 4;
    if (Status* absent = call<Status*>(kGetAttributeInts, info, "kernel_shape", &sizes[0], &count)) {
        call<void>(kReleaseStatus, absent);
        return fail(kNotImplemented, "DeformConv: a kernel_shape is needed");
    }
    const bool known = count == 2 && sizes[0] == sizes[1] && sizes[0] % 2 == 1 &&
                       all_are(info, "pads", 0, sizes[0] / 2) && all_are(info, "strides", 1, 1) &&
                       all_are(info, "dilations", 1, 1) && attribute(info, "group", 1) == 1 &&
                       attribute(info, "offset_group", 1) == 1;
    if (!known) return fail(kNotImplemented, "DeformConv: only stride 1, one group and padding that keeps the size");
    *kernel = const_cast<Api*>(api);  // nothing is kept between calls, but null would mean failure
    return nullptr;
}

const Operator deform_conv = {
    16,
    [](const Operator*, const Api*, const Info*) -> void* { return nullptr; },
    [](const Operator*) { return "DeformConv"; },
    [](const Operator*) -> const char* { return nullptr; },
    [](const Operator*, size_t) { return kFloat; },
    [](const Operator*) -> size_t { return 4; },
    [](const Operator*, size_t) { return kFloat; },
    [](const Operator*) -> size_t { return 1; },
    [](void*, Context*) {},
    [](void*) {},
    [](const Operator*, size_t index) { return index == 3 ? kOptional : kRequired; },
    [](const Operator*, size_t) { return kRequired; },
    [](const Operator*, size_t) { return 0; },
    [](const Operator*) { return 1; },
    [](const Operator*) { return 1; },
    [](const Operator*) { return 1; },
    [](const Operator*) { return 1; },
    create_checked,
    compute_checked,
};

}  // namespace
}  // namespace fastlic::ort

#if defined(_WIN32)
#define FASTLIC_EXPORT __declspec(dllexport)
#else
#define FASTLIC_EXPORT __attribute__((visibility("default")))
#endif

// Found by name by ONNX Runtime's SessionOptions.register_custom_ops_library. The domain lives as long as the process,
// as the library that it points into does.
extern "C" FASTLIC_EXPORT fastlic::ort::Status* RegisterCustomOps(
    fastlic::ort::Options* options, const fastlic::ort::ApiBase* base) {
    using namespace fastlic::ort;
    static Domain* domain = nullptr;
    if (!domain) {
        api = base->get_api(kVersion);
        if (!api) return nullptr;  // older than any that fastlic accepts: the built-in operator stays
        if (Status* status = call<Status*>(kCreateCustomOpDomain, "", &domain)) return status;
        if (Status* status = call<Status*>(kCustomOpDomainAdd, domain, &deform_conv)) return status;
    }
    return call<Status*>(kAddCustomOpDomain, options, domain);
}
