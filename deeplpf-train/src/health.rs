//! Whether all of a model takes part: filters that are stuck over a whole set of photographs, inversion
//! indicators that never flip, parameters that no gradient has reached.
//!
//! The scales s of a graduated or elliptical filter lie in (0, 2) as s = 2 t(raw); where all three of
//! an instance are at an end for every photograph, the slope of t is next to nothing and the instance
//! can hardly come back. The release's published checkpoints are known to have such branches.

use std::{collections::BTreeMap, fmt};

use candle_core::DType;
use deeplpf_core::{Fix, Model, ModelConfig};
use deeplpf_filters::{Dialect, StackParams};
use serde::{Deserialize, Serialize};

use crate::{Adam, Result};

/// Distance to 0 or 2 within which a scale counts as being there: the slope 2 t'(u) = s (2 - s) is
/// then below a fiftieth of its largest.
const AT_AN_END: f32 = 0.01;
/// Fewest photographs that filters are judged on: of one or two, any sign is the same.
const LEAST_PHOTOGRAPHS: u64 = 8;
/// Fewest steps after which parameters are judged: zero layers of the identity start hold back the
/// gradient of what lies before them at first.
const LEAST_STEPS: u64 = 100;

/// What the filters did over a set of photographs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterHealth {
    /// How many photographs.
    pub photographs: u64,
    /// The graduated filters, in order.
    pub graduated: Vec<InstanceHealth>,
    /// The elliptical filters, in order.
    pub elliptical: Vec<InstanceHealth>,
}

/// What one filter did over a set of photographs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceHealth {
    /// Smallest scale of each channel.
    pub least: [f32; 3],
    /// Largest scale of each channel.
    pub most: [f32; 3],
    /// For how many photographs a graduated filter was inverted; always 0 for elliptical ones.
    pub inverted: u64,
}

impl InstanceHealth {
    fn take(&mut self, scale: [f32; 3], inverted: bool, first: bool) {
        for (channel, value) in scale.into_iter().enumerate() {
            let (least, most) = (&mut self.least[channel], &mut self.most[channel]);
            *least = if first { value } else { least.min(value) };
            *most = if first { value } else { most.max(value) };
        }
        self.inverted += u64::from(inverted);
    }

    /// All three scales at 0 for every photograph.
    pub fn is_dead(&self) -> bool {
        self.most.iter().all(|&most| most <= AT_AN_END)
    }

    /// All three scales at 0 or at 2 for every photograph, and not all at 0.
    pub fn is_saturated(&self) -> bool {
        let stuck = |(&least, &most): (&f32, &f32)| most <= AT_AN_END || least >= 2.0 - AT_AN_END;
        self.least.iter().zip(&self.most).all(stuck) && !self.is_dead()
    }
}

impl FilterHealth {
    /// Takes in what was predicted for one photograph.
    pub fn take(&mut self, filters: &StackParams<f32>) {
        let first = self.photographs == 0;
        self.photographs += 1;
        self.graduated.resize_with(filters.graduated.len(), Default::default);
        self.elliptical.resize_with(filters.elliptical.len(), Default::default);
        for (health, filter) in self.graduated.iter_mut().zip(&filters.graduated) {
            health.take(filter.scale, filter.inversion > 0.0, first);
        }
        for (health, filter) in self.elliptical.iter_mut().zip(&filters.elliptical) {
            health.take(filter.scale, false, first);
        }
    }

    /// One sentence for each way in which filters are stuck, with what to do; none for fewer than 8
    /// photographs ([`FilterHealth::is_judged`]). `inversion_trains`: whether the inversion numbers get
    /// a gradient at all (see [`FilterHealth::inversion_trains`]).
    pub fn complaints(&self, inversion_trains: bool) -> Vec<String> {
        let mut complaints = Vec::new();
        let photographs = self.photographs;
        if photographs < LEAST_PHOTOGRAPHS {
            return complaints;
        }
        let kinds = [("graduated", &self.graduated), ("elliptical", &self.elliptical)];
        for (kind, instances) in kinds {
            let named = |test: fn(&InstanceHealth) -> bool| numbers(instances, test);
            if let Some(which) = named(InstanceHealth::is_dead) {
                complaints.push(format!(
                    "{kind} {which}: dead, all three scales at 0 for each of {photographs} \
                     photographs; start again with a lower adam.learning_rate or \
                     initialisation = \"identity\", or do without (model.{kind})"
                ));
            }
            if let Some(which) = named(InstanceHealth::is_saturated) {
                complaints.push(format!(
                    "{kind} {which}: saturated, all three scales at 0 or 2 for each of \
                     {photographs} photographs; lower adam.learning_rate, or set adam.clip_norm"
                ));
            }
        }
        let stuck =
            |instance: &InstanceHealth| instance.inverted == 0 || instance.inverted == photographs;
        let flips: Vec<usize> = (1..)
            .zip(&self.graduated)
            .filter_map(|(number, instance)| stuck(instance).then_some(number))
            .collect();
        if !flips.is_empty() {
            let remedy = if inversion_trains {
                "all photographs may want that side; if they should not, train longer or with \
                 more of them"
            } else {
                "without the fix `ste` their numbers get no gradient: add `ste` and `blend` to \
                 model.fixes"
            };
            complaints.push(format!(
                "graduated {}: the inversion never flips over {photographs} photographs; {remedy}",
                list(&flips)
            ));
        }
        complaints
    }

