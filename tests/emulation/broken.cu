// Kernels with one fault each, and beside a fault the same kernel without it: what test_emulator.py must tell apart.
#include "fastlic/ptx.h"

using fastlic::Global;
using fastlic::Half;
using fastlic::Shared;
using fastlic::Vector16;

namespace {

enum Fault { kNone, kPresent };

// Each thread passes its number to the next through shared memory.
template <Fault fault>
void rotate(const int32_t* x_pointer, int32_t* y_pointer) {
    FASTLIC_SHARED(int32_t, line, 64);
    const Global<const int32_t> x(x_pointer);
    const Global<int32_t> y(y_pointer);
    const int i = static_cast<int>(threadIdx.x);
    line.store(i, x.load(i));
    if (fault == kNone) __syncthreads();
    y.store(i, line.load((i + 1) % 64));
}

// Twice in the same memory: the second round must not overwrite what the first still reads.
template <Fault fault>
void rotate_twice(const int32_t* x_pointer, int32_t* y_pointer) {
    FASTLIC_SHARED(int32_t, line, 64);
    const Global<const int32_t> x(x_pointer);
    const Global<int32_t> y(y_pointer);
    const int i = static_cast<int>(threadIdx.x);
    line.store(i, x.load(i));
    __syncthreads();
    const int32_t next = line.load((i + 1) % 64);
    if (fault == kNone) __syncthreads();
    line.store(i, next);
    __syncthreads();
    y.store(i, line.load((i + 1) % 64));
}

template <Fault fault>
void rotate_in_warp(const int32_t* x_pointer, int32_t* y_pointer) {
    FASTLIC_SHARED(int32_t, line, 64);
    const Global<const int32_t> x(x_pointer);
    const Global<int32_t> y(y_pointer);
    const int i = static_cast<int>(threadIdx.x);
    line.store(i, x.load(i));
    if (fault == kNone) __syncwarp();
    y.store(i, line.load(i / 32 * 32 + (i + 1) % 32));
}

template <Fault fault>
void copy_through_shared(const Half* x_pointer, Half* y_pointer) {
    FASTLIC_SHARED(Half, line, 64 * 8);
    const Global<const Half> x(x_pointer);
    const Global<Half> y(y_pointer);
    const int i = static_cast<int>(threadIdx.x) * 8;
    fastlic::ptx::copy_async(line, i, x, i, i < 63 * 8);  // the last thread copies nothing, and reads zeros
    fastlic::ptx::copy_async_commit();
    if (fault == kNone) fastlic::ptx::copy_async_wait<0>();
    y.store_as(i, line.load_as<Vector16>(i));
}

}  // namespace

extern "C" {
void barrier_right(const int32_t* x, int32_t* y) { rotate<kNone>(x, y); }
void barrier_missing(const int32_t* x, int32_t* y) { rotate<kPresent>(x, y); }
void second_barrier_right(const int32_t* x, int32_t* y) { rotate_twice<kNone>(x, y); }
void second_barrier_missing(const int32_t* x, int32_t* y) { rotate_twice<kPresent>(x, y); }
void warp_barrier_right(const int32_t* x, int32_t* y) { rotate_in_warp<kNone>(x, y); }
void warp_barrier_missing(const int32_t* x, int32_t* y) { rotate_in_warp<kPresent>(x, y); }
void wait_right(const Half* x, Half* y) { copy_through_shared<kNone>(x, y); }
void wait_missing(const Half* x, Half* y) { copy_through_shared<kPresent>(x, y); }

void barrier_in_half_of_the_threads(const int32_t*, int32_t* y) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    Global<int32_t>(y).store(threadIdx.x, 0);
}

void vote_without_a_lane(const int32_t*, int32_t* y) {
    if (threadIdx.x % 32 == 7) return;
    Global<int32_t>(y).store(threadIdx.x, static_cast<int32_t>(__ballot_sync(0xffffffffu, true)));
}

// copy: `count` numbers, one too many read or written when the count is too high.
void read_to(const int32_t* x, int32_t count, int32_t* y) {
    int32_t sum = 0;
    for (int i = 0; i < count; ++i) sum += Global<const int32_t>(x).load(i);
    Global<int32_t>(y).store(0, sum);
}

void write_to(int32_t count, int32_t* y) {
    for (int i = 0; i < count; ++i) Global<int32_t>(y).store(i, i);
}

