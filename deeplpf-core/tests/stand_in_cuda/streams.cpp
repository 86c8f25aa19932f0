// Streams, events, capture and graphs. See driver.h for when work is done.
// STAND_IN_EAGER=1 does it at once instead.
#include "driver.h"
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>

using namespace stand_in;
void stand_in_check_guards();

namespace {
std::vector<std::unique_ptr<Stream>> streams; // never freed: events may still name them
Stream *default_stream() {
    static Stream *stream = (streams.push_back(std::make_unique<Stream>()), streams.back().get());
    return stream;
}
double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
void work_off_until(Stream *stream, uint64_t position) {
    while (stream->done < position && !stream->queue.empty()) {
        Stream::Item item = std::move(stream->queue.front());
        stream->queue.pop_front();
        if (item.other) work_off_until(item.other, item.position);
        else if (!sticky_error) item.work();
        stream->done++;
    }
}
bool eager() {
    static const bool value = getenv("STAND_IN_EAGER") != nullptr;
    return value;
}
} // namespace

Stream *stand_in::stream_of(void *handle) {
    return reinterpret_cast<uintptr_t>(handle) <= 2 ? default_stream() : static_cast<Stream *>(handle);
}
void stand_in::submit(Stream *stream, Work work) {
    if (stream->capture) {
        stream->capture->work.push_back(std::move(work));
        return;
    }
    stream->queue.push_back({std::move(work)});
    stream->submitted++;
    if (eager()) work_off(stream);
}
void stand_in::work_off(Stream *stream) { work_off_until(stream, stream->submitted); }
void stand_in::work_off_all() {
    default_stream();
    for (auto &stream : streams) work_off(stream.get());
    stand_in_check_guards();
}
int stand_in::refuse_in_capture(Stream *stream) {
    if (!stream->capture) return success;
    stream->capture_broken = true;
    return stream_capture_unsupported;
}
int stand_in::refuse_in_any_capture() {
    for (auto &stream : streams)
        if (int error = refuse_in_capture(stream.get())) return error;
    return success;
}
extern "C" void stand_in_submit(void *stream, void (*work)(void *), void (*drop)(void *), void *data) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    std::shared_ptr<void> held(data, drop);
    submit(stream_of(stream), [work, held] { work(held.get()); });
}

STAND_IN_API cuStreamCreate(void **handle, unsigned) {
    STAND_IN_ENTER
    streams.push_back(std::make_unique<Stream>());
    *handle = streams.back().get();
    return success;
}
STAND_IN_API cuStreamCreateWithPriority(void **handle, unsigned flags, int) { return cuStreamCreate(handle, flags); }
STAND_IN_API cuStreamDestroy_v2(void *handle) {
    STAND_IN_ENTER
    work_off(stream_of(handle));
    return success;
}
STAND_IN_API cuStreamSynchronize(void *handle) {
    STAND_IN_ENTER
    if (int error = refuse_in_capture(stream_of(handle))) return error;
    work_off(stream_of(handle));
    return sticky_error;
}
STAND_IN_API cuStreamQuery(void *handle) {
    STAND_IN_ENTER
    Stream *stream = stream_of(handle);
    if (int error = refuse_in_capture(stream)) return error;
    bool ready = stream->done == stream->submitted;
    work_off(stream); // the next query finds it done
    return ready ? sticky_error : not_ready;
}
STAND_IN_API cuStreamWaitEvent(void *handle, Event *event, unsigned) {
    STAND_IN_ENTER
    Stream *stream = stream_of(handle);
    if (event->capture) {
        if (!stream->capture) stream->capture = event->capture; // the stream joins the capture
        return stream->capture == event->capture ? success : stream_capture_unmatched;
    }
    if (stream->capture) { // waiting for work outside the capture
        stream->capture_broken = true;
        return stream_capture_unsupported;
    }
    if (event->stream) {
        stream->queue.push_back({nullptr, event->stream, event->position});
        stream->submitted++;
    }
    return success;
}
STAND_IN_API cuLaunchHostFunc(void *handle, void (*function)(void *), void *data) {
    STAND_IN_ENTER
    submit(stream_of(handle), [=] { function(data); });
    return success;
}

