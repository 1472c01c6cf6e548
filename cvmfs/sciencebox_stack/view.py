"""The texts of a view: kernels, setup scripts and manifest, as LCG releases have them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .environment import own_packages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .lock import Lock
    from .project import Project

STARTUP = "share/sciencebox/startup.py"


@dataclass(frozen=True)
class ViewEnvironment:
    """One environment as its view shows it.

    ``packages`` is the heavy tree, ``cuda`` what a driver must serve, ``extensions`` what IPython loads in its kernel.
    """

    name: str
    title: str
    lock: Lock
    packages: Path
    variables: Mapping[str, str]
    cuda: str = ""
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True)
class ViewPlan:
    """All that a view's texts are made from."""

    release: str
    platform: str
    compiler: str
    default: str
    interpreter: Path
    interpreter_version: str
    environments: tuple[ViewEnvironment, ...]
    project: Project | None
    java_version: str = ""


def view_texts(plan: ViewPlan, prefix: Path) -> dict[str, str]:
    """The files of the view at ``prefix``, by path relative to it."""
    texts = {f"LCG_externals_{plan.platform}.txt": externals(plan, prefix), "sbom.cdx.json": bill_of_materials(plan)}
    if any(environment.cuda for environment in plan.environments):
        texts[STARTUP] = Path(__file__).with_name("startup.py").read_text(encoding="utf-8")
    for environment in plan.environments:
        name = environment.name
        texts[f"share/jupyter/kernels/{name}/kernel.json"] = kernel_json(plan, environment, prefix)
        texts[f"{name}/setup.sh"] = setup_script(plan, environment, prefix)
        if name == plan.default:
            texts["setup.sh"] = texts[f"{name}/setup.sh"]
    return texts


def kernel_json(plan: ViewPlan, environment: ViewEnvironment, prefix: Path) -> str:
    """A Jupyter kernel specification.

    Nothing of the session's own Python reaches the kernel, and `!command` in a notebook finds the environment's
    programs first. `%pip install` puts a user's own packages into their home, where this environment alone looks for
    them. Jupyter replaces ``${PATH}`` and ``${HOME}`` when it starts the kernel.
    """
    home, own = prefix / environment.name, own_packages(plan.release, environment.name)
    specification = {
        "argv": [
            *(f"{home}/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            *(f"--ext={name}" for name in environment.extensions),
        ],
        "display_name": f"{environment.title} ({plan.release})",
        "language": "python",
        "metadata": {"debugger": True},
        "env": {
            "PATH": f"${{HOME}}/{own}/bin:{home}/bin:${{PATH}}",
            "PYTHONPATH": "",
            "PYTHONHOME": "",
            "SCIENCEBOX_PACKAGES": f"${{HOME}}/{own}",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            **_identity(plan, environment),
            **_driver_check(environment, prefix),
            **environment.variables,
        },
    }
    return json.dumps(specification, indent=1) + "\n"


def _driver_check(environment: ViewEnvironment, prefix: Path) -> dict[str, str]:
    """What makes a kernel look at the driver when it starts; nothing for an environment without CUDA."""
    if not environment.cuda:
        return {}
    return {"SCIENCEBOX_CUDA": environment.cuda, "PYTHONSTARTUP": f"{prefix}/{STARTUP}"}


def setup_script(plan: ViewPlan, environment: ViewEnvironment, prefix: Path) -> str:
    """A script for `source` in any POSIX shell that makes the environment the shell's Python."""
    variables = {**_identity(plan, environment), **environment.variables}
    home, own = prefix / environment.name, own_packages(plan.release, environment.name)
    lines = [
        f"# {environment.title} of {plan.release} on {plan.platform}. Use: source {home}/setup.sh",
        "unset PYTHONHOME PYTHONPATH",
        *(f"export {name}={_quoted(value)}" for name, value in variables.items()),
        f'export SCIENCEBOX_PACKAGES="${{HOME-}}"/{_quoted(own)}',
        f'export PATH="${{SCIENCEBOX_PACKAGES}}/bin":{_quoted(f"{home}/bin")}"${{PATH:+:${{PATH}}}}"',
        f'export JUPYTER_PATH={_quoted(f"{prefix}/share/jupyter")}"${{JUPYTER_PATH:+:${{JUPYTER_PATH}}}}"',
    ]
    return "\n".join(lines) + "\n"


def externals(plan: ViewPlan, prefix: Path) -> str:
    """The manifest: a line for each distribution with name, hash, version, folder and what it depends on.

    Format of the files LCG_externals_<platform>.txt of LCG releases; folders are absolute.
    """
    lines = [f"PLATFORM: {plan.platform}", f"VERSION: {plan.release}", f"COMPILER: {plan.compiler}"]
    version = plan.interpreter_version
    lines.append(f"Python; {plan.interpreter.parent.name[-12:][:5]}; {version}; {plan.interpreter}; ")
    for environment in plan.environments:
        lock = environment.lock
        for pin in lock.pins:
            needs = ",".join(f"{needed.name}-{needed.key}" for needed in lock.dependencies(pin.name))
            lines.append(f"{pin.name}; {pin.key}; {pin.version}; {environment.packages}; {needs}")
        if (project := plan.project) is not None:
            folder = prefix / environment.name
            lines.append(f"{project.name}; {project.key[:5]}; {project.version}; {folder}; ")
    return "\n".join(lines) + "\n"


def bill_of_materials(plan: ViewPlan) -> str:
    """What the release is made of, as CycloneDX 1.6, for programs that look for vulnerable versions.

    A component is named by its package URL and has the hashes of the files that the lock allows; which environment has
    it is one of its properties.
    """
    components: dict[tuple[str, str], dict[str, Any]] = {}
    for environment in plan.environments:
        for pin in environment.lock.pins:
            url = f"pkg:pypi/{pin.name.lower()}@{pin.version}"
            hashes = [{"alg": "SHA-256", "content": one.removeprefix("sha256:")} for one in pin.hashes]
            found = components.setdefault(
                (pin.name, pin.version),
                {
                    **{"type": "library", "bom-ref": url, "name": pin.name, "version": pin.version, "purl": url},
                    "hashes": hashes,
                    "properties": [],
                },
            )
            found["properties"].append({"name": "sciencebox:environment", "value": environment.name})
    python = plan.interpreter_version
    carried = [{"type": "application", "bom-ref": "python", "name": "python", "version": python}]
    if java := plan.java_version:
        carried.append({"type": "application", "bom-ref": "openjdk", "name": "openjdk", "version": java})
    release = {"type": "application", "bom-ref": plan.release, "name": plan.release, "version": plan.platform}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": release},
        "components": [*carried, *(components[key] for key in sorted(components))],
    }
    return json.dumps(document, indent=1) + "\n"


def _identity(plan: ViewPlan, environment: ViewEnvironment) -> dict[str, str]:
    return {
        "LCG_VERSION": plan.release,
        "BINARY_TAG": plan.platform,
        "SCIENCEBOX_ENVIRONMENT": environment.name,
    }


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
