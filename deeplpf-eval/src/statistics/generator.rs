//! Random numbers of the bootstrap.

/// SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014): any state is a good one, so every resample has a generator of its
/// own and they can be drawn on any number of threads.
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    /// The generator number `index` of a seed.
    pub fn new(seed: u64, index: u64) -> Self {
        Self(mix(mix(seed) ^ index))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Uniform on `0..bound`, but for a bias below `bound / 2^64`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference_program() {
        // Java's SplittableRandom and S. Vigna's splitmix64.c from the state 1234567.
        let mut generator = SplitMix64(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!([(); 5].map(|()| generator.next()), expected);
    }

    #[test]
    fn draws_stay_below_the_bound_and_reach_it() {
        let mut generator = SplitMix64::new(1, 2);
        let mut seen = [0; 7];
        (0..7000).for_each(|_| seen[generator.below(7)] += 1);
        // 1000 each; six deviations of sqrt(7000 * 6/49) = 29.
        assert!(seen.iter().all(|count| (826..=1174).contains(count)), "{seen:?}");
    }
}