void write_shared_to(int32_t count, int32_t* y) {
    FASTLIC_SHARED(int32_t, line, 10);
    for (int i = 0; i < count; ++i) line.store(i, i);
    Global<int32_t>(y).store(0, line.load(0));
}

void read_unwritten_shared(int32_t* y) {
    FASTLIC_SHARED(int32_t, line, 10);
    line.store(0, 1);
    Global<int32_t>(y).store(0, line.load(0) + line.load(1));
}

void write_input(const int32_t* x) { Global<int32_t>(const_cast<int32_t*>(x)).store(0, 1); }

void load_vector_from(const Half* x, int32_t first, Half* y) {
    Global<Half>(y).store_as(0, Global<const Half>(x).load_as<Vector16>(first));
}

void every_block_writes_the_same(int32_t* y) { Global<int32_t>(y).store(0, static_cast<int32_t>(blockIdx.x)); }

void too_much_shared(int32_t* y) {
    FASTLIC_SHARED(int32_t, large, 12 * 1024);
    FASTLIC_SHARED(int32_t, one_more, 1);
    large.store(0, 1);
    one_more.store(0, 2);
    Global<int32_t>(y).store(0, large.load(0) + one_more.load(0));
}

// --- meanings

// y = x of the lane named, then of the lane 3 below, of the lane whose number differs in bits 0 and 2, votes for odd x.
void warp_functions(const int32_t* x_pointer, const int32_t* lanes, int32_t* y_pointer) {
    const Global<const int32_t> x(x_pointer);
    const Global<int32_t> y(y_pointer);
    const int i = static_cast<int>(threadIdx.x);
    const int32_t mine = x.load(i);
    y.store(i, __shfl_sync(0xffffffffu, mine, Global<const int32_t>(lanes).load(i)));
    y.store(32 + i, __shfl_up_sync(0xffffffffu, mine, 3));
    y.store(64 + i, __shfl_xor_sync(0xffffffffu, mine, 5));
    y.store(96 + i, static_cast<int32_t>(__ballot_sync(0xffffffffu, mine % 2 == 1)));
}

// y = a * b + c for one 16x16, one 16x8 and one 16x8 matrix, with the fragments that ldmatrix deals out.
void matrix_product(const Half* a_pointer, const Half* b_pointer, const float* c_pointer, float* y_pointer) {
    FASTLIC_SHARED(Half, left, 16 * 16);
    FASTLIC_SHARED(Half, right, 16 * 16);  // the last eight columns are not used
    const Global<const Half> a(a_pointer), b(b_pointer);
    const Global<const float> c(c_pointer);
    const Global<float> y(y_pointer);
    const int lane = static_cast<int>(threadIdx.x);
    left.store_as(lane * 8, a.load_as<Vector16>(lane * 8));
    right.store_as(lane * 8, lane % 2 == 0 ? b.load_as<Vector16>(lane / 2 * 8) : Vector16{});
    __syncwarp();
    uint32_t x[4], w[4];
    const int row = lane % 16 * 16 + lane / 16 * 8;
    fastlic::ptx::load_matrices(x, left, row);
    fastlic::ptx::load_matrices_transposed(w, right, row);
    float sum[4];
    for (int i = 0; i < 4; ++i) sum[i] = c.load((lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2);
    fastlic::ptx::multiply_add(sum, x, w[0], w[1]);
    for (int i = 0; i < 4; ++i) y.store((lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2, sum[i]);
}

// Each thread: a * b, a * b + c of a pair of halves, and a float to half and back.
void half_arithmetic(const uint32_t* a_pointer, const uint32_t* b_pointer, const uint32_t* c_pointer,
                     const float* f_pointer, uint32_t* product, uint32_t* sum, Half* rounded, float* widened) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const uint32_t a = Global<const uint32_t>(a_pointer).load(i), b = Global<const uint32_t>(b_pointer).load(i);
    Global<uint32_t>(product).store(i, fastlic::ptx::half2_multiply(a, b));
    Global<uint32_t>(sum).store(i, fastlic::ptx::half2_fma(a, b, Global<const uint32_t>(c_pointer).load(i)));
    const Half half = fastlic::ptx::half_from_float(Global<const float>(f_pointer).load(i));
    Global<Half>(rounded).store(i, half);
    Global<float>(widened).store(i, fastlic::ptx::float_from_half(half));
}
}
