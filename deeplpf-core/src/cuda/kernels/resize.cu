// Bilinear resize (align_corners = false, no antialiasing) of an image and of its 3x3 patches, and the
// transposes, which gather: no atomics, the same bits every time. Blocks are 32 x 8 threads over the
// result of one plane (blockIdx.z).

struct Resize {
    Planes input, out;
    float row_scale, column_scale; // pixels of the fine image per pixel of the resized one
    u64 strip;                     // four numbers, where the input is a strip of a taller picture
    u32 level;                     // rows of the picture to one of the input, as a power of two
    u32 accumulate;
};

// Rows `first` to `end` of a plane of `whole`, of which the rows from `top` on are there.
struct Strip {
    int whole, top, first, end;

    __device__ __forceinline__ Strip(const Resize &a) : whole(a.input.height), top(0), first(0), end(whole) {
        if (a.strip == 0) return;
        const float *rows = reinterpret_cast<const float *>(a.strip);
        whole = int(rows[0]) >> a.level, top = int(rows[1]) >> a.level;
        first = int(rows[2]) >> a.level, end = int(rows[3]) >> a.level;
    }
};

// Where pixel `output` of the resized image reads along one axis. Rounded as on the CPU, step by step.
struct Tap {
    int low, high;
    float weight; // of `high`

    __device__ __forceinline__ Tap(int output, float scale, int size) {
        const float position = fmaxf(__fadd_rn(__fmul_rn(output + 0.5f, scale), -0.5f), 0.0f);
        low = min(int(position), size - 1);
        high = min(low + 1, size - 1);
        weight = fminf(fmaxf(position - low, 0.0f), 1.0f);
    }

    // Share of fine pixel `index` in this tap.
    __device__ __forceinline__ float of(int index) const {
        return (low == index ? 1.0f - weight : 0.0f) + (high == index ? weight : 0.0f);
    }
};

// The pixels of the resized image that fine pixel `index` has a share in, [first, last].
struct Readers {
    int first, last;

    __device__ __forceinline__ Readers(int index, float scale, int size, int outputs) {
        // position(p) within (index - 1, index + 1), one more at both sides, then trimmed exactly.
        first = index == 0 ? 0 : max(int((index - 0.5f) / scale - 0.5f) - 1, 0);
        last = index == size - 1 ? outputs - 1 : min(int((index + 1.5f) / scale - 0.5f) + 1, outputs - 1);
        while (first <= last && Tap(first, scale, size).of(index) == 0) first++;
        while (last >= first && Tap(last, scale, size).of(index) == 0) last--;
    }
};

template <typename T> __device__ __forceinline__ void resize(const Resize &a) {
    const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
    if (x >= a.out.width || y >= a.out.height) return;
    const int image = blockIdx.z / a.out.channels, channel = blockIdx.z - image * a.out.channels;
    const Plane<T> input(a.input, image, channel);
    const Strip strip(a);
    const float scale = a.strip == 0 ? a.row_scale : float(strip.whole) / float(a.out.height);
    Tap row(y, scale, strip.whole);
    if (row.low < strip.first || row.low >= strip.end) return;
    row.low -= strip.top, row.high -= strip.top;
    const Tap column(x, a.column_scale, input.width);
    const float left = 1.0f - column.weight, right = column.weight;
    const float low = left * input.at(row.low, column.low) + right * input.at(row.low, column.high);
    const float high = left * input.at(row.high, column.low) + right * input.at(row.high, column.high);
    Plane<T>(a.out, image, channel).put(y, x, (1.0f - row.weight) * low + row.weight * high);
}

// Sum over the readers of fine pixel (y, x) of a resized plane.
template <typename T>
__device__ __forceinline__ float gather(const Plane<T> &gradient, const Resize &a, int y, const Readers &rows,
                                        int x, const Readers &columns) {
    float sum = 0;
    for (int p = rows.first; p <= rows.last; p++) {
        const float share = Tap(p, a.row_scale, a.out.height).of(y);
        float line = 0;
        for (int q = columns.first; q <= columns.last; q++)
            line += Tap(q, a.column_scale, a.out.width).of(x) * gradient.at(p, q);
        sum += share * line;
    }
    return sum;
}

