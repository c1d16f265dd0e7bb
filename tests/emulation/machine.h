// An imagined GPU: one block at a time, a fiber per thread, and a record of who touched which byte since when.
//
// Knows order, not arithmetic: what orders two accesses is what CUDA says orders them (__syncthreads among a block's
// threads, a full __syncwarp among a warp's lanes, nothing between blocks), whatever the order in which fibers happened
// to run. So a missing barrier is found in every run. Shuffles and votes order no memory, as CUDA documents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace fastlic::emulation {

constexpr unsigned kWarpSize = 32;
constexpr unsigned kFullMask = 0xffffffffu;
constexpr size_t kStaticSharedBytes = 48 * 1024;

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
    unsigned count() const { return x * y * z; }
};

// Where in the source something was asked for; barriers are told apart by it.
struct Site {
    const char* file;
    int line;
    bool operator==(const Site& other) const { return line == other.line && std::strcmp(file, other.file) == 0; }
};

// What is known of one byte. Epochs count barriers over the whole launch, so those of different blocks differ; 0 is
// never.
struct Cell {
    uint32_t write_epoch = 0;
    uint32_t write_warp_epoch = 0;
    uint32_t read_epoch = 0;
    uint32_t read_warps = 0;       // warps that read in read_epoch, a bit each
    uint32_t read_warp_epoch = 0;  // of the last warp that read
    uint32_t read_lanes = 0;       // its lanes that read in read_warp_epoch
    uint16_t write_thread = 0;
    uint8_t read_warp = 0;
    bool initialised = false;
};

enum class Use { input, output, changed };

// Memory that kernels reach through accessors.
struct Region {
    std::string name;
    unsigned char* base;
    size_t size;
    Use use;
    std::vector<Cell> cells;  // empty for inputs: they are only read

    bool contains(const void* at) const {
        const auto* byte = static_cast<const unsigned char*>(at);
        return byte >= base && byte < base + size;
    }
};

class Machine {
public:
    static Machine& get();

    // --- for the caller of kernels
    void forget();  // all buffers and reports
    void add_buffer(std::string name, void* base, size_t size, Use use);
    size_t unwritten(size_t buffer) const;  // bytes of an output that no thread wrote
    void launch(Dim3 grid, Dim3 block, bool reversed, const std::function<void()>& kernel);
    const std::vector<std::string>& reports() const { return reports_; }

    // --- for kernels, through emulation.h
    Region* global_region(const void* pointer);
    Region* shared_region(void* base, size_t size, const char* name);
    bool check_read(Region* region, int64_t offset, size_t size, size_t alignment);
    bool check_write(Region* region, int64_t offset, size_t size, size_t alignment);
    // Asynchronous copies of the running thread: issued into a group, groups closed by commit and completed by wait.
    void async_copy(Region* to, int64_t to_offset, const unsigned char* from, size_t from_size, size_t size);
    void async_commit();
    void async_wait(size_t groups_left);
    void sync_threads(Site site);
    // Called by each lane of `mask`; the last to come runs `complete`, while the others' stacks stand still.
    using Complete = void (*)(unsigned mask, const void* const* in, void* const* out);
    void collective(Site site, unsigned mask, const void* in, void* out, Complete complete);
    void sync_warp(Site site, unsigned mask);
    unsigned thread() const { return thread_; }
    unsigned lane() const { return thread_ % kWarpSize; }
    void report(const std::string& what);

private:
    enum class State { ready, at_barrier, in_warp, done };
    struct Fiber;
    struct AsyncCopy {
        Region* to;
        int64_t offset;
        const unsigned char* from;
        size_t from_size;  // the rest up to size becomes zero
        size_t size;
    };
    using AsyncGroup = std::vector<AsyncCopy>;
    struct WarpWait {
        Site site{};
        unsigned mask = 0;
        Complete complete = nullptr;
        const void* in = nullptr;
        void* out = nullptr;
    };

    void run_block(const std::function<void()>& kernel);
    void start(unsigned thread);
    void resume(unsigned thread);
    void suspend(State state);
    bool release_barrier();
    void describe_deadlock();
    bool in_bounds(Region* region, int64_t offset, size_t size, size_t alignment, const char* verb);
    bool ordered_after_write(const Cell& cell) const;
    static void fiber_main();

    std::vector<Region> buffers_;
    std::vector<Region> shared_;
    std::vector<Fiber> fibers_;
    std::vector<WarpWait> waits_;
    std::vector<std::vector<AsyncGroup>> async_;  // of each thread, oldest group first, the open one last
    std::vector<Site> barrier_sites_;
    std::vector<uint32_t> warp_epochs_;
    std::vector<std::string> reports_;
    const std::function<void()>* kernel_ = nullptr;
    unsigned threads_ = 0;
    unsigned thread_ = 0;
    uint32_t epoch_ = 0;
    uint32_t first_epoch_ = 0;  // of the running block
    bool reversed_ = false;
};

}  // namespace fastlic::emulation

// CUDA's own names, set by the machine before a fiber runs.
extern fastlic::emulation::Dim3 threadIdx, blockIdx, blockDim, gridDim;
