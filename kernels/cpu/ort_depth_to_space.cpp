// ONNX Runtime's DepthToSpace (pixel shuffle by 2, float32), on all threads: its own runs on one.
#include "ort_operators.h"

#include <string>

namespace fastlic::ort {
namespace {

// x[n, 4c + 2i + j, h, w] -> y[n, c, 2h + i, 2w + j]
void compute(const Nothing&, Context* context) {
    const Tensor x = input(context, 0, 4);
    if (x.shape[1] % 4) throw Failure{fail(kInvalidArgument, "DepthToSpace: channels are not a multiple of 4")};
    const int64_t channels = x.shape[1] / 4, height = x.shape[2], width = x.shape[3], pixels = height * width;
    const int64_t shape[4] = {x.shape[0], channels, 2 * height, 2 * width};
    float* y = output(context, shape);
    const auto shuffle = [&](int64_t map) {  // one channel of the result
        const float* from = x.data + map * 4 * pixels;
        float* to = y + map * 4 * pixels;
        for (int64_t row = 0; row < 2 * height; ++row) {
            const float* left = from + 2 * (row % 2) * pixels + row / 2 * width;
            const float* right = left + pixels;
            for (int64_t column = 0; column < width; ++column) {
                to[2 * column] = left[column];
                to[2 * column + 1] = right[column];
            }
            to += 2 * width;
        }
    };
    for_rows(context, x.shape[0] * channels, shuffle);
}

Status* create(const Info* info, Nothing&) {
    if (attribute(info, "blocksize", 0) != 2 || text(info, "mode", "DCR") != "CRD")
        return fail(kNotImplemented, "DepthToSpace: only blocks of 2, mode CRD");
    return nullptr;
}

}  // namespace

const Operator depth_to_space = make_operator<Nothing, compute, create>(
    [](const Operator*) { return "DepthToSpace"; }, [](const Operator*) -> size_t { return 1; },
    [](const Operator*, size_t) { return kRequired; });

}  // namespace fastlic::ort
