// See machine.h. Fibers start through ucontext and switch with _setjmp and _longjmp, which save no signal mask and so
// make no system call.
#include "machine.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>

fastlic::emulation::Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace fastlic::emulation {

namespace {

constexpr size_t kStackBytes = 64 * 1024;
constexpr size_t kMaxReports = 20;

Dim3 place(unsigned index, Dim3 size) { return {index % size.x, index / size.x % size.y, index / (size.x * size.y)}; }

std::string text(Dim3 at) {
    return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
}

std::string text(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }

jmp_buf scheduler_state;
ucontext_t scheduler_context;

}  // namespace

struct Machine::Fiber {
    State state = State::ready;
    bool started = false;
    jmp_buf registers;
    ucontext_t context;
    std::unique_ptr<unsigned char[]> stack{new unsigned char[kStackBytes]};
};

Machine& Machine::get() {
    static Machine machine;
    return machine;
}

void Machine::forget() {
    buffers_.clear();
    reports_.clear();
}

void Machine::add_buffer(std::string name, void* base, size_t size, Use use) {
    Region region{std::move(name), static_cast<unsigned char*>(base), size, use, {}};
    if (use != Use::input) region.cells.resize(size);
    for (Cell& cell : region.cells) cell.initialised = use == Use::changed;
    buffers_.push_back(std::move(region));
}

size_t Machine::unwritten(size_t buffer) const {
    const auto& cells = buffers_.at(buffer).cells;
    return static_cast<size_t>(std::count_if(cells.begin(), cells.end(), [](const Cell& c) { return !c.initialised; }));
}

void Machine::report(const std::string& what) {
    if (reports_.size() < kMaxReports) {
        reports_.push_back(what + " [block " + text(blockIdx) + ", thread " + text(threadIdx) + "]");
    }
}

// --- launching

void Machine::launch(Dim3 grid, Dim3 block, bool reversed, const std::function<void()>& kernel) {
    threads_ = block.count();
    reversed_ = reversed;
    gridDim = grid;
    blockDim = block;
    epoch_ = 0;
    for (Region& region : buffers_) {  // launches are ordered: only what was written stays known
        for (Cell& cell : region.cells) {
            const bool initialised = cell.initialised;
            cell = Cell{};
            cell.initialised = initialised;
        }
    }
    if (fibers_.size() < threads_) fibers_.resize(threads_);
    for (unsigned b = 0; b < grid.count(); ++b) {
        blockIdx = place(reversed ? grid.count() - 1 - b : b, grid);
        run_block(kernel);
    }
    kernel_ = nullptr;
}

void Machine::run_block(const std::function<void()>& kernel) {
    kernel_ = &kernel;
    shared_.clear();
    shared_.reserve(16);  // accessors keep pointers to regions
    first_epoch_ = ++epoch_;
    const unsigned warps = (threads_ + kWarpSize - 1) / kWarpSize;
    warp_epochs_.assign(warps, 1);
    waits_.assign(threads_, {});
    async_.assign(threads_, std::vector<AsyncGroup>(1));
    barrier_sites_.assign(threads_, {});
    for (unsigned t = 0; t < threads_; ++t) {
        fibers_[t].state = State::ready;
        fibers_[t].started = false;
    }
    for (;;) {
        bool progress = false;
        for (unsigned i = 0; i < threads_; ++i) {
            const unsigned t = reversed_ ? threads_ - 1 - i : i;
            if (fibers_[t].state != State::ready) continue;
            resume(t);
            progress = true;
        }
        if (progress) continue;
        const bool all_done = std::all_of(fibers_.begin(), fibers_.begin() + threads_,
                                          [](const Fiber& fiber) { return fiber.state == State::done; });
        if (all_done) return;
        if (!release_barrier()) {
            describe_deadlock();
            return;  // the fibers are left where they stand; kernels own nothing
        }
    }
}

void Machine::start(unsigned thread) {
    Fiber& fiber = fibers_[thread];
    fiber.started = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Machine::fiber_main, 0);
    swapcontext(&scheduler_context, &fiber.context);
}

void Machine::fiber_main() {
    Machine& machine = get();
    (*machine.kernel_)();
    machine.suspend(State::done);
}

void Machine::resume(unsigned thread) {
    thread_ = thread;
    threadIdx = place(thread, blockDim);
    if (_setjmp(scheduler_state) != 0) return;
    if (fibers_[thread].started) _longjmp(fibers_[thread].registers, 1);
    start(thread);
}

void Machine::suspend(State state) {
    Fiber& fiber = fibers_[thread_];
    fiber.state = state;
    if (_setjmp(fiber.registers) == 0) _longjmp(scheduler_state, 1);
}

