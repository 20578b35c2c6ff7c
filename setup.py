"""Packaging: metadata and extras. Tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# models/ and conversion/ stand at the top of the repository, benchmarks and the check of a GPU in experiments/; all are
# imported as parts of alade_brian, so that nobody's own `models.py` collides with them. Links of the same names in
# alade_brian/ make a checkout look like an installation.
FOLDERS = {
    "models": "models",
    "conversion": "conversion",
    "benchmarks": "experiments/benchmarks",
    "gpu_checking": "experiments/gpu_checking",
}
PACKAGE_DIR = {"alade_brian": "alade_brian"} | {f"alade_brian.{name}": folder for name, folder in FOLDERS.items()}
PACKAGES = sorted(
    {f"{package}.{inner}" for package, folder in PACKAGE_DIR.items() for inner in find_packages(folder)}
    | {*PACKAGE_DIR}
)
TEST = ["pytest>=8", "pytest-xdist>=3.6,<4", "hypothesis>=6.100"]

setup(
    name="alade-brian",
    version="0.1.0",
    description="Class-incremental spiking networks, trained in PyTorch, verified spike by spike in Brian2",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=PACKAGES,
    package_dir=PACKAGE_DIR,
    package_data={
        "": ["py.typed", "*.cpp", "*.js", "templates/*", "files/*", "configs/*.yaml", "grids/*.yaml"],
    },
    # A path that type checkers and editors can follow, not an import hook.
    options={"editable_wheel": {"mode": "compat"}},
    entry_points={"console_scripts": ["alade-brian = alade_brian.cli:console"]},
    install_requires=[
        "brian2>=2.9,<2.12",
        "filelock>=3.12",
        "jinja2>=3.1",
        "joblib>=1.4",
        "matplotlib>=3.8",
        "nir>=1.0.8,<2",
        # Python 3.11 gets Brian2 2.9, which cannot be imported with numpy 2.4.
        "numpy>=1.26,<2.4; python_version < '3.12'",
        "numpy>=1.26; python_version >= '3.12'",
        "packaging>=22",
        "platformdirs>=4",
        "psutil>=5.9",
        "pyyaml>=6",
        "safetensors>=0.4",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "torch>=2.6,<2.14",
        "tqdm>=4.66",
    ],
    extras_require={
        "test": TEST,
        # Its networks are converted, as are SpikingJelly's and Norse's; these two ask for torchvision, which has no CPU
        # build beside PyTorch's, and are installed with --no-deps (see experiments/peers/README.md).
        "snntorch": ["snntorch>=1.0,<1.1"],
        # Recordings of event cameras; under the GPL-3, therefore never required.
        "events": ["tonic>=1.6,<2"],
        # Spikes for other programs.
        "neo": ["neo>=0.14,<0.15"],
        "nwb": ["pynwb>=4.2,<5"],
        "pandas": ["pandas>=2"],
        # A second simulator, as a witness; its conventions were measured with 3.10.
        "nest": ["nest-simulator>=3.10,<3.11"],
        # Clusters that share the images among their machines.
        "dask": ["distributed>=2024.5"],
        "ray": ["ray[client]>=2.10"],
        # For explicit connectivity on a GPU; shared kernels need no package (docs/gpu.md).
        "cuda": ["brian2cuda==1.0b1; python_version >= '3.12'", "nvidia-curand"],
        # eval "$(register-python-argcomplete alade-brian)"
        "completion": ["argcomplete>=3"],
        "dev": [*TEST, "argcomplete>=3", "elephant>=1.2,<2", "mypy>=1.11", "ruff>=0.6", "types-PyYAML", "types-tqdm"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
