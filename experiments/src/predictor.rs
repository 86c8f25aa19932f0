//! A checkpoint that judges photographs and one that judges packed mosaics, used alike.

use candle_core::{DType, Tensor};
use deeplpf_core::{CoreError, Enhancer, Mode, Model};
use deeplpf_filters::{FilterStack, StackParams};
use ndarray::{Array3, ArrayView3};

use crate::Result;

/// A model ready to be evaluated.
pub(crate) enum Predictor {
    /// Of photographs, in the memory-saving strips of [`Enhancer`].
    Photographs(Box<Enhancer>),
    /// Of packed mosaics, whole: there are no strips for them.
    Mosaics(Box<Model>),
}

impl Predictor {
    pub fn model(&self) -> &Model {
        match self {
            Self::Photographs(enhancer) => enhancer.model(),
            Self::Mosaics(model) => model,
        }
    }

    /// The output, 3 x H x W, and the filters behind it, for an input C x h x w of the model's kind.
    pub fn predict(&self, input: ArrayView3<'_, f32>) -> Result<(Array3<f32>, StackParams<f32>)> {
        match self {
            Self::Photographs(enhancer) => {
                let enhancement = enhancer.enhance(input)?;
                Ok((enhancement.image, enhancement.parameters.filters))
            }
            Self::Mosaics(model) => Ok(predict_mosaic(model, input)?),
        }
    }
}

fn predict_mosaic(
    model: &Model,
    input: ArrayView3<'_, f32>,
) -> std::result::Result<(Array3<f32>, StackParams<f32>), CoreError> {
    let values = |tensor: &Tensor| -> candle_core::Result<Vec<f32>> {
        tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
    };
    let (channels, height, width) = input.dim();
    let parameters = model.parameters();
    let all: Vec<f32> = input.iter().copied().collect();
    let x = Tensor::from_vec(all, (1, channels, height, width), parameters.device())?;
    let prediction = model.forward(&x.to_dtype(parameters.dtype())?, Mode::Evaluate)?;
    let (_, planes, rows, columns) = prediction.output.dims4()?;
    let output = Array3::from_shape_vec((planes, rows, columns), values(&prediction.output)?)
        .map_err(|error| candle_core::Error::Msg(error.to_string()))?;
    let stack = FilterStack::from_raw(&model.config().stack(), &values(&prediction.raw)?)?;
    Ok((output, stack.params().clone()))
}
