// What our operators share: calls into ONNX Runtime's table, inputs, outputs, attributes, its threads.
#pragma once

#include "ort_abi.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>

namespace fastlic::ort {

inline const Api* api = nullptr;  // set once, by the first registration; the table is the library's own and constant

template <class Result, class... Arguments>
Result call(Entry entry, Arguments... arguments) {
    return reinterpret_cast<Result (*)(Arguments...)>(api->entries[entry])(arguments...);
}

inline Status* fail(int code, const std::string& message) {
    return call<Status*>(kCreateStatus, code, message.c_str());
}

// Thrown by value, caught before ONNX Runtime's code is reached.
struct Failure {
    Status* status;
};

inline void check(Status* status) {
    if (status) throw Failure{status};
}

struct Tensor {
    float* data = nullptr;
    size_t rank = 0;
    int64_t shape[4] = {0, 0, 0, 0};
};

inline float* data_of(Value* value) {
    void* data = nullptr;
    check(call<Status*>(kGetTensorMutableData, value, &data));
    return static_cast<float*>(data);
}

// The input at `index`; no data where it is absent.
inline Tensor input(Context* context, size_t index, size_t rank) {
    const Value* value = nullptr;
    check(call<Status*>(kGetInput, static_cast<const Context*>(context), index, &value));
    if (!value) return {};
    Tensor tensor;
    Shape* shape = nullptr;
    check(call<Status*>(kGetTensorTypeAndShape, value, &shape));
    const auto release = [](Shape* held) { call<void>(kReleaseTensorTypeAndShape, held); };
    const std::unique_ptr<Shape, decltype(release)> held(shape, release);
    check(call<Status*>(kGetDimensionsCount, static_cast<const Shape*>(shape), &tensor.rank));
    if (tensor.rank != rank) throw Failure{fail(kInvalidArgument, "an input of another rank")};
    check(call<Status*>(kGetDimensions, static_cast<const Shape*>(shape), &tensor.shape[0], rank));
    tensor.data = data_of(const_cast<Value*>(value));
    return tensor;
}

// Runs f(row) for all rows on the session's threads; the first exception is thrown again when all have ended.
template <class Function>
void for_rows(Context* context, int64_t rows, const Function& f) {
    struct Work {
        const Function& f;
        std::mutex failing;
        std::exception_ptr failure;
    } work{f, {}, nullptr};
    using Body = void (*)(void*, size_t);
    const Body body = [](void* data, size_t row) {  // exceptions may not pass ONNX Runtime's code
        Work& shared = *static_cast<Work*>(data);
        try {
            shared.f(static_cast<int64_t>(row));
        } catch (...) {
            const std::lock_guard<std::mutex> lock(shared.failing);
            shared.failure = std::current_exception();
        }
    };
    check(call<Status*>(kParallelFor, static_cast<const Context*>(context), body, static_cast<size_t>(rows),
                        static_cast<size_t>(0), static_cast<void*>(&work)));
    if (work.failure) std::rethrow_exception(work.failure);
}

// The first output, of this shape.
inline float* output(Context* context, const int64_t (&shape)[4]) {
    Value* value = nullptr;
    check(call<Status*>(kGetOutput, context, static_cast<size_t>(0), &shape[0], static_cast<size_t>(4), &value));
    return data_of(value);
}

// An integer attribute, or `standard` where the node has none.
inline int64_t attribute(const Info* info, const char* name, int64_t standard) {
    int64_t value = standard;
    if (Status* absent = call<Status*>(kGetAttributeInt, info, name, &value)) {
        call<void>(kReleaseStatus, absent);
        return standard;
    }
    return value;
}

// A text attribute, or `standard` where the node has none.
inline std::string text(const Info* info, const char* name, const char* standard) {
    char value[16] = {};
    size_t size = sizeof value;
    if (Status* absent = call<Status*>(kGetAttributeText, info, name, &value[0], &size)) {
        call<void>(kReleaseStatus, absent);
        return standard;
    }
    return value;
}

// Whether all entries of a list attribute (absent: `standard`) are `wanted`.
inline bool all_are(const Info* info, const char* name, int64_t standard, int64_t wanted) {
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

// A list attribute of `count` entries into `values`, which stay as they are where the node has none. False where the
// list has another length.
template <size_t count>
bool list(const Info* info, const char* name, int64_t (&values)[count]) {
    int64_t found[8];
    size_t size = 8;
    if (Status* absent = call<Status*>(kGetAttributeInts, info, name, &found[0], &size)) {
        call<void>(kReleaseStatus, absent);
        return true;
    }
    if (size == count) std::copy_n(found, count, values);
    return size == count;
}

// What an operator without attributes keeps of a node.
struct Nothing {};

// An operator whose nodes `create` accepts, keeping a `Kept` of each, or refuses, and whose work is `compute(kept,
// context)`, which may throw. Kept by all of a node's calls, which may be at once.
template <class Kept, void (*compute)(const Kept&, Context*), Status* (*create)(const Info*, Kept&)>
Operator make_operator(const char* (*name)(const Operator*), size_t (*inputs)(const Operator*),
                       int (*presence)(const Operator*, size_t)) {
    Operator made = {};
    made.version = 16;
    made.create = [](const Operator*, const Api*, const Info*) -> void* { return nullptr; };
    made.name = name;
    made.provider = [](const Operator*) -> const char* { return nullptr; };
    made.input_type = [](const Operator*, size_t) { return kFloat; };
    made.input_count = inputs;
    made.output_type = [](const Operator*, size_t) { return kFloat; };
    made.output_count = [](const Operator*) -> size_t { return 1; };
    made.compute = [](void*, Context*) {};
    made.destroy = [](void* kept) { delete static_cast<Kept*>(kept); };
    made.input_presence = presence;
    made.output_presence = [](const Operator*, size_t) { return kRequired; };
    made.input_memory = [](const Operator*, size_t) { return 0; };
    made.variadic_input_minimum = made.variadic_input_alike = [](const Operator*) { return 1; };
    made.variadic_output_minimum = made.variadic_output_alike = [](const Operator*) { return 1; };
    made.create_checked = [](const Operator*, const Api*, const Info* info, void** kernel) -> Status* {
        std::unique_ptr<Kept> kept(new (std::nothrow) Kept);
        if (!kept) return fail(kFail, "cannot allocate memory");
        if (Status* refused = create(info, *kept)) return refused;
        *kernel = kept.release();
        return nullptr;
    };
    made.compute_checked = [](void* kept, Context* context) -> Status* {
        try {
            compute(*static_cast<const Kept*>(kept), context);
            return nullptr;
        } catch (const Failure& failure) {
            return failure.status;
        } catch (const std::bad_alloc&) {
            return fail(kFail, "cannot allocate memory");
        } catch (const std::exception& failure) {
            return fail(kFail, failure.what());
        }
    };
    return made;
}

}  // namespace fastlic::ort
