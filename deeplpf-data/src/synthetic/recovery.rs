//! How well predicted filters are the ones that made a pair.
//!
//! The numbers of two stacks cannot be compared one by one. Instances may stand in any order; one
//! that does nothing may lie anywhere; different numbers may make the same map. So the filters are
//! compared by what they do, on a grid of [`GRID`] x [`GRID`] points of the unit square, and single
//! instances only after they have been matched.

use deeplpf_filters::{Dialect, FilterStack, StackConfig, StackParams};
use ndarray::{Array3, ArrayView3};
use serde::Serialize;

use super::Look;
use crate::DataError;

/// Points of the comparison in each direction. The maps are functions on the unit square, so the
/// result does not depend on the size of the picture.
pub const GRID: usize = 64;

/// The distance of predicted filters from those that made a pair. 0 is perfect.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recovery {
    /// Mean over the grid and the channels of |S - S*|, with S the map that all local filters
    /// together multiply by, and S* the true one. In the unit of S: 0 to 2, neutral at 1.
    pub scale_map: f64,
    /// The same for neutral filters (S = 1 with the fusion fix): what predicting nothing gets.
    pub scale_map_of_neutral: f64,
    /// Mean |Y2 - Y2*| over the same points of the picture, with Y2 what the polynomial makes of
    /// half the input, in [0, 1]. Half the input is what a true look is applied to; a network
    /// whose backbone passes on something else compensates for it here.
    pub polynomial: f64,
    /// The same without a polynomial, Y2 = Y1.
    pub polynomial_of_neutral: f64,
    /// Every true instance that does something, with the predicted one that was matched to it.
    pub instances: Vec<InstanceRecovery>,
}

/// A true filter instance and the predicted one closest to it.
///
/// True instances of a kind are matched with different predicted ones so that the sum of
/// [`map`](Self::map) is least.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InstanceRecovery {
    /// `graduated` or `elliptical`.
    pub filter: &'static str,
    /// Number of the true instance.
    pub truth: usize,
    /// Number of the predicted instance; `None` where the prediction has fewer.
    pub predicted: Option<usize>,
    /// Mean over the grid and the channels of |M - M*| of the two instances' own maps; against a
    /// neutral one where there is none.
    pub map: f64,
    /// Mean over the channels of the |difference| of the scales.
    pub scale: Option<f64>,
    /// Where it is. Elliptical: distance of the centres, in sides of the picture. Graduated: mean
    /// over the rows of the distance of the lines along a row, in widths.
    pub place: Option<f64>,
}

impl Recovery {
    /// Compares predicted filters with the look that made the pair of this `input` (3 x H x W).
    ///
    /// # Errors
    /// [`DataError::Filters`] where parameters do not fit their configuration.
    pub fn measure(
        config: &StackConfig,
        params: &StackParams<f64>,
        truth: &Look,
        input: ArrayView3<'_, f32>,
    ) -> Result<Self, DataError> {
        let predicted = Look { config: config.clone(), params: params.clone() };
        let (stack, true_stack) = (predicted.stack()?, truth.stack()?);
        let map =
            |stack: &FilterStack<f64>| Ok::<_, DataError>(stack.scale_maps(GRID, GRID)?.fused);
        let (found, wanted) = (map(&stack)?, map(&true_stack)?);
        let half = half_on_grid(input);
        let of_polynomial = |look: &Look, stack: &FilterStack<f64>| match look.config.polynomial {
            Some(_) => Ok::<_, DataError>(stack.apply_polynomial(half.view())?),
            None => Ok(half.clone()),
        };
        let (y2, true_y2) =
            (of_polynomial(&predicted, &stack)?, of_polynomial(truth, &true_stack)?);
        let neutral = map(&neutral(truth).stack()?)?;
        let mut instances = Vec::new();
        for filter in [Filter::Graduated, Filter::Elliptical] {
            instances.extend(matched(filter, &predicted, truth)?);
        }
        Ok(Self {
            scale_map: mean_distance(&found, &wanted),
            scale_map_of_neutral: mean_distance(&neutral, &wanted),
            polynomial: mean_distance(&y2, &true_y2),
            polynomial_of_neutral: mean_distance(&half, &true_y2),
            instances,
        })
    }
}

