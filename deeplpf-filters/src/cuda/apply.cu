// Filters applied. 24 bytes move per pixel (120 us for 24 MP at 4.8 TB/s) for about 250 instructions.
//
// A thread goes down one column of its block's rows: what depends on the column stays in registers, what
// depends on the row is made once for the whole block and read from shared memory by broadcasts.

extern "C" __global__ void __launch_bounds__(block_columns, 5) apply_filters(const Argument argument) {
    __shared__ Row rows[rows_at_once];
    __shared__ Image image;
    const Argument &a = argument;
    const int column = blockIdx.x * block_columns + threadIdx.x;
    const Constants constants(a, blockIdx.z);
    make_image(constants, image);
    __syncthreads();
    const bool inside = column < a.width;
    const Column c = make_column(image, inside ? column : 0, a.width);
    const float *from = reinterpret_cast<const float *>(a.image) + blockIdx.z * a.image_stride;
    float *to = reinterpret_cast<float *>(a.out) + blockIdx.z * a.out_stride;
    const u64 plane = u64(a.height) * a.width;
    const int end = min((blockIdx.y + 1) * a.rows_per_block, a.height);
    for (int first = blockIdx.y * a.rows_per_block; first < end; first += rows_at_once) {
        const int count = min(rows_at_once, end - first);
        __syncthreads();
        make_rows(a, constants, a.first_row + first, count, rows);
        __syncthreads();
        if (!inside) continue;
        u64 at = u64(first) * a.width + column;
        float next[3];
#pragma unroll
        for (int ch = 0; ch < 3; ch++) next[ch] = from[at + ch * plane];
        for (int r = 0; r < count; r++, at += a.width) {
            const Row &row = rows[r];
            float values[3];
#pragma unroll
            for (int ch = 0; ch < 3; ch++) values[ch] = next[ch] + image.poison;
            // The next row's pixels are on their way while this one is worked on.
            if (r + 1 < count) {
#pragma unroll
                for (int ch = 0; ch < 3; ch++) next[ch] = from[at + a.width + ch * plane];
            }
            float graduated[graduated_slots], elliptical[elliptical_slots], blue[elliptical_slots];
#pragma unroll
            for (int k = 0; k < GRADUATED; k++) {
                const float profile = graduated_profile(image, row, k, c);
                graduated[k] = PAPER ? __saturatef(profile) : profile;
            }
#pragma unroll
            for (int k = 0; k < ELLIPTICAL; k++) {
                const Ellipse e =
                    find_ellipse(a, image, row.elliptical[k], k, c.dy[k], first + r, column);
                elliptical[k] = e.inside ? e.profile : 0.0f;
                blue[k] = e.inside_blue ? e.profile : 0.0f;
            }
#pragma unroll
            for (int ch = 0; ch < 3; ch++) {
                float result = limit_result(values[ch]);
                if (any_filter) {
                    float of_graduated = GRADUATED > 0, of_elliptical = ELLIPTICAL > 0;
#pragma unroll
                    for (int k = 0; k < GRADUATED; k++) of_graduated *= graduated_mask(image, k, ch, graduated[k]).value;
#pragma unroll
                    for (int k = 0; k < ELLIPTICAL; k++)
                        of_elliptical *= elliptical_mask(image, k, ch, ch == 2 ? blue[k] : elliptical[k]).value;
                    const float s = limit_map(joined_maps(limit_map(of_graduated), limit_map(of_elliptical)));
                    const float y2 = limit_image(Polynomial(row.polynomial[ch], c.y, values[ch]).value);
                    result = limit_result(limit_image(y2 * s) + values[ch]);
                }
                to[at + ch * plane] = result;
            }
        }
    }
}

// Where pixel `output` of a resized image reads along one axis; rounded as on the CPU, step by step.
struct Tap {
    int low, high;
    float weight; // of `high`

    __device__ __forceinline__ Tap(int output, float scale, int size) {
        const float position = fmaxf(__fadd_rn(__fmul_rn(output + 0.5f, scale), -0.5f), 0.0f);
        low = min(int(position), size - 1);
        high = min(low + 1, size - 1);
        weight = fminf(fmaxf(position - low, 0.0f), 1.0f);
    }

    // Share of pixel `index` in this tap.
    __device__ __forceinline__ float of(int index) const {
        return (low == index ? 1.0f - weight : 0.0f) + (high == index ? weight : 0.0f);
    }
};

struct bf16 {
    u16 bits;
};
__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return __uint_as_float(u32(value.bits) << 16); }
__device__ __forceinline__ void store(float *to, float value) { *to = value; }
// To nearest, ties to even; a NaN stays one.
__device__ __forceinline__ void store(bf16 *to, float value) {
    const u32 bits = __float_as_uint(value);
    to->bits = u16(value != value ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Coefficients of the polynomial alone, from the raw parameters: these are the coefficients themselves.
__device__ __forceinline__ void raw_coefficients(const Argument &a, double coefficients[3 * TERMS + 1]) {
    const float *raw = reinterpret_cast<const float *>(a.raw) + u64(blockIdx.z) * raw_len;
    for (int i = threadIdx.x; i < 3 * TERMS; i += block_columns) coefficients[i] = raw[i];
    __syncthreads();
}

// Y2 at the pixels that the resized image reads, and nowhere else.
template <typename T> __device__ __forceinline__ void polynomial_resized(const Argument &a) {
    __shared__ double coefficients[3 * TERMS + 1];
    __shared__ PolynomialRow rows[2][3];
    raw_coefficients(a, coefficients);
    const Tap row(blockIdx.y, float(a.height) / float(a.resized_height), a.height);
    if (threadIdx.x < 6) {
        const int which = threadIdx.x / 3, ch = threadIdx.x % 3;
        const double x = double(which ? row.high : row.low) / double(a.full_height);
        polynomial_row(coefficients + ch * TERMS, x, rows[which][ch]);
    }
    __syncthreads();
    const int column = blockIdx.x * block_columns + threadIdx.x;
    if (column >= a.resized_width) return;
    const Tap tap(column, float(a.width) / float(a.resized_width), a.width);
    const float *from = reinterpret_cast<const float *>(a.image) + blockIdx.z * a.image_stride;
    T *to = reinterpret_cast<T *>(a.out) + blockIdx.z * a.out_stride;
    const u64 plane = u64(a.height) * a.width, resized_plane = u64(a.resized_height) * a.resized_width;
#pragma unroll
    for (int ch = 0; ch < 3; ch++) {
        float lines[2];
#pragma unroll
        for (int which = 0; which < 2; which++) {
            const u64 line = u64(which ? row.high : row.low) * a.width + ch * plane;
            float values[2];
#pragma unroll
            for (int side = 0; side < 2; side++) {
                const int x = side ? tap.high : tap.low;
                const float y = float(x) / float(a.width);
                values[side] = limit_image(Polynomial(rows[which][ch], y, from[line + x]).value);
            }
            lines[which] = (1.0f - tap.weight) * values[0] + tap.weight * values[1];
        }
        store(&to[u64(blockIdx.y) * a.resized_width + column + ch * resized_plane],
              (1.0f - row.weight) * lines[0] + row.weight * lines[1]);
    }
}

extern "C" __global__ void __launch_bounds__(block_columns) polynomial_resized_f32(const Argument argument) {
    polynomial_resized<float>(argument);
}
extern "C" __global__ void __launch_bounds__(block_columns) polynomial_resized_bf16(const Argument argument) {
    polynomial_resized<bf16>(argument);
}
