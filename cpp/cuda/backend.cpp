// The one function that this library exports.
#include "../kernel/backend.hpp"

#include <fusedstep/backend_name.hpp>

#include "reader.hpp"
#include "runner.hpp"

namespace fusedstep::cuda {
namespace {

class Cuda : public Backend {
    int device_count(std::string& why_not) override { return cuda::device_count(why_not); }
    std::unique_ptr<Stepper> stepper(int device, bool wanders) override {
        return std::make_unique<Runner>(device, wanders);
    }

    bool capturing(int device, void* stream) override {
        const On on(device);
        return cuda::capturing(stream);
    }

    std::vector<Found> measure(int device, std::span<const Reading> readings, Stream stream) override {
        const On on(device);
        return cuda::measure(readings, stream);
    }

    void* allocate(int device, size_t bytes) override {
        const On on(device);
        return allocate_zeros(bytes);
    }
    void release(void* memory) noexcept override { cuda::release(memory); }

    void upload(int device, void* to, const void* from, size_t bytes) override {
        const On on(device);
        wait_for_all();
        cuda::upload(to, from, bytes, nullptr);
        wait(nullptr);
    }
    void download(int device, void* to, const void* from, size_t bytes) override {
        const On on(device);
        wait_for_all();
        cuda::download(to, from, bytes, nullptr);
    }

    std::optional<int> device_of(const void* memory) override { return cuda::device_of(memory); }

    void on(int device, const std::function<void()>& work) override {
        const On on(device);
        work();
    }
};

}  // namespace
}  // namespace fusedstep::cuda

#ifdef _WIN32
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

extern "C" EXPORTED fusedstep::Backend* FUSEDSTEP_BACKEND() {
    static fusedstep::cuda::Cuda cuda;
    return &cuda;
}