/// The scale with which an instance does nothing.
fn neutral_scale(look: &Look) -> [f64; 3] {
    // The paper's maps are added to Y1; the release's multiply.
    let paper = look.config.dialect == Dialect::Paper;
    [if paper { 0.0 } else { 1.0 }; 3]
}

/// The same filters, none of which does anything.
fn neutral(look: &Look) -> Look {
    let mut neutral = look.clone();
    let scale = neutral_scale(look);
    neutral.params.graduated.iter_mut().for_each(|p| p.scale = scale);
    neutral.params.elliptical.iter_mut().for_each(|p| p.scale = scale);
    neutral
}

/// Half the picture at the points of the grid, the nearest pixel above and to the left of each.
fn half_on_grid(input: ArrayView3<'_, f32>) -> Array3<f64> {
    let (_, height, width) = input.dim();
    Array3::from_shape_fn((3, GRID, GRID), |(c, y, x)| {
        f64::from(input[[c, y * height / GRID, x * width / GRID]]) / 2.0
    })
}

fn mean_distance(a: &Array3<f64>, b: &Array3<f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

#[derive(Clone, Copy, PartialEq)]
enum Filter {
    Graduated,
    Elliptical,
}

impl Filter {
    fn name(self) -> &'static str {
        match self {
            Self::Graduated => "graduated",
            Self::Elliptical => "elliptical",
        }
    }

    fn scales(self, params: &StackParams<f64>) -> Vec<[f64; 3]> {
        match self {
            Self::Graduated => params.graduated.iter().map(|p| p.scale).collect(),
            Self::Elliptical => params.elliptical.iter().map(|p| p.scale).collect(),
        }
    }

    /// The map of instance `k` alone: all others have scale 1, which is nothing in the release; in
    /// the paper dialect, which has no neutral scale, the others are left out.
    fn map_of(self, look: &Look, k: usize) -> Result<Array3<f64>, DataError> {
        let Look { mut config, mut params } = look.clone();
        config.polynomial = None;
        params.polynomial = None;
        if config.dialect == Dialect::Paper {
            // Gates belong to instances; those of what is left out go with it.
            let gate = |gates: &[f64]| gates.get(k).copied();
            match self {
                Self::Graduated => {
                    params.graduated = vec![params.graduated[k]];
                    params.elliptical.clear();
                }
                Self::Elliptical => {
                    params.elliptical = vec![params.elliptical[k]];
                    params.graduated.clear();
                }
            }
            if let Some(gates) = &mut params.gates {
                let (g, e) = (gate(&gates.graduated), gate(&gates.elliptical));
                gates.graduated = g.into_iter().take(params.graduated.len()).collect();
                gates.elliptical = e.into_iter().take(params.elliptical.len()).collect();
            }
            (config.graduated, config.elliptical) =
                (params.graduated.len(), params.elliptical.len());
        } else {
            let neutral = |of: Self, number: usize| of != self || number != k;
            for (number, p) in params.graduated.iter_mut().enumerate() {
                if neutral(Self::Graduated, number) {
                    p.scale = [1.0; 3];
                }
            }
            for (number, p) in params.elliptical.iter_mut().enumerate() {
                if neutral(Self::Elliptical, number) {
                    p.scale = [1.0; 3];
                }
            }
        }
        let maps = Look { config, params }.stack()?.scale_maps(GRID, GRID)?;
        let map = match self {
            Self::Graduated => maps.graduated,
            Self::Elliptical => maps.elliptical,
        };
        Ok(map.unwrap_or(maps.fused))
    }

    fn place(
        self,
        predicted: &StackParams<f64>,
        p: usize,
        truth: &StackParams<f64>,
        t: usize,
    ) -> f64 {
        match self {
            Self::Elliptical => {
                let (a, b) = (&predicted.elliptical[p], &truth.elliptical[t]);
                (a.center_x - b.center_x).hypot(a.center_y - b.center_y)
            }
            Self::Graduated => {
                let (a, b) = (&predicted.graduated[p], &truth.graduated[t]);
                let distance = |row: usize| {
                    let x = row as f64 / GRID as f64;
                    ((a.slope - b.slope) * x + a.offset - b.offset).abs()
                };
                (0..GRID).map(distance).sum::<f64>() / GRID as f64
            }
        }
    }
}

