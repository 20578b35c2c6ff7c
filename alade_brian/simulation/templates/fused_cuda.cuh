// What the generated kernels of a network have in common. A kernel is a function of a row, the channels of one pixel of
// one image, which a warp works on: lane k has the channels k, k + 32, ... of its tile. Nothing here is atomic and every
// sum has one order, so that equal runs give equal bits.
//
// What must hold for that: warps never write what another warp of the same launch reads or writes, and within a warp only
// the list in shared memory is written by one lane and read by others, with a barrier before and behind.
#ifndef FUSED_CUDA_CUH
#define FUSED_CUDA_CUH
#include <cuda_runtime.h>
#include <cstddef>
#include <cstdint>
#include <map>
#include "streams.h"

namespace shared {

constexpr int LANES = 32, WARPS = 4;
constexpr unsigned ALL = 0xffffffffu;
// A lane looks at a byte of spikes at a time.
constexpr int LIST = LANES * 8;

// What a warp works on; `list` is its own part of the shared memory.
struct Row {
    int image, pixel, tile, lane;
    int32_t* list;
};

// Where a target pixel looks: `count` stretches of the source's pixels, see gather.py.
struct Stretches {
    const int32_t *begin, *end, *shift;
    int count;
};

// What a weight becomes for the spike of a neuron: itself, or times what a spike counts (the same for all, or each its own).
struct Unscaled {
    template <class real> __device__ real operator()(real weight, int) const { return weight; }
};
template <class real> struct Scaled {
    real amplitude;
    __device__ real operator()(real weight, int) const { return weight * amplitude; }
};
template <class real> struct ScaledEach {
    const real* amplitudes;
    __device__ real operator()(real weight, int number) const { return weight * amplitudes[number]; }
};

template <class Body> __global__ void __launch_bounds__(LANES* WARPS) rows(Body body, int count, int pixels, int tiles) {
    __shared__ int32_t lists[WARPS][LIST];
    const int warp = threadIdx.x / LANES, row = blockIdx.x * WARPS + warp;
    if (row < count)
        body(Row{row / tiles / pixels, row / tiles % pixels, row % tiles, (int)threadIdx.x % LANES, lists[warp]});
}

// The numbers (pixel * CHANNELS + channel) of the spikes among the bytes `from` up to `end`, at most 32 of them, in
// ascending order in the warp's list; returns how many.
template <int CHANNELS, int ROW_BYTES>
__device__ inline int list_spikes(const Row& at, const uint8_t* spikes, int from, int end) {
    const int byte = from + at.lane;
    unsigned bits = byte < end ? spikes[byte] : 0;
    if (!__any_sync(ALL, bits != 0)) return 0;
    const int own = __popc(bits);
    int upto = own;
    for (int step = 1; step < LANES; step *= 2) {
        const int before = __shfl_up_sync(ALL, upto, step);
        if (at.lane >= step) upto += before;
    }
    const int found = __shfl_sync(ALL, upto, LANES - 1);
    const int first = byte / ROW_BYTES * CHANNELS + byte % ROW_BYTES * 8;
    for (int32_t* to = at.list + upto - own; bits; bits &= bits - 1) *to++ = first + __ffs(bits) - 1;
    __syncwarp();
    return found;
}

// Add to the lane's numbers, `sums`, those of the kernel's rows that the spikes in sight name. Spikes in their order and
// sums begun with the state: each number's sum is that of delivering spike by spike.
// `part` is the lane's place in a row of the kernel, counted from the first number of the target's channel 0.
template <class real, int BLOCKS, int CHANNELS, int ROW_BYTES, int ROW, int STRIDE, class Scale>
__device__ inline void gather_row(real (&sums)[BLOCKS], const Row& at, const real* kernel, int part, Stretches seen,
                                  const uint8_t* spikes, const Scale& scale) {
    for (int k = 0; k < seen.count; k++) {
        const real* weights = kernel + (std::ptrdiff_t)seen.shift[k] * STRIDE + part;
        const int end = seen.end[k] * ROW_BYTES;
        for (int from = seen.begin[k] * ROW_BYTES; from < end; from += LANES) {
            const int found = list_spikes<CHANNELS, ROW_BYTES>(at, spikes, from, end);
#pragma unroll 4
            for (int j = 0; j < found; j++) {
                const int number = at.list[j];
                const real* row = weights + (std::ptrdiff_t)number * STRIDE;
#pragma unroll
                for (int r = 0; r < BLOCKS; r++)
                    if ((unsigned)(part + r * LANES) < (unsigned)ROW) sums[r] += scale(row[r * LANES], number);
            }
            __syncwarp();
        }
    }
}

// The same where a spike reaches a part of the target's channels only (groups, pooling, one-to-one): each lane looks at
// the bits of the source channels that reach it.
template <class real, int BLOCKS, int CHANNELS, int ROW_BYTES, int ROW, int STRIDE, int PER_ROW, class Scale>
__device__ inline void gather_parts(real (&sums)[BLOCKS], const Row&, const real* kernel, int part, Stretches seen,
                                    const uint8_t* spikes, const Scale& scale) {
    for (int r = 0; r < BLOCKS; r++) {
        const int place = part + r * LANES;
        if ((unsigned)place >= (unsigned)(CHANNELS / PER_ROW * ROW)) continue;
        const int first = place / ROW * PER_ROW;
        for (int k = 0; k < seen.count; k++) {
            const real* weights = kernel + (std::ptrdiff_t)seen.shift[k] * STRIDE + place % ROW;
            for (int pixel = seen.begin[k]; pixel < seen.end[k]; pixel++)
                for (int channel = first; channel < first + PER_ROW; channel++)
                    if (spikes[pixel * ROW_BYTES + channel / 8] >> channel % 8 & 1) {
                        const int number = pixel * CHANNELS + channel;
                        sums[r] += scale(weights[(std::ptrdiff_t)number * STRIDE], number);
                    }
        }
    }
}

// A current: the same sums over the numbers of a source, for the channels that an operator makes from `offset` on.
template <class real, int BLOCKS, int CHANNELS, int ROW, int STRIDE, int PER_ROW>
__device__ inline void sum_current(real* current, const real* kernel, int part, Stretches seen, const real* values) {
    for (int r = 0; r < BLOCKS; r++) {
        const int place = part + r * LANES;
        if ((unsigned)place >= (unsigned)(CHANNELS / PER_ROW * ROW)) continue;
        const int first = place / ROW * PER_ROW;
        real sum = 0;
        for (int k = 0; k < seen.count; k++) {
            const real* weights = kernel + (std::ptrdiff_t)seen.shift[k] * STRIDE + place % ROW;
            for (int pixel = seen.begin[k]; pixel < seen.end[k]; pixel++)
                for (int channel = first; channel < first + PER_ROW; channel++) {
                    const int number = pixel * CHANNELS + channel;
                    const real x = values[number];
                    if (x != 0) sum += x * weights[(std::ptrdiff_t)number * STRIDE];
                }
        }
        current[place] = sum;
    }
}

// The largest of the numbers in sight, channel by channel; there is at least one pixel.
template <class real, int BLOCKS, int CHANNELS>
__device__ inline void max_current(real* current, int first, Stretches seen, const real* values) {
    for (int r = 0; r < BLOCKS; r++) {
        const int channel = first + r * LANES;
        if (channel >= CHANNELS) continue;
        real largest = values[seen.begin[0] * CHANNELS + channel];
        for (int k = 0; k < seen.count; k++)
            for (int pixel = seen.begin[k]; pixel < seen.end[k]; pixel++) {
                const real x = values[pixel * CHANNELS + channel];
                if (x > largest) largest = x;
            }
        current[channel] = largest;
    }
}

// The bits of 32 channels from `tile`'s first on, lane by lane, as bytes of a row of spikes.
template <int ROW_BYTES> __device__ inline void write_bits(uint8_t* row, int block, int lane, bool fired) {
    const unsigned word = __ballot_sync(ALL, fired);
    const int byte = block * (LANES / 8) + lane;
    if (lane < LANES / 8 && byte < ROW_BYTES) row[byte] = word >> 8 * lane;
}

[[noreturn]] inline void fail(const char* what, const char* why = "", const char* name = "") {
    std::fflush(stdout);
    std::fprintf(stderr, "%s: %s %s", what, why, name);
    std::_Exit(4);
}
inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) fail(what, cudaGetErrorString(error), cudaGetErrorName(error));
}