// --- barriers and collectives

void Machine::sync_threads(Site site) {
    barrier_sites_[thread_] = site;
    suspend(State::at_barrier);
}

// True when every live thread waits at a barrier: they go on, and everything before is ordered before everything after.
bool Machine::release_barrier() {
    const Site* first = nullptr;
    for (unsigned t = 0; t < threads_; ++t) {
        if (fibers_[t].state == State::done) continue;
        if (fibers_[t].state != State::at_barrier) return false;
        if (first == nullptr) first = &barrier_sites_[t];
        if (!(*first == barrier_sites_[t])) {
            report("threads of a block meet at different barriers: " + text(*first) + " and " +
                   text(barrier_sites_[t]));
            return false;
        }
    }
    for (unsigned t = 0; t < threads_; ++t) {
        if (fibers_[t].state == State::at_barrier) fibers_[t].state = State::ready;
    }
    ++epoch_;
    for (uint32_t& epoch : warp_epochs_) ++epoch;
    return true;
}

void Machine::describe_deadlock() {
    unsigned at_barrier = 0, in_warp = 0, done = 0;
    for (unsigned t = 0; t < threads_; ++t) {
        at_barrier += fibers_[t].state == State::at_barrier;
        in_warp += fibers_[t].state == State::in_warp;
        done += fibers_[t].state == State::done;
    }
    report("the block never ends: " + std::to_string(at_barrier) + " threads wait at a barrier, " +
           std::to_string(in_warp) + " for lanes of their warp, " + std::to_string(done) + " have returned");
}

void Machine::collective(Site site, unsigned mask, const void* in, void* out, Complete complete) {
    const unsigned first = thread_ / kWarpSize * kWarpSize;
    if ((mask >> lane() & 1) == 0) report("a lane calls a warp function without being in its mask: " + text(site));
    waits_[thread_] = {site, mask, complete, in, out};
    const void* ins[kWarpSize] = {};
    void* outs[kWarpSize] = {};
    for (unsigned l = 0; l < kWarpSize; ++l) {
        if ((mask >> l & 1) == 0) continue;
        const unsigned t = first + l;
        const bool here = t == thread_ || (t < threads_ && fibers_[t].state == State::in_warp);
        if (!here) {  // a later lane completes; one that has returned never comes, and the deadlock is reported
            suspend(State::in_warp);
            return;
        }
        if (!(waits_[t].site == site) || waits_[t].mask != mask) {
            report("lanes of a warp meet in different calls: " + text(site) + " and " + text(waits_[t].site));
            suspend(State::in_warp);
            return;
        }
        ins[l] = waits_[t].in;
        outs[l] = waits_[t].out;
    }
    complete(mask, ins, outs);
    for (unsigned l = 0; l < kWarpSize; ++l) {
        if ((mask >> l & 1) != 0 && first + l != thread_) fibers_[first + l].state = State::ready;
    }
}

// A partial mask orders nothing here, which is stricter than CUDA.
void Machine::sync_warp(Site site, unsigned mask) {
    collective(site, mask, nullptr, nullptr, [](unsigned lanes, const void* const*, void* const*) {
        if (lanes == kFullMask) ++get().warp_epochs_[get().thread_ / kWarpSize];
    });
}

// --- memory

Region* Machine::global_region(const void* pointer) {
    for (Region& region : buffers_) {
        if (region.contains(pointer)) return &region;
    }
    report("a pointer that is in no buffer");
    return nullptr;
}

Region* Machine::shared_region(void* base, size_t size, const char* name) {
    size_t total = size;
    for (Region& region : shared_) {
        if (region.base == base) return &region;
        total += region.size;
    }
    if (total > kStaticSharedBytes) report("more than 48 KB of static shared memory with " + std::string(name));
    shared_.push_back({name, static_cast<unsigned char*>(base), size, Use::output, std::vector<Cell>(size)});
    return &shared_.back();
}

bool Machine::in_bounds(Region* region, int64_t offset, size_t size, size_t alignment, const char* verb) {
    if (region == nullptr) return false;  // reported when the accessor was made
    if (offset < 0 || static_cast<uint64_t>(offset) + size > region->size) {
        report(std::string(verb) + " outside " + region->name + ": bytes " + std::to_string(offset) + " to " +
               std::to_string(offset + static_cast<int64_t>(size)) + " of " + std::to_string(region->size));
        return false;
    }
    if (reinterpret_cast<uintptr_t>(region->base + offset) % alignment != 0) {
        report(std::string(verb) + " of " + region->name + " at byte " + std::to_string(offset) +
               " is not aligned to " + std::to_string(alignment));
        return false;
    }
    return true;
}