STAND_IN_API cuEventCreate(Event **event, unsigned) {
    *event = new Event;
    return success;
}
STAND_IN_API cuEventDestroy_v2(Event *event) {
    STAND_IN_ENTER
    if (event->stream) work_off_until(event->stream, event->position); // its record names it
    delete event;
    return success;
}
STAND_IN_API cuEventRecord(Event *event, void *handle) {
    STAND_IN_ENTER
    Stream *stream = stream_of(handle);
    if (stream->capture) {
        event->capture = stream->capture;
        event->stream = nullptr;
        return success;
    }
    event->capture = nullptr;
    stream->queue.push_back({[event] { event->seconds = now(); }});
    stream->submitted++;
    event->stream = stream;
    event->position = stream->submitted;
    if (eager()) work_off(stream);
    return success;
}
STAND_IN_API cuEventSynchronize(Event *event) {
    STAND_IN_ENTER
    if (event->capture) return stream_capture_unsupported;
    if (event->stream) work_off_until(event->stream, event->position);
    return sticky_error;
}
STAND_IN_API cuEventQuery(Event *event) {
    STAND_IN_ENTER
    if (event->capture) return stream_capture_unsupported;
    if (!event->stream || event->stream->done >= event->position) return sticky_error;
    work_off_until(event->stream, event->position); // the next query finds it done
    return not_ready;
}
static int elapsed(float *milliseconds, Event *start, Event *end) {
    STAND_IN_ENTER
    if (!start->stream || !end->stream) return invalid_handle;
    if (start->stream->done < start->position || end->stream->done < end->position) return not_ready;
    *milliseconds = float((end->seconds - start->seconds) * 1e3);
    return success;
}
STAND_IN_API cuEventElapsedTime(float *milliseconds, Event *start, Event *end) { return elapsed(milliseconds, start, end); }
STAND_IN_API cuEventElapsedTime_v2(float *milliseconds, Event *start, Event *end) { return elapsed(milliseconds, start, end); }

STAND_IN_API cuStreamBeginCapture_v2(void *handle, int) {
    STAND_IN_ENTER
    Stream *stream = stream_of(handle);
    if (reinterpret_cast<uintptr_t>(handle) <= 1) return stream_capture_unsupported; // the legacy stream
    if (stream->capture) return invalid_value;
    stream->capture = new Graph;
    stream->capture_origin = true;
    stream->capture_broken = false;
    return success;
}
STAND_IN_API cuStreamIsCapturing(void *handle, int *status) {
    STAND_IN_ENTER
    Stream *stream = stream_of(handle);
    *status = !stream->capture ? 0 : stream->capture_broken ? 2 : 1;
    return success;
}
STAND_IN_API cuStreamEndCapture(void *handle, Graph **graph) {
    STAND_IN_ENTER
    Stream *origin = stream_of(handle);
    *graph = nullptr;
    if (!origin->capture || !origin->capture_origin) return stream_capture_unmatched;
    Graph *captured = origin->capture;
    bool broken = false;
    for (auto &stream : streams)
        if (stream->capture == captured) {
            broken |= stream->capture_broken;
            stream->capture = nullptr;
            stream->capture_origin = stream->capture_broken = false;
        }
    if (broken) return stream_capture_invalidated;
    *graph = captured;
    return success;
}
STAND_IN_API cuGraphInstantiateWithFlags(Graph **instance, Graph *graph, unsigned long long) {
    STAND_IN_ENTER
    *instance = new Graph(*graph);
    return success;
}
STAND_IN_API cuGraphUpload(Graph *, void *) { return success; }
STAND_IN_API cuGraphLaunch(Graph *instance, void *handle) {
    STAND_IN_ENTER
    // The instance may be destroyed before the work is done.
    submit(stream_of(handle), [work = instance->work] {
        for (auto &item : work)
            if (!sticky_error) item();
    });
    return success;
}
STAND_IN_API cuGraphGetNodes(Graph *graph, void **nodes, size_t *count) {
    if (!nodes) *count = graph->work.size();
    return success;
}
STAND_IN_API cuGraphDestroy(Graph *graph) {
    delete graph;
    return success;
}
STAND_IN_API cuGraphExecDestroy(Graph *instance) {
    delete instance;
    return success;
}
STAND_IN_API cuProfilerStart() { return success; }
STAND_IN_API cuProfilerStop() { return success; }
