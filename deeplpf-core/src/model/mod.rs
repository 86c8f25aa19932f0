//! The whole network: backbone, heads, filters.

mod backbone;
mod heads;
mod layers;
mod resnet;
mod unet;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use deeplpf_filters::{Dialect, FilterStack};
use ndarray::Array3;

use crate::{
    CoreError, Fix, Initialisation, ModelConfig, Parameters, Result,
    config::Polynomial,
    ops::{
        colour_stage::{self, colour_stage},
        filter_stack::{filter_stack, polynomial},
    },
    parameters::Builder,
    random::Generator,
};
use backbone::Backbone;
use heads::{Head, HeadInput};

/// Least height and width of an image: four halvings leave 2x2 pixels, the least that reflection
/// padding can mirror.
pub const MIN_SIDE: usize = 32;

/// Whether a forward pass is for training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No dropout; no graph is kept, so memory is freed as soon as a layer is done.
    Evaluate,
    /// Dropout masks are a function of `seed` and `step` only; the graph is kept for `backward`.
    Train {
        /// Seed of the run.
        seed: u64,
        /// Number of the optimiser step.
        step: u64,
    },
}

impl Mode {
    /// `parameter` as the pass needs it: with or without a gradient.
    fn of(self, parameter: &Tensor) -> Tensor {
        match self {
            Mode::Evaluate => parameter.detach(),
            Mode::Train { .. } => parameter.clone(),
        }
    }
}

/// What the network says about a batch.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The enhanced images Y: (N, 3, H, W), in [0, 1] in the `release` dialect.
    pub output: Tensor,
    /// The backbone's images Y1: (N, 3, H, W), not clamped.
    pub backbone_image: Tensor,
    /// The image the filters were applied to: Y1, after the colour stage if the model has one.
    pub filter_input: Tensor,
    /// Unconstrained filter parameters: (N, [`deeplpf_filters::StackConfig::raw_len`]).
    pub raw: Tensor,
    /// Numbers of the colour stage, (N, [`colour_stage::RAW_LEN`]), if the model has one.
    pub colour: Option<Tensor>,
}

impl Prediction {
    /// Mean gate over images and instances, 1 + tanh(raw) each; `None` without gates.
    pub fn mean_gate(&self, config: &ModelConfig) -> Result<Option<Tensor>> {
        let gates = if config.gates { config.graduated + config.elliptical } else { 0 };
        if gates == 0 {
            return Ok(None);
        }
        let first = config.stack().raw_len() - gates;
        let raw = self.raw.narrow(1, first, gates)?;
        Ok(Some((raw.tanh()? + 1.0)?.mean_all()?))
    }
}

/// A DeepLPF network and its parameters.
#[derive(Clone, Debug)]
pub struct Model {
    config: ModelConfig,
    parameters: Parameters,
    backbone: Backbone,
    polynomial: Option<Head>,
    graduated: Option<Head>,
    elliptical: Option<Head>,
    colour: Option<Head>,
}

impl Model {
    /// A new model; the same `seed` gives the same bits, whatever the device.
    ///
    /// # Errors
    /// An invalid configuration, or [`Initialisation::Identity`] for filters that have no neutral
    /// setting.
    pub fn new(
        config: &ModelConfig,
        initialisation: Initialisation,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let mut parameters = Parameters::new(dtype, device);
        let mut builder = Builder::new(&mut parameters, seed);
        let backbone = Backbone::new(config, &mut builder.pp("backbonenet"))?;
        let mut heads = builder.pp("deeplpfnet");
        let mut head = |name: &str, outputs: usize, gates: usize| {
            (outputs > 0).then(|| Head::new(config, &mut heads, name, outputs, gates)).transpose()
        };
        let gates = |instances: usize| if config.gates { instances } else { 0 };
        let stack = config.stack();
        let polynomial = head("cubic", stack.polynomial_range().len(), 0)?;
        let graduated = head("graduated", stack.graduated_range().len(), gates(config.graduated))?;
        let elliptical =
            head("elliptical", stack.elliptical_range().len(), gates(config.elliptical))?;
        let colour = head("colour", if config.colour { colour_stage::RAW_LEN } else { 0 }, 0)?;
        let model = Self {
            config: config.clone(),
            parameters,
            backbone,
            polynomial,
            graduated,
            elliptical,
            colour,
        };
        // The optional features are exact identities at the start.
        if let Some(head) = &model.colour {
            head.zero_output()?;
        }
        for head in model.heads() {
            head.zero_gates()?;
        }
        if initialisation == Initialisation::Identity {
            model.start_at_identity(seed)?;
        }
        Ok(model)
    }

