"""Install: ``pip install .`` to generate, ``'.[infer]'`` to read, ``'.[serve]'`` to read over HTTP, ``'.[train]'`` to
train, ``'.[dev]'`` to work on it."""

from pathlib import Path

from setuptools import find_packages, setup

# What golden images were drawn with; the tests want the same, users may have newer ones. So too the torch they ran on.
PINNED = [
    "numpy==2.4.6; python_version >= '3.11'",
    "opencv-python-headless==5.0.0.93",
    "freetype-py==2.5.1",
    "torch==2.13.0",
]
TRAIN = ["onnx>=1.17", "onnxscript>=0.3", "rapidfuzz>=3.6", "tensorboard>=2.15", "torch>=2.6", "urllib3>=2.2"]
INFER = ["onnxruntime>=1.20"]
SERVE = [*INFER, "fastapi>=0.115", "prometheus-client>=0.20", "python-multipart>=0.0.18", "uvicorn>=0.30"]
RAY = ["ray>=2.40"]
S3 = ["fsspec>=2024.2", "s3fs>=2024.2"]

setup(
    name="crnn-shards",
    version="0.1.0",
    description="Generate, train and read Chinese text lines, horizontal and vertical, over 30,656 characters",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=[*find_packages(include=["gen", "gen.*", "train", "train.*", "infer", "tools"]), "gen.configs"],
    package_dir={"gen.configs": "configs"},
    package_data={
        "gen": ["*.txt", "*.tsv", "py.typed"],
        "gen.configs": ["*.yaml"],
        "infer": ["py.typed", "weights/*", "web/*"],
        "tools": ["*.txt"],
        "train": ["py.typed"],
    },
    install_requires=[
        "filelock>=3.12",
        "fonttools>=4.43",
        "freetype-py>=2.5",
        "numba>=0.60",
        "numpy>=1.26",
        "opencv-python-headless>=4.9",
        "pillow>=10.1",
        "pydantic>=2.6",
        "pylopdf-fonts-zh-cn==0.1.1",  # two of the catalogue's fonts, so that generation runs straight away
        "pyyaml>=6",
        "tqdm>=4.65",
    ],
    extras_require={
        "infer": INFER,
        "serve": SERVE,
        "train": TRAIN,
        "s3": S3,
        "ray": RAY,
        "dev": [
            *PINNED,
            *SERVE,
            *TRAIN,
            "build>=1",
            *RAY,
            *S3,
            "hypothesis>=6.100",
            "import-linter>=2",
            "moto[server]>=5",
            "mypy>=1.11",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.6",
            "schemathesis>=4",
            "selenium>=4.20",
            "setuptools>=70.1",
            "trustme>=1.1",
            "types-PyYAML",
            "types-tqdm",
            "webdataset>=1.0.2",
        ],
    },
    classifiers=["Programming Language :: Python :: 3.11", "Operating System :: POSIX :: Linux"],
)