template <typename T> __device__ __forceinline__ void resize_backward(const Resize &a) {
    const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
    if (x >= a.out.width || y >= a.out.height) return;
    const int image = blockIdx.z / a.out.channels, channel = blockIdx.z - image * a.out.channels;
    const Plane<T> gradient(a.input, image, channel), out(a.out, image, channel);
    const Readers rows(y, a.row_scale, a.out.height, gradient.height);
    const Readers columns(x, a.column_scale, a.out.width, gradient.width);
    const float sum = gather(gradient, a, y, rows, x, columns);
    out.put(y, x, a.accumulate ? out.at(y, x) + sum : sum);
}

// The four positions that the three shifts of a tap read: shift i reads number i and i + 1.
struct Neighbours {
    int at[4];
    float weight; // of number i + 1

    __device__ __forceinline__ Neighbours(const Tap &tap, int size) {
        for (int i = 0; i < 4; i++) at[i] = mirrored(tap.low + i - 1, size);
        // At the last pixel a tap reads that pixel twice.
        weight = tap.low == tap.high ? 0.0f : tap.weight;
        if (tap.low == tap.high) at[3] = at[2];
    }
};

template <typename T> __device__ __forceinline__ void resized_patches(const Resize &a) {
    const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
    if (x >= a.out.width || y >= a.out.height) return;
    const int channels = a.input.channels;
    const int image = blockIdx.z / (channels + 1), channel = blockIdx.z - image * (channels + 1);
    if (channel == channels) return Plane<T>(a.out, image, 9 * channels).put(y, x, 1.0f);
    const Plane<float> input(a.input, image, channel);
    const Neighbours rows(Tap(y, a.row_scale, input.height), input.height);
    const Neighbours columns(Tap(x, a.column_scale, input.width), input.width);
    float lines[3][4];
    for (int j = 0; j < 4; j++) {
        float values[4];
        for (int i = 0; i < 4; i++) values[i] = input.at(rows.at[i], columns.at[j]);
        for (int i = 0; i < 3; i++)
            lines[i][j] = (1.0f - rows.weight) * values[i] + rows.weight * values[i + 1];
    }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            const float left = 1.0f - columns.weight, right = columns.weight;
            const float value = left * lines[i][j] + right * lines[i][j + 1];
            Plane<T>(a.out, image, 9 * channel + 3 * i + j).put(y, x, value);
        }
}

// Through which shift, and from which position before it, fine pixel `index` is read: number `k` of five
// (three shifts, and the reflections of the two borders). False where there is none.
__device__ __forceinline__ bool reached(int k, int index, int size, int &shift, int &position) {
    shift = k < 3 ? k : k == 3 ? 0 : 2;
    position = k < 3 ? index + 1 - k : k == 3 ? 0 : size - 1;
    if (k == 3) return index == 1;
    if (k == 4) return index == size - 2;
    return position >= 0 && position < size;
}

template <typename T> __device__ __forceinline__ void resized_patches_backward(const Resize &a) {
    const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
    const int height = a.out.height, width = a.out.width;
    if (x >= width || y >= height) return;
    const int image = blockIdx.z / a.out.channels, channel = blockIdx.z - image * a.out.channels;
    float sum = 0;
    for (int i = 0; i < 5; i++) {
        int down, row;
        if (!reached(i, y, height, down, row)) continue;
        const Readers rows(row, a.row_scale, height, a.input.height);
        for (int j = 0; j < 5; j++) {
            int across, column;
            if (!reached(j, x, width, across, column)) continue;
            const Readers columns(column, a.column_scale, width, a.input.width);
            const Plane<T> gradient(a.input, image, 9 * channel + 3 * down + across);
            sum += gather(gradient, a, row, rows, column, columns);
        }
    }
    const Plane<float> out(a.out, image, channel);
    out.put(y, x, a.accumulate ? out.at(y, x) + sum : sum);
}

#define BOTH(name)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256) name##_f32(const Resize argument) { name<float>(argument); } \
    extern "C" __global__ void __launch_bounds__(256) name##_bf16(const Resize argument) { name<bf16>(argument); }

BOTH(resize)
BOTH(resize_backward)
BOTH(resized_patches)
BOTH(resized_patches_backward)
