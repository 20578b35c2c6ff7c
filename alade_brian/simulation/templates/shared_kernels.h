// What the generated passes over a layer have in common: vectors, gathering, spike lists, and the program's two streams.
#ifndef SHARED_KERNELS_H
#define SHARED_KERNELS_H
#include <unistd.h>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Brian2 allocates its arrays with new[]: where they begin at a cache line, no vector of a kernel straddles two. Weak,
// since every generated file brings them.
__attribute__((weak)) void* operator new[](std::size_t size) {
    void* memory = std::aligned_alloc(64, (size + 63) / 64 * 64);
    if (!memory) throw std::bad_alloc();
    return memory;
}
__attribute__((weak)) void operator delete[](void* memory) noexcept { std::free(memory); }
__attribute__((weak)) void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace shared {

// Room of the two streams: the pipes are as large.
constexpr std::size_t STREAM_BYTES = 1 << 20;

#if defined(__AVX512F__) && defined(__AVX512BW__)
constexpr int VECTOR_BYTES = 64, REGISTERS = 16;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32, REGISTERS = 8;
#else
constexpr int VECTOR_BYTES = 16, REGISTERS = 8;
#endif

template <class real> struct Vector {
    static constexpr int LANES = VECTOR_BYTES / sizeof(real);
    typedef real type __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real))));
};

// Where a layer's spikes stand: those of pixel p (over all images) are channel[first[p]] up to channel[first[p + 1]],
// ascending.
template <class index> struct Spikes {
    const int32_t* first;
    const index* channel;
};

// Add to `ROW` numbers at `state`, kept in registers, the rows of the kernel that the active taps name. Taps in pixel
// order and sums begun with the state: each number's sum is that of delivering spike by spike.
template <class real, int FROM, int COUNT, int ROW, int STRIDE, int CHANNELS, class index, class Scale>
inline __attribute__((always_inline)) void gather_vectors(
        real* __restrict state, const real* __restrict kernel, const int32_t* source, const int32_t* block, int taps,
        Spikes<index> spikes, const Scale& scale) {
    typedef typename Vector<real>::type vec;
    constexpr int L = Vector<real>::LANES;
    constexpr int WHOLE = (FROM + COUNT) * L <= ROW ? COUNT : COUNT - 1, REST = (ROW - FROM * L) - WHOLE * L;
    vec a[COUNT];
    for (int c = 0; c < WHOLE; c++) a[c] = *(const vec*)(state + (FROM + c) * L);
    if (WHOLE < COUNT) {
        a[COUNT - 1] = vec{};
        std::memcpy(&a[COUNT - 1], state + (FROM + WHOLE) * L, REST * sizeof(real));
    }
    for (int tap = 0; tap < taps; tap++) {
        const int pixel = source[tap];
        const real* rows = kernel + (std::size_t)block[tap] * CHANNELS * STRIDE + FROM * L;
        for (int j = spikes.first[pixel]; j < spikes.first[pixel + 1]; j++) {
            const int channel = spikes.channel[j];
            const vec* row = (const vec*)(rows + (std::size_t)channel * STRIDE);
            for (int c = 0; c < COUNT; c++) a[c] += scale(row[c], pixel, channel);
        }
    }
    for (int c = 0; c < WHOLE; c++) *(vec*)(state + (FROM + c) * L) = a[c];
    if (WHOLE < COUNT) std::memcpy(state + (FROM + WHOLE) * L, &a[COUNT - 1], REST * sizeof(real));
}

// The same for rows of any length: as many vectors at a time as there are registers for.
template <class real, int ROW, int STRIDE, int CHANNELS, int FROM = 0, class index, class Scale>
inline __attribute__((always_inline)) void gather_row(
        real* __restrict state, const real* __restrict kernel, const int32_t* source, const int32_t* block, int taps,
        Spikes<index> spikes, const Scale& scale) {
    constexpr int ALL = (ROW + Vector<real>::LANES - 1) / Vector<real>::LANES;
    constexpr int COUNT = ALL - FROM < REGISTERS ? ALL - FROM : REGISTERS;
    gather_vectors<real, FROM, COUNT, ROW, STRIDE, CHANNELS>(state, kernel, source, block, taps, spikes, scale);
    if constexpr (FROM + COUNT < ALL)
        gather_row<real, ROW, STRIDE, CHANNELS, FROM + COUNT>(state, kernel, source, block, taps, spikes, scale);
}

// The same where a spike reaches a part of the target's channels only: groups, pooling, one-to-one.
template <class real, int ROW, int STRIDE, int CHANNELS, int PER_ROW, class index, class Scale>
inline void gather_parts(
        real* __restrict state, const real* __restrict kernel, const int32_t* source, const int32_t* block, int taps,
        Spikes<index> spikes, const Scale& scale) {
    for (int tap = 0; tap < taps; tap++) {
        const int pixel = source[tap];
        const real* rows = kernel + (std::size_t)block[tap] * CHANNELS * STRIDE;
        for (int j = spikes.first[pixel]; j < spikes.first[pixel + 1]; j++) {
            const int channel = spikes.channel[j];
            const real* row = rows + (std::size_t)channel * STRIDE;
            real* part = state + channel / PER_ROW * ROW;
            for (int c = 0; c < ROW; c++) part[c] += scale(row[c], pixel, channel);
        }
    }
}

