"""Points of ONNX models by onnxruntime; needs requirements-onnx.txt."""

import numpy as np
import onnx
import onnxruntime
from slim_networks import photographs

from alexnet_jax.data import image_io


def run_onnx(model, inputs, points):
    """Points of a model by onnxruntime, from (N, rows, columns, 3) to (N, rows, columns, maps)."""
    outputs = {output.name for output in model.graph.output}
    for name in points:
        if name not in outputs:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=['CPUExecutionProvider'])
    feeds = {session.get_inputs()[0].name: np.ascontiguousarray(np.float32(inputs).transpose(0, 3, 1, 2))}
    found = dict(zip(points, session.run(list(points), feeds), strict=True))
    return {name: x.transpose(0, 2, 3, 1) if x.ndim == 4 else x for name, x in found.items()}


def center_crops(weights):
    """Center crops of the photographs, RGB in 0..255, which an exported graph takes as they are."""
    side, crop = weights.preprocessing.image_size, weights.arch.crop_size
    edge = (side - crop) // 2
    squares = np.stack([image_io.resize_and_crop(photo, side) for photo in photographs()])
    return squares[:, edge : edge + crop, edge : edge + crop]
