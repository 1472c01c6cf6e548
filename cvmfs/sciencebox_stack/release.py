"""What a release is made of, read from ``releases/<name>.toml``."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tomllib
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
"""A name that becomes a folder."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Package(_Strict):
    """A package that users import, its version, and why it is in the release.

    ``source`` is for one that the index has as source alone: it is built by the setuptools of the same environment.
    """

    version: str
    why: str
    source: bool = False


class EnvironmentVariant(_Strict):
    """How an environment differs between variants.

    ``disk_gb`` is what building it takes, with the downloads that are kept (10^9 bytes). ``without`` names
    distributions left out of the lock, ``trim`` gives patterns of files removed after installation, relative to
    site-packages.
    """

    disk_gb: float = Field(gt=0)
    packages: dict[str, Package] = {}
    without: list[str] = []
    trim: list[str] = []


class Environment(_Strict):
    """One tree of packages and one kernel. ``imports`` must succeed before it is published.

    ``headers`` is for environments that compile C++ while they run, ``java`` for those that start a Java machine.
    ``extensions`` are IPython's, loaded by the kernel, ``labextensions`` JupyterLab's, which sessions find in the view.
    In ``variables``, ``{packages}`` is the folder of the environment's packages.
    """

    title: str
    imports: list[str] = Field(min_length=1)
    headers: bool = False
    java: bool = False
    extensions: list[str] = []
    labextensions: list[str] = []
    variables: dict[str, str] = {}
    packages: dict[str, Package] = {}
    variants: dict[str, EnvironmentVariant] = Field(min_length=1)


class Variant(_Strict):
    """The name under which a variant is published, and what its kernels' environment adds."""

    release: Name
    variables: dict[str, str] = {}


class Release(_Strict):
    """A release file. ``wheels`` is the resolver's name for the platform: architecture and newest C library."""

    name: Name
    platform: Name
    compiler: str
    wheels: str
    python: str = Field(pattern=r"^3\.\d+$")
    java: str = Field(default="", pattern=r"^\d*$")
    default: str
    variants: dict[str, Variant] = Field(min_length=1)
    packages: dict[str, Package] = {}
    environments: dict[Name, Environment] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Release:
        if self.default not in self.environments:
            raise ValueError(f"default is {self.default!r}, which is none of {', '.join(self.environments)}")
        for name, environment in self.environments.items():
            if missing := sorted(set(self.variants) - set(environment.variants)):
                raise ValueError(f"environment {name} has no variant {', '.join(missing)}")
            if environment.java and not self.java:
                raise ValueError(f"environment {name} needs Java, and the release does not say which version")
            if unknown := sorted(set(environment.variants) - set(self.variants)):
                raise ValueError(f"environment {name} has a variant {', '.join(unknown)} that the release has not")
        return self

    def requirements(self, environment: str, variant: str) -> list[str]:
        """Pinned requirements of one environment, sorted, as the resolver takes them."""
        packages = self._packages(environment, variant)
        return sorted(f"{name}=={package.version}" for name, package in packages.items())

    def sources(self, environment: str, variant: str) -> tuple[str, ...]:
        """Packages of one environment that are built from source, sorted."""
        packages = self._packages(environment, variant)
        return tuple(sorted(name for name, package in packages.items() if package.source))

    def _packages(self, environment: str, variant: str) -> dict[str, Package]:
        own = self.environments[environment]
        return {**self.packages, **own.packages, **own.variants[variant].packages}

    def variables(self, environment: str, variant: str, packages: str) -> dict[str, str]:
        """Environment variables of one kernel whose packages lie in ``packages``."""
        own = {**self.variants[variant].variables, **self.environments[environment].variables}
        return {name: value.replace("{packages}", packages) for name, value in own.items()}

    def require_variant(self, variant: str) -> Variant:
        """The variant of that name.

        Raises:
            StackError: the release has no such variant.
        """
        if variant not in self.variants:
            known = ", ".join(self.variants)
            raise StackError(f"Release {self.name} has no variant {variant!r}; it has {known}.")
        return self.variants[variant]


def parse_toml(text: str) -> dict[str, object]:
    """The table in ``text``; a ValueError tells line and column."""
    return tomllib.loads(text)


def bundled_releases() -> Path:
    """Folder of the release files that come with this package, in a wheel or in a checkout."""
    here = Path(__file__).parent
    packaged = here / "releases"
    return packaged if packaged.is_dir() else here.parent / "releases"


def release_names(folder: Path) -> list[str]:
    """Names of the releases described in ``folder``."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load_release(name: str, folder: Path) -> Release:
    """Read and check the release ``name``.

    Raises:
        StackError: no such release, or its file is wrong; says where and what the nearest right key is.
    """
    path = folder / f"{name}.toml"
    if not path.is_file():
        known = release_names(folder)
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none'}."
        raise StackError(f"No release is called {name!r} in {folder}; {hint}")
    try:
        release = Release.model_validate(parse_toml(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise StackError(f"{path}: {_first_problem(error.errors())}") from error
    except ValueError as error:
        raise StackError(f"{path} is not valid TOML: {error}.") from error
    if release.name != name:
        raise StackError(f"{path} calls itself {release.name!r}; name and file name must agree.")
    return release


def _first_problem(problems: Sequence[ErrorDetails]) -> str:
    # A misspelt key is also a missing one; its name says more.
    problem = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(str(problem["loc"][-1]), _keys_of_models(), 1)
        return f"unknown key {where}" + (f"; did you mean {near[0]}?" if near else "; remove it.")
    if problem["type"] == "missing":
        return f"{where} is missing."
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}." if where else f"{message}."


def _keys_of_models() -> list[str]:
    models: list[type[BaseModel]] = [Package, EnvironmentVariant, Environment, Variant, Release]
    return sorted({key for model in models for key in model.model_fields})