// How many synapses the active taps of a pixel went through.
template <class index>
inline int64_t count_events(const int32_t* source, int taps, Spikes<index> spikes, int row) {
    int64_t found = 0;
    for (int tap = 0; tap < taps; tap++) found += spikes.first[source[tap] + 1] - spikes.first[source[tap]];
    return found * row;
}

// A current: the same sum over all channels of a source of numbers.
template <class real, int ROW, int STRIDE, int CHANNELS, int PER_ROW>
inline void sum_row(
        real* __restrict current, const real* __restrict kernel, const int32_t* source, const int32_t* block, int taps,
        const real* __restrict values) {
    real sums[(CHANNELS / PER_ROW) * ROW] = {};
    for (int tap = 0; tap < taps; tap++)
        for (int channel = 0; channel < CHANNELS; channel++) {
            const real x = values[(std::size_t)source[tap] * CHANNELS + channel];
            // Most numbers of spikes shown as a stimulus, and of dark images, are zero.
            if (x == 0) continue;
            const real* row = kernel + ((std::size_t)block[tap] * CHANNELS + channel) * STRIDE;
            real* part = sums + channel / PER_ROW * ROW;
            for (int c = 0; c < ROW; c++) part[c] += x * row[c];
        }
    for (int c = 0; c < (CHANNELS / PER_ROW) * ROW; c++) current[c] = sums[c];
}

// Integers as wide as the numbers beside them, so that a comparison fills a vector of them without packing.
template <int BYTES> struct Integer;
template <> struct Integer<4> { typedef int32_t type; };
template <> struct Integer<8> { typedef int64_t type; };

// The signs of up to 64 such integers (-1 or 0) as bits.
template <int COUNT, class integer> inline __attribute__((always_inline)) uint64_t sign_bits(const integer* fired) {
    uint64_t bits = 0;
    int c = 0;
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    constexpr int L = 64 / sizeof(integer);
    for (; c + L <= COUNT; c += L) {
        const __m512i x = _mm512_loadu_si512(fired + c);
        bits |= (uint64_t)(sizeof(integer) == 4 ? _mm512_movepi32_mask(x) : _mm512_movepi64_mask(x)) << c;
    }
#elif defined(__AVX__)
    constexpr int L = 32 / sizeof(integer);
    for (; c + L <= COUNT; c += L) {
        const __m256i x = _mm256_loadu_si256((const __m256i*)(fired + c));
        bits |= (uint64_t)(unsigned)(sizeof(integer) == 4 ? _mm256_movemask_ps(_mm256_castsi256_ps(x))
                                                         : _mm256_movemask_pd(_mm256_castsi256_pd(x))) << c;
    }
#endif
    for (; c < COUNT; c++) bits |= (uint64_t)(fired[c] != 0) << c;
    return bits;
}

// Append the numbers of the set bits, counted from `base`, to a list that has room for 64 more.
template <class index> inline int append(index* list, uint64_t bits, int base) {
    int n = 0;
    for (; bits; bits &= bits - 1) list[n++] = (index)(base + __builtin_ctzll(bits));
    return n;
}
#if defined(__AVX512VBMI2__) && defined(__AVX512BW__)
template <> inline int append<uint16_t>(uint16_t* list, uint64_t bits, int base) {
    alignas(64) static const uint16_t numbers[64] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
        28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55,
        56, 57, 58, 59, 60, 61, 62, 63};
    int n = 0;
    for (int half = 0; half < 2; half++) {
        const __mmask32 mask = (__mmask32)(bits >> 32 * half);
        if (!mask) continue;
        const __m512i all = _mm512_add_epi16(_mm512_load_si512(numbers + 32 * half), _mm512_set1_epi16((short)base));
        _mm512_storeu_si512(list + n, _mm512_maskz_compress_epi16(mask, all));
        n += __builtin_popcount(mask);
    }
    return n;
}
#endif

// Images come in on the standard input, answers go out on the standard output.

// The next `size` bytes; false where there are no more. What was answered is sent before the program waits for more.
inline bool read_all(void* to, std::size_t size) {
    static std::vector<char> buffer(std::max(size, STREAM_BYTES));
    static std::size_t begin = 0, end = 0;
    if (end - begin < size) {
        std::memmove(buffer.data(), buffer.data() + begin, end - begin);
        end -= begin, begin = 0;
        std::fflush(stdout);
    }
    while (end < size) {
        const ssize_t got = ::read(0, buffer.data() + end, buffer.size() - end);
        if (got <= 0) return false;
        end += got;
    }
    std::memcpy(to, buffer.data() + begin, size);
    begin += size;
    return true;
}

inline void write_all(const void* from, std::size_t size) {
    static const int buffered = std::setvbuf(stdout, nullptr, _IOFBF, STREAM_BYTES);
    (void)buffered;
    if (std::fwrite(from, 1, size, stdout) != size) std::_Exit(3);
}

}  // namespace shared
#endif