// Whether what was last written to the byte precedes what the running thread does now.
bool Machine::ordered_after_write(const Cell& cell) const {
    if (cell.write_epoch == 0) return true;
    if (cell.write_epoch < first_epoch_) return false;  // by another block
    if (cell.write_epoch < epoch_ || cell.write_thread == thread_) return true;
    return cell.write_thread / kWarpSize == thread_ / kWarpSize &&
           cell.write_warp_epoch < warp_epochs_[thread_ / kWarpSize];
}

bool Machine::check_read(Region* region, int64_t offset, size_t size, size_t alignment) {
    if (!in_bounds(region, offset, size, alignment, "read")) return false;
    if (region->use == Use::input) return true;
    const unsigned warp = thread_ / kWarpSize;
    for (size_t i = 0; i < size; ++i) {
        Cell& cell = region->cells[static_cast<size_t>(offset) + i];
        if (!cell.initialised) {
            report("read of " + region->name + " at byte " + std::to_string(offset) + " before anything was written");
            return true;
        }
        if (!ordered_after_write(cell)) {
            report("race on " + region->name + " at byte " + std::to_string(offset) + ": read while thread " +
                   std::to_string(cell.write_thread) + " writes");
            return true;
        }
        if (cell.read_epoch != epoch_) {
            cell.read_epoch = epoch_;
            cell.read_warps = 0;
        }
        if (cell.read_warps == 0 || cell.read_warp != warp || cell.read_warp_epoch != warp_epochs_[warp]) {
            cell.read_warp = static_cast<uint8_t>(warp);
            cell.read_warp_epoch = warp_epochs_[warp];
            cell.read_lanes = 0;
        }
        cell.read_warps |= 1u << warp;
        cell.read_lanes |= 1u << lane();
    }
    return true;
}

bool Machine::check_write(Region* region, int64_t offset, size_t size, size_t alignment) {
    if (!in_bounds(region, offset, size, alignment, "write")) return false;
    if (region->use == Use::input) {
        report("write to the input " + region->name + " at byte " + std::to_string(offset));
        return false;
    }
    const unsigned warp = thread_ / kWarpSize;
    for (size_t i = 0; i < size; ++i) {
        Cell& cell = region->cells[static_cast<size_t>(offset) + i];
        const bool read_by_another_block = cell.read_epoch != 0 && cell.read_epoch < first_epoch_;
        const bool read_by_another_warp = cell.read_epoch == epoch_ && (cell.read_warps & ~(1u << warp)) != 0;
        const bool read_by_another_lane = cell.read_epoch == epoch_ && cell.read_warp == warp &&
                                          cell.read_warp_epoch == warp_epochs_[warp] &&
                                          (cell.read_lanes & ~(1u << lane())) != 0;
        if (read_by_another_block || read_by_another_warp || read_by_another_lane || !ordered_after_write(cell)) {
            report("race on " + region->name + " at byte " + std::to_string(offset) + ": written while " +
                   (ordered_after_write(cell) ? "another lane, warp or block reads"
                                              : "thread " + std::to_string(cell.write_thread) + " writes"));
            return true;
        }
        cell.write_epoch = epoch_;
        cell.write_thread = static_cast<uint16_t>(thread_);
        cell.write_warp_epoch = warp_epochs_[warp];
        cell.initialised = true;
    }
    return true;
}

// --- asynchronous copies

// Nothing may be known of the destination until the issuing thread has waited: reading it before is an error.
void Machine::async_copy(Region* to, int64_t to_offset, const unsigned char* from, size_t from_size, size_t size) {
    if (!check_write(to, to_offset, size, size)) return;
    for (size_t i = 0; i < size; ++i) to->cells[static_cast<size_t>(to_offset) + i].initialised = false;
    async_[thread_].back().push_back({to, to_offset, from, from_size, size});
}

void Machine::async_commit() { async_[thread_].emplace_back(); }

void Machine::async_wait(size_t groups_left) {
    std::vector<AsyncGroup>& groups = async_[thread_];
    while (groups.size() > groups_left + 1) {
        for (const AsyncCopy& copy : groups.front()) {
            check_write(copy.to, copy.offset, copy.size, copy.size);
            std::memset(copy.to->base + copy.offset, 0, copy.size);
            if (copy.from_size > 0) std::memcpy(copy.to->base + copy.offset, copy.from, copy.from_size);
        }
        groups.erase(groups.begin());
    }
}

}  // namespace fastlic::emulation
