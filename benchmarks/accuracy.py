"""What quantisation to int8 costs: an ONNX network against its own float32, on labelled photographs.

Prints how many are right at top-1 in float32 and int8, how many first classes agree, how far the logits are apart, and
whether the OpenCL device's logits are those of the numpy reference, bit for bit.
"""

import csv
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from spark_accel import images
from spark_accel.daemon import devices
from spark_accel.daemon.opencl_network import OpenCLNetwork
from spark_accel.networks import float_network, fold, importer, onnx_reader, plan, preprocessing, reference

BATCH = 24


def main(
    network: Annotated[Path, typer.Argument(help="The network, an .onnx file with torch's preprocessing.")],
    folder: Annotated[Path, typer.Argument(help="The photographs; 64 of them are used for the calibration.")],
    labels: Annotated[Path, typer.Argument(help="CSV with the columns `file` (in the folder) and `class_index`.")],
) -> None:
    """Compare int8 with float32 on labelled photographs."""
    with labels.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right = np.array([int(row["class_index"]) for row in rows])
    with tempfile.TemporaryDirectory() as repository:
        version = importer.import_model(network, "network", Path(repository), calibration=folder, progress=True)
        quantised = plan.load(version)
    side = quantised.height
    resize = preprocessing.default_resize(side)
    pixels = np.stack([images.decode((folder / row["file"]).read_bytes(), side, side, resize) for row in rows])
    original = fold.fold(onnx_reader.read(network), preprocessing.preprocessing("torch"))
    (device,) = (one for one in devices.discover_in_subprocess() if one.kind == "cpu")
    kernels = OpenCLNetwork(quantised, devices.open_device(device.id), BATCH)

    batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    float32 = np.concatenate([float_network.run(original, batch) for batch in batches]).reshape(len(rows), -1)
    int8 = np.concatenate([reference.run(quantised, batch) for batch in batches])
    on_device = np.concatenate([kernels.run(batch).copy() for batch in batches])

    difference = int8 - float32
    spread = float32 - float32.mean()
    print(f"{len(rows)} photographs, {device.platform}: {device.name}")
    print(f"right at top-1: float32 {(float32.argmax(1) == right).sum()}, int8 {(int8.argmax(1) == right).sum()}")
    print(f"first class of int8 is that of float32: {(int8.argmax(1) == float32.argmax(1)).sum()}")
    print(
        f"logits: RMS difference {np.sqrt(np.mean(difference**2)):.3f}, largest {np.abs(difference).max():.2f},", end=""
    )
    print(f" relative to their spread {np.sqrt(np.mean(difference**2) / np.mean(spread**2)):.4f}")
    print(f"device equals the numpy reference bit for bit: {'yes' if np.array_equal(on_device, int8) else 'NO'}")


if __name__ == "__main__":
    typer.run(main)
