// cuDNN's convolutions: handles, descriptors, algorithm queries and the calls. The sums are in convolution.cpp.
//
// Kept from cuDNN: work goes to the handle's stream (and so into a capture); an algorithm needs its workspace,
// which is overwritten; unless the math type is CUDNN_FMA_MATH, f32 operands are rounded to TF32 (10 bits of
// mantissa), as Ampere and later do; bfloat16 is read and written with f32 sums.
// STAND_IN_CUDNN_VERSION (91200): what cudnnGetVersion answers.
#include "convolution.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#define STAND_IN_API extern "C" __attribute__((visibility("default"))) int

extern "C" void stand_in_submit(void *stream, void (*work)(void *), void (*drop)(void *), void *data);
extern "C" int stand_in_on_device(const void *address, size_t bytes);

using namespace stand_in;

namespace {

enum { success = 0, bad_parameter = 2000, not_supported = 3000 };
enum { fma_math = 3 };

struct Handle {
    void *stream = nullptr;
};
struct Filter {
    int type, format, k, c, h, w;
};
struct Convolution {
    int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, mode, type, math = 0, groups = 1;
};

size_t bytes_of(int type) { return type == bf16_type ? 2 : type == f32_type ? 4 : 0; }

Tensor tensor_of(const Filter &filter) {
    Tensor t{filter.type, filter.k, filter.c, filter.h, filter.w, 0, 0, 0, 0};
    t.pack(filter.format);
    return t;
}
size_t extent_bytes(const Tensor &t) {
    return (size_t(t.n - 1) * t.sn + size_t(t.c - 1) * t.sc + size_t(t.h - 1) * t.sh + size_t(t.w - 1) * t.sw + 1) *
           bytes_of(t.type);
}

// x, w and y as one shape, or an error.
int shape_of(const Tensor &x, const Filter &w, const Convolution &convolution, const Tensor &y, Shape &shape) {
    if (convolution.mode != 1 || convolution.groups != 1) {
        fprintf(stderr, "stand-in: cuDNN: only cross-correlation in one group\n");
        return not_supported;
    }
    if (!bytes_of(x.type) || x.type != w.type || x.type != y.type || convolution.type != f32_type) {
        fprintf(stderr, "stand-in: cuDNN: types %d %d %d computed in %d\n", x.type, w.type, y.type, convolution.type);
        return not_supported;
    }
    shape = {x.n, x.c, x.h, x.w, y.c, y.h, y.w, w.h, w.w, convolution.pad_h, convolution.pad_w,
             convolution.stride_h, convolution.stride_w, convolution.dilation_h, convolution.dilation_w};
    const int out_h = (x.h + 2 * shape.pad_h - shape.dilation_h * (w.h - 1) - 1) / shape.stride_h + 1;
    const int out_w = (x.w + 2 * shape.pad_w - shape.dilation_w * (w.w - 1) - 1) / shape.stride_w + 1;
    if (x.n != y.n || w.c != x.c || w.k != y.c || out_h != y.h || out_w != y.w) {
        fprintf(stderr, "stand-in: cuDNN: input %dx%dx%dx%d, filter %dx%dx%dx%d, output %dx%dx%dx%d do not fit\n",
                x.n, x.c, x.h, x.w, w.k, w.c, w.h, w.w, y.n, y.c, y.h, y.w);
        return bad_parameter;
    }
    return success;
}

// One algorithm as we offer it.
struct Algorithm {
    int number;
    bool deterministic;
    size_t workspace_per_pixel; // bytes for each output pixel
    bool supported;
};
// Fastest first, as cuDNN sorts them; the numbers and the determinism are cuDNN's.
const Algorithm forward_algorithms[] = {{1, true, 8, true}, {0, true, 0, true}, {6, true, 16, false}, {2, true, 36, true}};
const Algorithm data_algorithms[] = {{0, false, 0, true}, {1, true, 8, true}, {4, true, 16, false}};
const Algorithm filter_algorithms[] = {{3, false, 4, true}, {0, false, 0, true}, {1, true, 8, true}, {5, true, 16, false}};

struct Performance {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math;
    int reserved[3];
};

template <size_t N> const Algorithm *find(const Algorithm (&list)[N], int number) {
    for (auto &algorithm : list)
        if (algorithm.number == number && algorithm.supported) return &algorithm;
    return nullptr;
}
size_t workspace(const Algorithm &algorithm, const Tensor &y) {
    return algorithm.workspace_per_pixel * size_t(y.n) * y.h * y.w;
}
template <size_t N>
int offer(const Algorithm (&list)[N], const Tensor &y, const Convolution &convolution, int wanted, int *count, Performance *results) {
    *count = 0;
    for (auto &algorithm : list) {
        if (*count == wanted) break;
        Performance &p = results[(*count)++];
        memset(&p, 0, sizeof p);
        p.algorithm = algorithm.number;
        p.status = algorithm.supported ? success : not_supported;
        p.time = algorithm.supported ? float(*count) : -1.0f;
        p.memory = algorithm.supported ? workspace(algorithm, y) : 0;
        p.determinism = algorithm.deterministic;
        p.math = convolution.math;
    }
    return success;
}
template <size_t N> int workspace_of(const Algorithm (&list)[N], int number, const Tensor &y, size_t *bytes) {
    const Algorithm *algorithm = find(list, number);
    if (!algorithm) return not_supported;
    *bytes = workspace(*algorithm, y);
    return success;
}

struct Call {
    Direction direction;
    Shape shape;
    Tensor x, w, y;
    void *x_data, *w_data, *y_data, *workspace;
    size_t workspace_bytes;
    float alpha, beta;
    bool tf32;
};

int call(Handle *handle, Direction direction, const float *alpha, const Tensor &x, const void *x_data,
         const Filter &w, const void *w_data, const Convolution &convolution, const Algorithm *algorithm, void *workspace_data,
         size_t workspace_bytes, const float *beta, const Tensor &y, const void *y_data) {
    auto item = std::make_unique<Call>();
    if (int error = shape_of(x, w, convolution, y, item->shape)) return error;
    if (!algorithm) return not_supported;
    const size_t needed = workspace(*algorithm, y);
    const Tensor filter = tensor_of(w);
    if (workspace_bytes < needed || (needed && !stand_in_on_device(workspace_data, workspace_bytes))) {
        fprintf(stderr, "stand-in: cuDNN: a workspace of %zu bytes where %zu are needed\n", workspace_bytes, needed);
        return bad_parameter;
    }
    if (!stand_in_on_device(x_data, extent_bytes(x)) || !stand_in_on_device(w_data, extent_bytes(filter)) ||
        !stand_in_on_device(y_data, extent_bytes(y))) {
        fprintf(stderr, "stand-in: cuDNN: a tensor reaches out of device memory\n");
        return bad_parameter;
    }
    item->direction = direction;
    item->x = x, item->w = filter, item->y = y;
    item->x_data = const_cast<void *>(x_data);
    item->w_data = const_cast<void *>(w_data);
    item->y_data = const_cast<void *>(y_data);
    item->workspace = workspace_data;
    item->workspace_bytes = needed;
    item->alpha = *alpha, item->beta = *beta;
    item->tf32 = x.type == f32_type && convolution.math != fma_math;
    stand_in_submit(
        handle->stream,
        [](void *data) {
            const Call &c = *static_cast<Call *>(data);
            if (c.workspace_bytes) memset(c.workspace, 0xff, c.workspace_bytes);
            convolve(c.direction, c.shape, c.x, c.x_data, c.w, c.w_data, c.y, c.y_data, c.alpha, c.beta, c.tf32);
        },
        [](void *data) { delete static_cast<Call *>(data); }, item.release());
    return success;
}

} // namespace

