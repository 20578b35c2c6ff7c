// What the generated passes over a layer have in common: vectors, gathering, spike lists.
#ifndef SHARED_KERNELS_H
#define SHARED_KERNELS_H
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include "streams.h"
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

// A layer's spikes in one step: numbers (pixel * channels + channel), ascending. Those of pixel p of all images are
// number[first[p]] up to number[first[p + 1]].
struct Spikes {
    const int32_t* first;
    const int32_t* number;
};

// Where a target pixel looks: `count` stretches of the source's pixels, see gather.py.
struct Stretches {
    const int32_t *begin, *end, *shift;
    int count;
};

// Add to `ROW` numbers at `state`, kept in registers, the rows of the kernel that the spikes in sight name. Spikes in
// their order and sums begun with the state: each number's sum is that of delivering spike by spike. Returns how many
// spikes there were.
template <class real, int FROM, int COUNT, int ROW, int STRIDE, class Scale>
inline __attribute__((always_inline)) std::ptrdiff_t gather_vectors(
        real* __restrict state, const real* __restrict kernel, Stretches seen, Spikes spikes, const Scale& scale) {
    typedef typename Vector<real>::type vec;
    constexpr int L = Vector<real>::LANES;
    constexpr int WHOLE = (FROM + COUNT) * L <= ROW ? COUNT : COUNT - 1, REST = (ROW - FROM * L) - WHOLE * L;
    vec a[COUNT];
    for (int c = 0; c < WHOLE; c++) a[c] = *(const vec*)(state + (FROM + c) * L);
    if (WHOLE < COUNT) {
        a[COUNT - 1] = vec{};
        std::memcpy(&a[COUNT - 1], state + (FROM + WHOLE) * L, REST * sizeof(real));
    }
    std::ptrdiff_t found = 0;
    for (int k = 0; k < seen.count; k++) {
        const real* rows = kernel + (std::ptrdiff_t)seen.shift[k] * STRIDE + FROM * L;
        const int32_t* j = spikes.number + spikes.first[seen.begin[k]];
        const int32_t* last = spikes.number + spikes.first[seen.end[k]];
        found += last - j;
        for (; j < last; j++) {
            const vec* row = (const vec*)(rows + (std::ptrdiff_t)*j * STRIDE);
            for (int c = 0; c < COUNT; c++) a[c] += scale(row[c], *j);
        }
    }
    for (int c = 0; c < WHOLE; c++) *(vec*)(state + (FROM + c) * L) = a[c];
    if (WHOLE < COUNT) std::memcpy(state + (FROM + WHOLE) * L, &a[COUNT - 1], REST * sizeof(real));
    return found;
}

// As gather_vectors where a spike reaches a part of the target's channels only: groups, pooling, one-to-one.
template <class real, int ROW, int STRIDE, int CHANNELS, int PER_ROW, class Scale>
inline std::ptrdiff_t gather_parts(
        real* __restrict state, const real* __restrict kernel, Stretches seen, Spikes spikes, const Scale& scale) {
    std::ptrdiff_t found = 0;
    for (int k = 0; k < seen.count; k++) {
        const real* rows = kernel + (std::ptrdiff_t)seen.shift[k] * STRIDE;
        const int last = spikes.first[seen.end[k]];
        found += last - spikes.first[seen.begin[k]];
        for (int j = spikes.first[seen.begin[k]]; j < last; j++) {
            const int number = spikes.number[j];
            const real* row = rows + (std::ptrdiff_t)number * STRIDE;
            real* part = state + number % CHANNELS / PER_ROW * ROW;
            for (int c = 0; c < ROW; c++) part[c] += scale(row[c], number);
        }
    }
    return found;
}

// As gather_vectors for rows of any length: as many vectors at a time as there are registers for.
template <class real, int ROW, int STRIDE, int FROM = 0, class Scale>
inline __attribute__((always_inline)) std::ptrdiff_t gather_row(
        real* __restrict state, const real* __restrict kernel, Stretches seen, Spikes spikes, const Scale& scale) {
    // Rows of one number are not padded: a vector at the last one would reach beyond the kernel.
    if constexpr (STRIDE == 1) return gather_parts<real, 1, 1, 1, 1>(state, kernel, seen, spikes, scale);
    constexpr int ALL = (ROW + Vector<real>::LANES - 1) / Vector<real>::LANES;
    constexpr int COUNT = ALL - FROM < REGISTERS ? ALL - FROM : REGISTERS;
    const std::ptrdiff_t found = gather_vectors<real, FROM, COUNT, ROW, STRIDE>(state, kernel, seen, spikes, scale);
    if constexpr (FROM + COUNT < ALL)
        gather_row<real, ROW, STRIDE, FROM + COUNT>(state, kernel, seen, spikes, scale);
    return found;
}