    /// A model whose parameters are `tensors`, by name.
    ///
    /// # Errors
    /// [`CoreError::Mismatch`] naming every missing, unknown or mis-shaped tensor of `path`.
    pub fn from_tensors(
        config: &ModelConfig,
        tensors: &BTreeMap<String, Tensor>,
        path: &std::path::Path,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let model = Self::new(config, Initialisation::Release, 0, dtype, device)?;
        model.assign(tensors, path)?;
        Ok(model)
    }

    /// Overwrites all parameters; see [`Model::from_tensors`].
    pub fn assign(&self, tensors: &BTreeMap<String, Tensor>, path: &std::path::Path) -> Result<()> {
        let mut problems = Vec::new();
        for (name, variable) in self.parameters.iter() {
            match tensors.get(name) {
                None => problems.push(format!("missing tensor {name}")),
                Some(tensor) if tensor.dims() != variable.dims() => problems.push(format!(
                    "{name} has shape {:?}, expected {:?}",
                    tensor.dims(),
                    variable.dims()
                )),
                Some(_) => {}
            }
        }
        let unknown = tensors.keys().filter(|name| self.parameters.get(name).is_none());
        problems.extend(unknown.map(|name| format!("unknown tensor {name}")));
        if !problems.is_empty() {
            return Err(CoreError::Mismatch { path: path.into(), problems });
        }
        for (name, variable) in self.parameters.iter() {
            let tensor = tensors[name].to_dtype(variable.dtype())?.to_device(variable.device())?;
            variable.set(&tensor)?;
        }
        Ok(())
    }

