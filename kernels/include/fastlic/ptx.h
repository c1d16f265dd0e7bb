// The instructions CUDA C++ has no word for, each in a wrapper: half-precision arithmetic, cp.async, ldmatrix, mma.
//
// The only file with PTX. Where CUDA is absent, ptx_host.h gives the same names their documented meaning, so that a
// kernel's own source runs in tests. Halves travel as their 16 bits, pairs of halves as 32 bits, the lower index in the
// lower half, as the PTX manual packs f16x2. sm_75 lacks cp.async and the k16 shape: it gets a plain copy and two k8
// steps.
#pragma once

#include <cstdint>

#include "fastlic/memory.h"

namespace fastlic {

struct Half {
    uint16_t bits;  // IEEE binary16
};

}  // namespace fastlic

#if defined(__CUDACC__)

namespace fastlic::ptx {

FASTLIC_DEVICE float float_from_half(Half value) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
}

// Rounds to nearest, ties to even; beyond 65504 becomes infinite.
FASTLIC_DEVICE Half half_from_float(float value) {
    Half result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
    return result;
}

FASTLIC_DEVICE uint32_t half2_from_halves(Half low, Half high) {
    return static_cast<uint32_t>(low.bits) | static_cast<uint32_t>(high.bits) << 16;
}

FASTLIC_DEVICE uint32_t half2_multiply(uint32_t a, uint32_t b) {
    uint32_t result;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

// a * b + c, rounded once.
FASTLIC_DEVICE uint32_t half2_fma(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t result;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
}

// Sixteen bytes, or zeros without touching memory when not `valid`. Without a branch, so that several loads of a thread
// are under way together. The memory must not be written by the same launch (it is read through the read-only path).
template <class T>
FASTLIC_DEVICE Vector16 load_or_zero(const Global<const T>& from, int64_t index, bool valid) {
    Vector16 data;
    asm volatile(
        "{\n"
        "    .reg .pred valid;\n"
        "    setp.ne.b32 valid, %5, 0;\n"
        "    mov.b32 %0, 0;\n"
        "    mov.b32 %1, 0;\n"
        "    mov.b32 %2, 0;\n"
        "    mov.b32 %3, 0;\n"
        "    @valid ld.global.nc.v4.b32 {%0, %1, %2, %3}, [%4];\n"
        "}"
        : "=&r"(data.word[0]), "=&r"(data.word[1]), "=&r"(data.word[2]), "=&r"(data.word[3])
        : "l"(from.address(index)), "r"(static_cast<int>(valid)));
    return data;
}

template <class T>
FASTLIC_DEVICE uint32_t shared_address(const Shared<T>& memory, int index) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(memory.address(index)));
}

// Sixteen bytes from `from` to shared memory without passing registers, or zeros when not `valid`. Visible to the
// thread after copy_async_wait, to others after a barrier behind that.
FASTLIC_DEVICE void copy_async(const Shared<Half>& to, int to_index, const Global<const Half>& from, int64_t from_index,
                               bool valid) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to, to_index)),
                 "l"(from.address(valid ? from_index : 0)), "r"(valid ? 16 : 0)
                 : "memory");
#else
    Vector16 data{};
    if (valid) data = from.load_as<Vector16>(from_index);
    to.store_as(to_index, data);
#endif
}

FASTLIC_DEVICE void copy_async_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until at most kGroups of the committed groups are still under way.
template <int kGroups>
FASTLIC_DEVICE void copy_async_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
#endif
}

// Four 8x8 matrices of halves; lane l names the row l % 8 of matrix l / 8. Lane l receives of each matrix the elements
// (l / 4, 2 * (l % 4)) and the next in the row.
FASTLIC_DEVICE void load_matrices(uint32_t (&matrices)[4], const Shared<Half>& memory, int row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(memory, row))
                 : "memory");
}

// The same of the transposed matrices: elements (2 * (l % 4), l / 4) and the next in the column.
FASTLIC_DEVICE void load_matrices_transposed(uint32_t (&matrices)[4], const Shared<Half>& memory, int row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(memory, row))
                 : "memory");
}

// sum += a * b for a of 16x16 halves, b of 16x8 halves and sums of 16x8 floats, spread over the warp as the PTX manual
// says for mma.m16n8k16 (row.col): with g = lane / 4 and t = 2 * (lane % 4), a holds rows g, g + 8, g, g + 8 at columns
// t, t, t + 8, t + 8; b holds rows t and t + 8 of column g; sums are (g, t), (g, t + 1), (g + 8, t), (g + 8, t + 1).
FASTLIC_DEVICE void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b_low, uint32_t b_high) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(b_low));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[2]), "r"(a[3]), "r"(b_high));
#endif
}

}  // namespace fastlic::ptx

#else

#include "ptx_host.h"

#endif