extern "C" __attribute__((visibility("default"))) size_t cudnnGetVersion() {
    const char *text = getenv("STAND_IN_CUDNN_VERSION");
    return text ? strtoull(text, nullptr, 10) : 91200;
}
extern "C" __attribute__((visibility("default"))) size_t cudnnGetCudartVersion() { return 13000; }
extern "C" __attribute__((visibility("default"))) const char *cudnnGetErrorString(int status) {
    return status == success ? "CUDNN_STATUS_SUCCESS" : status == bad_parameter ? "CUDNN_STATUS_BAD_PARAM" : "CUDNN_STATUS_NOT_SUPPORTED";
}
STAND_IN_API cudnnCreate(Handle **handle) { *handle = new Handle; return success; }
STAND_IN_API cudnnDestroy(Handle *handle) { delete handle; return success; }
STAND_IN_API cudnnSetStream(Handle *handle, void *stream) { handle->stream = stream; return success; }
STAND_IN_API cudnnGetStream(Handle *handle, void **stream) { *stream = handle->stream; return success; }

STAND_IN_API cudnnCreateTensorDescriptor(Tensor **tensor) { *tensor = new Tensor{}; return success; }
STAND_IN_API cudnnDestroyTensorDescriptor(Tensor *tensor) { delete tensor; return success; }
STAND_IN_API cudnnSetTensor4dDescriptor(Tensor *tensor, int format, int type, int n, int c, int h, int w) {
    if (n <= 0 || c <= 0 || h <= 0 || w <= 0) return bad_parameter;
    *tensor = {type, n, c, h, w, 0, 0, 0, 0};
    tensor->pack(format);
    return success;
}
STAND_IN_API cudnnSetTensor4dDescriptorEx(Tensor *tensor, int type, int n, int c, int h, int w, int sn, int sc, int sh, int sw) {
    if (n <= 0 || c <= 0 || h <= 0 || w <= 0) return bad_parameter;
    *tensor = {type, n, c, h, w, sn, sc, sh, sw};
    return success;
}
STAND_IN_API cudnnSetTensorNdDescriptor(Tensor *tensor, int type, int dimensions, const int *d, const int *s) {
    if (dimensions != 4) return not_supported;
    return cudnnSetTensor4dDescriptorEx(tensor, type, d[0], d[1], d[2], d[3], s[0], s[1], s[2], s[3]);
}
STAND_IN_API cudnnCreateFilterDescriptor(Filter **filter) { *filter = new Filter{}; return success; }
STAND_IN_API cudnnDestroyFilterDescriptor(Filter *filter) { delete filter; return success; }
STAND_IN_API cudnnSetFilter4dDescriptor(Filter *filter, int type, int format, int k, int c, int h, int w) {
    if (k <= 0 || c <= 0 || h <= 0 || w <= 0) return bad_parameter;
    *filter = {type, format, k, c, h, w};
    return success;
}
STAND_IN_API cudnnCreateConvolutionDescriptor(Convolution **convolution) { *convolution = new Convolution{}; return success; }
STAND_IN_API cudnnDestroyConvolutionDescriptor(Convolution *convolution) { delete convolution; return success; }
STAND_IN_API cudnnSetConvolution2dDescriptor(Convolution *convolution, int pad_h, int pad_w, int stride_h, int stride_w,
                                             int dilation_h, int dilation_w, int mode, int type) {
    if (pad_h < 0 || pad_w < 0 || stride_h <= 0 || stride_w <= 0 || dilation_h <= 0 || dilation_w <= 0) return bad_parameter;
    *convolution = {pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, mode, type};
    return success;
}
STAND_IN_API cudnnSetConvolutionMathType(Convolution *convolution, int math) { convolution->math = math; return success; }
STAND_IN_API cudnnSetConvolutionGroupCount(Convolution *convolution, int groups) { convolution->groups = groups; return success; }

