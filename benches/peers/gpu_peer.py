#!/usr/bin/env python3
"""The twin (and the authors' program, where there is one) on a GPU, one line of JSON a measurement.

The counterpart of `measure cuda run`, with the same lines (`benches/src/cuda/record.rs`). Modes:

- eager: as a PyTorch user writes it;
- graph: the whole step, Adam included, as one CUDA graph;
- compile+graph: forward and loss by torch.compile, then the same.

`--device cpu` runs every path but the capture itself; its times mean nothing.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

MODES = ("eager", "graph", "compile+graph")

WARMUPS = 3
"""Steps before a capture: lazily made memory and algorithms must exist by then."""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="a file of the release's weights")
    parser.add_argument("--device", default="cuda:0", help="cuda:N, or cpu for a trial")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="small sizes, one step a round")
    parser.add_argument("--authors", default=os.environ.get("DEEPLPF_AUTHORS"),
                        help="folder of the authors' program (or DEEPLPF_AUTHORS)")
    return parser.parse_args()


def say(**line):
    print(json.dumps(line), flush=True)


def describe(torch, args):
    versions = [["torch", torch.__version__], ["python", platform.python_version()]]
    name = platform.processor() or platform.machine()
    if args.device != "cpu":
        name = torch.cuda.get_device_name(args.device)
        versions += [["CUDA", torch.version.cuda], ["cuDNN", str(torch.backends.cudnn.version())]]
    trial = args.tiny or args.device == "cpu"
    say(side="pytorch", device=name, versions=versions, trial=trial)


class Step:
    """Forward, loss, backward, Adam on one batch that lies on the device."""

    def __init__(self, torch, model, criterion, images, mode):
        self.torch = torch
        self.image, self.target = images
        self.on_gpu = self.image.is_cuda
        captured = mode != "eager"
        # The fused Adam is PyTorch's fastest; a graph needs its step count on the GPU.
        options = {"fused": True, "capturable": captured} if self.on_gpu else {}
        self.adam = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8,
                                     **options)

        def forward(image, target):
            output = model(image)
            # The twin also returns its raw parameters.
            output = output[0] if isinstance(output, tuple) else output
            return criterion(output.clamp(0, 1), target)

        self.forward = torch.compile(forward) if mode.startswith("compile") else forward
        self.graph = None
        if captured and self.on_gpu:
            self.capture()

    def eager(self):
        self.adam.zero_grad(set_to_none=True)
        loss = self.forward(self.image, self.target)
        loss.backward()
        self.adam.step()
        return loss

    def capture(self):
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARMUPS):
                self.eager()
        torch.cuda.current_stream().wait_stream(side)
        self.adam.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self.eager()

    def __call__(self):
        if self.graph is None:
            self.loss = self.eager()
        else:
            self.graph.replay()


def free_bytes(torch, device):
    if device == "cpu":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def measure(torch, args, record, make, steps):
    """Times `make()`'s result over rounds of `steps` calls; a round ends when the device is done."""
    free = free_bytes(torch, args.device)
    wait = torch.cuda.synchronize if args.device != "cpu" else lambda: None
    try:
        work = make()
        seconds = []
        queue = []
        for number in range(args.rounds + 1):
            begin = time.perf_counter()
            for _ in range(steps):
                work()
            queued = time.perf_counter()
            wait()
            end = time.perf_counter()
            if number:  # the first warms up
                seconds.append((end - begin) / steps)
                queue.append((queued - begin) / steps)
        loss = getattr(work, "loss", None)
        if loss is not None and not torch.isfinite(loss).item():
            raise ArithmeticError("the loss is not a finite number")
        if args.device != "cpu":
            # What a step needs from what was free, the allocator's reserve included.
            record["bytes"] = max(0, free - torch.cuda.mem_get_info(args.device)[0])
        say(**record, seconds=seconds, queue_s=sorted(queue)[len(queue) // 2])
    except Exception as error:  # a peer that fails is a row of the page, not the end of the run
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200].replace("|", "/")
        say(**record, skipped=reason)


def batch(torch, photograph, size, count, device):
    image = torch.from_numpy(photograph.planes(*size)).repeat(count, 1, 1, 1).to(device)
    return image, (image + 0.1) / 1.1


def load_authors(folder, device):
    """The authors' network and loss, from their own files."""
    folder = str(Path(folder).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    model = importlib.import_module("model")
    losses = model if hasattr(model, "DeepLPFLoss") else importlib.import_module("losses")
    network = model.DeepLPFNet().to(device).train()
    return network, losses.DeepLPFLoss(ssim_window_size=5).to(device)


def main():
    sys.path.insert(0, str(Path(__file__).parent))
    args = arguments()
    try:
        import torch
    except ImportError:
        for mode in MODES:
            say(side="pytorch", what="training-step", mode=mode, precision="fp32", skipped="no torch")
        return
    if args.device != "cpu" and not torch.cuda.is_available():
        for mode in MODES:
            say(side="pytorch", what="training-step", mode=mode, precision="fp32",
                skipped="this torch sees no GPU")
        return

    from measuring import photograph
    from twin import loss, network

    # fp32 means fp32, as for deeplpf; and cuDNN may choose by trying, as for deeplpf.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    if args.device != "cpu":
        torch.cuda.set_device(args.device)
        torch.zeros(1, device=args.device)  # the context is not a step's memory
    describe(torch, args)
    sizes = [((48, 64), 1), ((32, 32), 2)] if args.tiny else [((341, 512), 1), ((256, 256), 8)]
    steps = 1 if args.tiny else 24
    fixed = loss.constants(torch.float32, args.device)

    def twin():
        return network.load(args.weights).to(args.device)

    for size, count in sizes:
        for mode in MODES:
            if args.tiny and count > 1 and mode == "compile+graph":
                continue  # compiling takes a minute on a CPU, and was tried above
            record = {"side": "pytorch", "what": "training-step", "mode": mode, "precision": "fp32",
                      "batch": count, "height": size[0], "width": size[1]}

            def make(size=size, count=count, mode=mode):
                model = twin().train()
                images = batch(torch, photograph, size, count, args.device)

                def criterion(output, target):
                    return loss.loss(output, target, fixed)

                return Step(torch, model, criterion, images, mode)

            measure(torch, args, record, make, steps)
            torch.compiler.reset()
    size = sizes[0][0]
    record = {"side": "pytorch", "what": "inference", "mode": "eager", "precision": "fp32",
              "batch": 1, "height": size[0], "width": size[1]}

    def inference():
        model = twin().eval()
        image, _ = batch(torch, photograph, size, 1, "cpu")

        def work():
            with torch.inference_mode():
                model(image.to(args.device))[0].cpu()

        return work

    measure(torch, args, record, inference, steps)
    for mode in MODES:
        record = {"side": "authors", "what": "training-step", "mode": mode, "precision": "fp32",
                  "batch": 1, "height": size[0], "width": size[1]}
        if not args.authors:
            say(**record, skipped="DEEPLPF_AUTHORS names no folder of their program")
            continue

        def authors(mode=mode):
            model, criterion = load_authors(args.authors, args.device)
            images = batch(torch, photograph, size, 1, args.device)
            return Step(torch, model, criterion, images, mode)

        measure(torch, args, record, authors, steps)
        torch.compiler.reset()


if __name__ == "__main__":
    main()
