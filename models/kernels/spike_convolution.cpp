// Convolution of images that are mostly zeros, as spikes are, and the gradient of its weights: what is zero costs nothing.
//
// Images are channels last. The weights are `(kernel rows, kernel columns, channels in, channels out)`: an input that is
// not zero adds one row of them to a row of outputs, which stays in vector registers while its inputs are gathered.

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <omp.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

struct Shape {
    int64_t images, in, out;            // channels; `out` is a multiple of a vector's lanes
    int64_t height, width;              // of the input
    int64_t rows, columns;              // of the output
    int64_t kernel_rows, kernel_columns, stride_rows, stride_columns, padding_rows, padding_columns;
    int64_t threads;
};

namespace {

constexpr int64_t VECTOR = 64;          // bytes; a compiler splits it where registers are smaller
template <typename F> constexpr int64_t LANES = VECTOR / sizeof(F);
template <typename F> struct Lanes {
    typedef F type __attribute__((vector_size(VECTOR), aligned(sizeof(F)), may_alias));
};

// What is not zero in an image: places in it, `first[q]` the first one of pixel q.
template <typename F> struct Active {
    std::vector<int32_t> first, places;

    void find(const Shape& s, const F* image) {
        const int64_t pixels = s.height * s.width;
        first.resize(pixels + 1), places.resize(pixels * s.in + LANES<float>);
        int32_t number = 0;
        for (int64_t q = 0; q < pixels; ++q) {
            first[q] = number;
            number += list(image, int32_t(q * s.in), int32_t((q + 1) * s.in), places.data() + number);
        }
        first[pixels] = number;
    }

    static int32_t list(const F* x, int32_t i, int32_t n, int32_t* out) {
        int32_t number = 0;
#if defined(__AVX512F__)
        if constexpr (sizeof(F) == 4) {
            const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            for (; i + 16 <= n; i += 16) {
                const __mmask16 on = _mm512_cmpneq_ps_mask(_mm512_loadu_ps((const float*)x + i), _mm512_setzero_ps());
                const __m512i which = _mm512_maskz_compress_epi32(on, _mm512_add_epi32(lane, _mm512_set1_epi32(i)));
                _mm512_storeu_si512(out + number, which);
                number += __builtin_popcount(on);
            }
        }
#endif
        for (; i < n; ++i) {
            out[number] = i;
            number += x[i] != 0;
        }
        return number;
    }
};

// What an output pixel sees through row `y` of the kernel: active places, and what must be added to a place for the line
// of weights that it meets. One row of the kernel at a time: its weights then stay in the first-level cache.
struct Stretch {
    int32_t begin = 0, end = 0;
    int64_t shift = 0;

