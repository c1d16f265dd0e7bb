// The neighbours that a 5x5 checkerboard context sees: the 12 of 25 places that lie on the other parity. Integers only.
//
//   in   y      int16 [channels][height][2 width]
//   out  taps   int16 [height][width][12][channels]: for each element of `parity` (1 even, 2 odd), packed, the places
//   with
//               (row + column) of the other parity, row by row; outside the latent 0
//
// A block has 32 packed columns of one row and 32 channels: five rows of the latent pass through shared memory, so that
// reads run along columns and writes along channels. A channel takes an odd number of words: no bank conflicts.
// Launch: grid (ceil(width / 32), height, ceil(channels / 32)), 256 threads. Twin: entropy_twins.context_gather.
#include "checkerboard.h"

namespace fastlic {
namespace {

constexpr int kGatherThreads = 256;
constexpr int kTileColumns = 32;  // packed
constexpr int kTileChannels = 32;
constexpr int kReach = 2;
constexpr int kRows = 2 * kReach + 1;
constexpr int kWindowColumns = 2 * kTileColumns + 2 * kReach;
constexpr int kContextTaps = 12;
constexpr int kChannelStride = kRows * kWindowColumns + 2;
static_assert(kChannelStride % 4 == 2, "an odd number of 4-byte words");

}  // namespace
}  // namespace fastlic

extern "C" __global__ void __launch_bounds__(256)
    context_gather(const int16_t* y_pointer, int32_t channels, int32_t height, int32_t width, int32_t parity,
                   int16_t* taps_pointer) {
    using namespace fastlic;
    FASTLIC_SHARED(int16_t, window, kTileChannels* kChannelStride);
    const Global<const int16_t> y(y_pointer);
    const Global<int16_t> taps(taps_pointer);
    const int thread = static_cast<int>(threadIdx.x);
    const int first_column = static_cast<int>(blockIdx.x) * kTileColumns, row = static_cast<int>(blockIdx.y);
    const int first_channel = static_cast<int>(blockIdx.z) * kTileChannels;
    const int latent = latent_width(width, parity);

    for (int i = thread; i < kTileChannels * kRows * kWindowColumns; i += kGatherThreads) {
        const int column = i % kWindowColumns, r = i / kWindowColumns % kRows, c = i / (kWindowColumns * kRows);
        const int from_row = row + r - kReach, from_column = 2 * first_column + column - kReach;
        const bool inside = first_channel + c < channels && from_row >= 0 && from_row < height && from_column >= 0 &&
                            from_column < latent;
        const int64_t at = (static_cast<int64_t>(first_channel + c) * height + from_row) * latent + from_column;
        window.store(c * kChannelStride + r * kWindowColumns + column, inside ? y.load(at) : int16_t{0});
    }
    __syncthreads();
    for (int i = thread; i < kTileColumns * kContextTaps * kTileChannels; i += kGatherThreads) {
        const int c = i % kTileChannels, tap = i / kTileChannels % kContextTaps;
        const int column = first_column + i / (kTileChannels * kContextTaps);
        if (first_channel + c >= channels || column >= width) continue;
        const int place = 2 * tap + 1;  // of 25, row by row: those of the other parity are the odd ones
        const int from_column = latent_column(row, column, parity) - 2 * first_column + place % kRows;
        taps.store(((static_cast<int64_t>(row) * width + column) * kContextTaps + tap) * channels + first_channel + c,
                   window.load(c * kChannelStride + place / kRows * kWindowColumns + from_column));
    }
}
