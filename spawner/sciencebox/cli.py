"""The command `sciencebox`: what an administrator does on the server."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from sciencebox import explain
from sciencebox.accounting import usage as usage_sums
from sciencebox.files import write_whole
from sciencebox.gpus.device import Health
from sciencebox.gpus.marks import MarksError
from sciencebox.host import backup as backups
from sciencebox.host import doctor as checks
from sciencebox.host import gpus as host_gpus
from sciencebox.host import show
from sciencebox.host import usage as host_usage
from sciencebox.host.deploy import Deployment
from sciencebox.host.driver import read_driver
from sciencebox.host.engine import choose_socket, reach
from sciencebox.host.erase import told_links
from sciencebox.host.facts import read_host
from sciencebox.host.kubectl import Tools
from sciencebox.host.release import Release
from sciencebox.host.row import failures
from sciencebox.host.stack import follow
from sciencebox.host.steps import Screen, Step, StepError, run_steps
from sciencebox.settings import Settings, SettingsError, load

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE = CHECKOUT / "deploy" / "sciencebox.yaml"
DEMO = CHECKOUT / "deploy" / "demo.yaml"
VALUES = CHECKOUT / "deploy" / "helm" / "examples" / "one-node.yaml"
INTERRUPTED = 130

commands = typer.Typer(no_args_is_help=True, add_completion=False, help="ScienceBox GPU on this server.")
settings_commands = typer.Typer(no_args_is_help=True, help="The settings file.")
commands.add_typer(settings_commands, name="settings")

File = Annotated[Path, typer.Option("--settings", metavar="FILE", help="The settings file.", show_default=True)]
NoStack = Annotated[bool, typer.Option("--no-stack", help="Do not build the software stack now.")]
Rebuild = Annotated[bool, typer.Option("--rebuild", help="Build every image anew, with today's packages.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Check = Annotated[bool, typer.Option("--check", help="Only look at the cluster, and change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@commands.command()
def deploy(settings: File = EXAMPLE, no_stack: NoStack = False, rebuild: Rebuild = False) -> None:
    """Bring the service up, or bring it to what the settings say now. Running sessions go on."""
    deployment = _deployment(settings)
    deployment.with_stack, deployment.rebuild = not no_stack, rebuild
    _do(deployment.steps())
    show.summary(deployment, _console())


@commands.command()
def demo(settings: File = DEMO, no_stack: NoStack = False, rebuild: Rebuild = False) -> None:
    """Bring up a demonstration with SIMULATED GPUs beside whatever else runs here."""
    deploy(settings, no_stack, rebuild)
    _console().print(f"Stop it with `make down SETTINGS={settings}`.", highlight=False, soft_wrap=True)


@commands.command()
def stack(settings: File = EXAMPLE) -> None:
    """Build the software stack alone, and publish it where the settings say so."""
    deployment = _deployment(settings)
    wanted = {
        deployment.check_host,
        deployment.provide_engine,
        deployment.build_images,
        deployment.provide_stack,
        deployment.publish_stack,
    }
    _do([step for step in deployment.steps() if step.run in wanted])


@commands.command()
def images(settings: File = EXAMPLE, rebuild: Rebuild = False) -> None:
    """Build the images alone, to push them to a registry or import them into a cluster."""
    deployment = _deployment(settings)
    deployment.rebuild = rebuild
    _do([Step("Container engine", deployment.provide_engine), Step("Images", deployment.build_images)])


@commands.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def repository(
    context: typer.Context,
    command: Annotated[str, typer.Argument(metavar="COMMAND", help="tags, rollback TAG, gc, verify or resign.")],
    settings: File = EXAMPLE,
) -> None:
    """Look after the published software stack; `sciencebox-stack COMMAND --help` tells the options."""
    deployment = _deployment(settings)
    if not deployment.settings.stack.publish.enabled:
        raise StepError(f"Nothing is published: set `stack.publish.enabled: true` in {settings} and deploy.")
    client = reach(deployment.socket)
    status = follow(client, deployment.repository_job(command, context.args), lambda line: print(line, flush=True))
    raise typer.Exit(status)


@commands.command()
def down(settings: File = EXAMPLE) -> None:
    """Stop the service and its sessions. All data stays."""
    deployment = _deployment(settings)
    _do([Step("Services", deployment.take_down)])


@commands.command()
def destroy(settings: File = EXAMPLE, yes: Yes = False) -> None:
    """Stop the service and remove its data, users' homes included."""
    deployment = _deployment(settings)
    root, name = deployment.settings.data_root, deployment.settings.name
    if not yes:
        told = f"This removes {root}: users' homes, data, accounts and the software stack."
        if links := told_links(root):
            told += f" But {links}."
        _console().print(told, highlight=False, soft_wrap=True)
        if typer.prompt(f"Type the deployment's name ({name}) to go on", default="", show_default=False) != name:
            raise StepError("Nothing was removed.")
    _do([Step("Services", deployment.take_down), Step("Data", deployment.erase)])


