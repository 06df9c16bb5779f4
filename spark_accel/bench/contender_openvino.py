"""OpenVINO's int8: NNCF's quantisation after training with its own defaults, on the same calibration images.

A batch of one is asked of a network compiled for latency, larger ones of one compiled for throughput, with as many
requests on their way as OpenVINO itself wants. It takes images as uint8 [n, height, width, 3] and normalises in the
graph, which is up to twice as fast as giving it float32. The environment variable ONEDNN_MAX_CPU_ISA
(AVX512_CORE_VNNI, say), which keeps it from newer instructions, is named beside the figures.
"""

import os
import time
from typing import Any

import nncf
import numpy as np
import openvino as ov
from openvino.preprocess import PrePostProcessor

from spark_accel.bench.contender import Contender, Float32, Job, Turn, UInt8
from spark_accel.networks.preprocessing import preprocessing


class OpenVino(Contender):
    """See the file's head."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._core = ov.Core()
        self._core.set_property("CPU", {"INFERENCE_NUM_THREADS": job.threads})
        self._model = quantised(job)
        self._compiled: Any = None
        self._requests = 1
        self._images: UInt8 = np.empty(0, np.uint8)

    @property
    def about(self) -> str:
        """See Contender."""
        most = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
        instructions = f"; no instructions beyond {most}" if most else ""
        return (
            f"NNCF post-training, latency mode for batch 1, throughput mode for others; images as uint8{instructions}"
        )

    def prepare(self, batch: int) -> None:
        """See Contender."""
        self._model.reshape([batch, *np.load(self.job.images, mmap_mode="r").shape[1:]])
        hint = "LATENCY" if batch == 1 else "THROUGHPUT"
        self._compiled = self._core.compile_model(self._model, "CPU", {"PERFORMANCE_HINT": hint})
        self._requests = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._request = self._compiled.create_infer_request()

    def put(self, images: UInt8) -> None:
        """See Contender."""
        self._images = np.ascontiguousarray(images)

    def answer(self) -> Float32:
        """See Contender."""
        return np.array(self._request.infer([self._images], share_inputs=True)[0])

    def run(self, seconds: float) -> Turn:
        """See Contender and the file's head."""
        if self.batch == 1:
            return super().run(seconds)
        queue = ov.AsyncInferQueue(self._compiled, self._requests)
        for _ in range(self._requests):
            queue.start_async([self._images], share_inputs=True)
        queue.wait_all()
        turn = Turn()
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            for _ in range(self._requests):  # all streams have the same to do, so that none is idle at the end
                queue.start_async([self._images], share_inputs=True)
                turn.images += self.batch
        queue.wait_all()
        turn.seconds = time.perf_counter() - start
        return turn


def quantised(job: Job) -> ov.Model:
    """The job's network in int8; it takes uint8 [n, height, width, 3] RGB."""
    inputs = job.calibration_inputs()
    calibration = nncf.Dataset(list(inputs), lambda image: image[np.newaxis])
    model = nncf.quantize(ov.Core().read_model(job.network), calibration, subset_size=len(inputs))
    return _takes_pixels(model, job.preprocessing)


def _takes_pixels(model: ov.Model, name: str) -> ov.Model:
    normalised = preprocessing(name)
    scale = np.array(normalised.scale)
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    channels = steps.input().preprocess().convert_element_type(ov.Type.f32)
    if normalised.order != (0, 1, 2):
        channels = channels.reverse_channels()
    channels.mean((-np.array(normalised.shift) / scale).tolist()).scale((1 / scale).tolist())
    return steps.build()
