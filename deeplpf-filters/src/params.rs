//! The named parameters of a whole stack.

use crate::{EllipticalParams, GraduatedParams, PolynomialParams};

/// The openness of every instance's gate, each in (0, 2) when it comes from the network; 1 leaves
/// the instance as it is, 0 switches it off.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct GateParams<T> {
    /// One per graduated instance.
    pub graduated: Vec<T>,
    /// One per elliptical instance.
    pub elliptical: Vec<T>,
}

/// The named geometric parameters of a stack, or a gradient with respect to them (the same shape).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct StackParams<T> {
    /// The polynomial filter, if there is one.
    pub polynomial: Option<PolynomialParams<T>>,
    /// The graduated filters.
    pub graduated: Vec<GraduatedParams<T>>,
    /// The elliptical filters.
    pub elliptical: Vec<EllipticalParams<T>>,
    /// The gates, if there are any.
    pub gates: Option<GateParams<T>>,
}

impl<T: Copy> StackParams<T> {
    /// Every number changed by `f`, e.g. to another precision.
    pub fn map<U>(&self, mut f: impl FnMut(T) -> U) -> StackParams<U> {
        StackParams {
            polynomial: self.polynomial.as_ref().map(|p| p.map(&mut f)),
            graduated: self.graduated.iter().map(|p| p.map(&mut f)).collect(),
            elliptical: self.elliptical.iter().map(|p| p.map(&mut f)).collect(),
            gates: self.gates.as_ref().map(|g| GateParams {
                graduated: g.graduated.iter().map(|&v| f(v)).collect(),
                elliptical: g.elliptical.iter().map(|&v| f(v)).collect(),
            }),
        }
    }
}
