//! Repeating work and taking its time.

use std::time::{Duration, Instant};

/// A first run of this length is the measurement: what happens only once, such as loading and
/// starting threads, is small beside it.
pub const COLD_LIMIT: Duration = Duration::from_secs(30);

/// How often work is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// No repetition but the first is begun that would probably end later than this.
    pub budget: Duration,
    /// The first run is the measurement if it takes this long, else it only warms up.
    pub cold_limit: Duration,
    /// Most repetitions.
    pub repeats: usize,
}

/// Seconds of each repetition.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    /// In the order they were taken.
    pub seconds: Vec<f64>,
    /// Whether a run went before that is not among them.
    pub warmed: bool,
}

/// Work that can be repeated.
pub type Work<'a> = &'a mut dyn FnMut() -> anyhow::Result<()>;

impl Schedule {
    /// Times `works` in turn, each as often as the others. One round warms up.
    ///
    /// # Errors
    /// The work's.
    pub fn time<const N: usize>(self, mut works: [Work<'_>; N]) -> anyhow::Result<[Timings; N]> {
        let begin = Instant::now();
        let first = round(&mut works)?;
        let mut last = begin.elapsed();
        let mut timings = [(); N].map(|()| Timings { seconds: Vec::new(), warmed: true });
        if last >= self.cold_limit {
            for (timings, seconds) in timings.iter_mut().zip(first) {
                *timings = Timings { seconds: vec![seconds], warmed: false };
            }
            return Ok(timings);
        }
        let begin = Instant::now();
        for repeat in 0..self.repeats {
            if repeat > 0 && begin.elapsed() + last > self.budget {
                break;
            }
            let round_begin = Instant::now();
            for (timings, seconds) in timings.iter_mut().zip(round(&mut works)?) {
                timings.seconds.push(seconds);
            }
            last = round_begin.elapsed();
        }
        Ok(timings)
    }
}

fn round<const N: usize>(works: &mut [Work<'_>; N]) -> anyhow::Result<[f64; N]> {
    let mut seconds = [0.0; N];
    for (work, seconds) in works.iter_mut().zip(&mut seconds) {
        let begin = Instant::now();
        work()?;
        *seconds = begin.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

/// The value below which the share `q` of `values` lies, between neighbours in proportion (the
/// definition numpy and Excel use). NaN without values.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = q * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.0), 1.0);
        assert_eq!(quantile(&values, 0.5), 2.5);
        assert_eq!(quantile(&values, 0.25), 1.75);
        assert_eq!(quantile(&values, 1.0), 4.0);
        assert_eq!(quantile(&[7.0], 0.75), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_round_warms_up_and_all_works_are_repeated_alike() {
        let (mut a, mut b) = (0, 0);
        let schedule = Schedule { budget: HOUR, cold_limit: HOUR, repeats: 4 };
        let timings = schedule
            .time([
                &mut || {
                    a += 1;
                    Ok(())
                },
                &mut || {
                    b += 1;
                    Ok(())
                },
            ])
            .unwrap();
        assert!(timings.iter().all(|t| t.warmed && t.seconds.len() == 4));
        assert_eq!((a, b), (5, 5));
    }

    #[test]
    fn a_very_long_run_is_the_measurement() {
        let mut count = 0;
        let schedule = Schedule { budget: HOUR, cold_limit: Duration::ZERO, repeats: 4 };
        let [timings] = schedule
            .time([&mut || {
                count += 1;
                Ok(())
            }])
            .unwrap();
        assert_eq!((count, timings.seconds.len(), timings.warmed), (1, 1, false));
    }

    #[test]
    fn a_spent_budget_still_leaves_one_repetition() {
        let schedule = Schedule { budget: Duration::ZERO, cold_limit: HOUR, repeats: 4 };
        let [timings] = schedule.time([&mut || Ok(())]).unwrap();
        assert_eq!((timings.seconds.len(), timings.warmed), (1, true));
    }

    #[test]
    fn errors_end_the_measurement() {
        let schedule = Schedule { budget: HOUR, cold_limit: HOUR, repeats: 4 };
        assert!(schedule.time([&mut || anyhow::bail!("no")]).is_err());
    }
}
