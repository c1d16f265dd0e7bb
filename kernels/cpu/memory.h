// Where an operator's buffers come from: whoever calls it says.
//
// malloc keeps what a thread frees for threads like it, in up to eight pools a core: with many calling threads the
// buffers of one call are kept that often. A caller with an arena of its own, as ONNX Runtime has, keeps them once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastlic {

class Memory {
public:
    virtual void* take(size_t bytes) = 0;  // never null; throws where there is none; may be called from any thread
    virtual void give_back(void* block) noexcept = 0;

protected:
    ~Memory() = default;
};

// So many floats, not set to anything; given back when the buffer ends.
class Buffer {
public:
    Buffer(Memory& memory, int64_t count)
        : memory_(memory), values_(static_cast<float*>(memory.take(static_cast<size_t>(count) * sizeof(float)))) {}
    ~Buffer() { memory_.give_back(values_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    float* get() const { return values_; }

private:
    Memory& memory_;
    float* values_;
};

}  // namespace fastlic
