//! Known shifts are found.

use deeplpf_data::verify::registration::{Plane, Registration, register};
use proptest::prelude::*;

/// Soft blobs of either sign at random places, so that a shift is exact at any fraction of a pixel.
struct Scene(Vec<[f64; 5]>);

impl Scene {
    fn new(seed: u64, height: usize, width: usize) -> Self {
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        // Beyond the frame as well: what a shift brings in is part of the scene.
        let count = height * width / 40;
        let blobs = (0..count).map(|_| {
            let y = (random() * 1.4 - 0.2) * height as f64;
            let x = (random() * 1.4 - 0.2) * width as f64;
            [y, x, 1.2 + 3.0 * random(), 1.2 + 3.0 * random(), random() - 0.5]
        });
        Self(blobs.collect())
    }

    /// In 8-bit levels, with the content moved and a tone curve applied.
    fn render(&self, (height, width): (usize, usize), shift: (f64, f64), gamma: f64) -> Plane {
        let mut values = vec![0.5f64; height * width];
        for &[y, x, sy, sx, amplitude] in &self.0 {
            let (y, x) = (y + shift.0, x + shift.1);
            let reach = |centre: f64, sigma: f64, length: usize| {
                let low = (centre - 4.0 * sigma).max(0.0) as usize;
                let high = (centre + 4.0 * sigma + 1.0).clamp(0.0, length as f64) as usize;
                low..high
            };
            for row in reach(y, sy, height) {
                for column in reach(x, sx, width) {
                    let (dy, dx) = ((row as f64 - y) / sy, (column as f64 - x) / sx);
                    values[row * width + column] += amplitude * (-0.5 * (dy * dy + dx * dx)).exp();
                }
            }
        }
        let level = |v: f64| (255.0 * v.clamp(0.0, 1.0).powf(gamma)).round() as f32 / 255.0;
        Plane { height, width, values: values.into_iter().map(level).collect() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn known_shifts_are_recovered(
        seed in any::<u64>(),
        rows in -9.0f64..9.0,
        columns in -9.0f64..9.0,
        height in 120usize..260,
        width in 120usize..260,
        gamma in 0.5f64..1.8,
    ) {
        let scene = Scene::new(seed, height, width);
        let input = scene.render((height, width), (0.0, 0.0), 1.0);
        let target = scene.render((height, width), (rows, columns), gamma);
        let Registration::Shift(found) = register(&input, &target) else {
            return Err(TestCaseError::fail("nothing found"));
        };
        prop_assert!(found.same_picture(), "{found:?}");
        let error = (found.rows - rows).hypot(found.columns - columns);
        prop_assert!(error < 0.1, "{found:?} of {rows} {columns}");
        // The other way round is the opposite shift.
        let Registration::Shift(back) = register(&target, &input) else {
            return Err(TestCaseError::fail("nothing found"));
        };
        prop_assert!((back.rows + found.rows).hypot(back.columns + found.columns) < 0.02);
    }

    #[test]
    fn different_pictures_are_not_the_same(seed in any::<u64>(), height in 64usize..200, width in 64usize..200) {
        let one = Scene::new(seed, height, width).render((height, width), (0.0, 0.0), 1.0);
        let other = Scene::new(!seed, height, width).render((height, width), (0.0, 0.0), 1.0);
        let Registration::Shift(found) = register(&one, &other) else {
            return Err(TestCaseError::fail("nothing found"));
        };
        prop_assert!(found.peak < found.significant, "{found:?}");
    }
}

#[test]
fn planes_that_say_nothing() {
    let plain = |v| Plane { height: 90, width: 80, values: vec![v; 7200] };
    assert_eq!(register(&plain(0.2), &plain(0.7)), Registration::Unknown);
    let scene = Scene::new(1, 90, 80).render((90, 80), (0.0, 0.0), 1.0);
    assert_eq!(register(&scene, &plain(0.0)), Registration::OneIsEmpty);
    for side in [1, 2, 16] {
        let tiny = || Scene::new(1, side, side).render((side, side), (0.0, 0.0), 1.0);
        assert_eq!(register(&tiny(), &tiny()), Registration::Unknown);
    }
}
