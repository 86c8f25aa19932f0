// Direct convolution on padded f32 planes: the columns of a stride are stored apart, so that every load of
// the inner loops is contiguous, and a tile of outputs stays in registers over all input channels and taps.
#include "convolution.h"
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

namespace stand_in {
namespace {

constexpr int lanes = 16;
typedef float Vector __attribute__((vector_size(lanes * 4), aligned(4)));
constexpr int block_k = 6;  // output channels
constexpr int block_w = 2;  // vectors of output columns held in registers for each of them

float round_tf32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7f800000) != 0x7f800000) bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
    memcpy(&value, &bits, 4);
    return value;
}
float load(const Tensor &t, const void *data, size_t at, bool tf32) {
    if (t.type == bf16_type) {
        uint32_t bits = uint32_t(static_cast<const uint16_t *>(data)[at]) << 16;
        float value;
        memcpy(&value, &bits, 4);
        return value;
    }
    float value = static_cast<const float *>(data)[at];
    return tf32 ? round_tf32(value) : value;
}
void store(const Tensor &t, void *data, size_t at, float value, float alpha, float beta) {
    value *= alpha;
    if (beta != 0) value += beta * load(t, data, at, false); // beta 0 never reads, so NaN there is harmless
    if (t.type == bf16_type) {
        uint32_t bits;
        memcpy(&bits, &value, 4);
        if (value != value) bits = 0x7fff0000;
        else bits += 0x7fff + (bits >> 16 & 1); // to nearest, ties to even
        static_cast<uint16_t *>(data)[at] = uint16_t(bits >> 16);
    } else {
        static_cast<float *>(data)[at] = value;
    }
}
size_t index(const Tensor &t, int n, int c, int y, int x) {
    return size_t(n) * t.sn + size_t(c) * t.sc + size_t(y) * t.sh + size_t(x) * t.sw;
}

// Two threads for work worth it: `body(part, parts)`.
template <class Body> void in_parallel(double operations, Body body) {
    if (operations < 2e6 || std::thread::hardware_concurrency() < 2) return body(0, 1);
    std::thread other([&] { body(1, 2); });
    body(0, 2);
    other.join();
}

// One image of a tensor, zero-padded, with the columns of each phase of the stride together.
struct Planes {
    int rows, phases, columns; // columns of one phase
    std::vector<float> values;
    const float *row(int c, int y, int phase) const {
        return &values[((size_t(c) * rows + y) * phases + phase) * columns];
    }
    float *row(int c, int y, int phase) { return const_cast<float *>(std::as_const(*this).row(c, y, phase)); }
};

// `gap`: zeros are laid between rows and columns (the transposed form of a stride).
Planes planes_of(const Tensor &t, const void *data, int n, bool tf32, int rows, int width, int top, int left, int stride, int gap_h, int gap_w) {
    Planes p{rows, stride, (width + stride - 1) / stride + (block_w + 1) * lanes, {}};
    p.values.assign(size_t(t.c) * rows * p.phases * p.columns, 0.0f);
    for (int c = 0; c < t.c; c++)
        for (int y = 0; y < t.h; y++) {
            const int row = top + y * gap_h;
            if (row < 0 || row >= rows) continue;
            for (int x = 0; x < t.w; x++) {
                const int column = left + x * gap_w;
                if (column < 0 || column >= width) continue;
                p.row(c, row, column % stride)[column / stride] = load(t, data, index(t, n, c, y, x), tf32);
            }
        }
    return p;
}

// Weights as [output block][input][tap][block_k].
struct Weights {
    int blocks, in_c, taps;
    std::vector<float> values;
    const float *of(int block, int c) const { return &values[(size_t(block) * in_c + c) * taps * block_k]; }
};

