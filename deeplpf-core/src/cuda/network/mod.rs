//! The whole network as operations on a tape.

mod backbone;
mod head_input;
mod heads;
mod maps;
mod recorder;

use super::{error::CudaError, kernels::LossTerms, span::Span, tape::Tensor};
use crate::{Model, ModelConfig};

pub(super) use backbone::Backbone;
pub(super) use head_input::HeadInput;
use heads::{Head, Kind, Wanted, compose_weights, compose_weights_backward};
pub(super) use maps::Maps;
pub(super) use recorder::{Number, Recorder, Shared};

/// Refuses options of a model that only the CPU has.
pub(super) fn require_supported(model: &Model) -> Result<(), CudaError> {
    let config = model.config();
    let refuse = |option: &str| Err(CudaError::Unsupported { option: option.into() });
    if config.backbone != crate::BackboneKind::Unet {
        return refuse(&format!("backbone = \"{}\"", config.backbone.name()));
    }
    let first = model.parameters().get("backbonenet.unet.dconv_down1.conv1.weight");
    let channels = first.map_or(3, |weight| weight.dims()[1]);
    if channels != 3 {
        return refuse(&format!("a network input of {channels} channels"));
    }
    if config.input != crate::Input::Rgb {
        return refuse(&format!("input = \"{}\"", config.input.name()));
    }
    if config.colour {
        return refuse("colour = true");
    }
    if config.stack().raw_len() == 0 {
        return refuse("a model without filters");
    }
    if config.head_width > 1024 {
        return refuse(&format!("head_width = {} (more than 1024)", config.head_width));
    }
    Ok(())
}

/// The polynomial's head and the local filters'.
type Heads<T> = (Vec<Head<T>>, Vec<Head<T>>);

/// Gradients of what heads and filters see.
pub(super) struct SeenGradient<T> {
    /// Of Y1.
    pub image: Maps<f32>,
    /// Of the U-Net's image, without border.
    pub residual: Maps<f32>,
    /// Of the encoder's resized levels that are wired, the finest first.
    pub levels: Vec<Maps<T>>,
}

/// The heads of a model that has any numbers for them. The gates are the last of an image's numbers.
fn wanted(config: &ModelConfig) -> Vec<Wanted> {
    let stack = config.stack();
    let end = stack.raw_len();
    let counts = [config.graduated, config.elliptical];
    let [graduated, elliptical] = if config.gates { counts } else { [0; 2] };
    let middle = end - elliptical;
    let all = [
        (Kind::Polynomial, stack.polynomial_range(), end..end),
        (Kind::Graduated, stack.graduated_range(), middle - graduated..middle),
        (Kind::Elliptical, stack.elliptical_range(), middle..end),
    ];
    let there = all.into_iter().filter(|(_, numbers, _)| !numbers.is_empty());
    there.map(|(kind, numbers, gates)| Wanted { kind, numbers, gates }).collect()
}

/// The penalty on open gates that keeps filters closed unless they help.
#[derive(Clone, Copy, Debug)]
pub(super) struct GatePenalty {
    /// Of the mean gate.
    pub weight: f64,
    /// The loss it is added to.
    pub terms: Span<LossTerms>,
}

/// From the backbone's result to Y, forward and backward.
pub(super) struct Filters<T> {
    input: HeadInput<T>,
    polynomial: Vec<Head<T>>,
    local: Vec<Head<T>>,
    constants: Tensor,
    /// How many of an image's numbers are gates.
    gates: usize,
    /// Numbers of all filters, (N, raw_len).
    pub raw: Tensor,
    /// Y1.
    image: Maps<f32>,
    /// The U-Net's image with border.
    residual: Maps<f32>,
    /// Y.
    pub output: Maps<f32>,
}

impl<T: Number> Filters<T> {
    /// Records the heads and the filters on the backbone's `residual` and `image`, and on the levels
    /// that it wrote to `input`. The result may take the place of `image` where nothing goes backward.
    pub fn record(
        recorder: &mut Recorder,
        config: &ModelConfig,
        input: HeadInput<T>,
        (residual, image): (Maps<f32>, Maps<f32>),
    ) -> Result<Self, CudaError> {
        let (polynomial, local) = Self::record_heads(recorder, config, &input, (residual, image))?;
        let raw = input.raw;
        let gpu = recorder.gpu();
        let batch = image.batch;
        let constants = recorder.tape.tensor(gpu.filters.constants_len(batch));
        let kept = gpu.clone();
        recorder.tape.push("prepare filters", [raw, constants], move |[a, b]| {
            kept.filters.prepare(kept.stream(), a.span(), batch, b.span())
        });
        let output = match recorder.training {
            true => recorder.maps::<f32>(image.shape(), 0),
            false => image,
        };
        let tensors = [constants, image.tensor, output.tensor];
        recorder.tape.push("filters", tensors, move |[a, b, c]| {
            let (image, out) = (image.planes(b)?, output.planes(c)?);
            gpu.filters.apply(gpu.stream(), a.span(), image, out, None)
        });
        let gates = wanted(config).iter().map(|head| head.gates.len()).sum();
        Ok(Self { input, polynomial, local, constants, gates, raw, image, residual, output })
    }

    /// Records the heads alone: the raw parameters, (1, raw_len).
    pub fn record_parameters(
        recorder: &mut Recorder,
        config: &ModelConfig,
        input: HeadInput<T>,
        seen: (Maps<f32>, Maps<f32>),
    ) -> Result<Tensor, CudaError> {
        Self::record_heads(recorder, config, &input, seen)?;
        Ok(input.raw)
    }

