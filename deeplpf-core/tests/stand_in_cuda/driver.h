// The stand-in driver's own types. Handles given out are pointers to these.
//
// Work put on a stream is *not* done at once: it waits in the stream's queue until somebody waits for it
// (a synchronisation, a query, a blocking copy). Then that stream's queue is worked off, and of the other
// streams only what it waits for through events. So a missing synchronisation or a missing wait between
// two streams shows as wrong numbers, every time.
#pragma once
#include "launch.h"
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace stand_in {

// CUresult values we give.
enum Result : int {
    success = 0,
    invalid_value = 1,
    out_of_memory = 2,
    not_initialized = 3,
    no_device = 100,
    invalid_device = 101,
    invalid_image = 200,
    invalid_context = 201,
    invalid_handle = 400,
    not_found = 500,
    not_ready = 600,
    illegal_address = 700,
    launch_out_of_resources = 701,
    assert_failed = 710,
    launch_failed = 719,
    stream_capture_unsupported = 900,
    stream_capture_invalidated = 901,
    stream_capture_unmatched = 903,
    stream_capture_unjoined = 904,
};

using Work = std::function<void()>;

struct Graph {
    std::vector<Work> work;
};

struct Stream {
    struct Item {
        Work work;                // what to do,
        Stream *other = nullptr;  // or the stream to wait for,
        uint64_t position = 0;    // until it has done this many items
    };
    std::deque<Item> queue;
    uint64_t submitted = 0, done = 0;
    Graph *capture = nullptr;
    bool capture_origin = false, capture_broken = false;
};

struct Event {
    Stream *stream = nullptr;
    uint64_t position = 0;
    double seconds = 0;
    Graph *capture = nullptr; // recorded in a capture: waiting for it joins the capture
};

struct Function {
    const StandInEntry *entry;
    std::string name;
    int max_dynamic_shared = 48 * 1024;
};

// One lock for the whole driver. Recursive: cuDNN's stand-in calls back into the driver.
extern std::recursive_mutex lock;
extern int sticky_error; // what every later call returns once a kernel has failed, as on a GPU

Stream *stream_of(void *handle);  // null, 1 and 2 are the default streams
void submit(Stream *stream, Work work);
void work_off(Stream *stream);    // everything this stream has to do
void work_off_all();
// In a capture a blocking call is an error that breaks the capture; 0 if there is none.
int refuse_in_capture(Stream *stream);
int refuse_in_any_capture();

bool on_device(uint64_t address, size_t bytes); // wholly inside one allocation
bool pinned(const void *address);

} // namespace stand_in

#define STAND_IN_API extern "C" __attribute__((visibility("default"))) int
#define STAND_IN_ENTER                                                                                       \
    std::lock_guard<std::recursive_mutex> guard(stand_in::lock);                                             \
    if (stand_in::sticky_error) return stand_in::sticky_error;

// For the stand-in of cuDNN: work on a stream; and whether an address range is device memory.
extern "C" __attribute__((visibility("default"))) void stand_in_submit(void *stream, void (*work)(void *),
                                                                      void (*drop)(void *), void *data);
extern "C" __attribute__((visibility("default"))) int stand_in_on_device(const void *address, size_t bytes);
