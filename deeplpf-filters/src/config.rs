//! What a stack of filters consists of, as plain data, and the layout of its raw parameters.

use std::ops::Range;

use crate::{Error, Result};

/// Whose definition of the filters is computed. The two differ in every filter and in the fusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Dialect {
    /// What the authors' published program computes; its checkpoints make sense under it only.
    #[default]
    Release,
    /// The equations of the CVPR 2020 paper, arXiv 2003.13985.
    Paper,
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Release => "release",
            Self::Paper => "paper",
        })
    }
}

/// Corrections of the release's filters, each a switch. They apply to [`Dialect::Release`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct FilterFixes {
    /// The blue channel of elliptical instance 1 (the second) tests its own semi-axis b; the
    /// release tests that of instance 2.
    pub ellipse: bool,
    /// The graduated and elliptical maps add as departures from one,
    /// `1 + (S_grad - 1) + (S_ell - 1)`; the release adds the maps themselves.
    pub fusion: bool,
    /// The sign of a graduated filter's inversion has the straight-through gradient. Has an
    /// effect together with [`blend`](Self::blend) only.
    pub ste: bool,
    /// Inverted and ordinary graduated maps are blended by (sign + 1)/2, so that a gradient
    /// reaches the inversion; the release chooses between them.
    pub blend: bool,
}

impl FilterFixes {
    /// The release as published.
    pub const NONE: Self = Self { ellipse: false, fusion: false, ste: false, blend: false };
    /// All corrections.
    pub const ALL: Self = Self { ellipse: true, fusion: true, ste: true, blend: true };
}

/// How the map of the graduated filters and that of the elliptical ones become one map S.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum FusionRule {
    /// They add (the paper's equation 7), in the release with or without the fix
    /// [`fusion`](FilterFixes::fusion).
    #[default]
    Sum,
    /// They multiply, as the instances of one kind do; an experiment of this project. A map of one
    /// leaves the other as it is, so that the fix `fusion` has nothing to correct.
    Product,
}

impl std::fmt::Display for FusionRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sum => "sum",
            Self::Product => "product",
        })
    }
}

/// Which cubic polynomial the polynomial filter uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum PolynomialKind {
    /// A cubic in the position, times the intensity: 10 coefficients per channel.
    Cubic10,
    /// A cubic in position and intensity: 20 coefficients per channel.
    Cubic20,
}

impl PolynomialKind {
    /// Coefficients per channel.
    pub const fn terms(self) -> usize {
        match self {
            Self::Cubic10 => 10,
            Self::Cubic20 => 20,
        }
    }

    /// Raw parameters: three channels.
    pub const fn raw_len(self) -> usize {
        3 * self.terms()
    }
}

/// Raw parameters of one graduated or elliptical instance: five of geometry and three scales.
pub const LOCAL_RAW_LEN: usize = 8;

/// Which filters there are and how they are computed.
///
/// The raw parameters (the network's unconstrained numbers) lie one block behind the other:
/// `[polynomial 30 or 60 | graduated 8 n | elliptical 8 m | graduated gates n | elliptical gates m]`.
/// See [`PolynomialParams`](crate::PolynomialParams), [`GraduatedParams`](crate::GraduatedParams)
/// and [`EllipticalParams`](crate::EllipticalParams) for the order within a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct StackConfig {
    /// Whose definition.
    pub dialect: Dialect,
    /// Corrections of the release; must be [`FilterFixes::NONE`] under [`Dialect::Paper`].
    pub fixes: FilterFixes,
    /// The polynomial filter, if any.
    pub polynomial: Option<PolynomialKind>,
    /// Instances of the graduated filter; 0 switches it off.
    pub graduated: usize,
    /// Instances of the elliptical filter; 0 switches it off.
    pub elliptical: usize,
    /// One gate per graduated and elliptical instance. Needs `fixes.fusion` or
    /// [`FusionRule::Product`] in the release dialect.
    pub gates: bool,
    /// How the two local maps become one; without effect where one kind is off.
    pub fusion: FusionRule,
}

impl Default for StackConfig {
    /// The release: Cubic-20, three graduated and three elliptical instances, nothing fixed.
    fn default() -> Self {
        Self {
            dialect: Dialect::Release,
            fixes: FilterFixes::NONE,
            polynomial: Some(PolynomialKind::Cubic20),
            graduated: 3,
            elliptical: 3,
            gates: false,
            fusion: FusionRule::Sum,
        }
    }
}