    /// Records the heads.
    fn record_heads(
        recorder: &mut Recorder,
        config: &ModelConfig,
        input: &HeadInput<T>,
        (residual, image): (Maps<f32>, Maps<f32>),
    ) -> Result<Heads<T>, CudaError> {
        let gpu = recorder.gpu();
        let patches = input.patches(input.maps);
        let kept = gpu.clone();
        recorder.tape.push("patches", [residual.tensor, patches.tensor], move |[a, b]| {
            let (image, out) = (residual.planes(a)?, patches.planes(b)?);
            kept.kernels.resized_patches(kept.stream(), image, out)
        });
        let wanted = wanted(config);
        let heads = compose_weights(recorder, input, &wanted)?;
        let (mut polynomial, mut local): (Vec<_>, Vec<_>) =
            heads.into_iter().partition(|head| head.kind() == Kind::Polynomial);
        for head in &mut polynomial {
            head.record(recorder, input)?;
        }
        let raw = input.raw;
        if !local.is_empty() {
            let seen = input.image(input.maps);
            let kept = gpu.clone();
            let tensors = [raw, image.tensor, seen.tensor];
            recorder.tape.push("polynomial filter, resized", tensors, move |[a, b, c]| {
                let (image, out) = (image.planes(b)?, seen.planes(c)?);
                kept.filters.polynomial_resized(kept.stream(), a.span(), image, out)
            });
        }
        for head in &mut local {
            head.record(recorder, input)?;
        }
        Ok((polynomial, local))
    }

    /// Records the way back from the gradient of Y: returns that of Y1, and through the heads those of
    /// the U-Net's image and the wired levels. The `penalty` on gates, where there are any, is added to
    /// the loss. The final convolution's gradient is finished by [`Filters::backward_weights`].
    pub fn backward(
        &self,
        recorder: &mut Recorder,
        output: Maps<f32>,
        penalty: GatePenalty,
    ) -> Result<SeenGradient<T>, CudaError> {
        let gpu = recorder.gpu();
        let shape = self.image.shape();
        let workspace = recorder.tape.tensor(gpu.filters.workspace_len(shape) * size_of::<f32>());
        let raw_gradient = recorder.tape.tensor(self.raw.bytes());
        let (image, gradient) = (self.image, recorder.maps::<f32>(shape, 0));
        let kept = gpu.clone();
        recorder.tape.push(
            "gradient of the filters",
            [
                self.raw,
                self.constants,
                image.tensor,
                output.tensor,
                gradient.tensor,
                raw_gradient,
                workspace,
            ],
            move |[a, b, c, d, e, f, g]| {
                let (image, output, gradient) =
                    (image.planes(c)?, output.planes(d)?, gradient.planes(e)?);
                let (filters, stream) = (&kept.filters, kept.stream());
                let (raw, constants) = (a.span(), b.span());
                let (raw_gradient, workspace) = (f.span(), g.span());
                filters.vjp(
                    stream,
                    raw,
                    constants,
                    image,
                    output,
                    gradient,
                    raw_gradient,
                    workspace,
                )
            },
        );
        if self.gates > 0 {
            let (kept, numbers) = (gpu.clone(), (self.input.raw_len(), self.gates));
            let GatePenalty { weight, terms } = penalty;
            recorder.tape.push("penalty of the gates", [self.raw, raw_gradient], move |[a, b]| {
                let (stream, raw) = (kept.stream(), [a.span(), b.span()]);
                kept.kernels.gate_penalty(stream, raw, numbers, weight, terms)
            });
        }
        let input_gradient = self.input.maps.like(&mut recorder.tape);
        let mut add = false;
        for head in &self.local {
            head.backward(recorder, &self.input, raw_gradient, (input_gradient, add))?;
            add = true;
        }
        if add {
            let seen = self.input.image(input_gradient);
            let workspace =
                recorder.tape.tensor(gpu.filters.workspace_len(shape) * size_of::<f32>());
            let kept = gpu.clone();
            recorder.tape.push(
                "gradient of the polynomial filter, resized",
                [self.raw, image.tensor, seen.tensor, gradient.tensor, raw_gradient, workspace],
                move |[a, b, c, d, e, f]| {
                    let (image, seen, gradient) =
                        (image.planes(b)?, seen.planes(c)?, gradient.planes(d)?);
                    let (filters, stream) = (&kept.filters, kept.stream());
                    let (raw_gradient, workspace) = (e.span(), f.span());
                    filters.polynomial_resized_vjp(
                        stream,
                        a.span(),
                        image,
                        seen,
                        gradient,
                        raw_gradient,
                        workspace,
                    )
                },
            );
        }
        for head in &self.polynomial {
            head.backward(recorder, &self.input, raw_gradient, (input_gradient, add))?;
        }
        let residual = recorder.maps::<f32>(self.residual.shape(), 0);
        let patches = self.input.patches(input_gradient);
        let tensors = [patches.tensor, residual.tensor];
        recorder.tape.push("gradient of the patches", tensors, move |[a, b]| {
            let (patches, out) = (patches.planes(a)?, residual.planes(b)?);
            gpu.kernels.resized_patches_backward(gpu.stream(), patches, out, false)
        });
        let levels = self.input.levels(input_gradient);
        Ok(SeenGradient { image: gradient, residual, levels })
    }

    /// Records the gradients of the heads' first weights and what they add to the final convolution's,
    /// after [`Backbone::backward_image`].
    pub fn backward_weights(&self, recorder: &mut Recorder) -> Result<(), CudaError> {
        let heads: Vec<&Head<T>> = self.polynomial.iter().chain(&self.local).collect();
        compose_weights_backward(recorder, &self.input, &heads)
    }
}
