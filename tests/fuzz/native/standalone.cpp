// Runs a fuzz target over the files named on the command line, where there is no libFuzzer: gcc with its sanitizers.
//
// Each file holds inputs one after the other, a little-endian u32 length before each, as tests/fuzz/native.py writes
// them.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerMutate(uint8_t*, size_t size, size_t) { return size; }  // inputs come ready made

int main(int argc, char** argv) {
    unsigned long inputs = 0;
    for (int i = 1; i < argc; ++i) {
        std::FILE* file = std::fopen(argv[i], "rb");
        if (file == nullptr) return 2;
        unsigned char head[4];
        while (std::fread(head, 1, 4, file) == 4) {
            const size_t size = head[0] | head[1] << 8 | head[2] << 16 | static_cast<size_t>(head[3]) << 24;
            std::vector<uint8_t> input(size);  // of exactly this size, so that a sanitizer sees its end
            if (std::fread(input.data(), 1, size, file) != size) return 2;
            LLVMFuzzerTestOneInput(input.data(), size);
            ++inputs;
        }
        std::fclose(file);
    }
    std::printf("%lu inputs\n", inputs);
    return 0;
}
