//! The two networks LPIPS looks through, as lists of layers.

use super::convolution::{Convolution, Features, max_pool};

/// A layer of a network in torchvision's numbering of `features`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayerShape {
    /// A convolution with its ReLU: index in `features`, kernel, stride, padding, channels out.
    Convolution { index: usize, kernel: usize, stride: usize, padding: usize, outputs: usize },
    /// A maximum over windows.
    MaxPool { window: usize, stride: usize },
    /// LPIPS compares the maps that have come this far.
    Compare,
}

use LayerShape::{Compare, MaxPool};

const fn convolution(
    index: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    outputs: usize,
) -> LayerShape {
    LayerShape::Convolution { index, kernel, stride, padding, outputs }
}

/// AlexNet (torchvision `alexnet`), compared after each of its five ReLUs.
const ALEXNET: &[LayerShape] = &[
    convolution(0, 11, 4, 2, 64),
    Compare,
    MaxPool { window: 3, stride: 2 },
    convolution(3, 5, 1, 2, 192),
    Compare,
    MaxPool { window: 3, stride: 2 },
    convolution(6, 3, 1, 1, 384),
    Compare,
    convolution(8, 3, 1, 1, 256),
    Compare,
    convolution(10, 3, 1, 1, 256),
    Compare,
];

/// VGG16 (torchvision `vgg16`), compared after ReLUs 1_2, 2_2, 3_3, 4_3 and 5_3.
const VGG16: &[LayerShape] = &[
    convolution(0, 3, 1, 1, 64),
    convolution(2, 3, 1, 1, 64),
    Compare,
    MaxPool { window: 2, stride: 2 },
    convolution(5, 3, 1, 1, 128),
    convolution(7, 3, 1, 1, 128),
    Compare,
    MaxPool { window: 2, stride: 2 },
    convolution(10, 3, 1, 1, 256),
    convolution(12, 3, 1, 1, 256),
    convolution(14, 3, 1, 1, 256),
    Compare,
    MaxPool { window: 2, stride: 2 },
    convolution(17, 3, 1, 1, 512),
    convolution(19, 3, 1, 1, 512),
    convolution(21, 3, 1, 1, 512),
    Compare,
    MaxPool { window: 2, stride: 2 },
    convolution(24, 3, 1, 1, 512),
    convolution(26, 3, 1, 1, 512),
    convolution(28, 3, 1, 1, 512),
    Compare,
];

/// Which network LPIPS looks through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    AlexNet,
    Vgg16,
}

impl Network {
    pub fn layers(self) -> &'static [LayerShape] {
        match self {
            Network::AlexNet => ALEXNET,
            Network::Vgg16 => VGG16,
        }
    }

    /// Smallest side for which every layer has an output.
    pub fn minimum_side(self) -> usize {
        (1..).find(|&side| self.last_side(side) > 0).unwrap_or(usize::MAX)
    }

    /// The last map's side for an image's.
    fn last_side(self, side: usize) -> usize {
        self.layers().iter().fold(side, |side, layer| match *layer {
            LayerShape::Convolution { kernel, stride, padding, .. } => {
                Convolution::output_side(side, kernel, stride, padding)
            }
            MaxPool { window, stride } => Convolution::output_side(side, window, stride, 0),
            Compare => side,
        })
    }
}

/// A layer with its weights.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    Convolution(Convolution),
    MaxPool {
        window: usize,
        stride: usize,
    },
    /// Non-negative weights of the channels, from LPIPS's linear layer.
    Compare(Vec<f32>),
}

impl Layer {
    /// The map after this layer; `None` where the layer leaves it as it is.
    pub fn forward(&self, input: &Features) -> Option<Features> {
        match self {
            Layer::Convolution(convolution) => Some(convolution.forward(input)),
            Layer::MaxPool { window, stride } => Some(max_pool(input, *window, *stride)),
            Layer::Compare(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_sides_are_those_of_the_layers() {
        assert_eq!(Network::AlexNet.minimum_side(), 31);
        assert_eq!(Network::Vgg16.minimum_side(), 16);
    }
}
