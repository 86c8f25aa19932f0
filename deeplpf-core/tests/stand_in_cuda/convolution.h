// 2-D cross-correlation, forward and its two gradients.
#pragma once
#include <stddef.h>

namespace stand_in {

enum { f32_type = 0, bf16_type = 9 }; // cudnnDataType_t

struct Tensor {
    int type, n, c, h, w;
    int sn, sc, sh, sw; // strides in elements
    void pack(int format) { // 0 NCHW, 1 NHWC
        if (format == 1) sc = 1, sw = c, sh = w * c, sn = h * w * c;
        else sw = 1, sh = w, sc = h * w, sn = c * h * w;
    }
};

struct Shape {
    int n, in_c, in_h, in_w, out_c, out_h, out_w, kernel_h, kernel_w;
    int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w;
};

enum class Direction { Forward, Data, Filter };

// result = alpha * operation + beta * result, where the result is y (Forward), x (Data) or w (Filter).
// Operands are rounded to TF32 on request; sums are f32 (f64 across rows for Filter).
void convolve(Direction direction, const Shape &shape, const Tensor &x, void *x_data, const Tensor &w,
              void *w_data, const Tensor &y, void *y_data, float alpha, float beta, bool tf32);

} // namespace stand_in