    /// Whether there were photographs enough to judge by: of a few, any sign is the same.
    pub fn is_judged(&self) -> bool {
        self.photographs >= LEAST_PHOTOGRAPHS
    }

    /// Whether a model's inversion numbers get a gradient: in the dialect `paper`, and in the release's
    /// with the fix `ste`.
    pub fn inversion_trains(config: &ModelConfig) -> bool {
        config.dialect == Dialect::Paper || config.fixes.contains(Fix::Ste)
    }
}

/// What each filter did, a line each.
impl fmt::Display for FilterHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FilterHealth { photographs, graduated, elliptical } = self;
        for (kind, instances) in [("graduated", graduated), ("elliptical", elliptical)] {
            for (number, instance) in (1..).zip(instances) {
                let InstanceHealth { least, most, inverted } = instance;
                let ranges: Vec<String> =
                    least.iter().zip(most).map(|(l, m)| format!("{l:.2} to {m:.2}")).collect();
                write!(f, "  {kind} {number}: scale {}", ranges.join(", "))?;
                match kind {
                    "graduated" => writeln!(f, "; inverted for {inverted} of {photographs}")?,
                    _ => writeln!(f)?,
                }
            }
        }
        Ok(())
    }
}

/// The state of a model in training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Optimiser steps before it was examined.
    pub steps: u64,
    /// The filters over the validation pictures.
    pub filters: FilterHealth,
    /// Whether the inversion numbers get a gradient at all (the fix `ste`, or the dialect `paper`).
    pub inversion_trains: bool,
    /// Parameters that no gradient has reached though they are trained, with the rows of those of
    /// which only some were: `name` or `name, rows 0, 1`.
    pub without_gradient: Vec<String>,
}

impl Health {
    /// Of a model and its optimiser after a validation with these filters.
    ///
    /// # Errors
    /// A tensor operation that fails.
    pub(crate) fn of(model: &Model, adam: &Adam, filters: FilterHealth) -> Result<Self> {
        Ok(Self {
            steps: adam.steps(),
            filters,
            inversion_trains: FilterHealth::inversion_trains(model.config()),
            without_gradient: without_gradient(model, adam)?,
        })
    }

    /// One sentence for everything that is wrong, with what to do; empty for a model in health, or one
    /// that is too young to tell.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self.filters.complaints(self.inversion_trains);
        if self.steps >= LEAST_STEPS && !self.without_gradient.is_empty() {
            complaints.push(format!(
                "no gradient since the start: {}; if the loss stands still as well, begin again with a lower \
                 adam.learning_rate; else what lies behind them may be dead, or their loss has no weight",
                some_names(&self.without_gradient)
            ));
        }
        complaints
    }
}

/// What each filter did, a line each, and the complaints.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let photographs = self.filters.photographs;
        writeln!(f, "after {} steps, over {photographs} photographs", self.steps)?;
        write!(f, "{}", self.filters)?;
        match &self.complaints()[..] {
            [] => writeln!(f, "  nothing stuck"),
            complaints => complaints.iter().try_for_each(|line| writeln!(f, "  ! {line}")),
        }
    }
}

/// The numbers, from 1, of the instances that pass a test, in words; `None` for none.
fn numbers(instances: &[InstanceHealth], test: fn(&InstanceHealth) -> bool) -> Option<String> {
    let which: Vec<usize> = (1..)
        .zip(instances)
        .filter_map(|(number, instance)| test(instance).then_some(number))
        .collect();
    (!which.is_empty()).then(|| list(&which))
}

/// Most tensors that a sentence names.
const MOST_NAMES: usize = 4;