// transposed: the roles of the channels exchanged and the taps turned round, for the gradient of the input.
Weights weights_of(const Tensor &w, const void *data, bool tf32, bool transposed) {
    const int out = transposed ? w.c : w.n, in = transposed ? w.n : w.c;
    Weights result{(out + block_k - 1) / block_k, in, w.h * w.w, {}};
    result.values.assign(size_t(result.blocks) * in * result.taps * block_k, 0.0f);
    for (int o = 0; o < out; o++)
        for (int i = 0; i < in; i++)
            for (int a = 0; a < w.h; a++)
                for (int b = 0; b < w.w; b++) {
                    const size_t at = transposed ? index(w, i, o, w.h - 1 - a, w.w - 1 - b) : index(w, o, i, a, b);
                    result.values[((size_t(o / block_k) * in + i) * result.taps + a * w.w + b) * block_k + o % block_k] =
                        load(w, data, at, tf32);
                }
    return result;
}

// out[o][y][x] = sum over i, a, b of weights[o][i][a][b] * in[i][y*stride_h + a*dilation_h][x*stride_w + b*dilation_w]
template <class Store>
void correlate(const Planes &in, const Weights &weights, int out_c, int out_h, int out_w, int kernel_h, int kernel_w,
               int stride_h, int stride_w, int dilation_h, int dilation_w, Store store_value) {
    const double operations = 2.0 * out_c * out_h * out_w * weights.in_c * kernel_h * kernel_w;
    in_parallel(operations, [&](int part, int parts) {
        for (int y = part; y < out_h; y += parts)
            for (int block = 0; block < weights.blocks; block++)
                for (int x = 0; x < out_w; x += block_w * lanes) {
                    Vector sums[block_k][block_w] = {};
                    for (int c = 0; c < weights.in_c; c++) {
                        const float *w = weights.of(block, c);
                        for (int a = 0; a < kernel_h; a++)
                            for (int b = 0; b < kernel_w; b++, w += block_k) {
                                const int shift = b * dilation_w;
                                const float *from = in.row(c, y * stride_h + a * dilation_h, shift % stride_w) + shift / stride_w + x;
                                Vector v[block_w];
                                for (int j = 0; j < block_w; j++) v[j] = *reinterpret_cast<const Vector *>(from + j * lanes);
                                for (int k = 0; k < block_k; k++)
                                    for (int j = 0; j < block_w; j++) sums[k][j] += w[k] * v[j];
                            }
                    }
                    for (int k = 0; k < block_k && block * block_k + k < out_c; k++)
                        for (int j = 0; j < block_w * lanes && x + j < out_w; j++)
                            store_value(block * block_k + k, y, x + j, sums[k][j / lanes][j % lanes]);
                }
    });
}

void forward(const Shape &s, const Tensor &x, const void *x_data, const Tensor &w, const void *w_data, const Tensor &y,
             void *y_data, float alpha, float beta, bool tf32) {
    const Weights weights = weights_of(w, w_data, tf32, false);
    for (int n = 0; n < s.n; n++) {
        Planes in = planes_of(x, x_data, n, tf32, s.in_h + 2 * s.pad_h, s.in_w + 2 * s.pad_w, s.pad_h, s.pad_w, s.stride_w, 1, 1);
        correlate(in, weights, s.out_c, s.out_h, s.out_w, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w, s.dilation_h, s.dilation_w,
                  [&](int c, int row, int column, float value) { store(y, y_data, index(y, n, c, row, column), value, alpha, beta); });
    }
}

void data_gradient(const Shape &s, const Tensor &x, void *x_data, const Tensor &w, const void *w_data, const Tensor &y,
                   const void *y_data, float alpha, float beta, bool tf32) {
    const Weights weights = weights_of(w, w_data, tf32, true);
    const int reach_h = s.dilation_h * (s.kernel_h - 1), reach_w = s.dilation_w * (s.kernel_w - 1);
    for (int n = 0; n < s.n; n++) {
        Planes in = planes_of(y, y_data, n, tf32, s.in_h + reach_h, s.in_w + reach_w, reach_h - s.pad_h, reach_w - s.pad_w, 1,
                              s.stride_h, s.stride_w);
        correlate(in, weights, s.in_c, s.in_h, s.in_w, s.kernel_h, s.kernel_w, 1, 1, s.dilation_h, s.dilation_w,
                  [&](int c, int row, int column, float value) { store(x, x_data, index(x, n, c, row, column), value, alpha, beta); });
    }
}

