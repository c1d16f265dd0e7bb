// ONNX Runtime's DeformConv, by `deform_conv2d.h`.
#include "deform_conv2d.h"
#include "ort_memory.h"
#include "ort_operators.h"

namespace fastlic::ort {
namespace {

void compute(const Nothing&, Context* context) {
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
    float* y = output(context, shape);
    SessionMemory memory(context);
    work.weight = weight.data, work.bias = bias.data, work.memory = &memory;
    if (work.pixels() == 0 || work.outputs == 0) return;
    for (int64_t picture = 0; picture < x.shape[0]; ++picture) {
        work.x = x.data + picture * work.channels * work.pixels();
        work.offset = offset.data + picture * 2 * work.taps() * work.pixels();
        work.y = y + picture * work.outputs * work.pixels();
        DeformWorkspace space(work);
        const auto transpose = [&](int64_t row) { transpose_row(work, space, row); };
        const auto deform = [&](int64_t row) { deform_row(work, space, row); };
        for_rows(context, work.height, transpose);
        for_rows(context, work.height, deform);
    }
}

Status* create(const Info* info, Nothing&) {
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
    return nullptr;
}

}  // namespace

const Operator deform_conv = make_operator<Nothing, compute, create>(
    [](const Operator*) { return "DeformConv"; }, [](const Operator*) -> size_t { return 4; },
    [](const Operator*, size_t index) { return index == 3 ? kOptional : kRequired; });

}  // namespace fastlic::ort
