// Run one engine that `fastlic build STUDENT.licb -o engines` wrote, without Python and without fastlic.
//
//   g++ -std=c++17 run_engine.cpp -I$TENSORRT/include -I$CUDA/include -L$TENSORRT/lib -lnvinfer -L$CUDA/lib64 -lcudart
//   ./a.out engines/synthesis-128x32x48x2-sm_90.engine y.raw image.raw
//
// Files hold tensors as they lie in memory, inputs first, outputs last, in the order of the engine's ports. A port of
// bytes whose last axis is 2 is int16, little endian: low byte, high byte. So y.raw is int16 (128, 32, 48), and
// image.raw becomes uint8 (512, 768, 3). Our plugin is inside the engine. Shapes are fixed; one context per thread.
#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace {

class Logger final : public nvinfer1::ILogger {
    void log(Severity severity, const char* message) noexcept override {
        if (severity <= Severity::kWARNING) std::fprintf(stderr, "%s\n", message);
    }
};

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "run_engine: %s\n", what.c_str());
    std::exit(1);
}

void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess) fail(std::string(what) + ": " + cudaGetErrorString(status));
}

std::vector<char> read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(path + ": cannot be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

size_t bytes_of(const nvinfer1::ICudaEngine& engine, const char* port) {
    const nvinfer1::Dims shape = engine.getTensorShape(port);
    size_t size = engine.getTensorDataType(port) == nvinfer1::DataType::kUINT8 ? 1 : 4;  // the only types of ports
    for (int i = 0; i < shape.nbDims; ++i) size *= static_cast<size_t>(shape.d[i]);
    return size;
}

}  // namespace

int main(int count, char** words) {
    if (count < 3) fail("usage: run_engine ENGINE FILE... (inputs, then outputs)");
    const std::vector<char> plan = read(words[1]);
    Logger logger;
    std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
    if (!runtime) fail("TensorRT does not start");
    // An engine built by another version or for another GPU is refused here: build it again on this machine.
    std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(plan.data(), plan.size()));
    if (!engine) fail(std::string(words[1]) + ": not an engine for this TensorRT and this GPU");
    std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());
    if (!context) fail("not enough device memory");
    const int ports = engine->getNbIOTensors();
    if (ports != count - 2) fail("the engine has " + std::to_string(ports) + " ports");

    cudaStream_t stream;  // not the default stream, on which TensorRT would wait
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    std::vector<void*> memory(static_cast<size_t>(ports));
    for (int i = 0; i < ports; ++i) {
        void*& target = memory[static_cast<size_t>(i)];
        const char* port = engine->getIOTensorName(i);
        const size_t size = bytes_of(*engine, port);
        check(cudaMalloc(&target, size), "memory");
        if (!context->setTensorAddress(port, target)) fail(std::string(port) + ": no such port");
        if (engine->getTensorIOMode(port) == nvinfer1::TensorIOMode::kINPUT) {
            const std::vector<char> content = read(words[2 + i]);
            if (content.size() != size) fail(std::string(port) + ": " + std::to_string(size) + " bytes are expected");
            check(cudaMemcpyAsync(target, content.data(), size, cudaMemcpyHostToDevice, stream), port);
            check(cudaStreamSynchronize(stream), port);
        }
    }

    // The first call may load kernels; from then on the work can be captured and launched as one graph.
    if (!context->enqueueV3(stream)) fail("the engine does not run");
    check(cudaStreamSynchronize(stream), "first run");
    cudaGraph_t graph;
    cudaGraphExec_t recorded;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    if (!context->enqueueV3(stream)) fail("the engine cannot be captured");
    check(cudaStreamEndCapture(stream, &graph), "capture");
    check(cudaGraphInstantiate(&recorded, graph, 0), "capture");
    check(cudaGraphLaunch(recorded, stream), "launch");

    for (int i = 0; i < ports; ++i) {
        const char* port = engine->getIOTensorName(i);
        if (engine->getTensorIOMode(port) != nvinfer1::TensorIOMode::kOUTPUT) continue;
        std::vector<char> content(bytes_of(*engine, port));
        const void* source = memory[static_cast<size_t>(i)];
        check(cudaMemcpyAsync(content.data(), source, content.size(), cudaMemcpyDeviceToHost, stream), port);
        check(cudaStreamSynchronize(stream), port);
        std::ofstream file(words[2 + i], std::ios::binary);
        file.write(content.data(), static_cast<std::streamsize>(content.size()));
        if (!file) fail(std::string(words[2 + i]) + ": cannot be written");
    }
    check(cudaGraphExecDestroy(recorded), "end");
    check(cudaGraphDestroy(graph), "end");
    for (void* each : memory) check(cudaFree(each), "end");
    check(cudaStreamDestroy(stream), "end");
}
