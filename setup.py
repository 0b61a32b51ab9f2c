"""Metadata, dependencies and extras of the distribution `efficientnetv2`."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "efficientnetv2" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)

# The README says in a line each what a dependency is for.
REQUIREMENTS = [
    "tensorflow>=2.21,<2.22",
    "keras>=3.15,<3.16",
    "absl-py>=2.1,<3",
    "numpy>=1.26,<3",
    "pyyaml>=6.0,<7",
    "tqdm>=4.66,<5",
]
EXTRAS = {
    # tensorflow-hub imports pkg_resources, which setuptools 81 no longer has.
    "hub": [
        "tensorflow-hub>=0.16.1,<0.17",
        "tf_keras>=2.21,<2.22",
        "setuptools<81",
    ],
    # tensorflow-datasets imports importlib_resources without asking for it.
    "datasets": [
        "tensorflow-datasets>=4.9.7,<5",
        "importlib_resources>=5.12,<8",
    ],
    # 4.9 renamed the callback that tries a killed worker's trial again.
    "search": ["optuna>=4.9,<5"],
    "report": ["matplotlib>=3.9,<4", "tensorboard>=2.20,<2.22"],
    "onnx": ["onnx>=1.17,<2", "onnxruntime>=1.20,<2", "tf2onnx>=1.17,<2"],
    "tflite": ["ai-edge-litert>=2.0,<3"],
    "serve": ["litserve>=0.2.19,<0.3"],
    "demo": ["gradio>=6.0,<7", "pillow>=10,<14"],
    # ruff lays out the signatures.
    "docs": [
        "mkdocs>=1.6,<2",
        "mkdocstrings[python]>=1.0,<2",
        "pymdown-extensions>=10,<12",
        "pygments>=2.18,<3",
        "ruff>=0.9,<1",
    ],
}
EXTRAS["test"] = [
    "coverage>=7.10,<8",  # the first that looks into subprocesses itself
    "hypothesis>=6.100,<7",
    "ipykernel>=6.29,<8",  # with nbclient: runs the notebooks
    "jax>=0.4.35,<1",  # the model's other backend
    "mypy>=2.0,<3",
    "nbclient>=0.10,<1",
    "pillow>=10,<14",
    "pytest>=8.0,<10",
    "selenium>=4.20,<5",  # drives the browser that looks at the demo
    "setuptools>=77,<81",  # builds the wheel that the tests look into
    *EXTRAS["datasets"],
    *EXTRAS["demo"],
    *EXTRAS["docs"],
    *EXTRAS["hub"],
    *EXTRAS["onnx"],
    *EXTRAS["report"],
    *EXTRAS["search"],
    *EXTRAS["serve"],
    *EXTRAS["tflite"],
]
EXTRAS["all"] = sorted({name for rows in EXTRAS.values() for name in rows})

setup(
    name="efficientnetv2",
    version=VERSION,
    description="EfficientNetV2 with progressive learning, for Keras 3",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    # export/ and hparams/ stand outside in the checkout; in a wheel they are
    # parts of the package, so that no generic name lands in site-packages.
    packages=[
        *find_packages(include=["efficientnetv2", "efficientnetv2.*"]),
        "efficientnetv2.export",
        "efficientnetv2.hparams",
    ],
    package_dir={
        "efficientnetv2.export": "export",
        "efficientnetv2.hparams": "hparams",
    },
    package_data={
        "efficientnetv2": ["py.typed"],
        "efficientnetv2.hparams": ["*.md", "*/*.yaml"],
    },
    zip_safe=False,
)