// The images that are side by side, the same number in every presentation.
inline int& batch() {
    static int images = 1;
    return images;
}

// A kernel over all rows of a population.
template <class Body> void each_row(int pixels, int tiles, Body body) {
    const int64_t all = (int64_t)batch() * pixels * tiles;
    if (all > INT32_MAX) fail("there are too many images side by side for one kernel");
    int count = (int)all;
    void* arguments[] = {&body, &count, &pixels, &tiles};
    check(cudaLaunchKernel(rows<Body>, dim3((count + WARPS - 1) / WARPS), dim3(LANES * WARPS), arguments, 0, nullptr),
          "a kernel could not be started");
}

// The place on the GPU of one of Brian2's arrays. Of an array that each image has for itself (`each`) there are as many
// as there are images, zeros at first; of others one, with the numbers that the host has.
template <class T> T* on_device(T* host, std::size_t size, bool each) {
    static std::map<const void*, T*> known;
    T*& found = known[host];
    if (found) return found;
    const std::size_t bytes = sizeof(T) * size * (each ? batch() : 1);
    check(cudaMalloc((void**)&found, bytes), "the GPU has no memory left for the network");
    if (each)
        check(cudaMemset(found, 0, bytes), "the GPU's memory cannot be written");
    else
        check(cudaMemcpy(found, host, bytes, cudaMemcpyHostToDevice), "the GPU's memory cannot be written");
    return found;
}

