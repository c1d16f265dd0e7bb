// The part of ONNX Runtime's C interface that a custom operator needs, declared here so that the native module builds
// without ONNX Runtime's headers, which its Python package does not contain.
//
// The interface is a table of function pointers that is only ever appended to (ONNX Runtime states this and asserts the
// positions in its own build), so a position holds for every version from the one that introduced it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastlic::ort {

constexpr uint32_t kVersion = 17;  // of the interface: the first with kParallelFor
constexpr int kFail = 1, kInvalidArgument = 2, kNotImplemented = 9;
constexpr int kFloat = 1;           // an element type
constexpr int kRequired = 0, kOptional = 1;

struct Status;
struct Options;
struct Domain;
struct Value;
struct Shape;
struct Info;
struct Context;
struct MemoryInfo;
struct Allocator;

struct Api {
    void* entries[275];
};

enum Entry : size_t {
    kCreateStatus = 0,
    kCreateCustomOpDomain = 26,
    kCustomOpDomainAdd = 27,
    kAddCustomOpDomain = 28,
    kGetTensorMutableData = 51,
    kGetDimensionsCount = 61,
    kGetDimensions = 62,
    kGetTensorTypeAndShape = 65,
    kCreateCpuMemoryInfo = 69,
    kAllocatorAlloc = 75,
    kAllocatorFree = 76,
    kGetAttributeInt = 86,
    kGetAttributeText = 87,
    kGetInput = 90,
    kGetOutput = 91,
    kReleaseStatus = 93,
    kReleaseMemoryInfo = 94,
    kReleaseTensorTypeAndShape = 99,
    kReleaseAllocator = 132,
    kGetAttributeInts = 163,
    kGetAllocator = 253,
    kParallelFor = 274,
};

struct ApiBase {
    const Api* (*get_api)(uint32_t version);
    const char* (*get_version)();
};

// An operator as ONNX Runtime sees it, fields of version 16; `version` tells it which fields there are.
struct Operator {
    uint32_t version;
    void* (*create)(const Operator*, const Api*, const Info*);  // superseded by create_checked
    const char* (*name)(const Operator*);
    const char* (*provider)(const Operator*);  // null: the CPU's
    int (*input_type)(const Operator*, size_t);
    size_t (*input_count)(const Operator*);
    int (*output_type)(const Operator*, size_t);
    size_t (*output_count)(const Operator*);
    void (*compute)(void*, Context*);  // superseded by compute_checked
    void (*destroy)(void*);
    int (*input_presence)(const Operator*, size_t);
    int (*output_presence)(const Operator*, size_t);
    int (*input_memory)(const Operator*, size_t);
    int (*variadic_input_minimum)(const Operator*);
    int (*variadic_input_alike)(const Operator*);
    int (*variadic_output_minimum)(const Operator*);
    int (*variadic_output_alike)(const Operator*);
    Status* (*create_checked)(const Operator*, const Api*, const Info*, void** kernel);
    Status* (*compute_checked)(void* kernel, Context*);
};

}  // namespace fastlic::ort