STAND_IN_API cudnnGetConvolutionForwardAlgorithm_v7(Handle *, const Tensor *x, const Filter *w, const Convolution *convolution,
                                                    const Tensor *y, int wanted, int *count, Performance *results) {
    Shape shape;
    if (int error = shape_of(*x, *w, *convolution, *y, shape)) return error;
    return offer(forward_algorithms, *y, *convolution, wanted, count, results);
}
STAND_IN_API cudnnGetConvolutionBackwardDataAlgorithm_v7(Handle *, const Filter *w, const Tensor *y, const Convolution *convolution,
                                                         const Tensor *x, int wanted, int *count, Performance *results) {
    Shape shape;
    if (int error = shape_of(*x, *w, *convolution, *y, shape)) return error;
    return offer(data_algorithms, *y, *convolution, wanted, count, results);
}
STAND_IN_API cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle *, const Tensor *x, const Tensor *y, const Convolution *convolution,
                                                           const Filter *w, int wanted, int *count, Performance *results) {
    Shape shape;
    if (int error = shape_of(*x, *w, *convolution, *y, shape)) return error;
    return offer(filter_algorithms, *y, *convolution, wanted, count, results);
}
STAND_IN_API cudnnFindConvolutionForwardAlgorithm(Handle *h, const Tensor *x, const Filter *w, const Convolution *c, const Tensor *y,
                                                  int wanted, int *count, Performance *results) {
    return cudnnGetConvolutionForwardAlgorithm_v7(h, x, w, c, y, wanted, count, results);
}
STAND_IN_API cudnnFindConvolutionBackwardDataAlgorithm(Handle *h, const Filter *w, const Tensor *y, const Convolution *c, const Tensor *x,
                                                       int wanted, int *count, Performance *results) {
    return cudnnGetConvolutionBackwardDataAlgorithm_v7(h, w, y, c, x, wanted, count, results);
}
STAND_IN_API cudnnFindConvolutionBackwardFilterAlgorithm(Handle *h, const Tensor *x, const Tensor *y, const Convolution *c, const Filter *w,
                                                         int wanted, int *count, Performance *results) {
    return cudnnGetConvolutionBackwardFilterAlgorithm_v7(h, x, y, c, w, wanted, count, results);
}
// The Ex forms measure in the caller's memory: the result's content is lost.
STAND_IN_API cudnnFindConvolutionForwardAlgorithmEx(Handle *h, const Tensor *x, const void *, const Filter *w, const void *,
                                                    const Convolution *c, const Tensor *y, void *result, int wanted, int *count,
                                                    Performance *results, void *, size_t) {
    memset(result, 0xff, extent_bytes(*y));
    return cudnnGetConvolutionForwardAlgorithm_v7(h, x, w, c, y, wanted, count, results);
}
STAND_IN_API cudnnFindConvolutionBackwardDataAlgorithmEx(Handle *h, const Filter *w, const void *, const Tensor *y, const void *,
                                                         const Convolution *c, const Tensor *x, void *result, int wanted, int *count,
                                                         Performance *results, void *, size_t) {
    memset(result, 0xff, extent_bytes(*x));
    return cudnnGetConvolutionBackwardDataAlgorithm_v7(h, w, y, c, x, wanted, count, results);
}
STAND_IN_API cudnnFindConvolutionBackwardFilterAlgorithmEx(Handle *h, const Tensor *x, const void *, const Tensor *y, const void *,
                                                           const Convolution *c, const Filter *w, void *result, int wanted, int *count,
                                                           Performance *results, void *, size_t) {
    memset(result, 0xff, extent_bytes(tensor_of(*w)));
    return cudnnGetConvolutionBackwardFilterAlgorithm_v7(h, x, y, c, w, wanted, count, results);
}
STAND_IN_API cudnnGetConvolutionForwardWorkspaceSize(Handle *, const Tensor *, const Filter *, const Convolution *, const Tensor *y,
                                                     int algorithm, size_t *bytes) {
    return workspace_of(forward_algorithms, algorithm, *y, bytes);
}
STAND_IN_API cudnnGetConvolutionBackwardDataWorkspaceSize(Handle *, const Filter *, const Tensor *y, const Convolution *, const Tensor *,
                                                          int algorithm, size_t *bytes) {
    return workspace_of(data_algorithms, algorithm, *y, bytes);
}
STAND_IN_API cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle *, const Tensor *, const Tensor *y, const Convolution *, const Filter *,
                                                            int algorithm, size_t *bytes) {
    return workspace_of(filter_algorithms, algorithm, *y, bytes);
}