    /// The configuration the model was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// All parameters, including those the release stores but never uses.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn heads(&self) -> impl Iterator<Item = &Head> {
        [&self.polynomial, &self.graduated, &self.elliptical, &self.colour].into_iter().flatten()
    }

    /// Runs the network on images x: (N, 3, H, W) in [0, 1], H and W at least [`MIN_SIDE`]; or, as
    /// the configuration's [`Input`](crate::Input) says, on packed mosaics (N, 4, H, W) or (N, 9, H, W),
    /// whose outputs are two or three times as high and wide.
    ///
    /// # Errors
    /// A wrong shape, or filter parameters that are not finite.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Prediction> {
        let (batch, channels, height, width) = x.dims4()?;
        let input = self.config.input;
        if channels != input.channels() || batch == 0 {
            return Err(CoreError::Shape {
                what: "network input",
                found: x.dims().to_vec(),
                expected: format!("(N, {}, H, W) with N at least 1", input.channels()),
            });
        }
        if height < MIN_SIDE || width < MIN_SIDE {
            return Err(CoreError::ImageTooSmall { height, width, least: MIN_SIDE });
        }
        let stack = self.config.stack();
        let out = self.backbone.forward(x, mode)?;
        let mut filter_input = out.image.clone();
        let mut colour = None;
        let mut raw = Tensor::zeros((batch, 0), x.dtype(), x.device())?;
        if self.heads().next().is_some() {
            let input = HeadInput::new(&self.config, &out, &self.backbone, mode)?;
            if let Some(head) = &self.colour {
                let numbers = head.forward(&input.with_backbone_image(), mode, 3)?.0;
                filter_input = colour_stage(&out.image, &numbers)?;
                colour = Some(numbers);
            }
            raw = self.predict_filters(&input, &filter_input, mode)?;
        }
        let output = filter_stack(&stack, &filter_input, &raw)?;
        Ok(Prediction { output, backbone_image: out.image, filter_input, raw, colour })
    }

    /// Raw parameters of all filters, in the order of the filter stack.
    fn predict_filters(&self, input: &HeadInput, image: &Tensor, mode: Mode) -> Result<Tensor> {
        let stack = self.config.stack();
        let local = [(&self.graduated, 1), (&self.elliptical, 2)];
        let mut parts: Vec<Tensor> = Vec::new();
        let mut gates: Vec<Tensor> = Vec::new();
        if let Some(head) = &self.polynomial {
            let view = match self.colour {
                None => input.with_backbone_image(),
                Some(_) => input.with_image(image)?,
            };
            parts.push(finite(head.forward(&view, mode, 0)?.0)?);
        }
        if local.iter().any(|(head, _)| head.is_some()) {
            let rest = (image.dim(0)?, stack.raw_len() - stack.polynomial_range().len());
            let mut whole = parts.clone();
            whole.push(Tensor::zeros(rest, image.dtype(), image.device())?);
            let filtered = polynomial(&stack, image, &Tensor::cat(&whole, 1)?)?;
            let input = input.with_image(&filtered)?;
            for (head, stream) in local {
                if let Some(head) = head {
                    let (raw, gate) = head.forward(&input, mode, stream)?;
                    parts.push(finite(raw)?);
                    gates.extend(gate.map(finite).transpose()?);
                }
            }
        }
        parts.extend(gates);
        if parts.is_empty() {
            return Ok(Tensor::zeros((image.dim(0)?, 0), image.dtype(), image.device())?);
        }
        Ok(Tensor::cat(&parts, 1)?)
    }

    /// Makes the untrained network return its input.
    fn start_at_identity(&self, seed: u64) -> Result<()> {
        let refuse = |reason: &str| {
            Err(CoreError::Config(format!("initialisation = \"identity\": {reason}")))
        };
        if self.config.dialect == Dialect::Paper {
            return refuse("the paper dialect's maps have no neutral raw numbers; use \"release\"");
        }
        // With all raw numbers zero the filters multiply the image by a constant: 2 when the
        // filtered image is added to Y1, 3 without the fix `fusion`, 1 without any filter.
        let stack = FilterStack::<f64>::from_raw(
            &self.config.stack(),
            &vec![0.0; self.config.stack().raw_len()],
        )?;
        let probe = 0.125;
        let gain = stack.apply(Array3::from_elem((3, 2, 2), probe).view())?[[0, 0, 0]] / probe;
        if !gain.is_finite() || gain < 1.0 {
            return refuse("these filters have no neutral setting");
        }
        if let Some(head) = &self.polynomial {
            head.zero_output()?;
        }
        let local = [
            (&self.graduated, self.config.graduated, "graduated"),
            (&self.elliptical, self.config.elliptical, "elliptical"),
        ];
        for (head, instances, name) in local {
            if let Some(head) = head {
                let mut generator = Generator::for_parameter(seed, &format!("identity.{name}"));
                let geometry = starting_geometry(name, instances, &mut generator);
                head.start_with(&geometry)?;
            }
        }
        self.backbone.start_at_identity(1.0 / gain)
    }

    /// Names of parameters no gradient ever reaches under this configuration: the encoder
    /// projections the release stores without calling, unless the fix `wiring` uses them.
    pub fn unused_parameters(&self) -> impl Iterator<Item = &str> {
        let wired = self.config.fixes.contains(Fix::Wiring) && self.heads().next().is_some();
        self.parameters.iter().map(|(name, _)| name).filter(move |name| {
            let Some(rest) = name.strip_prefix("backbonenet.unet.") else { return false };
            rest.starts_with("local_net.")
                || (!wired
                    && ["conv1.", "conv2.", "conv3.", "wiring_gate"]
                        .iter()
                        .any(|prefix| rest.starts_with(prefix)))
        })
    }

    /// Which filters the model has, in words: "cubic20 + graduated x3 + elliptical x3".
    pub fn describe_filters(&self) -> String {
        let mut words = Vec::new();
        match self.config.polynomial {
            Polynomial::None => {}
            Polynomial::Cubic10 => words.push("cubic10".to_string()),
            Polynomial::Cubic20 => words.push("cubic20".to_string()),
        }
        let local = [("graduated", self.config.graduated), ("elliptical", self.config.elliptical)];
        words.extend(local.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} x{n}")));
        if words.is_empty() { "no filters".into() } else { words.join(" + ") }
    }
}

/// Raw geometry of instances that lie apart, in blocks of one number per instance; the scales after
/// it are neutral.
///
/// Numbers are drawn on ±1, except those of the graduated offsets: a graduated mask whose second
/// offset reaches the first has two equal slopes, which cancel in every gradient at a neutral scale,
/// so o2 starts at least half a unit below c, and the floor of c below both.
fn starting_geometry(filter: &str, instances: usize, generator: &mut Generator) -> Vec<f64> {
    let mut draw = |lo: f64, hi: f64| -> Vec<f64> {
        (0..instances).map(|_| lo + (hi - lo) * generator.uniform()).collect()
    };
    let mut blocks: Vec<Vec<f64>> = (0..5).map(|_| draw(-1.0, 1.0)).collect();
    if filter == "graduated" {
        blocks[2] = draw(-2.2, -1.8);
        blocks[3] = draw(-0.5, 1.0);
        let below = draw(0.5, 1.0);
        blocks[4] = blocks[3].iter().zip(&below).map(|(c, below)| c - below).collect();
    }
    blocks.concat()
}

/// `raw`, if all its numbers are finite.
fn finite(raw: Tensor) -> Result<Tensor> {
    let sum = raw.to_dtype(DType::F64)?.abs()?.sum_all()?.to_scalar::<f64>()?;
    if sum.is_finite() { Ok(raw) } else { Err(CoreError::NotFinite) }
}
