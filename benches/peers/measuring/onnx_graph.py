"""The whole network, filters included, as an ONNX graph of one fixed size.

A fixed size is the best case for ONNX Runtime: shapes, paddings and coordinates are constants.
PyTorch is loaded for the export only, so that it is not in ONNX Runtime's memory when that is run.
"""

from pathlib import Path

OPSET = 20


def place(weights, size, folder):
    """Where the graph of `weights` for `size` lies."""
    return Path(folder) / f"{Path(weights).stem}-{size[0]}x{size[1]}.onnx"


def export(weights, size, folder):
    """The path of the graph for `size`, exported if it is missing or older than the weights."""
    import logging
    import warnings

    import torch

    from twin import network

    path = place(weights, size, folder)
    if path.exists() and path.stat().st_mtime > Path(weights).stat().st_mtime:
        return path
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.load(weights).eval(),
            (torch.full((1, 3, *size), 0.5),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["output", "raw"],
            verbose=False,
        )
    partial = path.with_suffix(".partial")
    program.save(str(partial), external_data=False)
    partial.rename(path)
    return path


def session(path, threads):
    """An ONNX Runtime session with all graph optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(runner, image):
    """Output and raw parameters of a (1, 3, H, W) float32 array."""
    return runner.run(["output", "raw"], {"image": image})
