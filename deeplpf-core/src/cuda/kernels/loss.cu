// Lab L1 and MS-SSIM with the gradient to the prediction; the formulas are those of loss/lab.rs and
// loss/ms_ssim.rs. Blocks are 32 x 8 threads over tiles of 32 x 32 pixels of one scale of one image.
//
// loss_lab             reads both images once: Lab difference, its signs, L on all five scales (tiles of 32
//                      are halved four times without leaving the block)
// loss_similarity      all scales in one launch: local moments, terms, the maps their gradients are blurs
//                      of; the last block makes the loss of all partial sums
// loss_coarse_gradient scales 1 to 4: their own gradient
// loss_gradient        scale 0, the coarser ones gathered, and the way back to sRGB

constexpr int scales = 5, tile = 32, reach = 2, halo = tile + 2 * reach;

struct Scale {
    u32 height, width, first_block, padding;
    u64 first_pixel;
};

struct Loss {
    Planes prediction, target, gradient;
    Scale scale[scales];
    u64 pixels, lab_sums, similarity_sums, weights, planes, signs, counter, terms;
    double lab_weight, similarity_weight, last_exponent;
    u32 blocks, padding;

    // Plane 0: L of the prediction; 1: of the target; 2, 3, 4: maps to the mean, the square, the product.
    __device__ __forceinline__ float *plane(int image, int kind, int level) const {
        return reinterpret_cast<float *>(planes) + (u64(image) * 5 + kind) * pixels + scale[level].first_pixel;
    }
};

