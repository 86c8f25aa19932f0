// From the bytes of decoded images to planes.

// Pick of images.rs.
struct Pick {
    u64 first;
    u32 stored_width, top, left, flips;
};

struct FetchImages {
    u64 stored, stored_len, picks;
    Planes out;
};

// A thread for each pixel of the result, its border included: reads of one warp lie side by side.
template <typename S, typename T>
__device__ __forceinline__ void fetch_images(const FetchImages &a, float largest) {
    const int border = a.out.border, height = a.out.height, width = a.out.width;
    const int column = blockIdx.x * 32 + threadIdx.x - border;
    const int row = blockIdx.y * 8 + threadIdx.y - border;
    if (column >= width + border || row >= height + border) return;
    const Pick pick = reinterpret_cast<const Pick *>(a.picks)[blockIdx.z];
    int y = mirrored(row, height), x = mirrored(column, width);
    if (pick.flips & 2) y = height - 1 - y;
    if (pick.flips & 1) x = width - 1 - x;
    const u64 at = pick.first + (u64(pick.top + y) * pick.stored_width + pick.left + x) * 3;
    const S *stored = reinterpret_cast<const S *>(a.stored);
    for (int channel = 0; channel < 3; channel++) {
        const float value = at + channel < a.stored_len ? float(stored[at + channel]) / largest : 0.0f;
        Plane<T>(a.out, blockIdx.z, channel).put(row, column, value);
    }
}

extern "C" __global__ void __launch_bounds__(256) fetch_images_u8_f32(const FetchImages argument) {
    fetch_images<u8, float>(argument, 255.0f);
}
extern "C" __global__ void __launch_bounds__(256) fetch_images_u8_bf16(const FetchImages argument) {
    fetch_images<u8, bf16>(argument, 255.0f);
}
extern "C" __global__ void __launch_bounds__(256) fetch_images_u16_f32(const FetchImages argument) {
    fetch_images<u16, float>(argument, 65535.0f);
}
extern "C" __global__ void __launch_bounds__(256) fetch_images_u16_bf16(const FetchImages argument) {
    fetch_images<u16, bf16>(argument, 65535.0f);
}
