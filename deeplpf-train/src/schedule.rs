//! The learning rate over a run.
//!
//! With base rate r, step t (from 0) of T in all, W steps of warm-up and floor f:
//!
//! rate(t) = r w(t) s(t), where w(t) = min(1, (t + 1) / W) (1 without warm-up) and s(t) is 1
//! (`constant`) or f + (1 - f) (1 + cos(pi p)) / 2 (`cosine`, Loshchilov and Hutter 2017, without
//! restarts) with p = (t - W) / (T - W) limited to [0, 1].

use serde::{Deserialize, Serialize};

/// What the rate does after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Stays; the release's.
    #[default]
    Constant,
    /// Falls along half a cosine to [`ScheduleConfig::floor`] at the last step.
    Cosine,
}

/// The schedule; the release's by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// `constant` or `cosine`.
    pub kind: ScheduleKind,
    /// Steps over which the rate grows linearly to its base.
    pub warm_up: u64,
    /// Share of the base rate that a cosine ends at, in [0, 1].
    pub floor: f64,
}

impl ScheduleConfig {
    /// Share of the base rate at `step` (from 0) of `steps` in all.
    pub fn share(&self, step: u64, steps: u64) -> f64 {
        let warm = match self.warm_up {
            0 => 1.0,
            warm_up => ((step + 1) as f64 / warm_up as f64).min(1.0),
        };
        let after = match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Cosine => {
                let length = steps.saturating_sub(self.warm_up).max(1) as f64;
                let place = (step.saturating_sub(self.warm_up) as f64 / length).min(1.0);
                let fall = (1.0 + (std::f64::consts::PI * place).cos()) / 2.0;
                self.floor + (1.0 - self.floor) * fall
            }
        };
        warm * after
    }

    /// Whether the rate at a step depends on how many there are in all, so that a run cannot be
    /// made longer later.
    pub fn needs_length(&self) -> bool {
        self.kind == ScheduleKind::Cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_never_changes_its_rate() {
        let schedule = ScheduleConfig::default();
        assert!((0..1000).all(|step| schedule.share(step, 1000) == 1.0));
    }

    #[test]
    fn warm_up_then_half_a_cosine() {
        let schedule = ScheduleConfig { kind: ScheduleKind::Cosine, warm_up: 10, floor: 0.1 };
        let share = |step| schedule.share(step, 110);
        assert_eq!((share(0), share(4)), (0.1, 0.5));
        assert_eq!(share(10), 1.0);
        assert!((share(60) - 0.55).abs() < 1e-12, "halfway between 1 and the floor");
        assert!((share(110) - 0.1).abs() < 1e-12);
        assert!((10..109).all(|step| share(step + 1) < share(step)));
        assert_eq!(share(5000), share(110));
    }

    #[test]
    fn a_warm_up_longer_than_the_run_is_no_division_by_zero() {
        let schedule = ScheduleConfig { kind: ScheduleKind::Cosine, warm_up: 100, floor: 0.0 };
        assert!((0..20).all(|step| schedule.share(step, 20).is_finite()));
    }
}
