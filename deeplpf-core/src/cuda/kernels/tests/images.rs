//! Images from bytes.

use half::bf16;

use super::*;

/// Picks as the words they are made of.
fn words(picks: &[Pick]) -> Vec<u64> {
    picks
        .iter()
        .flat_map(|pick| {
            let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
            [pick.first, pair(pick.stored_width, pick.top), pair(pick.left, pick.flips)]
        })
        .collect()
}

#[test]
fn crops_and_flips_of_stored_images() {
    let Some(bench) = bench() else { return };
    let (stored_height, stored_width) = (11usize, 41usize);
    let bytes: Vec<u8> =
        (0..2 * stored_height * stored_width * 3).map(|i| (i * 37 % 251) as u8).collect();
    let wide: Vec<u16> = bytes.iter().map(|b| u16::from(*b) * 257).collect();
    let second = (stored_height * stored_width * 3) as u64;
    let (height, width) = (7usize, 35usize);
    let picks: Vec<Pick> = (0..4u32)
        .map(|n| Pick {
            first: if n % 2 == 0 { 0 } else { second },
            stored_width: stored_width as u32,
            top: n,
            left: 2 * n,
            flips: n,
        })
        .collect();
    let expected: Vec<f32> = picks
        .iter()
        .flat_map(|pick| (0..3 * height * width).map(move |i| (*pick, i)))
        .map(|(pick, i)| {
            let (channel, mut y, mut x) = (i / (height * width), i / width % height, i % width);
            if pick.flips & 1 != 0 {
                x = width - 1 - x;
            }
            if pick.flips & 2 != 0 {
                y = height - 1 - y;
            }
            let at = (y + pick.top as usize) * stored_width + x + pick.left as usize;
            f32::from(bytes[pick.first as usize + 3 * at + channel]) / 255.0
        })
        .collect();
    let (stored, stored_wide) = (bench.numbers(&bytes), bench.numbers(&wide));
    let table = bench.numbers(&words(&picks));
    let table = Span::<Pick>::new(table.span().address(), picks.len());
    let shape = [4, 3, height, width];
    let (stream, kernels) = (bench.stream(), &bench.kernels);
    for border in [0, 1] {
        let out = bench.empty::<f32>(shape, border);
        kernels.fetch_images(stream, stored.span(), table, out.planes()).unwrap();
        close("bytes", &out.read(), &expected, 0.0);
        let out = bench.empty::<f32>(shape, border);
        kernels.fetch_images(stream, stored_wide.span(), table, out.planes()).unwrap();
        close("16 bits", &out.read(), &expected, 1e-7);
        let out = bench.empty::<bf16>(shape, border);
        kernels.fetch_images(stream, stored.span(), table, out.planes()).unwrap();
        close("bfloat16", &out.read(), &expected, 4e-3);
    }
    // Beyond the stored bytes there are zeros.
    let half = Span::<u8>::new(stored.span().address(), second as usize);
    let out = bench.empty::<f32>(shape, 0);
    kernels.fetch_images(stream, half, table, out.planes()).unwrap();
    let image = &out.read()[3 * height * width..][..3 * height * width];
    assert!(image.iter().all(|v| *v == 0.0));
}