// A current: the same sum over all channels of a source of numbers, for rows in registers,
template <class real, int FROM, int COUNT, int ROW, int STRIDE, int CHANNELS>
inline __attribute__((always_inline)) void sum_vectors(
        real* __restrict current, const real* __restrict kernel, Stretches seen, const real* __restrict values) {
    typedef typename Vector<real>::type vec;
    constexpr int L = Vector<real>::LANES;
    vec a[COUNT] = {};
    for (int k = 0; k < seen.count; k++) {
        const real* rows = kernel + (std::ptrdiff_t)seen.shift[k] * STRIDE + FROM * L;
        for (int number = seen.begin[k] * CHANNELS; number < seen.end[k] * CHANNELS; number++) {
            const real x = values[number];
            // Most numbers of spikes shown as a stimulus, and of dark images, are zero.
            if (x == 0) continue;
            const vec* row = (const vec*)(rows + (std::ptrdiff_t)number * STRIDE);
            for (int c = 0; c < COUNT; c++) a[c] += x * row[c];
        }
    }
    constexpr int NUMBERS = (FROM + COUNT) * L <= ROW ? COUNT * L : ROW - FROM * L;
    std::memcpy(current + FROM * L, a, NUMBERS * sizeof(real));
}

// where a number reaches a part of the target's channels only,
template <class real, int ROW, int STRIDE, int CHANNELS, int PER_ROW>
inline void sum_parts(
        real* __restrict current, const real* __restrict kernel, Stretches seen, const real* __restrict values) {
    for (int c = 0; c < (CHANNELS / PER_ROW) * ROW; c++) current[c] = 0;
    for (int k = 0; k < seen.count; k++) {
        const real* rows = kernel + (std::ptrdiff_t)seen.shift[k] * STRIDE;
        for (int number = seen.begin[k] * CHANNELS; number < seen.end[k] * CHANNELS; number++) {
            const real x = values[number];
            if (x == 0) continue;
            const real* row = rows + (std::ptrdiff_t)number * STRIDE;
            real* part = current + number % CHANNELS / PER_ROW * ROW;
            for (int c = 0; c < ROW; c++) part[c] += x * row[c];
        }
    }
}

// and for rows of any length.
template <class real, int ROW, int STRIDE, int CHANNELS, int FROM = 0>
inline __attribute__((always_inline)) void sum_row(
        real* __restrict current, const real* __restrict kernel, Stretches seen, const real* __restrict values) {
    if constexpr (STRIDE == 1) return sum_parts<real, 1, 1, CHANNELS, CHANNELS>(current, kernel, seen, values);
    constexpr int ALL = (ROW + Vector<real>::LANES - 1) / Vector<real>::LANES;
    constexpr int COUNT = ALL - FROM < REGISTERS ? ALL - FROM : REGISTERS;
    sum_vectors<real, FROM, COUNT, ROW, STRIDE, CHANNELS>(current, kernel, seen, values);
    if constexpr (FROM + COUNT < ALL) sum_row<real, ROW, STRIDE, CHANNELS, FROM + COUNT>(current, kernel, seen, values);
}

// The largest of the numbers in sight, channel by channel; there is at least one pixel.
template <class real, int CHANNELS>
inline void max_row(real* __restrict current, Stretches seen, const real* __restrict values) {
    std::memcpy(current, values + (std::ptrdiff_t)seen.begin[0] * CHANNELS, CHANNELS * sizeof(real));
    for (int k = 0; k < seen.count; k++)
        for (std::ptrdiff_t pixel = seen.begin[k]; pixel < seen.end[k]; pixel++) {
            const real* row = values + pixel * CHANNELS;
            for (int c = 0; c < CHANNELS; c++) current[c] = row[c] > current[c] ? row[c] : current[c];
        }
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

#if defined(__AVX2__) && !defined(__AVX512F__)
// The numbers of the bits that are set in a byte, in their order.
static const struct SetBits {
    uint8_t of[256][8];
    SetBits() : of{} {
        for (int byte = 0; byte < 256; byte++)
            for (int bit = 0, n = 0; bit < 8; bit++)
                if (byte >> bit & 1) of[byte][n++] = bit;
    }
} set_bits;
#endif

// Append the numbers of those of `COUNT` bits that are set, counted from `base`, to a list that has room for 64 more;
// returns how many. Without a branch that depends on the spikes: it would be guessed wrong as often as not.
template <int COUNT> inline __attribute__((always_inline)) int append(int32_t* list, uint64_t bits, int base) {
    int n = 0;
#if defined(__AVX512F__)
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int part = 0; part < COUNT; part += 16, bits >>= 16, base += 16) {
        const __mmask16 mask = (__mmask16)bits;
        // Whole vectors are stored; what lies behind the last number is overwritten by the next.
        const __m512i numbers = _mm512_add_epi32(lanes, _mm512_set1_epi32(base));
        _mm512_storeu_si512(list + n, _mm512_maskz_compress_epi32(mask, numbers));
        n += __builtin_popcount(mask);
    }
#elif defined(__AVX2__)
    for (int part = 0; part < COUNT; part += 8, bits >>= 8, base += 8) {
        const __m128i found = _mm_loadl_epi64((const __m128i*)set_bits.of[bits & 255]);
        const __m256i numbers = _mm256_add_epi32(_mm256_cvtepu8_epi32(found), _mm256_set1_epi32(base));
        _mm256_storeu_si256((__m256i*)(list + n), numbers);
        n += __builtin_popcount(bits & 255);
    }
#else
    for (; bits; bits &= bits - 1) list[n++] = base + __builtin_ctzll(bits);
#endif
    return n;
}

}  // namespace shared
#endif
