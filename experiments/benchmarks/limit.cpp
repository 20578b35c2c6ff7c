// The limit that an engine is held against: the test network of network.py as one hand-written event-driven program
// on one core. It does nothing but this network, and is given the currents of its first layer ready in memory.
//
//   limit float32|float64 NUMBERS IMAGES SECONDS
//
// NUMBERS holds, one behind the other in the type named: currents (images, 28, 28, 32), weights (3, 3, 32, 64),
// weights (3, 3, 64, 128), readout (7, 7, 128, 16). All images are shown once, which gives the spikes per layer and the
// sum of all answers; then they are shown again and again for about SECONDS, which gives the speed. Prints JSON.
//
// Why it is fast:
//  1. gather: a target pixel keeps its channels in registers while the spikes of its receptive field are added, and its
//     update, threshold test and reset happen in the same registers; a silent neuron costs no pass of its own;
//  2. a spike is kept as its place in its row (column * channels + channel), so the three columns under a kernel row are
//     one stretch of the list and one loop;
//  3. a mask of spikes becomes a piece of the list by one look into a table, without a branch per neuron;
//  4. one image at a time: its state and all weights stay in the second-level cache.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

constexpr int STEPS = 4, KERNEL = 3, PADDING = 1, ANSWERS = 16;
constexpr double DECAY = 0.5, THRESHOLD = 1;

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX2__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif

template <class T> struct Register {
    typedef T type __attribute__((vector_size(BYTES), may_alias));
    static constexpr int lanes = BYTES / sizeof(T);
};
template <class T> using V = typename Register<T>::type;
typedef uint16_t Places __attribute__((vector_size(16), may_alias));

template <class T> static inline V<T> load(const T* from) { return *reinterpret_cast<const V<T>*>(from); }
template <class T> static inline void store(T* to, V<T> x) { *reinterpret_cast<V<T>*>(to) = x; }

// One bit per lane above the threshold.
#if defined(__AVX512F__)
static inline unsigned above(V<float> x) { return _mm512_cmp_ps_mask(x, _mm512_set1_ps(THRESHOLD), _CMP_GT_OQ); }
static inline unsigned above(V<double> x) { return _mm512_cmp_pd_mask(x, _mm512_set1_pd(THRESHOLD), _CMP_GT_OQ); }
#elif defined(__AVX2__)
static inline unsigned above(V<float> x) {
    return _mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_set1_ps(THRESHOLD), _CMP_GT_OQ));
}
static inline unsigned above(V<double> x) {
    return _mm256_movemask_pd(_mm256_cmp_pd(x, _mm256_set1_pd(THRESHOLD), _CMP_GT_OQ));
}
#else
template <class X> static inline unsigned above(X x) {
    unsigned mask = 0;
    for (unsigned i = 0; i < sizeof(X) / sizeof(x[0]); i++) mask |= unsigned(x[i] > THRESHOLD) << i;
    return mask;
}
#endif

template <class T> static inline V<T> reset(V<T> x) { return x > V<T>{} + T(THRESHOLD) ? V<T>{} : x; }

// The numbers of the bits that are set in a byte, in their order.
static struct Bits {
    alignas(16) uint16_t of[256][8] = {};
    Bits() {
        for (int byte = 0; byte < 256; byte++)
            for (int bit = 0, n = 0; bit < 8; bit++)
                if (byte >> bit & 1) of[byte][n++] = bit;
    }
} const bits;

// The spikes of a layer in one step: `first` says where a pixel's spikes begin, `place` holds column * C + channel.
template <int C, int H> struct Spikes {
    static constexpr int channels = C, size = H;
    int first[H * H + 1];
    uint16_t place[C * H * H + 16];
    long total = 0;
};

// Write whole registers of eight places; what stands behind the last spike is overwritten by the next.
template <int LANES> static inline uint16_t* append(uint16_t* to, unsigned mask, int place) {
    for (int part = 0; part < LANES; part += 8) {
        const unsigned byte = mask >> part & 255;
        const Places found = *reinterpret_cast<const Places*>(bits.of[byte]) + uint16_t(place + part);
        memcpy(to, &found, sizeof found);
        to += __builtin_popcount(byte);
    }
    return to;
}

template <class T, int C, int H> void first_layer(const T* current, T* state, bool begin, Spikes<C, H>& out) {
    constexpr int L = Register<T>::lanes;
    uint16_t* end = out.place;
    for (int pixel = 0; pixel < H * H; pixel++) {
        out.first[pixel] = end - out.place;
        for (int c = 0; c < C; c += L) {
            V<T> x = load(current + pixel * C + c);
            if (!begin) x += load(state + pixel * C + c) * T(DECAY);
            store<T>(state + pixel * C + c, reset<T>(x));
            end = append<L>(end, above(x), pixel % H * C + c);
        }
    }
    out.first[H * H] = end - out.place;
    out.total += end - out.place;
}

