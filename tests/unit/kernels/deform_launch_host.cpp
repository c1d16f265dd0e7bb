// Print what deform_launch.h launches for shapes on standard input: batch height width in out half multiprocessors.
#include "deform_launch.h"

#include <cstdio>

int main() {
    fastlic::tensorrt::DeformMaps maps{};
    int half = 0, multiprocessors = 0;
    while (std::scanf("%ld %ld %ld %ld %ld %d %d", &maps.batch, &maps.height, &maps.width, &maps.in_channels,
                      &maps.out_channels, &half, &multiprocessors) == 7) {
        if (!fastlic::tensorrt::deform_is_supported(maps)) {
            std::puts("refused");
            continue;
        }
        const auto launch = fastlic::tensorrt::deform_launch(maps, half != 0, multiprocessors);
        const auto& instance = fastlic::tensorrt::kDeformInstances[launch.instance];
        std::printf("%s %u %u %u %d\n", instance.kernel, launch.grid[0], launch.grid[1], launch.grid[2],
                    instance.threads);
    }
}
