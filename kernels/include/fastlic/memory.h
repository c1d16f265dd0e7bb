// How kernels reach memory: thin words for loads and stores, so that another compiler can put checks under them.
//
// nvcc sees plain pointers and nothing else. A host compiler sees tests/emulation/emulation.h instead, whose accessors
// of the same names check bounds, alignment, initialisation and order. Kernels use no other way to memory.
//
//   Global<T> x(pointer)              device memory; T const for what the kernel only reads
//   FASTLIC_SHARED(T, name, count)    shared memory, aligned to 16 bytes
//   .load(i) .store(i, v) [i]         element i; [] only reads
//   .load_as<V>(i) .store_as(i, v)    sizeof(V) bytes from element i, aligned to V
//   memory + i                        the same from element i on
#pragma once

#include <cstdint>

namespace fastlic {

struct alignas(16) Vector16 {  // one transaction of a thread: 8 halves, 4 floats
    uint32_t word[4];
};

}  // namespace fastlic

#if defined(__CUDACC__)

#define FASTLIC_DEVICE __device__ __forceinline__
#define FASTLIC_SHARED(type, name, count)                  \
    __shared__ __align__(16) type name##_storage[(count)]; \
    const ::fastlic::Shared<type> name(name##_storage)

namespace fastlic {

template <class T>
struct Unqualified {
    using Type = T;
};
template <class T>
struct Unqualified<const T> {
    using Type = T;
};

template <class T>
class Global {
public:
    using Value = typename Unqualified<T>::Type;

    FASTLIC_DEVICE explicit Global(T* data) : data_(data) {}
    FASTLIC_DEVICE Value load(int64_t i) const { return data_[i]; }
    FASTLIC_DEVICE void store(int64_t i, Value value) const { data_[i] = value; }
    FASTLIC_DEVICE Value operator[](int64_t i) const { return load(i); }
    template <class Vector>
    FASTLIC_DEVICE Vector load_as(int64_t i) const {
        return *reinterpret_cast<const Vector*>(data_ + i);
    }
    template <class Vector>
    FASTLIC_DEVICE void store_as(int64_t i, const Vector& value) const {
        *reinterpret_cast<Vector*>(data_ + i) = value;
    }
    FASTLIC_DEVICE T* address(int64_t i) const { return data_ + i; }
    FASTLIC_DEVICE Global operator+(int64_t i) const { return Global(data_ + i); }

protected:
    T* data_;
};

template <class T>
class Shared : public Global<T> {
public:
    FASTLIC_DEVICE explicit Shared(T* data) : Global<T>(data) {}
    FASTLIC_DEVICE Shared operator+(int64_t i) const { return Shared(this->data_ + i); }
};

}  // namespace fastlic

#else

#include "emulation.h"

#endif
