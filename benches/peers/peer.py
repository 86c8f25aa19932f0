#!/usr/bin/env python3
"""One measurement of a peer in a process of its own, printed as one line of JSON.

The counterpart of the `measure` program. ONNX Runtime runs without PyTorch in its process; its graph
is exported beforehand with `peer.py export`.
"""

import argparse
import os
import sys
from pathlib import Path


def size(text):
    height, _, width = text.partition("x")
    return int(height), int(width)


def arguments():
    parser = argparse.ArgumentParser(description="Measure a peer, one thing per process.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure one thing and print one line of JSON")
    run.add_argument("side", choices=("pytorch", "onnxruntime"))
    run.add_argument(
        "what", choices=("filters-apply", "filters-vjp", "inference", "training-step")
    )
    run.add_argument("--threads", type=int, required=True)
    run.add_argument("--repeats", type=int, default=10, help="most timed repetitions")
    run.add_argument("--budget", type=float, default=3.0, help="seconds after which none is begun")
    export = commands.add_parser("export", help="write the network as an ONNX graph of one size")
    commands.add_parser("versions", help="print the versions of the packages as JSON")
    for command in (run, export):
        command.add_argument("--size", type=size, required=True, help="HEIGHTxWIDTH")
        command.add_argument("--weights", help="a .safetensors or .pt file of the release")
        command.add_argument("--graphs", default=".", help="the folder of exported ONNX graphs")
    return parser.parse_args()


def raw_parameters():
    """As `benches/src/filters.rs`."""
    import numpy

    index = numpy.arange(108)
    return (0.6 * numpy.sin(index * 1.7 + 0.3)).astype(numpy.float32)[None]


def pytorch_work(args):
    """The work to repeat, and the instruction set."""
    import torch

    from measuring import photograph
    from twin import filters, loss, network

    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    image = torch.from_numpy(photograph.planes(*args.size))
    kind = torch.backends.cpu.get_cpu_capability()
    if args.what == "filters-apply":
        raw = torch.from_numpy(raw_parameters())

        @torch.inference_mode()
        def work():
            filters.apply_filters(image, raw)

    elif args.what == "filters-vjp":
        raw = torch.from_numpy(raw_parameters()).requires_grad_()
        cotangent = image - 0.5
        image.requires_grad_()

        def work():
            torch.autograd.grad(filters.apply_filters(image, raw), (image, raw), cotangent)

    elif args.what == "inference":
        model = network.load(args.weights).eval()

        @torch.inference_mode()
        def work():
            model(image)

    else:
        model = network.load(args.weights).train()
        adam = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8)
        target = (image + 0.1) / 1.1

        def work():
            adam.zero_grad(set_to_none=True)
            value = loss.loss(model(image)[0].clamp(0, 1), target)
            value.backward()
            adam.step()
            value.item()

    return work, kind


def onnxruntime_work(args):
    if args.what != "inference":
        raise SystemExit("ONNX Runtime is measured for inference only")
    from measuring import onnx_graph, photograph

    image = photograph.planes(*args.size)
    path = onnx_graph.place(args.weights, args.size, args.graphs)
    if not path.exists():
        raise SystemExit(f"{path} is missing; write it with `peer.py export` first")
    runner = onnx_graph.session(path, args.threads)
    return lambda: onnx_graph.run(runner, image), "chosen by the library"


def run(args):
    # Before the libraries are loaded: their thread pools read it then.
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    from measuring import record

    work, kind = (pytorch_work if args.side == "pytorch" else onnxruntime_work)(args)
    start = record.status("VmRSS")
    seconds, warmed = record.repeat(work, args.budget, args.repeats)
    print(record.line(args.side, args.what, args.size, args.threads, kind, start, seconds, warmed))


def versions():
    import json
    from importlib.metadata import version

    import torch

    names = ("torch", "onnxruntime", "onnx", "numpy")
    found = {name: version(name) for name in names}
    print(json.dumps({"python": sys.version.split()[0], **found, "torch": torch.__version__}))


def main():
    sys.path.insert(0, str(Path(__file__).parent))
    args = arguments()
    if args.command == "versions":
        versions()
    elif args.command == "export":
        from measuring import onnx_graph

        print(onnx_graph.export(args.weights, args.size, args.graphs))
    elif args.what != "filters-apply" and args.what != "filters-vjp" and not args.weights:
        raise SystemExit("name the weights with --weights FILE")
    else:
        run(args)


if __name__ == "__main__":
    main()