/// The true instances of a kind that do something, each with its predicted one.
fn matched(
    filter: Filter,
    predicted: &Look,
    truth: &Look,
) -> Result<Vec<InstanceRecovery>, DataError> {
    let true_scales = filter.scales(&truth.params);
    let scales = filter.scales(&predicted.params);
    let active: Vec<usize> =
        (0..true_scales.len()).filter(|&k| true_scales[k] != neutral_scale(truth)).collect();
    let maps: Vec<_> =
        (0..scales.len()).map(|k| filter.map_of(predicted, k)).collect::<Result<_, _>>()?;
    let wanted: Vec<_> =
        active.iter().map(|&k| filter.map_of(truth, k)).collect::<Result<_, _>>()?;
    // Row by true instance; the last column is "none", compared with a neutral map.
    let costs: Vec<Vec<f64>> = wanted
        .iter()
        .map(|wanted| {
            let nothing = Array3::from_elem(wanted.dim(), neutral_scale(truth)[0]);
            let neutral = mean_distance(&nothing, wanted);
            let mut row: Vec<f64> = maps.iter().map(|map| mean_distance(map, wanted)).collect();
            row.push(neutral);
            row
        })
        .collect();
    let assignment = least(&costs);
    let recovered = active.iter().zip(assignment).zip(&costs).map(|((&t, p), row)| {
        let found = p.map(|p| {
            let scale = (0..3).map(|c| (scales[p][c] - true_scales[t][c]).abs()).sum::<f64>() / 3.0;
            (scale, filter.place(&predicted.params, p, &truth.params, t))
        });
        InstanceRecovery {
            filter: filter.name(),
            truth: t,
            predicted: p,
            map: row[p.unwrap_or(row.len() - 1)],
            scale: found.map(|(scale, _)| scale),
            place: found.map(|(_, place)| place),
        }
    });
    Ok(recovered.collect())
}

/// For each row a column of its own with the least sum, or `None` where the columns run out. The last
/// column is the cost of `None`, and taken only then.
///
/// Tries all ways and drops those that cannot get better: rows are a handful of filter instances.
fn least(costs: &[Vec<f64>]) -> Vec<Option<usize>> {
    fn search(
        costs: &[Vec<f64>],
        chosen: &mut Vec<Option<usize>>,
        sum: f64,
        best: &mut (f64, Vec<Option<usize>>),
    ) {
        if sum >= best.0 {
            return;
        }
        let Some(row) = costs.get(chosen.len()) else {
            *best = (sum, chosen.clone());
            return;
        };
        let columns = row.len() - 1;
        let left: Vec<Option<usize>> =
            (0..columns).map(Some).filter(|column| !chosen.contains(column)).collect();
        // With fewer columns than rows somebody gets none; which one is decided by the costs.
        let spare = costs.len() - chosen.len() > left.len();
        for column in left.into_iter().chain(spare.then_some(None)) {
            chosen.push(column);
            search(costs, chosen, sum + row[column.unwrap_or(columns)], best);
            chosen.pop();
        }
    }
    let mut best = (f64::INFINITY, Vec::new());
    search(costs, &mut Vec::new(), 0.0, &mut best);
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_assignment_is_found_where_the_greedy_one_is_not() {
        let costs = |rows: &[&[f64]]| rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>();
        assert_eq!(least(&costs(&[&[1.0, 2.0, 9.0], &[1.1, 9.0, 9.0]])), [Some(1), Some(0)]);
        assert_eq!(least(&costs(&[&[3.0, 9.0], &[1.0, 9.0]])), [None, Some(0)]);
        assert_eq!(least(&costs(&[&[5.0]])), [None]);
        assert!(least(&[]).is_empty());
    }
}
