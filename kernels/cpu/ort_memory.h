// ONNX Runtime's memory as a `Memory`: the arena of the session that runs, which goes when the session does.
#pragma once

#include "memory.h"
#include "ort_kernel.h"

namespace fastlic::ort {

class SessionMemory final : public Memory {
public:
    explicit SessionMemory(Context* context) {
        constexpr int kArena = 1, kDefault = 0;  // kinds of allocator and of memory
        MemoryInfo* info = nullptr;
        check(call<Status*>(kCreateCpuMemoryInfo, kArena, kDefault, &info));
        Status* failure = call<Status*>(kGetAllocator, static_cast<const Context*>(context),
                                        static_cast<const MemoryInfo*>(info), &allocator_);
        call<void>(kReleaseMemoryInfo, info);
        check(failure);
    }
    ~SessionMemory() { call<void>(kReleaseAllocator, allocator_); }
    SessionMemory(const SessionMemory&) = delete;
    SessionMemory& operator=(const SessionMemory&) = delete;

    void* take(size_t bytes) override {
        void* block = nullptr;
        check(call<Status*>(kAllocatorAlloc, allocator_, std::max<size_t>(bytes, 1), &block));
        if (!block) throw std::bad_alloc();
        return block;
    }

    void give_back(void* block) noexcept override {
        if (Status* failure = call<Status*>(kAllocatorFree, allocator_, block)) call<void>(kReleaseStatus, failure);
    }

private:
    Allocator* allocator_ = nullptr;
};

}  // namespace fastlic::ort
