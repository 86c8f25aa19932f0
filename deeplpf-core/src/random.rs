//! The one source of randomness: Philox4x32-10, a counter-based generator.
//!
//! A draw is a pure function of (seed, stream, counter), so initialisation, order, dropout and
//! augmentation each have a stream of their own, a run can be resumed at any step without saving
//! a state, and a GPU can compute the same draws in any order.
//!
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
//! section 3.3 and its Random123 known-answer vectors.

use std::convert::Infallible;

/// What a stream of random numbers is for. Streams of one seed never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights; the index is a hash of the parameter's name.
    Initialisation,
    /// The order of the pairs; the index is the epoch.
    Order,
    /// Dropout masks; the index is the step.
    Dropout,
    /// Flips and crops; the index is the draw.
    Augmentation,
    /// Synthetic data.
    Synthesis,
    /// Random splits of a data set.
    Split,
}

/// A stream of Philox4x32-10 numbers. Implements [`rand_core::Rng`].
#[derive(Clone, Debug)]
pub struct Generator {
    key: [u32; 2],
    /// Words 0 and 1 count blocks; words 2 and 3 name the stream.
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

/// Multipliers and Weyl increments of the paper's table 2 (Philox-4x32).
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const INCREMENTS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
/// Ten rounds: the paper's recommended count with a safety margin (it is Crush-resistant from 7).
const ROUNDS: usize = 10;

fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let product0 = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let product1 = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (product1 >> 32) as u32 ^ counter[1] ^ key[0],
            product1 as u32,
            (product0 >> 32) as u32 ^ counter[3] ^ key[1],
            product0 as u32,
        ];
        key = [key[0].wrapping_add(INCREMENTS[0]), key[1].wrapping_add(INCREMENTS[1])];
    }
    counter
}

impl Generator {
    /// The stream number `index` of `purpose` under `seed`. The index has 56 bits; higher ones are
    /// dropped.
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let stream = ((purpose as u64) << 56) | (index & 0x00FF_FFFF_FFFF_FFFF);
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, 0, stream as u32, (stream >> 32) as u32],
            block: [0; 4],
            used: 4,
        }
    }

    /// The stream of the parameter called `name` (FNV-1a hash), so that a parameter's initial
    /// value does not depend on which others exist.
    pub fn for_parameter(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self::new(seed, Purpose::Initialisation, hash)
    }

    fn next_word(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32(self.counter, self.key);
            let (low, carry) = self.counter[0].overflowing_add(1);
            self.counter[0] = low;
            self.counter[1] = self.counter[1].wrapping_add(u32::from(carry));
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform on [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        let high = u64::from(self.next_word());
        let low = u64::from(self.next_word());
        (((high << 32) | low) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// True with the given probability.
    pub fn bernoulli(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Uniform on 0..bound without bias (rejection). `bound` must not be 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "an empty range has no member");
        // 2^32 mod bound values at the low end would make small results more likely.
        let reject = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_word()) * u64::from(bound);
            if product as u32 >= reject {
                return (product >> 32) as u32;
            }
        }
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u32 + 1) as usize);
        }
    }
}

impl rand_core::TryRng for Generator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_word())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = u64::from(self.next_word());
        Ok(low | u64::from(self.next_word()) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            let word = self.next_word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random123's kat_vectors, philox4x32 10.
    #[test]
    fn known_answers() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |purpose, index| {
            let mut generator = Generator::new(3, purpose, index);
            (0..8).map(|_| generator.next_word()).collect::<Vec<_>>()
        };
        assert_eq!(draw(Purpose::Order, 1), draw(Purpose::Order, 1));
        assert_ne!(draw(Purpose::Order, 1), draw(Purpose::Order, 2));
        assert_ne!(draw(Purpose::Order, 1), draw(Purpose::Dropout, 1));
    }

    #[test]
    fn uniform_moments() {
        let mut generator = Generator::new(11, Purpose::Synthesis, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| generator.uniform()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|u| (u - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        // Standard errors: sqrt(1/12/20000) = 0.0020 and about 0.0005; bounds are five of them.
        assert!((mean - 0.5).abs() < 0.0102, "{mean}");
        assert!((variance - 1.0 / 12.0).abs() < 0.0027, "{variance}");
        assert!(draws.iter().all(|u| (0.0..1.0).contains(u)));
    }

    #[test]
    fn shuffle_is_a_permutation_and_below_covers_its_range() {
        let mut generator = Generator::new(5, Purpose::Order, 0);
        let mut items: Vec<u32> = (0..100).collect();
        generator.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        let mut seen = [0u32; 7];
        (0..7000).for_each(|_| seen[generator.below(7) as usize] += 1);
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
    }
}
