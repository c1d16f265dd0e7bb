// Run a function for 0 .. count - 1, spread over threads of its own.
#pragma once

#include <exception>
#include <thread>
#include <vector>

namespace fastlic {

// Calls run(i) for each i, thread t taking a contiguous share. The first exception of the lowest thread is rethrown
// after all have ended. With one thread nothing is started.
template <class Function>
void parallel_for(int threads, int count, const Function& run) {
    threads = threads < count ? threads : count;
    if (threads <= 1) {
        for (int i = 0; i < count; ++i) run(i);
        return;
    }
    std::vector<std::exception_ptr> failures(static_cast<size_t>(threads));
    const auto share = [&](int t) {
        try {
            for (int i = count * t / threads; i < count * (t + 1) / threads; ++i) run(i);
        } catch (...) {
            failures[static_cast<size_t>(t)] = std::current_exception();
        }
    };
    std::vector<std::thread> workers;
    workers.reserve(static_cast<size_t>(threads) - 1);
    try {
        for (int t = 1; t < threads; ++t) workers.emplace_back(share, t);
    } catch (...) {  // the system gives no more threads: their shares are done here
        for (int t = static_cast<int>(workers.size()) + 1; t < threads; ++t) share(t);
    }
    share(0);
    for (std::thread& worker : workers) worker.join();
    for (const std::exception_ptr& failure : failures) {
        if (failure) std::rethrow_exception(failure);
    }
}

}  // namespace fastlic
