// The two streams of a generated program: images come in on the standard input, answers go out on the standard output.
#ifndef STREAMS_H
#define STREAMS_H
#include <poll.h>
#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace shared {

// Room of the two streams: the pipes are as large.
constexpr std::size_t STREAM_BYTES = 1 << 20;

// What was read and is not used yet.
struct Input {
    std::vector<char> buffer;
    std::size_t begin = 0, end = 0;
};
inline Input& input() {
    static Input found;
    return found;
}

// The next `size` bytes; false where there are no more. What was answered is sent before the program waits for more.
inline bool read_all(void* to, std::size_t size) {
    std::vector<char>& buffer = input().buffer;
    std::size_t &begin = input().begin, &end = input().end;
    buffer.resize(std::max({size, STREAM_BYTES, buffer.size()}));
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

// Whether something lies ready to be read, or the end.
inline bool input_waits() {
    pollfd standard_input = {0, POLLIN, 0};
    return input().begin < input().end || poll(&standard_input, 1, 0) > 0;
}

inline void write_all(const void* from, std::size_t size) {
    static const int buffered = std::setvbuf(stdout, nullptr, _IOFBF, STREAM_BYTES);
    (void)buffered;
    if (std::fwrite(from, 1, size, stdout) != size) std::_Exit(3);
}

}  // namespace shared
#endif