template <class T, int C, int H, int O, int STRIDE>
void layer(const Spikes<C, H>& in, const T* weights, T* state, bool begin, Spikes<O, (H - 1) / STRIDE + 1>& out) {
    constexpr int L = Register<T>::lanes, SIZE = (H - 1) / STRIDE + 1, N = std::min(O / L, 16);
    uint16_t* end = out.place;
    for (int pixel = 0; pixel < SIZE * SIZE; pixel++) {
        const int top = pixel / SIZE * STRIDE - PADDING, left = pixel % SIZE * STRIDE - PADDING;
        const int from = std::max(left, 0), to = std::min(left + KERNEL, H);
        out.first[pixel] = end - out.place;
        for (int block = 0; block < O; block += N * L) {
            T* own = state + pixel * O + block;
            V<T> sum[N];
            for (int k = 0; k < N; k++) sum[k] = begin ? V<T>{} : load(own + k * L) * T(DECAY);
            for (int row = std::max(top, 0); row < std::min(top + KERNEL, H); row++) {
                const int origin = ((row - top) * KERNEL - left) * C;
                const int last = in.first[row * H + to];
                for (int spike = in.first[row * H + from]; spike < last; spike++) {
                    const T* w = weights + (origin + in.place[spike]) * O + block;
                    for (int k = 0; k < N; k++) sum[k] += load(w + k * L);
                }
            }
            for (int k = 0; k < N; k++) {
                store<T>(own + k * L, reset<T>(sum[k]));
                end = append<L>(end, above(sum[k]), pixel % SIZE * O + block + k * L);
            }
        }
    }
    out.first[SIZE * SIZE] = end - out.place;
    out.total += end - out.place;
}

template <class T, int C, int H> void read_out(const Spikes<C, H>& in, const T* weights, V<T>* answers) {
    constexpr int L = Register<T>::lanes;
    for (int row = 0; row < H; row++)
        for (int spike = in.first[row * H]; spike < in.first[(row + 1) * H]; spike++)
            for (int k = 0; k < ANSWERS / L; k++)
                answers[k] += load(weights + (row * H * C + in.place[spike]) * ANSWERS + k * L);
}

template <class T> struct Network {
    alignas(64) T state0[28 * 28 * 32], state1[14 * 14 * 64], state2[7 * 7 * 128];
    Spikes<32, 28> spikes0;
    Spikes<64, 14> spikes1;
    Spikes<128, 7> spikes2;
    const T *weights1, *weights2, *readout;

    // The sum of all answers to one image.
    double show(const T* current) {
        V<T> answers[ANSWERS / Register<T>::lanes] = {};
        for (int step = 0; step < STEPS; step++) {
            first_layer<T>(current, state0, step == 0, spikes0);
            layer<T, 32, 28, 64, 2>(spikes0, weights1, state1, step == 0, spikes1);
            layer<T, 64, 14, 128, 2>(spikes1, weights2, state2, step == 0, spikes2);
            read_out<T>(spikes2, readout, answers);
        }
        double sum = 0;
        for (const V<T>& part : answers)
            for (int i = 0; i < Register<T>::lanes; i++) sum += part[i];
        return sum / STEPS;
    }
};

template <class T> T* read(const char* path, size_t count) {
    T* numbers = static_cast<T*>(aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64));
    FILE* file = fopen(path, "rb");
    if (!numbers || !file || fread(numbers, sizeof(T), count, file) != count || fgetc(file) != EOF) {
        fprintf(stderr, "%s does not hold %zu numbers of %zu bytes\n", path, count, sizeof(T));
        exit(1);
    }
    fclose(file);
    return numbers;
}

template <class T> void run(const char* path, int images, double seconds) {
    constexpr size_t current = 28 * 28 * 32, first = 9 * 32 * 64, second = 9 * 64 * 128, last = 49 * 128 * ANSWERS;
    const T* numbers = read<T>(path, images * current + first + second + last);
    static Network<T> network;
    network.weights1 = numbers + images * current;
    network.weights2 = network.weights1 + first;
    network.readout = network.weights2 + second;
    double sum = 0, used = 0, unused = 0;
    for (int i = 0; i < images; i++) sum += network.show(numbers + i * current);
    const long totals[3] = {network.spikes0.total, network.spikes1.total, network.spikes2.total};
    long shown = 0;
    const auto begin = std::chrono::steady_clock::now();
    for (; used < seconds; used = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count())
        for (int i = 0; i < 16; i++) unused += network.show(numbers + shown++ % images * current);
    printf("{\"images_per_second\": %.6g, \"spikes\": [%ld, %ld, %ld], \"sum\": %.17g, \"lanes\": %d}\n",
           used > 0 ? shown / used : 0, totals[0], totals[1], totals[2], sum, Register<T>::lanes);
    // Whoever measures must not be able to leave out what is measured.
    if (unused == 12345.678) puts("");
}

int main(int count, char** words) {
    if (count != 5 || atoi(words[3]) < 1) {
        fprintf(stderr, "usage: limit float32|float64 NUMBERS IMAGES SECONDS\n");
        return 2;
    }
    auto program = std::string(words[1]) == "float64" ? run<double> : run<float>;
    program(words[2], atoi(words[3]), atof(words[4]));
}