void filter_gradient(const Shape &s, const Tensor &x, const void *x_data, const Tensor &w, void *w_data, const Tensor &y,
                     const void *y_data, float alpha, float beta, bool tf32) {
    constexpr int block_b = 3; // taps of a row together
    const size_t count = size_t(s.out_c) * s.in_c * s.kernel_h * s.kernel_w;
    std::vector<double> sums(count, 0.0);
    for (int n = 0; n < s.n; n++) {
        const Planes in = planes_of(x, x_data, n, tf32, s.in_h + 2 * s.pad_h, s.in_w + 2 * s.pad_w, s.pad_h, s.pad_w, s.stride_w, 1, 1);
        const Planes out = planes_of(y, y_data, n, tf32, s.out_h, s.out_w, 0, 0, 1, 1, 1);
        in_parallel(2.0 * count * s.out_h * s.out_w, [&](int part, int parts) {
            for (int c = part; c < s.in_c; c += parts)
                for (int k = 0; k < s.out_c; k += 4)
                    for (int a = 0; a < s.kernel_h; a++)
                        for (int b = 0; b < s.kernel_w; b += block_b) {
                            double totals[4][block_b] = {};
                            for (int row = 0; row < s.out_h; row++) {
                                const float *from[block_b], *gradient[4];
                                for (int j = 0; j < block_b; j++) {
                                    const int shift = std::min(b + j, s.kernel_w - 1) * s.dilation_w;
                                    from[j] = in.row(c, row * s.stride_h + a * s.dilation_h, shift % s.stride_w) + shift / s.stride_w;
                                }
                                for (int i = 0; i < 4; i++) gradient[i] = out.row(std::min(k + i, s.out_c - 1), row, 0);
                                Vector products[4][block_b] = {};
                                for (int column = 0; column < s.out_w; column += lanes) {
                                    Vector v[block_b];
                                    for (int j = 0; j < block_b; j++) v[j] = *reinterpret_cast<const Vector *>(from[j] + column);
                                    for (int i = 0; i < 4; i++) {
                                        const Vector g = *reinterpret_cast<const Vector *>(gradient[i] + column);
                                        for (int j = 0; j < block_b; j++) products[i][j] += g * v[j];
                                    }
                                }
                                for (int i = 0; i < 4; i++)
                                    for (int j = 0; j < block_b; j++) {
                                        float sum = 0;
                                        for (int l = 0; l < lanes; l++) sum += products[i][j][l];
                                        totals[i][j] += sum;
                                    }
                            }
                            for (int i = 0; i < 4 && k + i < s.out_c; i++)
                                for (int j = 0; j < block_b && b + j < s.kernel_w; j++)
                                    sums[((size_t(k + i) * s.in_c + c) * s.kernel_h + a) * s.kernel_w + b + j] += totals[i][j];
                        }
        });
    }
    for (int k = 0; k < s.out_c; k++)
        for (int c = 0; c < s.in_c; c++)
            for (int a = 0; a < s.kernel_h; a++)
                for (int b = 0; b < s.kernel_w; b++)
                    store(w, w_data, index(w, k, c, a, b), float(sums[((size_t(k) * s.in_c + c) * s.kernel_h + a) * s.kernel_w + b]), alpha, beta);
}

} // namespace

void convolve(Direction direction, const Shape &shape, const Tensor &x, void *x_data, const Tensor &w, void *w_data,
              const Tensor &y, void *y_data, float alpha, float beta, bool tf32) {
    switch (direction) {
    case Direction::Forward: return forward(shape, x, x_data, w, w_data, y, y_data, alpha, beta, tf32);
    case Direction::Data: return data_gradient(shape, x, x_data, w, w_data, y, y_data, alpha, beta, tf32);
    case Direction::Filter: return filter_gradient(shape, x, x_data, w, w_data, y, y_data, alpha, beta, tf32);
    }
}

} // namespace stand_in