@commands.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The archive: FILE.tar, .tar.gz or .tar.zst.")],
    settings: File = EXAMPLE,
    *,
    state_only: Annotated[bool, typer.Option("--state-only", help="Leave out homes and datasets.")] = False,
) -> None:
    """Write accounts, secrets, homes and datasets into one archive. The service goes on."""
    wanted = _deployment(settings).settings
    name, root, target = wanted.name, wanted.data_root, target.absolute()
    _do([Step("Backup", lambda screen: backups.save(name, root, target, screen, homes=not state_only))])


@commands.command()
def restore(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` wrote.")], settings: File = EXAMPLE
) -> None:
    """Unpack a backup on a server that has no data yet; deploy brings the service up with it."""
    deployment = _deployment(settings)
    wanted = deployment.settings
    note = backups.look(archive)
    deployment.see_that_it_is_down()
    backups.check_target(wanted.name, wanted.data_root, note)
    _do([Step("Data", lambda screen: backups.restore(archive, note, wanted.data_root, screen))])
    _console().print("Now `make deploy` brings the service up with it.", highlight=False)


Chosen = Annotated[Path, typer.Option("--values", metavar="FILE", help="Values of the chart.", show_default=True)]
Namespace = Annotated[str, typer.Option(help="Of the cluster; made if it is not there.")]
Charts = Annotated[Path | None, typer.Option(metavar="FOLDER", help="The charts it depends on, without network.")]


@commands.command("deploy-k8s")
def deploy_k8s(
    values: Chosen = VALUES, namespace: Namespace = "sciencebox", charts: Charts = None, *, check: Check = False
) -> None:
    """Bring the service up on a Kubernetes cluster, or bring it to what the values say now. Sessions go on."""
    with TemporaryDirectory(prefix="sciencebox-") as work:
        release = Release(CHECKOUT, values, Tools(namespace, os.environ), Path(work), charts=charts)
        if check:
            table = release.rows()
            show.checks(table, _console())
            raise typer.Exit(1 if failures(table) else 0)
        _do(release.steps())
        show.facts(release.summary(), _console())


@commands.command("k8s-images")
def k8s_images(values: Chosen = VALUES, charts: Charts = None) -> None:
    """List the images that a release on Kubernetes needs, to mirror them."""
    with TemporaryDirectory(prefix="sciencebox-") as work:
        release = Release(CHECKOUT, values, Tools("sciencebox", os.environ), Path(work), charts=charts)
        sys.stdout.write("".join(f"{image}\n" for image in release.images()))


@commands.command()
def status(settings: File = EXAMPLE) -> None:
    """Show the service, its sessions and its GPUs."""
    if not show.status(_deployment(settings), _console()):
        raise typer.Exit(1)


@commands.command()
def doctor(settings: File = EXAMPLE) -> None:
    """Check this server, and say what to do about what is wrong."""
    loaded = load(settings)
    table = checks.rows(read_host(loaded, CHECKOUT, os.environ), loaded)
    show.checks(table, _console())
    if failures(table):
        raise typer.Exit(1)


@commands.command()
def gpus(settings: File = EXAMPLE, as_json: AsJson = False) -> None:
    """Show the GPUs of this server, their health and who uses them."""
    loaded = load(settings)
    inventory = host_gpus.in_service(loaded.data_root / "state", read_driver(loaded, os.environ).inventory)
    socket = choose_socket(loaded.engine.socket, os.environ.get("DOCKER_HOST"))
    holdings, fault = host_gpus.read_holdings(socket)
    found = host_gpus.cards(inventory, holdings)
    if as_json:
        facts = host_gpus.as_dictionary(inventory, found, fault)
        sys.stdout.write(json.dumps(facts, indent=2, default=lambda value: value.value) + "\n")
    else:
        show.gpus(inventory, found, fault, _console())
    if not inventory.readable:
        raise typer.Exit(1)


@commands.command()
def usage(
    settings: File = EXAMPLE,
    *,
    by: Annotated[usage_sums.By, typer.Option(help="What to add up.")] = "user",
    since: Annotated[str, typer.Option("--from", metavar="DAY", help="First day; by default 30 days ago.")] = "",
    until: Annotated[str, typer.Option("--to", metavar="DAY", help="Day after the last; by default now.")] = "",
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="For a spreadsheet.")] = False,
) -> None:
    """Show who used the GPUs how much."""
    end = host_usage.moment(until) if until else time.time()
    start = host_usage.moment(since) if since else end - 30 * 86400
    if start >= end:
        raise StepError("--from must be before --to.")
    leases, groups = host_usage.read(load(settings).data_root / "state/hub.sqlite", start, end)
    uses = usage_sums.summarise(leases, by, start, end, groups)
    if as_json or as_csv:
        sys.stdout.write(usage_sums.as_json(uses) + "\n" if as_json else usage_sums.as_csv(uses))
    else:
        host_usage.show(uses, by, start, end, _console())


Gpu = Annotated[str, typer.Argument(metavar="GPU", help="Its number or UUID.")]
Reason = Annotated[str, typer.Option(help="Why; users read it.")]


@commands.command()
def drain(gpu: Gpu, settings: File = EXAMPLE, *, reason: Reason) -> None:
    """Take a GPU out of service: its session goes on, and nobody else gets it."""
    _mark(gpu, settings, Health.DRAINED, reason, "is out of service")


@commands.command()
def undrain(gpu: Gpu, settings: File = EXAMPLE) -> None:
    """Put a GPU back into service."""
    _unmark(gpu, settings, Health.DRAINED, "is back in service", "was not out of service")


@commands.command()
def quarantine(gpu: Gpu, settings: File = EXAMPLE, *, reason: Reason) -> None:
    """Put a GPU that does not work well into quarantine: its session goes on, and nobody else gets it."""
    _mark(gpu, settings, Health.QUARANTINED, reason, "is in quarantine")


@commands.command()
def release(gpu: Gpu, settings: File = EXAMPLE) -> None:
    """Release a GPU from quarantine; one whose own signs are bad stays there."""
    _unmark(gpu, settings, Health.QUARANTINED, "is released", "was not put into quarantine")


def _mark(gpu: str, settings: Path, health: Health, reason: str, what: str) -> None:
    state, uuid = _state_and_uuid(gpu, settings)
    host_gpus.mark(state, uuid, health, reason)
    _console().print(f"{uuid} {what} within seconds: {reason}", highlight=False, soft_wrap=True)


def _unmark(gpu: str, settings: Path, health: Health, done: str, nothing: str) -> None:
    state, uuid = _state_and_uuid(gpu, settings)
    was = host_gpus.unmark(state, uuid, health)
    _console().print(f"{uuid} {f'{done} within seconds' if was else nothing}.", highlight=False, soft_wrap=True)


def _state_and_uuid(gpu: str, settings: Path) -> tuple[Path, str]:
    loaded = load(settings)
    return loaded.data_root / "state", host_gpus.uuid_of(read_driver(loaded, os.environ).inventory, gpu)


@settings_commands.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE")] = EXAMPLE) -> None:
    """Check a settings file."""
    load(file)
    _console().print(f"{file} is right.", highlight=False, soft_wrap=True)


@settings_commands.command()
def reference() -> None:
    """Print every key with its documentation and default, as a settings file."""
    sys.stdout.write(explain.reference(Settings.model_json_schema(), Settings().model_dump()))


@settings_commands.command()
def schema(
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Put it below `$defs` of this JSON schema instead: the chart's.")
    ] = None,
) -> None:
    """Print the JSON schema of the settings file, for editors and for the chart's values."""
    model = Settings.model_json_schema()
    if write is None:
        sys.stdout.write(json.dumps(model, indent=2) + "\n")
        return
    whole = json.loads(write.read_text(encoding="utf-8"))
    write_whole(write, json.dumps({**whole, "$defs": explain.definitions(model)}, indent=2) + "\n", mode=0o644)


def app() -> None:
    """Entry point: a failure is one sentence and a status, never a traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # else `nohup` has seen to it that the command goes on
        signal.signal(signal.SIGHUP, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a file's name may have what the terminal's encoding has not
            stream.reconfigure(errors="backslashreplace")
    try:
        commands()
    except (StepError, SettingsError, MarksError) as error:
        _console(stderr=True).print(str(error), style="red", highlight=False, soft_wrap=True)
        sys.exit(1)


def _console(*, stderr: bool = False) -> Console:
    """A terminal that shows brackets as they are: names and reasons may have them, and rich takes them for styles."""
    return Console(stderr=stderr, markup=False, emoji=False)


def _deployment(settings: Path) -> Deployment:
    if not (CHECKOUT / "deploy" / "compose" / "compose.yaml").is_file():
        raise StepError("This command needs the checkout that the service is deployed from; run it there by `make`.")
    return Deployment(load(settings), CHECKOUT, os.environ)


def _do(steps: list[Step]) -> None:
    screen = Screen(_console())
    try:
        done = run_steps(steps, screen)
    except KeyboardInterrupt:
        screen.say("Interrupted. What is finished is kept; run the same command again to go on.")
        raise typer.Exit(INTERRUPTED) from None
    if not done:
        raise typer.Exit(1)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
