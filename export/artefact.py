"""What a format wrote: the file, how to run it and how exact it must be."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far an exported model may be from the trained one.

    Args:
        difference: Largest difference of an output, as a share of the largest
            output; None: not judged.
        agreement: Smallest share of pictures with the same first class, in
            [0, 1]; judged for classes only.
    """

    difference: float | None
    agreement: float


# float16 keeps 11 bits of a weight. Eight bits move logits visibly; there
# the class is what counts.
TOLERANCES = {
    "float32": Tolerance(1e-3, 0.99),
    "float16": Tolerance(2e-2, 0.97),
    "dynamic": Tolerance(None, 0.90),
    "int8": Tolerance(None, 0.90),
}


@dataclasses.dataclass(frozen=True)
class Artefact:
    """One thing to load and run.

    Args:
        name: For people, such as 'tflite int8'.
        path: File or folder, absolute.
        runner: How `check` runs it: 'signature', 'module', 'keras', 'tflite'
            or 'onnx'.
        feed: What it takes: 'bytes' (files), 'unit' (RGB in [0, 1]), 'raw'
            (RGB in 0..255) or 'normalized'.
        output: What it gives: 'logits', 'probabilities', 'features' or
            'maps'.
        precision: Key of `TOLERANCES`.
        signature: Name of the signature, for the runner 'signature'.
    """

    name: str
    path: str
    runner: str
    feed: str
    output: str
    precision: str = "float32"
    signature: str | None = None

    @property
    def tolerance(self):
        """The `Tolerance` of its precision."""
        return TOLERANCES[self.precision]
