//! What several test files share.

// Each test file is a crate of its own and uses a part.
#![allow(dead_code)]

use deeplpf_filters::{Real, StackConfig, StackParams, reference};
use ndarray::{Array3, ArrayView3};

/// SplitMix64 (Steele, Lea, Flood 2014): enough randomness for test data, the same everywhere.
pub struct Random(pub u64);

impl Random {
    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        low + (high - low) * (z >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn image<T: Real>(&mut self, height: usize, width: usize, range: [f64; 2]) -> Array3<T> {
        Array3::from_shape_simple_fn((3, height, width), || {
            T::narrow(self.uniform(range[0], range[1]))
        })
    }

    /// Raw parameters of an ordinary picture: moderate polynomial, filters anywhere.
    pub fn raw<T: Real>(&mut self, config: &StackConfig) -> Vec<T> {
        let polynomial = config.polynomial_range();
        (0..config.raw_len())
            .map(|i| {
                let spread = if polynomial.contains(&i) { 0.4 } else { 1.5 };
                T::narrow(self.uniform(-spread, spread))
            })
            .collect()
    }
}

/// The whole stack by the scalar definition.
pub fn by_reference(
    config: &StackConfig,
    params: &StackParams<f64>,
    image: ArrayView3<'_, f64>,
) -> Array3<f64> {
    let (_, height, width) = image.dim();
    Array3::from_shape_fn(image.raw_dim(), |(ch, r, c)| {
        let (x, y) = (r as f64 / height as f64, c as f64 / width as f64);
        reference::enhance(config, params, ch, x, y, image[[ch, r, c]])
    })
}

/// Every named parameter with its name, in a fixed order.
pub fn slots(params: &mut StackParams<f64>) -> Vec<(String, &mut f64)> {
    let mut all = vec![];
    if let Some(polynomial) = &mut params.polynomial {
        for (ch, coefficients) in polynomial.coefficients.iter_mut().enumerate() {
            for (i, c) in coefficients.iter_mut().enumerate() {
                all.push((format!("polynomial channel {ch} coefficient {i}"), c));
            }
        }
    }
    for (k, p) in params.graduated.iter_mut().enumerate() {
        let fields = [
            ("inversion", &mut p.inversion),
            ("slope", &mut p.slope),
            ("offset", &mut p.offset),
            ("o1", &mut p.o1),
            ("o2", &mut p.o2),
        ];
        all.extend(fields.map(|(name, v)| (format!("graduated {k} {name}"), v)));
        let scales = p.scale.iter_mut().enumerate();
        all.extend(scales.map(|(ch, v)| (format!("graduated {k} scale of channel {ch}"), v)));
    }
    for (k, p) in params.elliptical.iter_mut().enumerate() {
        let fields = [
            ("center_x", &mut p.center_x),
            ("center_y", &mut p.center_y),
            ("semi_axis_a", &mut p.semi_axis_a),
            ("semi_axis_b", &mut p.semi_axis_b),
            ("angle", &mut p.angle),
        ];
        all.extend(fields.map(|(name, v)| (format!("elliptical {k} {name}"), v)));
        let scales = p.scale.iter_mut().enumerate();
        all.extend(scales.map(|(ch, v)| (format!("elliptical {k} scale of channel {ch}"), v)));
    }
    if let Some(gates) = &mut params.gates {
        let graduated = gates.graduated.iter_mut().enumerate();
        all.extend(graduated.map(|(k, v)| (format!("graduated {k} gate"), v)));
        let elliptical = gates.elliptical.iter_mut().enumerate();
        all.extend(elliptical.map(|(k, v)| (format!("elliptical {k} gate"), v)));
    }
    all
}
