// ONNX Runtime's Conv (two axes, float32, one group, no dilation), by `conv2d.h`.
#include "conv2d.h"
#include "ort_memory.h"
#include "ort_operators.h"

#include <algorithm>

namespace fastlic::ort {
namespace {

struct Form {
    int64_t pads[4] = {0, 0, 0, 0};  // above, beside, below, after
    int64_t strides[2] = {1, 1};
};

void compute(const Form& form, Context* context) {
    const Tensor x = input(context, 0, 4), weight = input(context, 1, 4), bias = input(context, 2, 1);
    Conv2d work;
    work.channels = x.shape[1], work.height = x.shape[2], work.width = x.shape[3];
    work.outputs = weight.shape[0], work.size_down = weight.shape[2], work.size_across = weight.shape[3];
    work.stride_down = form.strides[0], work.stride_across = form.strides[1];
    work.above = form.pads[0], work.beside = form.pads[1];
    const int64_t down = x.shape[2] + form.pads[0] + form.pads[2] - work.size_down;
    const int64_t across = x.shape[3] + form.pads[1] + form.pads[3] - work.size_across;
    if (weight.shape[1] != work.channels || down < 0 || across < 0 || (bias.data && bias.shape[0] != work.outputs))
        throw Failure{fail(kInvalidArgument, "Conv: inputs do not fit together")};
    work.out_height = down / work.stride_down + 1, work.out_width = across / work.stride_across + 1;
    const int64_t shape[4] = {x.shape[0], work.outputs, work.out_height, work.out_width};
    float* y = output(context, shape);
    SessionMemory memory(context);
    work.weight = weight.data, work.bias = bias.data, work.memory = &memory;
    PackedWeight packed(work);
    const auto pack = [&](int64_t block) { pack_rows(work, packed, block); };
    for_rows(context, work.row_blocks(), pack);
    for (int64_t picture = 0; picture < x.shape[0]; ++picture) {
        work.x = x.data + picture * work.channels * work.height * work.width;
        work.y = y + picture * work.outputs * work.out_height * work.out_width;
        const auto convolve = [&](int64_t part) { convolve_part(work, packed, part); };
        for_rows(context, part_count(work), convolve);
    }
}

Status* create(const Info* info, Form& form) {
    const bool known = text(info, "auto_pad", "NOTSET") == "NOTSET" && all_are(info, "dilations", 1, 1) &&
                       attribute(info, "group", 1) == 1 && list(info, "pads", form.pads) &&
                       list(info, "strides", form.strides) && std::min(form.strides[0], form.strides[1]) > 0 &&
                       *std::min_element(form.pads, form.pads + 4) >= 0;
    if (!known) return fail(kNotImplemented, "Conv: only two axes, one group and no dilation");
    return nullptr;
}

}  // namespace

const Operator conv = make_operator<Form, compute, create>(
    [](const Operator*) { return "Conv"; }, [](const Operator*) -> size_t { return 3; },
    [](const Operator*, size_t index) { return index == 2 ? kOptional : kRequired; });

}  // namespace fastlic::ort