/// The names, or of many how many there are in each part of the model; all stand in `health.json`.
fn some_names(names: &[String]) -> String {
    if names.len() <= MOST_NAMES {
        return names.join("; ");
    }
    let parts = [
        ("the backbone", "backbonenet."),
        ("the polynomial's head", "deeplpfnet.cubic_filter."),
        ("the graduated filters' head", "deeplpfnet.graduated_filter."),
        ("the elliptical filters' head", "deeplpfnet.elliptical_filter."),
        ("the rest", ""),
    ];
    let mut rest: Vec<&String> = names.iter().collect();
    let counts = parts.iter().filter_map(|(part, start)| {
        let (of, other): (Vec<_>, Vec<_>) =
            std::mem::take(&mut rest).into_iter().partition(|name| name.starts_with(start));
        rest = other;
        (!of.is_empty()).then(|| format!("{} of {part}", of.len()))
    });
    let counts: Vec<String> = counts.collect();
    format!("{} tensors ({}; health.json names them)", names.len(), counts.join(", "))
}

fn list(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// Parameters (of groups that train, and neither stored unused nor held constant by design) whose second moment is zero:
/// every gradient so far was. Of the heads' last layers, each row is one predicted number.
fn without_gradient(model: &Model, adam: &Adam) -> Result<Vec<String>> {
    let unused: Vec<&str> = model.unused_parameters().collect();
    let moments: &BTreeMap<_, _> = adam.moments();
    let mut found = Vec::new();
    for (name, parameter) in model.parameters().iter() {
        if unused.contains(&name) || !adam.trains(name) {
            continue;
        }
        let Some(moments) = moments.get(name) else {
            found.push(name.to_owned());
            continue;
        };
        let rows = parameter.dim(0).unwrap_or(1);
        let rows = if name.contains(".fc_") { rows } else { 1 };
        let squares = moments.second.flatten_all()?.reshape((rows, ()))?;
        let most = squares.max(1)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        // The release holds the lower bound o1 of a graduated filter's offset constant.
        let constant = match model.config().dialect {
            Dialect::Release if name.contains(".fc_graduated.") => {
                let count = model.config().graduated;
                2 * count..3 * count
            }
            _ => 0..0,
        };
        let silent: Vec<usize> =
            (0..rows).filter(|row| most[*row] == 0.0 && !constant.contains(row)).collect();
        match silent.len() {
            0 => {}
            count if count == rows => found.push(name.to_owned()),
            _ => found.push(format!("{name}, rows {}", list(&silent))),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(least: f32, most: f32, inverted: u64) -> InstanceHealth {
        InstanceHealth { least: [least; 3], most: [most; 3], inverted }
    }

    fn health(graduated: Vec<InstanceHealth>, inversion_trains: bool) -> Health {
        let filters = FilterHealth { photographs: 10, graduated, elliptical: Vec::new() };
        Health { steps: 500, filters, inversion_trains, without_gradient: Vec::new() }
    }

    #[test]
    fn what_moves_is_in_health() {
        assert!(health(vec![instance(0.2, 1.7, 4)], false).complaints().is_empty());
        // One channel that moves is enough.
        let mut one = instance(0.0, 0.0, 4);
        one.most[1] = 0.5;
        assert!(health(vec![one], false).complaints().is_empty());
    }

    #[test]
    fn what_is_stuck_is_named_with_a_remedy() {
        let dead = instance(0.0, 0.001, 3);
        let full = instance(1.995, 2.0, 3);
        let [complaint] = &health(vec![instance(0.5, 1.0, 1), dead.clone()], true).complaints()[..]
        else {
            panic!()
        };
        assert!(complaint.starts_with("graduated 2: dead") && complaint.contains("learning_rate"));
        let complaints = health(vec![full], true).complaints();
        assert!(complaints[0].starts_with("graduated 1: saturated"), "{complaints:?}");
        let stuck = vec![instance(0.5, 1.0, 0), instance(0.5, 1.0, 10), instance(0.5, 1.0, 9)];
        let complaints = health(stuck.clone(), false).complaints();
        assert!(
            complaints[0].starts_with("graduated 1, 2: the inversion never flips")
                && complaints[0].contains("`ste`"),
            "{complaints:?}"
        );
        assert!(health(stuck, true).complaints()[0].contains("train longer"));
        let mut silent = health(Vec::new(), true);
        silent.without_gradient = vec!["a.weight".into()];
        assert!(silent.complaints()[0].contains("no gradient since the start: a.weight"));
        silent.without_gradient = (0..9)
            .map(|number| {
                let part = ["backbonenet", "deeplpfnet.cubic_filter", "x"][number % 3];
                format!("{part}.{number}.weight")
            })
            .collect();
        let complaint = &silent.complaints()[0];
        assert!(
            complaint.contains(
                "9 tensors (3 of the backbone, 3 of the polynomial's head, 3 of the rest;"
            ),
            "{complaint}"
        );
    }

    #[test]
    fn too_few_photographs_or_steps_say_nothing() {
        let mut young = health(vec![instance(0.0, 0.0, 0)], false);
        young.filters.photographs = 2;
        young.without_gradient = vec!["a.weight".into()];
        young.steps = 3;
        assert!(young.complaints().is_empty());
    }
}
