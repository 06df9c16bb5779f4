"""ONNX Runtime's int8: static quantisation to QDQ, uint8 activations, int8 weights by channel, same calibration.

Without VNNI its kernels add products of bytes in 16 bits, which saturate; it then advises weights of seven bits
(`reduce_range`), and gets them: with eight, top-1 falls. It is given float32 images, normalised before the measurement.
"""

from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from spark_accel.bench.contender import Contender, Float32, Job, UInt8
from spark_accel.bench.machine import has_vnni


class OnnxRuntime(Contender):
    """See the file's head."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        prepared, quantised = job.path / "onnxruntime.onnx", job.path / "onnxruntime-int8.onnx"
        quant_pre_process(job.network, prepared, skip_symbolic_shape=True)
        self._input = _session(str(prepared), job.threads).get_inputs()[0].name
        quantize_static(
            prepared,
            quantised,
            _Images(self._input, job.calibration_inputs()),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=not has_vnni(),
        )
        self._session = _session(str(quantised), job.threads)
        self._images: Float32 = np.empty(0, np.float32)

    @property
    def about(self) -> str:
        """See Contender."""
        bits = "8 bits (VNNI)" if has_vnni() else "7 bits (no VNNI)"
        return f"static QDQ, weights by channel in {bits}; images as float32, normalised beforehand"

    def prepare(self, batch: int) -> None:
        """Nothing: one session runs all sizes."""

    def put(self, images: UInt8) -> None:
        """See Contender."""
        self._images = self.job.inputs(images)

    def answer(self) -> Float32:
        """See Contender."""
        return np.asarray(self._session.run(None, {self._input: self._images})[0])


class _Images(CalibrationDataReader):  # type: ignore[misc] # it comes without types
    def __init__(self, name: str, images: Float32) -> None:
        self._left: Iterator[dict[str, Float32]] = ({name: image[np.newaxis]} for image in images)

    def get_next(self) -> dict[str, Float32] | None:
        """The next image; None after the last."""
        return next(self._left, None)


def _session(path: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