STAND_IN_API cudnnConvolutionForward(Handle *h, const float *alpha, const Tensor *xd, const void *x, const Filter *wd, const void *w,
                                     const Convolution *c, int algorithm, void *space, size_t bytes, const float *beta,
                                     const Tensor *yd, void *y) {
    return call(h, Direction::Forward, alpha, *xd, x, *wd, w, *c, find(forward_algorithms, algorithm), space, bytes, beta, *yd, y);
}
STAND_IN_API cudnnConvolutionBackwardData(Handle *h, const float *alpha, const Filter *wd, const void *w, const Tensor *yd, const void *y,
                                          const Convolution *c, int algorithm, void *space, size_t bytes, const float *beta,
                                          const Tensor *xd, void *x) {
    return call(h, Direction::Data, alpha, *xd, x, *wd, w, *c, find(data_algorithms, algorithm), space, bytes, beta, *yd, y);
}
STAND_IN_API cudnnConvolutionBackwardFilter(Handle *h, const float *alpha, const Tensor *xd, const void *x, const Tensor *yd, const void *y,
                                            const Convolution *c, int algorithm, void *space, size_t bytes, const float *beta,
                                            const Filter *wd, void *w) {
    return call(h, Direction::Filter, alpha, *xd, x, *wd, w, *c, find(filter_algorithms, algorithm), space, bytes, beta, *yd, y);
}
