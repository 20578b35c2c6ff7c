// Leaky integrate-and-fire neurons over time with batch norm in front of them, and the gradient of both.
//
// A tensor holds all steps behind one another, a step holds `count` neurons, and the channel of neuron i of a step is
// i % channels (channels last). Work is cut into blocks of whole pixels, whose membranes stay in the first-level cache
// through all steps; the numbers of the channels are laid out once for a block, so that every loop runs over neighbours
// and nothing else. Sums are taken over a fixed number of blocks and then added in order: they do not depend on the
// number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

struct Layer {
    int64_t steps, count, channels, threads;
    int64_t held;                       // 1: the input is that of one step, the same in every step
    int64_t to_zero, inclusive;         // the reset goes to zero (else by `drop`); >= instead of >
    double decay, gain, threshold, drop, initial;
};

namespace {

constexpr int64_t BLOCK = 512;          // neurons at once, at least
constexpr int64_t SERIES = 16;          // blocks whose sums are taken in the tensor's own type
#define EACH _Pragma("GCC ivdep") for (int64_t i = 0; i < n; ++i)

struct Blocks {
    int64_t all, size, number, series;
    Blocks(const Layer& layer, int64_t all)
        : all(all), size((BLOCK + layer.channels - 1) / layer.channels * layer.channels), number((all + size - 1) / size),
          series((number + SERIES - 1) / SERIES) {}
    int64_t in(int64_t block) const { return std::min(size, all - block * size); }
    int64_t end(int64_t part) const { return std::min(number, (part + 1) * SERIES); }
};

template <typename F> std::vector<F> laid_out(const double* values, int64_t channels, int64_t size) {
    std::vector<F> row(size);
    for (int64_t i = 0; i < size; ++i) row[i] = F(values[i % channels]);
    return row;
}

template <typename F> void add_channels(const F* row, int64_t size, int64_t channels, double* sums) {
    for (int64_t i = 0; i < size; i += channels)
        for (int64_t c = 0; c < channels; ++c) sums[c] += row[i + c];
}

// `norm`: rows scale, shift, mean, inverse deviation of the channels, or null. `added`: a current beside the input's.
template <typename F, bool NORM, bool ADD> struct Steps {
    const Layer& layer;
    const F *x, *added;
    const Blocks blocks;
    std::vector<F> scale, shift, mean;
    const F decay, gain, threshold, drop, initial, zero, least;

    Steps(const Layer& layer, const F* x, const F* added, const double* norm)
        : layer(layer), x(x), added(added), blocks(layer, layer.count), decay(layer.decay), gain(layer.gain),
          threshold(layer.threshold), drop(layer.to_zero ? 0 : layer.drop), initial(layer.initial), zero(layer.to_zero),
          least(layer.inclusive ? F(0) : std::numeric_limits<F>::denorm_min()) {
        if (!NORM) return;
        scale = laid_out<F>(norm, layer.channels, blocks.size);
        shift = laid_out<F>(norm + layer.channels, layer.channels, blocks.size);
        mean = laid_out<F>(norm + 2 * layer.channels, layer.channels, blocks.size);
    }
    const F* input(int64_t t, int64_t at) const { return x + at + (layer.held ? 0 : t * layer.count); }

    // Membranes of a step from what the step before has left.
    void charge(int64_t t, int64_t at, int64_t n, const F* left, F* v) const {
        const F *xs = input(t, at), *as = ADD ? added + at + t * layer.count : nullptr;
        const F *a = scale.data(), *b = shift.data();
        EACH {
            F y = NORM ? xs[i] * a[i] + b[i] : xs[i];
            if (ADD) y = y + as[i];
            v[i] = decay * left[i] + gain * y;
        }
    }
    void fire(int64_t n, const F* v, F* left, F* spikes) const {
        EACH {
            const F fired = v[i] - threshold >= least ? F(1) : F(0);
            spikes[i] = fired;
            left[i] = v[i] * (1 - fired * zero) - drop * fired;
        }
    }

    void spikes(F* out) const {
#pragma omp parallel num_threads(layer.threads)
        {
            std::vector<F> membranes(blocks.size);
            F* v = membranes.data();
#pragma omp for schedule(static)
            for (int64_t block = 0; block < blocks.number; ++block) {
                const int64_t at = block * blocks.size, n = blocks.in(block);
                std::fill_n(v, n, initial);
                for (int64_t t = 0; t < layer.steps; ++t) {
                    charge(t, at, n, v, v);
                    fire(n, v, v, out + at + t * layer.count);
                }
            }
        }
    }

    // The gradient of the current of a block, of every step; of a held current that of all steps together.
    void through_time(int64_t at, int64_t n, const F* of_spikes, F* work, F* of_current) const {
        const int64_t size = blocks.size;
        F *left = work, *fired = work + size, *v = work + 2 * size;
        std::fill_n(left, n, initial);
        for (int64_t t = 0; t < layer.steps; ++t) {
            charge(t, at, n, left, v + t * size);
            fire(n, v + t * size, left, fired);
        }
        F* back = left;
        std::fill_n(back, n, F(0));
        if (layer.held) std::fill_n(of_current + at, n, F(0));
        for (int64_t t = layer.steps - 1; t >= 0; --t) {
            const F *now = v + t * size, *gs = of_spikes + at + t * layer.count;
            F* out = of_current + at + (layer.held ? 0 : t * layer.count);
            EACH {
                const F distance = now[i] - threshold, slope = std::max(F(0), 1 - std::abs(distance));
                const F stays = 1 - (distance >= least ? zero : F(0));
                const F gv = back[i] * stays + (gs[i] - back[i] * (zero * now[i] + drop)) * slope;
                back[i] = decay * gv;
                out[i] = layer.held ? out[i] + gain * gv : gain * gv;
            }
        }
    }

    // Rows of `sums`, only with batch norm: the gradient of its bias, and of its weight.
    void gradient(const F* of_spikes, const double* norm, F* of_input, F* of_added, double* sums) const {
        const int64_t channels = layer.channels, size = blocks.size, inputs = layer.held ? 1 : layer.steps;
        std::vector<double> parts(NORM ? blocks.series * 2 * channels : 0, 0.0);
        const F* m = mean.data();
#pragma omp parallel num_threads(layer.threads)
        {
            std::vector<F> work((2 + layer.steps) * size), row(2 * size);
            F *sum = row.data(), *product = sum + size;
#pragma omp for schedule(static)
            for (int64_t part = 0; part < blocks.series; ++part) {
                std::fill(row.begin(), row.end(), F(0));
                for (int64_t block = part * SERIES; block < blocks.end(part); ++block) {
                    const int64_t at = block * size, n = blocks.in(block);
                    through_time(at, n, of_spikes, work.data(), of_input);
                    for (int64_t t = 0; t < inputs; ++t) {
                        const F *xs = input(t, at), *g = of_input + at + t * layer.count;
                        if (NORM) EACH sum[i] += g[i], product[i] += g[i] * (xs[i] - m[i]);
                        if (ADD) std::copy_n(g, n, of_added + at + t * layer.count);
                    }
                }
                if (!NORM) continue;
                add_channels(sum, size, channels, &parts[part * 2 * channels]);
                add_channels(product, size, channels, &parts[(part * 2 + 1) * channels]);
            }
        }
        if (!NORM) return;
        std::fill_n(sums, 2 * channels, 0.0);
        for (int64_t part = 0; part < blocks.series; ++part)
            for (int64_t c = 0; c < 2 * channels; ++c) sums[c] += parts[part * 2 * channels + c];
        for (int64_t c = 0; c < channels; ++c) sums[channels + c] *= norm[3 * channels + c];
        through_norm(norm, sums, of_input);
    }

    // From the gradient of what batch norm gives to that of what it takes, in place.
    void through_norm(const double* norm, const double* sums, F* g) const {
        const int64_t channels = layer.channels, all = (layer.held ? 1 : layer.steps) * layer.count;
        const Blocks whole(layer, all);
        std::vector<double> rows(2 * channels);
        for (int64_t c = 0; c < channels; ++c) {
            const double each = norm[c] * channels / all;
            rows[c] = each * sums[c];
            rows[channels + c] = each * norm[3 * channels + c] * sums[channels + c];
        }
        const auto first = laid_out<F>(rows.data(), channels, whole.size);
        const auto second = laid_out<F>(rows.data() + channels, channels, whole.size);
        const F *a = scale.data(), *m = mean.data(), *p = first.data(), *q = second.data();
#pragma omp parallel for schedule(static) num_threads(layer.threads)
        for (int64_t block = 0; block < whole.number; ++block) {
            const int64_t n = whole.in(block);
            const F* xs = x + block * whole.size;
            F* gs = g + block * whole.size;
            EACH gs[i] = a[i] * gs[i] - q[i] * (xs[i] - m[i]) - p[i];
        }
    }
};

// Mean and variance of every channel, from sums around the first value of each series.
template <typename F> void statistics(const Layer& layer, const F* x, double* mean, double* variance) {
    const int64_t channels = layer.channels, all = (layer.held ? 1 : layer.steps) * layer.count;
    const Blocks blocks(layer, all);
    const int64_t size = blocks.size;
    std::vector<double> parts(blocks.series * 2 * channels, 0.0);
#pragma omp parallel num_threads(layer.threads)
    {
        std::vector<F> row(3 * size);
        F *sum = row.data(), *square = sum + size, *around = square + size;
#pragma omp for schedule(static)
        for (int64_t part = 0; part < blocks.series; ++part) {
            const F* begin = x + part * SERIES * size;
            std::fill_n(sum, 2 * size, F(0));
            for (int64_t i = 0; i < size; i += channels) std::copy_n(begin, channels, around + i);
            for (int64_t block = part * SERIES; block < blocks.end(part); ++block) {
                const F* xs = x + block * size;
                const int64_t n = blocks.in(block);
                EACH {
                    const F d = xs[i] - around[i];
                    sum[i] += d, square[i] += d * d;
                }
            }
            add_channels(sum, size, channels, &parts[part * 2 * channels]);
            add_channels(square, size, channels, &parts[(part * 2 + 1) * channels]);
        }
    }
    // Chan's way to join the moments of two parts.
    double number = 0;
    std::fill_n(mean, channels, 0.0), std::fill_n(variance, channels, 0.0);
    for (int64_t part = 0; part < blocks.series; ++part) {
        const int64_t first = part * SERIES * size, last = std::min(all, blocks.end(part) * size);
        const double more = double(last - first) / channels;
        const double *sum = &parts[part * 2 * channels], *square = sum + channels;
        for (int64_t c = 0; c < channels; ++c) {
            const double apart = x[first + c] + sum[c] / more - mean[c];
            variance[c] += square[c] - sum[c] * sum[c] / more + apart * apart * number * more / (number + more);
            mean[c] += apart * more / (number + more);
        }
        number += more;
    }
    for (int64_t c = 0; c < channels; ++c) variance[c] = std::max(0.0, variance[c] / number);
}

template <typename F, typename Call>
void chosen(const Layer& layer, const F* x, const F* added, const double* norm, Call call) {
    if (norm && added) call(Steps<F, true, true>(layer, x, added, norm));
    else if (norm) call(Steps<F, true, false>(layer, x, added, norm));
    else call(Steps<F, false, false>(layer, x, added, norm));
}

}  // namespace

#define OF_TYPE(F, NAME)                                                                                              \
    extern "C" void statistics_##NAME(const Layer* layer, const F* x, double* mean, double* variance) {               \
        statistics<F>(*layer, x, mean, variance);                                                                     \
    }                                                                                                                 \
    extern "C" void spikes_##NAME(const Layer* layer, const F* x, const F* added, const double* norm, F* out) {       \
        chosen<F>(*layer, x, added, norm, [=](const auto& steps) { steps.spikes(out); });                             \
    }                                                                                                                 \
    extern "C" void gradient_##NAME(const Layer* layer, const F* x, const F* added, const double* norm,               \
                                    const F* of_spikes, F* of_input, F* of_added, double* sums) {                     \
        chosen<F>(*layer, x, added, norm,                                                                             \
                  [=](const auto& steps) { steps.gradient(of_spikes, norm, of_input, of_added, sums); });             \
    }

OF_TYPE(float, float32)
OF_TYPE(double, float64)