// Synaptic events of every image: for each spike the synapses of its neuron. A warp per image; sums of integers, so that
// their order does not matter.
template <int CHANNELS, int PIXELS>
void count_events(const int8_t* spikes, std::size_t from_image, int start, int steps, const int32_t* degrees,
                  int64_t* events, int inputs) {
    each_row(1, 1, [=] __device__(Row at) {
        constexpr int ROW_BYTES = (CHANNELS + 7) / 8;
        const uint8_t* own = (const uint8_t*)spikes + from_image * at.image + start;
        unsigned long long found = 0;
        for (int byte = at.lane; byte < steps * PIXELS * ROW_BYTES; byte += LANES) {
            const int32_t* reached = degrees + byte / ROW_BYTES % PIXELS * CHANNELS + byte % ROW_BYTES * 8;
            for (unsigned bits = own[byte]; bits; bits &= bits - 1) found += reached[__ffs(bits) - 1];
        }
        for (int step = LANES / 2; step; step /= 2) found += __shfl_down_sync(ALL, found, step);
        if (at.lane == 0) events[(std::size_t)at.image * inputs] = found;
    });
}

// Presentations that are under way, two at a time: while the GPU computes one, the answers of the one before are sent
// and the images of the next are read. Memory of the host that the GPU copies from and to by itself.
class Presentations {
    struct Place {
        char *images = nullptr, *answers = nullptr;
        std::size_t written = 0;
        cudaEvent_t done;
        bool under_way = false;
    };
    Place places[2];
    int turn = 0;
    std::size_t image_bytes = 0, answer_bytes = 0;

    void finish(Place& place) {
        if (!place.under_way) return;
        check(cudaEventSynchronize(place.done), "the GPU stopped");
        write_all(place.answers, place.written);
        place.under_way = false;
    }

  public:
    // So many bytes of images come in, and at most so many go out, for each image.
    void begin(std::size_t images, std::size_t answers) {
        check(cudaFree(nullptr), "no GPU can be used");
        image_bytes = images * batch(), answer_bytes = answers * batch();
        for (Place& place : places) {
            check(cudaMallocHost((void**)&place.images, image_bytes), "the host has no memory left for images");
            check(cudaMallocHost((void**)&place.answers, answer_bytes), "the host has no memory left for answers");
            check(cudaEventCreateWithFlags(&place.done, cudaEventDisableTiming), "no event can be made");
        }
    }

    // Read the images of the next presentation and send them to the GPU; false where there are no more.
    bool next(void* device) {
        Place& place = places[turn];
        // Who waits for an answer before asking again gets it.
        if (!input_waits()) finish(places[1 - turn]);
        const bool more = read_all(place.images, image_bytes);
        if (more)
            check(cudaMemcpyAsync(device, place.images, image_bytes, cudaMemcpyHostToDevice), "images cannot be sent");
        else
            finish(places[1 - turn]);
        place.written = 0;
        return more;
    }

    // What is at a place of the GPU once all that was asked before is done belongs to the answer.
    void answer(const void* device, std::size_t bytes_per_image) {
        Place& place = places[turn];
        const std::size_t bytes = bytes_per_image * batch();
        check(cudaMemcpyAsync(place.answers + place.written, device, bytes, cudaMemcpyDeviceToHost),
              "answers cannot be fetched");
        place.written += bytes;
    }

    // The answer is whole; the one before it is sent meanwhile.
    void end() {
        Place& place = places[turn];
        check(cudaEventRecord(place.done), "no event can be recorded");
        place.under_way = true;
        turn = 1 - turn;
        finish(places[turn]);
    }
};

inline Presentations& presentations() {
    static Presentations found;
    return found;
}

}  // namespace shared
#endif