    template <typename F> Stretch(const Shape& s, const Active<F>& active, int64_t row, int64_t column, int64_t y) {
        const int64_t from = row * s.stride_rows - s.padding_rows + y, left = column * s.stride_columns - s.padding_columns;
        const int64_t low = std::max<int64_t>(left, 0), high = std::min(left + s.kernel_columns, s.width);
        if (from < 0 || from >= s.height || low >= high) return;
        const int64_t pixel = from * s.width;
        begin = active.first[pixel + low], end = active.first[pixel + high];
        shift = (y * s.kernel_columns - pixel - left) * s.in;
    }
};

// Calls `visit(output pixel, stretch)` row by row of the output, and there row by row of the kernel.
template <typename F, typename Visit> inline void stretches(const Shape& s, const Active<F>& active, Visit visit) {
    for (int64_t row = 0; row < s.rows; ++row)
        for (int64_t y = 0; y < s.kernel_rows; ++y)
            for (int64_t column = 0; column < s.columns; ++column)
                visit(row * s.columns + column, Stretch(s, active, row, column, y));
}

// N vectors of output channels of all pixels of an image, added to what stands there.
template <typename F, int N>
void gather(const Shape& s, const Active<F>& active, const F* image, const F* weights, F* out) {
    typedef typename Lanes<F>::type V;
    stretches(s, active, [&](int64_t pixel, const Stretch& seen) {
        V sum[N], *place = (V*)(out + pixel * s.out);
        for (int j = 0; j < N; ++j) sum[j] = place[j];
        for (int32_t k = seen.begin; k < seen.end; ++k) {
            const int64_t at = active.places[k];
            const V* line = (const V*)(weights + (at + seen.shift) * s.out);
            for (int j = 0; j < N; ++j) sum[j] += image[at] * line[j];
        }
        for (int j = 0; j < N; ++j) place[j] = sum[j];
    });
}

// For every line of weights (tap and channel in): the output pixels that an active input reached through it, in order.
template <typename F> struct Reached {
    struct Event {
        int32_t pixel;
        F value;
    };
    const int64_t room;                 // for the events of a line
    std::vector<int32_t> number;
    std::vector<Event> events;

    explicit Reached(const Shape& s)
        : room(s.rows * s.columns), number(s.kernel_rows * s.kernel_columns * s.in), events(number.size() * room) {}

    void find(const Shape& s, const Active<F>& active, const F* image) {
        std::fill(number.begin(), number.end(), 0);
        stretches(s, active, [&](int64_t pixel, const Stretch& seen) {
            for (int32_t k = seen.begin; k < seen.end; ++k) {
                const int64_t at = active.places[k], line = at + seen.shift;
                events[line * room + number[line]++] = {int32_t(pixel), image[at]};
            }
        });
    }
};

// Adds an image's part of the gradient of all weights, N vectors of output channels.
template <typename F, int N> void scatter(const Shape& s, const Reached<F>& reached, const F* of_out, F* of_weights) {
    typedef typename Lanes<F>::type V;
    for (size_t line = 0; line < reached.number.size(); ++line) {
        V sum[N], *place = (V*)(of_weights + line * s.out);
        for (int j = 0; j < N; ++j) sum[j] = place[j];
        const auto* event = &reached.events[line * reached.room];
        for (const auto* end = event + reached.number[line]; event < end; ++event) {
            const V* g = (const V*)(of_out + event->pixel * s.out);
            for (int j = 0; j < N; ++j) sum[j] += event->value * g[j];
        }
        for (int j = 0; j < N; ++j) place[j] = sum[j];
    }
}

// Calls `part(N, first channel)`, N a constant number of vectors, until all output channels had their turn.
template <typename F, typename Part> void by_vectors(int64_t out, Part part) {
    int64_t at = 0;
    for (; at + 4 * LANES<F> <= out; at += 4 * LANES<F>) part(std::integral_constant<int, 4>(), at);
    for (; at < out; at += LANES<F>) part(std::integral_constant<int, 1>(), at);
}

template <typename F> void forward(const Shape& s, const F* images, const F* weights, F* out) {
#pragma omp parallel num_threads(s.threads)
    {
        Active<F> active;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s.images; ++i) {
            const F* image = images + i * s.height * s.width * s.in;
            F* to = out + i * s.rows * s.columns * s.out;
            active.find(s, image);
            std::fill_n(to, s.rows * s.columns * s.out, F(0));
            by_vectors<F>(s.out, [&](auto n, int64_t at) { gather<F, n>(s, active, image, weights + at, to + at); });
        }
    }
}

// The images are shared among the threads in a fixed way and the threads' parts are added in order.
template <typename F> void backward(const Shape& s, const F* images, const F* of_out, F* of_weights) {
    const int64_t size = s.kernel_rows * s.kernel_columns * s.in * s.out;
    std::vector<std::vector<F>> parts(s.threads);
#pragma omp parallel num_threads(s.threads)
    {
        Active<F> active;
        Reached<F> reached(s);
        auto& part = parts[omp_get_thread_num()];
        part.assign(size, F(0));
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s.images; ++i) {
            const F *image = images + i * s.height * s.width * s.in, *g = of_out + i * s.rows * s.columns * s.out;
            active.find(s, image);
            reached.find(s, active, image);
            by_vectors<F>(s.out, [&](auto n, int64_t at) { scatter<F, n>(s, reached, g + at, part.data() + at); });
        }
    }
    std::fill_n(of_weights, size, F(0));
    for (const auto& part : parts)
        for (size_t i = 0; i < part.size(); ++i) of_weights[i] += part[i];
}

}  // namespace

#define OF_TYPE(F, NAME)                                                                                              \
    extern "C" void forward_##NAME(const Shape* s, const F* images, const F* weights, F* out) {                       \
        forward<F>(*s, images, weights, out);                                                                         \
    }                                                                                                                 \
    extern "C" void backward_##NAME(const Shape* s, const F* images, const F* of_out, F* of_weights) {                \
        backward<F>(*s, images, of_out, of_weights);                                                                  \
    }

OF_TYPE(float, float32)
OF_TYPE(double, float64)
