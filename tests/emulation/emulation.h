// What a kernel's own source sees when a host compiler reads it: CUDA's words, and accessors that ask the machine.
//
// The accessors have the interface of kernels/include/fastlic/memory.h, which includes this file where CUDA is absent.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "machine.h"

#define FASTLIC_EMULATION  // headers shared with the CPU take the text meant for GPUs
#define __global__
#define __device__
#define __launch_bounds__(...)
#define FASTLIC_DEVICE inline
#define FASTLIC_SITE \
    ::fastlic::emulation::Site { __FILE__, __LINE__ }
#define __syncthreads() ::fastlic::emulation::Machine::get().sync_threads(FASTLIC_SITE)
#define __syncwarp() ::fastlic::emulation::Machine::get().sync_warp(FASTLIC_SITE, ::fastlic::emulation::kFullMask)
#define __shfl_sync(mask, value, lane) ::fastlic::emulation::shuffle(FASTLIC_SITE, mask, value, lane)
#define __shfl_up_sync(mask, value, delta) ::fastlic::emulation::shuffle_up(FASTLIC_SITE, mask, value, delta)
#define __shfl_xor_sync(mask, value, bits) ::fastlic::emulation::shuffle_xor(FASTLIC_SITE, mask, value, bits)
#define __ballot_sync(mask, predicate) ::fastlic::emulation::ballot(FASTLIC_SITE, mask, predicate)

// Shared memory of the running block: blocks run one after another, so static storage is enough.
#define FASTLIC_SHARED(type, name, count)                                    \
    alignas(16) static unsigned char name##_storage[sizeof(type) * (count)]; \
    const ::fastlic::Shared<type> name(reinterpret_cast<type*>(name##_storage), (count), #name)

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __float_as_int(float value) {
    int bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }  // a GPU's may differ in the last two bits
inline float __int_as_float(int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

namespace fastlic::emulation {

// Runs `complete(mask, in, out)` once for the lanes of `mask`, with typed arrays of each lane's operand and result.
template <class Out, class In, class Complete>
Out collective(Site site, unsigned mask, const In& in, const Complete& complete) {
    struct Operand {
        const In* in;
        const Complete* complete;  // each lane brings the same one
    };
    Out out{};
    const Operand operand{&in, &complete};
    Machine::get().collective(site, mask, &operand, &out,
                              [](unsigned lanes, const void* const* ins, void* const* outs) {
                                  const In* typed_in[kWarpSize] = {};
                                  Out* typed_out[kWarpSize] = {};
                                  const Complete* run = nullptr;
                                  for (unsigned l = 0; l < kWarpSize; ++l) {
                                      if ((lanes >> l & 1) == 0) continue;
                                      const auto* brought = static_cast<const Operand*>(ins[l]);
                                      typed_in[l] = brought->in;
                                      typed_out[l] = static_cast<Out*>(outs[l]);
                                      run = brought->complete;
                                  }
                                  (*run)(lanes, typed_in, typed_out);
                              });
    return out;
}

template <class T>
struct ShuffleOperand {
    T value;
    int source;
};

// A lane may only read from one in the mask; otherwise the value is undefined, which is reported.
template <class T>
T shuffle_from(Site site, unsigned mask, T value, int source) {
    return collective<T>(site, mask, ShuffleOperand<T>{value, source},
                         [](unsigned lanes, const ShuffleOperand<T>* const* in, T* const* out) {
                             for (unsigned l = 0; l < kWarpSize; ++l) {
                                 if ((lanes >> l & 1) == 0) continue;
                                 const unsigned from = static_cast<unsigned>(in[l]->source) % kWarpSize;
                                 if ((lanes >> from & 1) == 0) {
                                     Machine::get().report("shuffle from a lane outside the mask");
                                     continue;
                                 }
                                 *out[l] = in[from]->value;
                             }
                         });
}

template <class T>
T shuffle(Site site, unsigned mask, T value, int lane) {
    return shuffle_from(site, mask, value, lane);
}

// Lanes below `delta` keep their own value.
template <class T>
T shuffle_up(Site site, unsigned mask, T value, unsigned delta) {
    const unsigned lane = Machine::get().lane();
    return shuffle_from(site, mask, value, static_cast<int>(lane < delta ? lane : lane - delta));
}

template <class T>
T shuffle_xor(Site site, unsigned mask, T value, int bits) {
    return shuffle_from(site, mask, value, static_cast<int>(Machine::get().lane()) ^ bits);
}

inline unsigned ballot(Site site, unsigned mask, bool predicate) {
    return collective<unsigned>(site, mask, predicate, [](unsigned lanes, const bool* const* in, unsigned* const* out) {
        unsigned votes = 0;
        for (unsigned l = 0; l < kWarpSize; ++l) {
            if ((lanes >> l & 1) != 0 && *in[l]) votes |= 1u << l;
        }
        for (unsigned l = 0; l < kWarpSize; ++l) {
            if ((lanes >> l & 1) != 0) *out[l] = votes;
        }
    });
}

// Checked memory under a pointer; offsets count elements of T.
template <class T>
class Checked {
public:
    using Value = std::remove_const_t<T>;

    Checked(T* data, Region* region)
        : data_(data),
          region_(region),
          start_(region ? reinterpret_cast<const unsigned char*>(data) - region->base : 0) {}

    Value load(int64_t i) const { return load_as<Value>(i); }
    void store(int64_t i, Value value) const { store_as(i, value); }
    Value operator[](int64_t i) const { return load(i); }

    template <class Vector>
    Vector load_as(int64_t i) const {
        Vector value{};
        if (Machine::get().check_read(region_, offset(i), sizeof(Vector), alignof(Vector))) {
            std::memcpy(&value, data_ + i, sizeof value);
        }
        return value;
    }

    template <class Vector>
    void store_as(int64_t i, const Vector& value) const {
        if (Machine::get().check_write(region_, offset(i), sizeof(Vector), alignof(Vector))) {
            std::memcpy(const_cast<Value*>(data_ + i), &value, sizeof value);
        }
    }

    Region* region() const { return region_; }
    int64_t offset(int64_t i) const { return start_ + i * static_cast<int64_t>(sizeof(T)); }
    T* address(int64_t i) const { return data_ + i; }

protected:
    template <class Memory>
    static Memory moved(Memory memory, int64_t i) {
        memory.data_ += i;
        memory.start_ += i * static_cast<int64_t>(sizeof(T));
        return memory;
    }

    T* data_;
    Region* region_;
    int64_t start_;
};

}  // namespace fastlic::emulation

namespace fastlic {

template <class T>
class Global : public emulation::Checked<T> {
public:
    explicit Global(T* data) : emulation::Checked<T>(data, emulation::Machine::get().global_region(data)) {}
    Global operator+(int64_t i) const { return this->template moved<Global>(*this, i); }
};

template <class T>
class Shared : public emulation::Checked<T> {
public:
    Shared(T* data, size_t count, const char* name)
        : emulation::Checked<T>(data, emulation::Machine::get().shared_region(data, count * sizeof(T), name)) {}
    Shared operator+(int64_t i) const { return this->template moved<Shared>(*this, i); }
};

}  // namespace fastlic
