// The part of CUDA that the generated kernels use, on one core of a processor, so that tests run them without a GPU.
//
// It is meant to be unkind. The lanes of a warp are fibers which go on in another order from barrier to barrier, so that a
// missing barrier shows; lanes that wait at different barriers end the program; warps run in changing order; memory of the
// "GPU" is apart from the host's and full of rubbish at first; kernels and copies wait until somebody asks for them.
// __syncthreads and atomics are not there.
#ifndef CUDA_SHIM
#define CUDA_SHIM
#include <setjmp.h>
#include <ucontext.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <tuple>
#include <utility>

#define __host__
#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

constexpr int LANES = 32, STACK = 1 << 17;

[[noreturn]] inline void fail(const char* why) {
    std::fprintf(stderr, "shim: %s", why);
    std::_Exit(5);
}

// A number below n, another one each time, the same in every run.
inline unsigned draw(unsigned n) {
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (unsigned)(state >> 33) % n;
}

// What lanes do at a barrier: the kind, and what each gives the others.
struct Lane {
    jmp_buf place;
    const char* barrier;
    bool started = false, ended;
};
inline Lane lanes[LANES];
inline jmp_buf home;
inline int current, turn;
inline uint64_t given[2][LANES];
inline const std::function<void()>* job;

inline __attribute__((noinline)) void give_way() {
    if (!_setjmp(lanes[current].place)) _longjmp(home, 1);
}

inline void live() {
    for (;;) {
        (*job)();
        lanes[current].ended = true;
        give_way();
    }
}

inline __attribute__((noinline)) void go_on(int lane) {
    static char stacks[LANES][STACK];
    static ucontext_t contexts[LANES];
    current = lane;
    if (_setjmp(home)) return;
    if (lanes[lane].started) _longjmp(lanes[lane].place, 1);
    lanes[lane].started = true;
    getcontext(&contexts[lane]);
    contexts[lane].uc_stack.ss_sp = stacks[lane], contexts[lane].uc_stack.ss_size = STACK;
    makecontext(&contexts[lane], live, 0);
    setcontext(&contexts[lane]);
}

// Wait for the warp; what every lane gave.
inline const uint64_t* meet(const char* barrier, unsigned mask, uint64_t value) {
    if (mask != 0xffffffffu) fail("a barrier is not for the whole warp");
    const uint64_t* all = given[turn];
    given[turn][current] = value;
    lanes[current].barrier = barrier;
    give_way();
    return all;
}

inline void run_warp(unsigned warp) {
    for (Lane& lane : lanes) lane.ended = false;
    do {
        int order[LANES];
        for (int k = 0; k < LANES; k++) {
            const int other = draw(k + 1);
            order[k] = order[other], order[other] = k;
        }
        for (Lane& lane : lanes) lane.barrier = nullptr;
        for (int lane : order) {
            threadIdx = dim3(warp * LANES + lane);
            go_on(lane);
        }
        for (Lane& lane : lanes)
            if (lane.barrier != lanes[0].barrier || lane.ended != lanes[0].ended) fail("the lanes of a warp parted");
        turn = 1 - turn;
    } while (!lanes[0].ended);
}

// What was asked of the GPU and is not done yet.
inline std::deque<std::function<void()>> asked;
inline std::size_t done;
inline void work_until(std::size_t count) {
    for (; done < count; done++) {
        asked.front()();
        asked.pop_front();
    }
}
inline void work() { work_until(done + asked.size()); }

inline void launch(dim3 grid, dim3 block, const std::function<void()>& kernel) {
    if (block.x % LANES) fail("a block is not whole warps");
    job = &kernel, gridDim = grid, blockDim = block;
    const bool backwards = draw(2);
    for (unsigned k = 0; k < grid.x; k++) {
        blockIdx = dim3(backwards ? grid.x - 1 - k : k);
        for (unsigned w = 0; w < block.x / LANES; w++) run_warp(backwards ? block.x / LANES - 1 - w : w);
    }
}

template <class... A, std::size_t... I>
std::function<void()> bound(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    return [kernel, values = std::make_tuple(*(A*)arguments[I]...)] { std::apply(kernel, values); };
}

}  // namespace shim

enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
typedef std::size_t cudaEvent_t;
typedef void* cudaStream_t;
constexpr unsigned cudaEventDisableTiming = 2;

inline const char* cudaGetErrorString(cudaError_t) { return "out of memory"; }
inline const char* cudaGetErrorName(cudaError_t) { return "cudaErrorMemoryAllocation"; }

inline cudaError_t cudaMalloc(void** found, std::size_t size) {
    static const char* most = std::getenv("CUDA_SHIM_BYTES");
    static std::size_t used = 0;
    if (most && (used += size) > std::strtoull(most, nullptr, 10)) return cudaErrorMemoryAllocation;
    *found = std::malloc(size);
    std::memset(*found, 0xa5, size);
    return cudaSuccess;
}
inline cudaError_t cudaMallocHost(void** found, std::size_t size) {
    *found = std::malloc(size);
    return cudaSuccess;
}
inline cudaError_t cudaMemset(void* to, int value, std::size_t size) {
    shim::work();
    std::memset(to, value, size);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t size, cudaMemcpyKind) {
    shim::work();
    std::memcpy(to, from, size);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind) {
    shim::asked.push_back([=] { std::memcpy(to, from, size); });
    return cudaSuccess;
}
template <class... A>
cudaError_t cudaLaunchKernel(void (*kernel)(A...), dim3 grid, dim3 block, void** arguments, std::size_t, cudaStream_t) {
    auto whole = shim::bound(kernel, arguments, std::index_sequence_for<A...>());
    shim::asked.push_back([=] { shim::launch(grid, block, whole); });
    return cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned) { return cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t& event) {
    event = shim::done + shim::asked.size();
    return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    shim::work_until(event);
    return cudaSuccess;
}
inline cudaError_t cudaFree(void*) { return cudaSuccess; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(unsigned x) { return __builtin_ffs(x); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
#ifndef CUDA_SHIM_FORGETS_SYNCWARP
    shim::meet("__syncwarp", mask, 0);
#endif
}
inline unsigned __ballot_sync(unsigned mask, bool mine) {
    const uint64_t* all = shim::meet("__ballot_sync", mask, mine);
    unsigned bits = 0;
    for (int k = 0; k < shim::LANES; k++) bits |= (unsigned)all[k] << k;
    return bits;
}
inline int __any_sync(unsigned mask, bool mine) { return __ballot_sync(mask, mine) != 0; }
template <class T> T __shfl_sync(unsigned mask, T value, int lane) {
    return (T)shim::meet("__shfl_sync", mask, (uint64_t)value)[lane];
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned step) {
    const int lane = shim::current;
    const uint64_t* all = shim::meet("__shfl_up_sync", mask, (uint64_t)value);
    return (T)all[lane < (int)step ? lane : lane - step];
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned step) {
    const int lane = shim::current;
    const uint64_t* all = shim::meet("__shfl_down_sync", mask, (uint64_t)value);
    return (T)all[lane + (int)step < shim::LANES ? lane + step : lane];
}
#endif