// Wang, Simoncelli, Bovik 2003, as printed in the release.
__device__ const double scale_weights[scales] = {0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
// Gaussian of sigma 1.5 on five taps, of sum one.
__device__ const float window[5] = {0.12007838424321349f, 0.23388075658535032f, 0.29208171834287244f,
                                    0.23388075658535032f, 0.12007838424321349f};
constexpr float c1 = 1e-4f, c2 = 9e-4f;

__device__ __forceinline__ float linear(float v) {
    return v <= 0.04045f ? v / 12.92f : powf((v + 0.055f) / 1.055f, 2.4f);
}
__device__ __forceinline__ float linear_slope(float v, float linear) {
    return v <= 0.04045f ? 1.0f / 12.92f : 2.4f * linear / (v + 0.055f);
}

constexpr float cube_joint = 0.008856451679035631f; // (6/29)^3
constexpr float cube_slope = 7.787037037037035f;    // 1 / (3 (6/29)^2)

__device__ __forceinline__ float cube_root(float u) {
    return u <= cube_joint ? u * cube_slope + 4.0f / 29.0f : cbrtf(u);
}
__device__ __forceinline__ float cube_root_slope(float u, float f) {
    return u <= cube_joint ? cube_slope : 1.0f / (3.0f * f * f);
}

// sRGB primaries with the D65 white; a row vector (r, g, b) times this is (X, Y, Z).
__device__ const float to_xyz[3][3] = {
    {0.412453f, 0.212671f, 0.019334f}, {0.357580f, 0.715160f, 0.119193f}, {0.180423f, 0.072169f, 0.950227f}};
__device__ const float white[3] = {0.950456f, 1.0f, 1.088754f};

__device__ __forceinline__ void xyz(const float lin[3], float out[3]) {
#pragma unroll
    for (int j = 0; j < 3; j++)
        out[j] = (lin[0] * to_xyz[0][j] + lin[1] * to_xyz[1][j] + lin[2] * to_xyz[2][j]) / white[j];
}

__device__ __forceinline__ void scaled_lab(const float rgb[3], float lab[3]) {
    float lin[3], f[3];
#pragma unroll
    for (int i = 0; i < 3; i++) lin[i] = linear(rgb[i]);
    xyz(lin, f);
#pragma unroll
    for (int i = 0; i < 3; i++) f[i] = cube_root(f[i]);
    lab[0] = (116.0f * f[1] - 16.0f) / 100.0f;
    lab[1] = (500.0f / 110.0f * (f[0] - f[1]) + 1.0f) * 0.5f;
    lab[2] = (200.0f / 110.0f * (f[1] - f[2]) + 1.0f) * 0.5f;
#pragma unroll
    for (int i = 0; i < 3; i++)
        if (lab[i] != lab[i]) lab[i] = 0;
}

__device__ __forceinline__ void lab_pull_back(const float rgb[3], const float d[3], float out[3]) {
    constexpr float l = 1.16f, a = 250.0f / 110.0f, b = 100.0f / 110.0f;
    const float of_f[3] = {a * d[1], l * d[0] - a * d[1] + b * d[2], -(b * d[2])};
    float lin[3], u[3], of_xyz[3];
#pragma unroll
    for (int i = 0; i < 3; i++) lin[i] = linear(rgb[i]);
    xyz(lin, u);
#pragma unroll
    for (int j = 0; j < 3; j++) of_xyz[j] = of_f[j] * cube_root_slope(u[j], cube_root(u[j])) / white[j];
#pragma unroll
    for (int i = 0; i < 3; i++)
        out[i] = (of_xyz[0] * to_xyz[i][0] + of_xyz[1] * to_xyz[i][1] + of_xyz[2] * to_xyz[i][2]) *
                 linear_slope(rgb[i], lin[i]);
}

// Limits to [0, 1]; a NaN stays one.
__device__ __forceinline__ float unit(float v) { return v < 0 ? 0.0f : v > 1 ? 1.0f : v; }

extern "C" __global__ void __launch_bounds__(256) loss_lab(const Loss argument) {
    __shared__ float fine[2][tile][tile + 1], coarse[2][tile / 2][tile / 2 + 1];
    const Loss &a = argument;
    const int image = blockIdx.z, height = a.scale[0].height, width = a.scale[0].width;
    float *ours = a.plane(image, 0, 0), *theirs = a.plane(image, 1, 0);
    u8 *signs = reinterpret_cast<u8 *>(a.signs) + u64(image) * height * width;
    const int x = blockIdx.x * tile + threadIdx.x;
    float sum = 0;
    for (int i = threadIdx.y; i < tile; i += 8) {
        const int y = blockIdx.y * tile + i;
        if (y >= height || x >= width) continue;
        float p[3], t[3], p_lab[3], t_lab[3];
#pragma unroll
        for (int channel = 0; channel < 3; channel++) {
            p[channel] = unit(Plane<float>(a.prediction, image, channel).at(y, x));
            t[channel] = Plane<float>(a.target, image, channel).at(y, x);
        }
        scaled_lab(p, p_lab);
        scaled_lab(t, t_lab);
        u32 sign = 0;
#pragma unroll
        for (int channel = 0; channel < 3; channel++) {
            const float difference = p_lab[channel] - t_lab[channel];
            sum += fabsf(difference);
            sign |= (difference > 0 ? 1u : difference < 0 ? 2u : 0u) << 2 * channel;
        }
        signs[y * width + x] = u8(sign);
        ours[y * width + x] = fine[0][i][threadIdx.x] = p_lab[0];
        theirs[y * width + x] = fine[1][i][threadIdx.x] = t_lab[0];
    }
    const int thread = threadIdx.x + threadIdx.y * 32;
    for (int level = 1; level < scales; level++) {
        __syncthreads();
        // The halves go back and forth between the two arrays.
        const int side = tile >> level;
        for (int i = thread; i < 2 * side * side; i += 256) {
            const int kind = i / (side * side), row = i / side % side, column = i % side;
            const int y = blockIdx.y * side + row, at = blockIdx.x * side + column;
            if (y >= a.scale[level].height || at >= a.scale[level].width) continue;
            float sum;
            if (level % 2) {
                sum = fine[kind][2 * row][2 * column] + fine[kind][2 * row][2 * column + 1] +
                      fine[kind][2 * row + 1][2 * column] + fine[kind][2 * row + 1][2 * column + 1];
                coarse[kind][row][column] = 0.25f * sum;
            } else {
                sum = coarse[kind][2 * row][2 * column] + coarse[kind][2 * row][2 * column + 1] +
                      coarse[kind][2 * row + 1][2 * column] + coarse[kind][2 * row + 1][2 * column + 1];
                fine[kind][row][column] = 0.25f * sum;
            }
            a.plane(image, kind, level)[y * a.scale[level].width + at] = 0.25f * sum;
        }
    }
    const double total = block_sum(double(sum));
    const int block = (image * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    if (thread == 0) reinterpret_cast<double *>(a.lab_sums)[block] = total;
}

// Scale and tile of block `block` of an image's blocks of all scales.
struct Place {
    int level, top, left, height, width;

    __device__ __forceinline__ Place(const Loss &a, int block) {
        level = 0;
        while (level + 1 < scales && block >= a.scale[level + 1].first_block) level++;
        height = a.scale[level].height, width = a.scale[level].width;
        const int tiles_x = (width + tile - 1) / tile;
        block -= a.scale[level].first_block;
        top = block / tiles_x * tile, left = block % tiles_x * tile;
    }
};

// A tile of a plane with two pixels around it, zero beyond the plane.
__device__ __forceinline__ void load_halo(float to[halo][halo + 1], const float *from, const Place &at) {
    for (int i = threadIdx.x + threadIdx.y * 32; i < halo * halo; i += 256) {
        const int row = i / halo, column = i % halo;
        const int y = at.top + row - reach, x = at.left + column - reach;
        const bool inside = y >= 0 && y < at.height && x >= 0 && x < at.width;
        to[row][column] = inside ? from[y * at.width + x] : 0.0f;
    }
}

__device__ __forceinline__ float along_row(const float line[halo + 1], int x) {
    return window[0] * line[x] + window[1] * line[x + 1] + window[2] * line[x + 2] + window[3] * line[x + 3] +
           window[4] * line[x + 4];
}

// The loss and the weights of the scales' gradients from the sums of all blocks.
__device__ __forceinline__ void finish_loss(const Loss &a) {
    const int images = gridDim.z, thread = threadIdx.x + threadIdx.y * 32;
    const int finest = a.scale[1].first_block;
    const double *lab_sums = reinterpret_cast<const double *>(a.lab_sums);
    const double *similarity_sums = reinterpret_cast<const double *>(a.similarity_sums);
    double lab_total = 0, similarity_total = 0;
    for (int image = 0; image < images; image++) {
        double lab = 0, means[scales], value = 1;
        for (int i = thread; i < finest; i += 256) lab += __ldcg(&lab_sums[image * finest + i]);
        lab = block_sum(lab);
        for (int level = 0; level < scales; level++) {
            const int end = level + 1 < scales ? a.scale[level + 1].first_block : a.blocks;
            double sum = 0;
            for (int i = a.scale[level].first_block + thread; i < end; i += 256)
                sum += __ldcg(&similarity_sums[u64(image) * a.blocks + i]);
            sum = block_sum(sum);
            means[level] = sum / (double(a.scale[level].height) * a.scale[level].width);
        }
        if (thread > 0) continue;
        for (int level = 0; level < scales; level++) {
            const double exponent = scale_weights[level] * (level + 1 == scales ? a.last_exponent : 1.0);
            value *= pow((means[level] + 1) / 2, exponent);
        }
        for (int level = 0; level < scales; level++) {
            const double exponent = scale_weights[level] * (level + 1 == scales ? a.last_exponent : 1.0);
            const double pixels = double(a.scale[level].height) * a.scale[level].width;
            const double of_mean = value * exponent / (means[level] + 1);
            reinterpret_cast<float *>(a.weights)[image * scales + level] =
                float(-a.similarity_weight / images * of_mean / pixels);
        }
        lab_total += lab / (3.0 * a.scale[0].height * a.scale[0].width);
        similarity_total += value;
    }
    if (thread > 0) return;
    lab_total /= images, similarity_total /= images;
    float *terms = reinterpret_cast<float *>(a.terms);
    terms[0] = float(a.lab_weight * lab_total + a.similarity_weight * (1 - similarity_total));
    terms[1] = float(lab_total);
    terms[2] = float(similarity_total);
}

extern "C" __global__ void __launch_bounds__(256) loss_similarity(const Loss argument) {
    __shared__ float x[halo][halo + 1], y[halo][halo + 1], lines[4][tile][halo + 1];
    const Loss &a = argument;
    const int image = blockIdx.z, thread = threadIdx.x + threadIdx.y * 32;
    const Place at(a, blockIdx.x);
    load_halo(x, a.plane(image, 0, at.level), at);
    load_halo(y, a.plane(image, 1, at.level), at);
    __syncthreads();
    for (int i = thread; i < tile * halo; i += 256) {
        const int row = i / halo, column = i % halo;
        float sums[4] = {0, 0, 0, 0};
#pragma unroll
        for (int tap = 0; tap < 5; tap++) {
            const float u = x[row + tap][column], v = y[row + tap][column];
            sums[0] += window[tap] * u, sums[1] += window[tap] * v;
            sums[2] += window[tap] * (u * u + v * v), sums[3] += window[tap] * (u * v);
        }
        for (int kind = 0; kind < 4; kind++) lines[kind][row][column] = sums[kind];
    }
    __syncthreads();
    const bool last = at.level + 1 == scales;
    const int column = threadIdx.x;
    double sum = 0;
    for (int row = threadIdx.y; row < tile; row += 8) {
        if (at.top + row >= at.height || at.left + column >= at.width) continue;
        const float mu_x = along_row(lines[0][row], column), mu_y = along_row(lines[1][row], column);
        const float squares = mu_x * mu_x + mu_y * mu_y, product = mu_x * mu_y;
        const float numerator = 2 * (along_row(lines[3][row], column) - product) + c2;
        const float denominator = along_row(lines[2][row], column) - squares + c2;
        const float contrast = numerator / denominator;
        const float luminance_denominator = squares + c1;
        const float luminance = (2 * product + c1) / luminance_denominator;
        sum += last ? luminance * contrast : contrast;
        if (a.gradient.address == 0) continue;
        const float factor = last ? luminance : 1.0f;
        const float to_product = factor * 2 / denominator;
        const float to_square = -(factor * contrast / denominator);
        float to_mean = -(to_product * mu_y) - 2 * to_square * mu_x;
        if (last) to_mean += contrast * 2 * (mu_y - luminance * mu_x) / luminance_denominator;
        const int pixel = (at.top + row) * at.width + at.left + column;
        a.plane(image, 2, at.level)[pixel] = to_mean;
        a.plane(image, 3, at.level)[pixel] = to_square;
        a.plane(image, 4, at.level)[pixel] = to_product;
    }
    sum = block_sum(sum);
    if (thread == 0) reinterpret_cast<double *>(a.similarity_sums)[u64(image) * a.blocks + blockIdx.x] = sum;
    if (last_block(reinterpret_cast<u32 *>(a.counter), gridDim.x * gridDim.z)) finish_loss(a);
}

// The three maps of a tile blurred (the blur is its own transpose) and put together: the gradient of the
// sum of the scale's compared quantity. Calls visit(y, x, gradient).
template <typename Visit>
__device__ __forceinline__ void own_gradient(const Loss &a, int image, const Place &at, Visit visit) {
    __shared__ float map[halo][halo + 1], lines[3][tile][halo + 1];
    for (int kind = 0; kind < 3; kind++) {
        __syncthreads();
        load_halo(map, a.plane(image, 2 + kind, at.level), at);
        __syncthreads();
        for (int i = threadIdx.x + threadIdx.y * 32; i < tile * halo; i += 256) {
            const int row = i / halo, column = i % halo;
            float sum = 0;
#pragma unroll
            for (int tap = 0; tap < 5; tap++) sum += window[tap] * map[row + tap][column];
            lines[kind][row][column] = sum;
        }
    }
    __syncthreads();
    const float *ours = a.plane(image, 0, at.level), *theirs = a.plane(image, 1, at.level);
    const int column = threadIdx.x;
    for (int row = threadIdx.y; row < tile; row += 8) {
        const int y = at.top + row, x = at.left + column;
        if (y >= at.height || x >= at.width) continue;
        const int pixel = y * at.width + x;
        visit(y, x, along_row(lines[0][row], column) + 2 * ours[pixel] * along_row(lines[1][row], column) +
                        theirs[pixel] * along_row(lines[2][row], column));
    }
}

extern "C" __global__ void __launch_bounds__(256) loss_coarse_gradient(const Loss argument) {
    const Loss &a = argument;
    const int image = blockIdx.z;
    const Place at(a, a.scale[1].first_block + blockIdx.x);
    const float weight = reinterpret_cast<const float *>(a.weights)[image * scales + at.level];
    // Nobody else reads this pixel of the target's L.
    float *out = a.plane(image, 1, at.level);
    own_gradient(a, image, at, [&](int y, int x, float own) { out[y * at.width + x] = weight * own; });
}

extern "C" __global__ void __launch_bounds__(256) loss_gradient(const Loss argument) {
    const Loss &a = argument;
    const int image = blockIdx.z, height = a.scale[0].height, width = a.scale[0].width;
    const Place at(a, blockIdx.y * gridDim.x + blockIdx.x);
    const float weight = reinterpret_cast<const float *>(a.weights)[image * scales];
    const u8 *signs = reinterpret_cast<const u8 *>(a.signs) + u64(image) * height * width;
    const float share = float(a.lab_weight / (3.0 * height * width * gridDim.z));
    own_gradient(a, image, at, [&](int y, int x, float own) {
        float similarity = weight * own, quarter = 0.25f;
        for (int level = 1; level < scales; level++, quarter *= 0.25f) {
            const int row = y >> level, column = x >> level;
            if (row >= a.scale[level].height || column >= a.scale[level].width) break;
            similarity += quarter * a.plane(image, 1, level)[row * a.scale[level].width + column];
        }
        const u32 sign = signs[y * width + x];
        float values[3], rgb[3], d[3], gradient[3];
#pragma unroll
        for (int channel = 0; channel < 3; channel++) {
            const u32 own_sign = sign >> 2 * channel & 3;
            d[channel] = own_sign == 1 ? share : own_sign == 2 ? -share : 0.0f;
            values[channel] = Plane<float>(a.prediction, image, channel).at(y, x);
            rgb[channel] = unit(values[channel]);
        }
        d[0] += similarity;
        lab_pull_back(rgb, d, gradient);
#pragma unroll
        for (int channel = 0; channel < 3; channel++) {
            // All of it where the value is inside or at the limits, as PyTorch's clamp.
            const bool passes = !(values[channel] < 0 || values[channel] > 1);
            Plane<float>(a.gradient, image, channel).put(y, x, passes ? gradient[channel] : 0.0f);
        }
    });
}
