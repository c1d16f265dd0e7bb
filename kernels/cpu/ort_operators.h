// The operators that replace ONNX Runtime's. One file each; `ort_operators.cpp` registers them.
#pragma once

#include "ort_kernel.h"

namespace fastlic::ort {

extern const Operator conv;
extern const Operator deform_conv;
extern const Operator depth_to_space;

}  // namespace fastlic::ort
