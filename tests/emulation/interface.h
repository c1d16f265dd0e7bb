// What emulator.py calls: the kernels of one source by name, with arguments as 64-bit words (pointers, or int32 in the
// low half). Included last in a translation unit that emulator.py writes, after the kernel's source:
//
//   #include "/.../kernels/cuda/transpose.cu"
//   #include "interface.h"
//   FASTLIC_KERNELS(FASTLIC_KERNEL(transpose_16), FASTLIC_KERNEL(transpose_32))
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "machine.h"

namespace fastlic::emulation {

template <class T>
T argument(uint64_t word) {
    if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<T>(word);
    } else {
        static_assert(std::is_same_v<T, int32_t>, "the plugin ABI knows pointers and int32 scalars");
        return static_cast<int32_t>(static_cast<uint32_t>(word));
    }
}

template <class... T, size_t... I>
std::function<void()> call_of(void (*kernel)(T...), const uint64_t* words, std::index_sequence<I...>) {
    return [=] { kernel(argument<T>(words[I])...); };
}

struct Kernel {
    const char* name;
    std::string kinds;  // 'p' or 'i' for each argument
    std::function<std::function<void()>(const uint64_t*)> bind;
};

template <class... T>
Kernel describe(const char* name, void (*kernel)(T...)) {
    return {name, {(std::is_pointer_v<T> ? 'p' : 'i')...}, [=](const uint64_t* words) {
                return call_of(kernel, words, std::index_sequence_for<T...>{});
            }};
}

const std::vector<Kernel>& kernels();

}  // namespace fastlic::emulation

#define FASTLIC_KERNEL(name) ::fastlic::emulation::describe(#name, &name)
#define FASTLIC_KERNELS(...)                                                       \
    const std::vector<fastlic::emulation::Kernel>& fastlic::emulation::kernels() { \
        static const std::vector<Kernel> all{__VA_ARGS__};                         \
        return all;                                                                \
    }

extern "C" {

using fastlic::emulation::Machine;

void emulation_forget() { Machine::get().forget(); }

// use: 0 input, 1 output, 2 changed.
void emulation_buffer(const char* name, void* base, uint64_t size, int use) {
    Machine::get().add_buffer(name, base, size, static_cast<fastlic::emulation::Use>(use));
}

// 0; -1: no kernel of this name; -2: its arguments are of other kinds.
int emulation_launch(const char* name, const char* kinds, const uint64_t* words, const uint32_t* grid,
                     const uint32_t* block, int reversed) {
    for (const auto& kernel : fastlic::emulation::kernels()) {
        if (std::string(name) != kernel.name) continue;
        if (kernel.kinds != kinds) return -2;
        Machine::get().launch({grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, reversed != 0,
                              kernel.bind(words));
        return 0;
    }
    return -1;
}

// 'p' or 'i' for each argument; null: no kernel of this name.
const char* emulation_kinds(const char* name) {
    for (const auto& kernel : fastlic::emulation::kernels()) {
        if (std::string(name) == kernel.name) return kernel.kinds.c_str();
    }
    return nullptr;
}

int emulation_report_count() { return static_cast<int>(Machine::get().reports().size()); }
const char* emulation_report(int i) { return Machine::get().reports()[static_cast<size_t>(i)].c_str(); }
uint64_t emulation_unwritten(int buffer) { return Machine::get().unwritten(static_cast<size_t>(buffer)); }

}  // extern "C"
