//! All filters of a configuration with their parameters, ready to be applied.

mod apply;
mod constrain;
mod maps;
mod passes;
mod rows;
mod validate;
mod vjp;

pub use maps::ScaleMaps;
pub use passes::Passes;
pub use vjp::{ParamGradients, Vjp};

use crate::elliptical::{self, EllipticalProfile};
use crate::fusion::Fusion;
use crate::graduated::{self, GraduatedProfile};
use crate::mask::LocalFilter;
use crate::polynomial::ChannelPolynomial;
use crate::simd::Token;
use crate::{Instructions, Real, Result, StackConfig, StackParams};

/// The filters of one image with their parameters: polynomial, graduated, elliptical, fused.
///
/// A stack is built once per image, from the network's raw numbers ([`from_raw`](Self::from_raw))
/// or from named parameters ([`from_params`](Self::from_params)), and is immutable. Images are
/// planar RGB, `[3, height, width]`, nominally in [0, 1], of any strides. Every pass goes over the
/// image once, row by row, with working memory that does not grow with the image; with feature
/// `rayon` blocks of rows are worked on in parallel. Results have the same bits whatever the
/// number of threads.
pub struct FilterStack<T> {
    config: StackConfig,
    params: StackParams<T>,
    raw: Option<Vec<T>>,
    polynomial: [ChannelPolynomial; 3],
    graduated: LocalFilter<GraduatedProfile>,
    elliptical: LocalFilter<EllipticalProfile>,
    fusion: Fusion,
    instructions: Token,
}

/// The mean openness of all gates, for a penalty on it, with its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct GateMean<T> {
    /// Mean of all gates, in (0, 2) when they come from the network.
    pub value: T,
    /// Derivative with respect to each gate: one over their number.
    pub gate_slope: T,
    /// Derivative with respect to every raw parameter (zero outside the gates); `None` for a stack
    /// built from named parameters.
    pub raw: Option<Vec<T>>,
}

impl<T: Real> FilterStack<T> {
    /// From the network's unconstrained numbers, in the order that [`StackConfig`] describes.
    ///
    /// # Errors
    /// If the configuration contradicts itself, the length is wrong, a number is not finite, or
    /// `DEEPLPF_SIMD` is set to something that is not [available](Instructions::available).
    pub fn from_raw(config: &StackConfig, raw: &[T]) -> Result<Self> {
        config.validate()?;
        validate::raw(config, raw)?;
        let wide: Vec<f64> = raw.iter().map(|v| v.wide()).collect();
        let params = constrain::constrain(config, &wide).map(T::narrow);
        Self::prepare(config, params, Some(raw.to_vec()))
    }

    /// From named parameters, e.g. edited ones of [`params`](Self::params). Given unchanged they
    /// make a stack that computes the same bits.
    ///
    /// # Errors
    /// If the configuration contradicts itself, the parameters do not fit it, or a number is
    /// outside its domain: everything must be finite, semi-axes (and in the paper dialect o1 and
    /// o2) between 1e-10 and 1e6, centres, angles and scales at most 1e6 in size, and in the
    /// release dialect `offset` and `o2` within ±20. Also if `DEEPLPF_SIMD` is set to something that
    /// is not [available](Instructions::available).
    pub fn from_params(config: &StackConfig, params: StackParams<T>) -> Result<Self> {
        config.validate()?;
        validate::params(config, &params)?;
        Self::prepare(config, params, None)
    }

    fn prepare(config: &StackConfig, params: StackParams<T>, raw: Option<Vec<T>>) -> Result<Self> {
        let instructions = Instructions::selected()?.require()?;
        let wide = params.map(T::wide);
        let gates = |of: fn(&crate::GateParams<T>) -> &Vec<T>, k: usize| {
            params.gates.as_ref().map_or(1.0, |gates| of(gates)[k].wide())
        };
        let graduated = wide.graduated.iter().enumerate().map(|(k, p)| {
            let (profile, ramps) = graduated::prepare(config, p);
            (profile, ramps, gates(|g| &g.graduated, k))
        });
        let elliptical = (0..wide.elliptical.len()).map(|k| {
            let (profile, ramps) = elliptical::prepare(config, &wide.elliptical, k);
            (profile, ramps, gates(|g| &g.elliptical, k))
        });
        Ok(Self {
            polynomial: ChannelPolynomial::all(config.dialect, params.polynomial.as_ref()),
            graduated: LocalFilter::new(config.dialect, config.gates, graduated),
            elliptical: LocalFilter::new(config.dialect, config.gates, elliptical),
            fusion: Fusion::new(config),
            config: config.clone(),
            params,
            raw,
            instructions,
        })
    }

    /// The same stack computed with other instructions than
    /// [`Instructions::selected`](crate::Instructions::selected), e.g. to compare them.
    ///
    /// # Errors
    /// If this machine does not have them.
    pub fn with_instructions(self, instructions: Instructions) -> Result<Self> {
        Ok(Self { instructions: instructions.require()?, ..self })
    }

    /// The instructions that every pass over the pixels uses.
    pub fn instructions(&self) -> Instructions {
        self.instructions.instructions()
    }

    /// The configuration.
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// The named parameters.
    pub fn params(&self) -> &StackParams<T> {
        &self.params
    }

    /// The raw parameters, if the stack was built from them.
    pub fn raw(&self) -> Option<&[T]> {
        self.raw.as_deref()
    }

    /// The mean of the gates and its gradient; `None` without gates or without instances.
    pub fn gate_mean(&self) -> Option<GateMean<T>> {
        let gates = self.params.gates.as_ref()?;
        let all = || gates.graduated.iter().chain(&gates.elliptical);
        let count = all().count();
        if count == 0 {
            return None;
        }
        let slope = 1.0 / count as f64;
        let raw = self.raw.as_ref().map(|raw| {
            let mut gradient = vec![T::zero(); raw.len()];
            let begin = self.config.graduated_gate_range().start;
            for (g, &u) in gradient[begin..].iter_mut().zip(&raw[begin..]) {
                *g = T::narrow(slope * constrain::gate_slope(u.wide()));
            }
            gradient
        });
        Some(GateMean {
            value: T::narrow(all().map(|g| g.wide()).sum::<f64>() * slope),
            gate_slope: T::narrow(slope),
            raw,
        })
    }
}

impl<T: Real> std::fmt::Debug for FilterStack<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilterStack")
            .field("config", &self.config)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}