impl StackConfig {
    /// Checks that the parts fit together.
    pub fn validate(&self) -> Result<()> {
        if self.dialect == Dialect::Paper && self.fixes != FilterFixes::NONE {
            return Err(Error::FixesNeedRelease);
        }
        let adds = self.fusion == FusionRule::Sum && !self.fixes.fusion;
        if self.gates && self.dialect == Dialect::Release && adds {
            return Err(Error::GatesNeedFusion);
        }
        // Nine numbers per instance and 60 of the polynomial; isize::MAX bytes is what a Vec holds.
        let countable = usize::MAX / 256;
        if self.graduated > countable || self.elliptical > countable {
            return Err(Error::TooManyInstances {
                graduated: self.graduated,
                elliptical: self.elliptical,
            });
        }
        Ok(())
    }

    /// Number of raw parameters.
    pub fn raw_len(&self) -> usize {
        self.elliptical_gate_range().end
    }

    /// Where the polynomial's coefficients lie: channel after channel, in the paper's order A, B,
    /// C, ...
    pub fn polynomial_range(&self) -> Range<usize> {
        0..self.polynomial.map_or(0, PolynomialKind::raw_len)
    }

    /// Where the graduated filters' raw parameters lie.
    pub fn graduated_range(&self) -> Range<usize> {
        following(self.polynomial_range(), LOCAL_RAW_LEN.saturating_mul(self.graduated))
    }

    /// Where the elliptical filters' raw parameters lie.
    pub fn elliptical_range(&self) -> Range<usize> {
        following(self.graduated_range(), LOCAL_RAW_LEN.saturating_mul(self.elliptical))
    }

    /// Where the raw gates of the graduated instances lie; empty without gates.
    pub fn graduated_gate_range(&self) -> Range<usize> {
        following(self.elliptical_range(), if self.gates { self.graduated } else { 0 })
    }

    /// Where the raw gates of the elliptical instances lie; empty without gates.
    pub fn elliptical_gate_range(&self) -> Range<usize> {
        following(self.graduated_gate_range(), if self.gates { self.elliptical } else { 0 })
    }

    /// Whether there is any filter at all.
    pub fn has_filters(&self) -> bool {
        self.polynomial.is_some() || self.graduated > 0 || self.elliptical > 0
    }

    /// The name of raw parameter `index` as messages use it, e.g. `graduated 1 slope`.
    pub fn raw_name(&self, index: usize) -> String {
        let in_block = |range: &Range<usize>| range.contains(&index).then(|| index - range.start);
        if let (Some(kind), Some(i)) = (self.polynomial, in_block(&self.polynomial_range())) {
            let letter = char::from(b'A' + (i % kind.terms()) as u8);
            return format!("polynomial channel {} {letter}", i / kind.terms());
        }
        if let Some(i) = in_block(&self.graduated_range()) {
            let fields = ["inversion", "slope", "o1", "offset", "o2"];
            return local_name("graduated", fields, self.graduated, i);
        }
        if let Some(i) = in_block(&self.elliptical_range()) {
            let fields = ["center_x", "center_y", "semi_axis_a", "semi_axis_b", "angle"];
            return local_name("elliptical", fields, self.elliptical, i);
        }
        if let Some(i) = in_block(&self.graduated_gate_range()) {
            return format!("graduated {i} gate");
        }
        if let Some(i) = in_block(&self.elliptical_gate_range()) {
            return format!("elliptical {i} gate");
        }
        String::from("beyond the last parameter")
    }
}

fn following(before: Range<usize>, len: usize) -> Range<usize> {
    before.end..before.end.saturating_add(len)
}

fn local_name(filter: &str, fields: [&str; 5], instances: usize, index: usize) -> String {
    match fields.get(index / instances) {
        Some(field) => format!("{filter} {} {field}", index % instances),
        None => {
            let scale = index - 5 * instances;
            format!("{filter} {} scale of channel {}", scale / 3, scale % 3)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_release_with_108_numbers() {
        let config = StackConfig::default();
        assert_eq!(config.raw_len(), 108);
        assert_eq!(config.graduated_range(), 60..84);
        assert_eq!(config.elliptical_range(), 84..108);
        assert_eq!(config.raw_name(60 + 4), "graduated 1 slope");
        assert_eq!(config.raw_name(84 + 15 + 5), "elliptical 1 scale of channel 2");
        assert_eq!(config.raw_name(21), "polynomial channel 1 B");
    }

    #[test]
    fn contradictions_are_named() {
        let gated = StackConfig { gates: true, ..StackConfig::default() };
        assert_eq!(gated.validate(), Err(Error::GatesNeedFusion));
        let paper = StackConfig {
            dialect: Dialect::Paper,
            fixes: FilterFixes::ALL,
            ..StackConfig::default()
        };
        assert_eq!(paper.validate(), Err(Error::FixesNeedRelease));
        let huge = StackConfig { graduated: usize::MAX, ..StackConfig::default() };
        assert!(matches!(huge.validate(), Err(Error::TooManyInstances { .. })));
    }
}
