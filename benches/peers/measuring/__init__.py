"""Measuring in one process: photograph, repetitions, record, ONNX export."""
