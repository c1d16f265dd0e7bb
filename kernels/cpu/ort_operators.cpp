// Gives ONNX Runtime our operators in place of its own: same names, same graphs.
//
// An operator registered under ONNX's own domain comes before the built-in one. Nodes of a form that we do not have are
// refused when a session is created, and the engine then creates it without us.
#include "ort_operators.h"

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
        for (const Operator* each : {&conv, &deform_conv, &depth_to_space})
            if (Status* status = call<Status*>(kCustomOpDomainAdd, domain, each)) return status;
    }
    return call<Status*>(kAddCustomOpDomain, options, domain);
}
