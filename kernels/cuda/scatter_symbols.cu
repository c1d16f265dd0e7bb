// K4: a decoded pass back into the latent: symbols of the coded elements, modes of the others. Integers only.
//
//   in   kinds     uint8 [channels][height][width] and modes int16 likewise, of K1
//        elements  int32 [starts[7]] and starts int32 [8], of K2
//        symbols   int16 [starts[7]], decoded values in coding order
//   out  y         int16 [..][height][latent width]: channels [first_channel, first_channel + channels) at the elements
//   of
//                  the pass; others are not touched
// parity: 0 all, 1 even, 2 odd; width is that of the packed array.
//
// Launch: grid ceil(size / 256), 256 threads. Twin: entropy_twins.scatter_symbols.
#include "checkerboard.h"

namespace fastlic {
namespace {

constexpr int kScatterThreads = 256;
constexpr int kClasses = 7;

}  // namespace
}  // namespace fastlic

extern "C" __global__ void __launch_bounds__(256)
    scatter_symbols(const uint8_t* kinds, const int16_t* modes, const int32_t* elements, const int32_t* starts,
                    const int16_t* symbols, int32_t channels, int32_t height, int32_t width, int32_t parity,
                    int32_t first_channel, int16_t* y_pointer) {
    using namespace fastlic;
    const Global<int16_t> y(y_pointer);
    const int i = static_cast<int>(blockIdx.x) * kScatterThreads + static_cast<int>(threadIdx.x);
    const auto place = [=](int element) {
        const int channel = element / (height * width), row = element / width % height, column = element % width;
        return (static_cast<int64_t>(first_channel + channel) * height + row) * latent_width(width, parity) +
               latent_column(row, column, parity);
    };
    if (i < channels * height * width && Global<const uint8_t>(kinds).load(i) == kClasses) {
        y.store(place(i), Global<const int16_t>(modes).load(i));
    }
    if (i < Global<const int32_t>(starts).load(kClasses)) {
        y.store(place(Global<const int32_t>(elements).load(i)), Global<const int16_t>(symbols).load(i));
    }
}
