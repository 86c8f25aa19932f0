#!/usr/bin/env python3
"""Whether the peers compute what deeplpf computes. Exit status 1, with every difference, if not.

Against deeplpf's own results (`measure results`) in single precision; and, with --golden FOLDER,
the twin in double precision against the authors' program.
"""

import argparse
import sys
from pathlib import Path

import numpy

EDGE_SHARE = 1e-4
"""Share of pixels that may differ: beside an ellipse's edge, rounding decides which side one is on,
and the mask jumps there."""

SINGLE = 2e-5
"""Largest other difference in single precision, as a share of the largest value, here and below. The
authors' program in single precision differs from itself in double by 4e-6; convolutions summed in
other orders, by as much."""

SINGLE_GRADIENT = 1e-4
"""Gradients divide by small denominators."""

DOUBLE = 1e-11
"""Largest difference in double precision; 1e-14 was found."""


class Checks:
    """Collects all differences before it fails."""

    def __init__(self):
        self.failed = 0

    def compare(self, name, found, expected, tolerance, edge_share=0.0):
        """|found - expected| <= tolerance * max |expected|, but for a share of the entries."""
        found, expected = numpy.asarray(found), numpy.asarray(expected)
        if found.shape != expected.shape:
            return self.report(name, False, f"shape {found.shape}, expected {expected.shape}")
        largest = float(numpy.abs(expected).max())
        if not 0 < largest < numpy.inf:
            return self.report(name, False, f"nothing to compare with: largest {largest}")
        difference = numpy.abs(found.astype(numpy.float64) - expected) / largest
        far = float(numpy.mean(~(difference <= tolerance)))
        detail = f"largest {difference.max():.1e}, allowed {tolerance:.0e}"
        if edge_share:
            detail += f"; {far:.1e} of the entries above it, allowed {edge_share:.0e}"
        return self.report(name, far <= edge_share, detail)

    def report(self, name, good, detail):
        self.failed += not good
        print(f"{'same' if good else 'DIFFERENT':9}  {name}: {detail}")


def against_deeplpf(checks, results, weights, size, graphs):
    import torch
    from safetensors.numpy import load_file

    from measuring import onnx_graph, photograph
    from peer import raw_parameters
    from twin import filters, loss, network

    photograph.check()
    ours = load_file(results)
    image = torch.from_numpy(photograph.planes(*size))
    twin = network.load(weights).eval()
    with torch.inference_mode():
        output, raw = twin(image)
    expected = ours["inference.output"][None]
    checks.compare("PyTorch inference, image", output, expected, SINGLE, EDGE_SHARE)
    checks.compare("PyTorch inference, raw parameters", raw[0], ours["inference.raw"], SINGLE)
    runner = onnx_graph.session(onnx_graph.export(weights, size, graphs), 1)
    output, raw = onnx_graph.run(runner, image.numpy())
    checks.compare("ONNX Runtime inference, image", output, expected, SINGLE, EDGE_SHARE)
    checks.compare("ONNX Runtime inference, raw parameters", raw[0], ours["inference.raw"], SINGLE)
    model = ours["model.output"]
    checks.compare("deeplpf's training network, image", model, expected, SINGLE, EDGE_SHARE)

    numbers = torch.from_numpy(raw_parameters()).requires_grad_()
    pixels = image.clone().requires_grad_()
    filtered = filters.apply_filters(pixels, numbers)
    gradients = torch.autograd.grad(filtered, (pixels, numbers), image - 0.5)
    expected = ours["filters.output"][None]
    checks.compare("PyTorch filters, image", filtered.detach(), expected, SINGLE, EDGE_SHARE)
    expected = ours["filters.gradient.image"][None]
    checks.compare("PyTorch filters, image gradient", gradients[0], expected, SINGLE_GRADIENT, EDGE_SHARE)
    # Sums over all pixels, those at an ellipse's edge among them.
    expected = ours["filters.gradient.raw"]
    checks.compare("PyTorch filters, parameter gradient", gradients[1][0], expected, SINGLE_GRADIENT)

    twin = network.load(weights).train()
    for head in twin.deeplpfnet.children():
        head.dropout.p = 0.0
    adam = torch.optim.Adam(twin.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8)
    target = (image + 0.1) / 1.1
    losses = []
    for _ in ours["training.losses"]:
        adam.zero_grad(set_to_none=True)
        value = loss.loss(twin(image)[0].clamp(0, 1), target)
        value.backward()
        adam.step()
        losses.append(value.item())
    expected = ours["training.losses"]
    checks.compare("PyTorch training, losses of 3 steps", losses, expected, SINGLE_GRADIENT)


def against_golden(checks, folder):
    import torch
    from safetensors.torch import load_file

    from twin import filters, loss, network

    twin = network.load(folder / "network_state_dict.pt", torch.float64).eval()
    inputs = load_file(folder / "network_inputs_f32.safetensors")
    golden = load_file(folder / "network_f64.safetensors")
    for case in range(4):
        with torch.inference_mode():
            output, raw = twin(inputs[f"{case}.input"].double())
        checks.compare(f"golden network {case}, image", output, golden[f"{case}.output"], DOUBLE)
        parts = ("cubic_params", "graduated_params", "elliptical_params")
        expected = torch.cat([golden[f"{case}.{part}"] for part in parts], dim=1)
        checks.compare(f"golden network {case}, raw parameters", raw, expected, DOUBLE)

    golden = load_file(folder / "filters_f64.safetensors")
    for case in range(6):
        key = f"release.{case}."
        names = ("image", "cubic_params", "graduated_params", "elliptical_params")
        parts = [golden[key + name].requires_grad_() for name in names]
        output = filters.apply_filters(parts[0], torch.cat(parts[1:], dim=1))
        expected = golden[key + "output.value"]
        checks.compare(f"golden filters {case}", output.detach(), expected, DOUBLE)
        gradients = torch.autograd.grad(output, parts, golden[key + "output.cotangent"])
        for name, found in zip(names, gradients):
            expected = golden[f"{key}output.grad.{name}"]
            checks.compare(f"golden filters {case}, gradient of {name}", found, expected, DOUBLE)

    golden = load_file(folder / "loss_f64.safetensors")
    for case in range(3):
        prediction = golden[f"{case}.prediction"].requires_grad_()
        value = loss.loss(prediction, golden[f"{case}.target"])
        expected = golden[f"{case}.release.loss"].reshape(())
        checks.compare(f"golden loss {case}", value.detach(), expected, DOUBLE)
        (found,) = torch.autograd.grad(value, prediction)
        expected = golden[f"{case}.release.grad.prediction"]
        checks.compare(f"golden loss {case}, gradient", found, expected, DOUBLE)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", help="what `measure results` wrote")
    parser.add_argument("--weights", help="the weights it was written with")
    parser.add_argument("--size", default="341x512", help="the size it was written with")
    parser.add_argument("--graphs", default=".", help="the folder of exported ONNX graphs")
    parser.add_argument("--golden", type=Path, help="vectors of the authors' program")
    args = parser.parse_args()
    checks = Checks()
    if args.golden:
        against_golden(checks, args.golden)
    if args.results:
        size = tuple(int(side) for side in args.size.split("x"))
        against_deeplpf(checks, args.results, args.weights, size, args.graphs)
    if not (args.golden or args.results):
        raise SystemExit("nothing to compare with: give --results, --golden or both")
    if checks.failed:
        raise SystemExit(f"{checks.failed} comparisons failed: the peers compute something else")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
