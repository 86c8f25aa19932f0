// NCCL's sums over processes of this machine, through shared memory that the id names.
//
// Kept from NCCL: work goes to the stream and is done in its order; every rank must queue the same sums in
// the same order, so other counts end the processes; the result has the same bits on all ranks. A capture is
// refused: the program launches sums by themselves. STAND_IN_NCCL_LOCAL=1 leaves the sums out.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#define STAND_IN_API extern "C" __attribute__((visibility("default")))

extern "C" void stand_in_submit(void *stream, void (*work)(void *), void (*drop)(void *), void *data);
extern "C" int stand_in_on_device(const void *address, size_t bytes);
extern "C" int cuStreamIsCapturing(void *stream, int *status);
extern "C" int cuCtxGetDevice(int *device);

namespace {

enum { success = 0, system_error = 2, invalid_argument = 4, invalid_usage = 5 };
enum { float32 = 7, sum_operation = 0 };

const int most_ranks = 16;
const size_t slot_floats = 1 << 16; // of each rank; longer sums go in pieces

// Begins as zeros.
struct Shared {
    std::atomic<uint32_t> ranks, joined, places[most_ranks];
    std::atomic<int> devices[most_ranks];
    std::atomic<uint32_t> waiting, generation;
    std::atomic<uint64_t> counts[most_ranks];
    float slots[most_ranks][slot_floats];
};

struct Communicator {
    Shared *shared;
    int ranks, rank;
};

std::string last;
int fail(int status, const std::string &words) {
    last = words;
    return status;
}

// Until all ranks are here.
void meet(Communicator &c) {
    Shared &s = *c.shared;
    const uint32_t generation = s.generation;
    if (s.waiting.fetch_add(1) + 1 == uint32_t(c.ranks)) {
        s.waiting = 0;
        s.generation = generation + 1;
    } else {
        while (s.generation == generation) usleep(50);
    }
}

struct Id {
    char name[128];
};

struct Sum {
    Communicator *communicator;
    const float *from;
    float *to;
    size_t count;
};

void add(void *data) {
    Sum &sum = *static_cast<Sum *>(data);
    Communicator &c = *sum.communicator;
    Shared &s = *c.shared;
    if (getenv("STAND_IN_NCCL_LOCAL")) return;
    s.counts[c.rank] = sum.count;
    meet(c);
    for (int r = 0; r < c.ranks; r++)
        if (s.counts[r] != sum.count) {
            fprintf(stderr, "stand-in: NCCL: rank %d adds %zu numbers, rank %d %zu\n", c.rank, sum.count, r,
                    size_t(s.counts[r]));
            abort();
        }
    for (size_t first = 0; first < sum.count; first += slot_floats) {
        const size_t count = std::min(slot_floats, sum.count - first);
        memcpy(s.slots[c.rank], sum.from + first, count * sizeof(float));
        meet(c);
        for (size_t i = 0; i < count; i++) {
            float total = s.slots[0][i];
            for (int r = 1; r < c.ranks; r++) total += s.slots[r][i];
            sum.to[first + i] = total;
        }
        meet(c);
    }
}

} // namespace

STAND_IN_API int ncclGetUniqueId(Id *id) {
    memset(id->name, 0, sizeof id->name);
    static int number = 0;
    snprintf(id->name, sizeof id->name, "/deeplpf-stand-in-nccl-%d-%d", int(getpid()), number++);
    const int file = shm_open(id->name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file < 0 || ftruncate(file, sizeof(Shared))) return fail(system_error, "no shared memory");
    close(file);
    return success;
}
STAND_IN_API int ncclCommInitRank(Communicator **communicator, int ranks, Id id, int rank) {
    if (ranks < 1 || ranks > most_ranks || rank < 0 || rank >= ranks) return fail(invalid_argument, "no such rank");
    int device = 0;
    if (cuCtxGetDevice(&device)) return fail(invalid_usage, "no GPU is bound to the thread");
    const int file = shm_open(id.name, O_RDWR, 0600);
    if (file < 0) return fail(system_error, "nobody made this id");
    void *memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) return fail(system_error, "no shared memory");
    Shared *shared = static_cast<Shared *>(memory);
    uint32_t expected = 0;
    if (!shared->ranks.compare_exchange_strong(expected, ranks) && expected != uint32_t(ranks))
        return fail(invalid_usage, "ranks disagree on their number");
    if (shared->places[rank].exchange(1)) return fail(invalid_usage, "two ranks of one number");
    shared->devices[rank] = device;
    auto *made = new Communicator{shared, ranks, rank};
    meet(*made);
    if (rank == 0) shm_unlink(id.name);
    for (int r = 0; r < ranks; r++)
        if (r != rank && shared->devices[r] == device)
            return fail(invalid_usage, "Duplicate GPU detected : rank " + std::to_string(rank) + " and rank " +
                                           std::to_string(r) + " both on CUDA device " + std::to_string(device));
    *communicator = made;
    return success;
}
STAND_IN_API int ncclAllReduce(const void *from, void *to, size_t count, int type, int operation, Communicator *c,
                               void *stream) {
    if (type != float32 || operation != sum_operation) return fail(invalid_argument, "only sums of float");
    if (!stand_in_on_device(from, count * sizeof(float)) || !stand_in_on_device(to, count * sizeof(float)))
        return fail(invalid_argument, "not memory of the GPU");
    int capturing = 0;
    cuStreamIsCapturing(stream, &capturing);
    if (capturing) return fail(invalid_usage, "sums of the stand-in are not captured");
    auto *sum = new Sum{c, static_cast<const float *>(from), static_cast<float *>(to), count};
    stand_in_submit(stream, add, [](void *data) { delete static_cast<Sum *>(data); }, sum);
    return success;
}
STAND_IN_API int ncclGroupStart() { return success; }
STAND_IN_API int ncclGroupEnd() { return success; }
STAND_IN_API int ncclCommAbort(Communicator *communicator) {
    munmap(communicator->shared, sizeof(Shared));
    delete communicator;
    return success;
}
STAND_IN_API const char *ncclGetErrorString(int status) {
    return status == invalid_usage      ? "invalid usage"
           : status == invalid_argument ? "invalid argument"
                                        : "unhandled system error";
}
STAND_IN_API const char *ncclGetLastError(Communicator *) { return last.c_str(); }
