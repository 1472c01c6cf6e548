"""Whether this server can run the service: facts in, a table out. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sciencebox import explain
from sciencebox.host.driver import variant
from sciencebox.host.gpu_checks import gpus
from sciencebox.host.row import Row, State
from sciencebox.settings import NETWORK_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sciencebox.host.facts import Host
    from sciencebox.settings import Settings

GIB = 1024**3
LEAST_FREE = 3 * GIB  # below, a deployment stops halfway
SOON_DAYS = 7  # before a whitelist expires
SOON_RENEWED_DAYS = 14  # what an authority takes to renew a certificate, and somebody to ask it to
COMFORTABLE_FREE = 20 * GIB  # images, one release of the stack, some homes
WITH_CUDA_FREE = 35 * GIB  # the same with the release's libraries for GPUs, which are still to come
WEB = re.compile(r"https?://\S+")
ENGINES_PROXY = "docker-proxy "  # the program that holds a port for a container
LOOPBACK = ("localhost", "127.", "[::1]")


def rows(host: Host, settings: Settings) -> list[Row]:
    """The whole table."""
    return [*before_engine(host, settings), *_renewed(host), *_engine(host), *gpus(host, settings)]


def before_engine(host: Host, settings: Settings) -> list[Row]:
    """What must be right before anything is installed."""
    return [
        _system(host),
        _root(host),
        *_disk(host, settings),
        *_ports(host, settings),
        _clock(host),
        *_network(host),
        _proxies(host),
        *_other_proxies(host, settings),
        _certificates(host),
        *_files(host),
        *_certificate(host),
        *_confinement(host),
        *_stack(host, settings),
        *_directory(host, settings),
    ]


def _system(host: Host) -> Row:
    system = host.system
    if system.machine != "x86_64":
        return Row("System", State.FAILED, f"{system.name}, {system.machine}", "The images are for x86_64 only.")
    if system.has_apt or (host.engine.answers and host.compose):
        return Row("System", State.OK, system.name)
    advice = "Install Docker Engine and Compose by this system's own means; packages are installed by apt only."
    return Row("System", State.WARNING, system.name, advice)


def _root(host: Host) -> Row:
    if host.root:
        return Row("Rights", State.OK, "root")
    return Row("Rights", State.FAILED, "not root", "Run this as root, or install sudo.")


def _disk(host: Host, settings: Settings) -> Iterator[Row]:
    for folder, free in host.free.items():
        enough = COMFORTABLE_FREE
        if folder == str(settings.data_root) and not host.views and _gets_cuda(host, settings):
            enough = WITH_CUDA_FREE
        found = f"{free / GIB:.0f} GiB free for {folder}"
        if free < LEAST_FREE:
            advice = f"Free at least {explain.size(LEAST_FREE)} there, or choose another disk (`data_root`)."
            yield Row("Disk", State.FAILED, found, advice)
        elif free < enough:
            yield Row("Disk", State.WARNING, found, f"{explain.size(enough)} are comfortable.")
        else:
            yield Row("Disk", State.OK, found)


def _gets_cuda(host: Host, settings: Settings) -> bool:
    """Whether a release for GPUs is built here."""
    return settings.stack.source == "local" and variant(settings, host.driver) == "cuda"


def _ports(host: Host, settings: Settings) -> Iterator[Row]:
    server, monitoring = settings.server, settings.monitoring
    keys = {monitoring.port: "monitoring.port"} if monitoring.enabled else {}
    if settings.stack.publish.enabled:
        keys[settings.stack.publish.port] = "stack.publish.port"
    keys |= {server.https_port: "server.https_port", server.http_port: "server.http_port"}
    for use in host.ports:
        if use.holder and not use.ours:
            advice = f"Stop it, or set another `{keys[use.port]}`."
            if not host.engine.answers and use.holder.startswith(ENGINES_PROXY):  # for a container, whose nobody knows
                advice = (
                    f"The container engine does not answer: {host.engine.fault}. `systemctl restart docker` may help."
                )
            yield Row("Port", State.FAILED, f"{use.port} is taken by {use.holder}", advice)
        else:
            yield Row("Port", State.OK, f"{use.port} is {'ours already' if use.ours else 'free'}")


def _clock(host: Host) -> Row:
    clock = host.clock
    if clock.now < clock.newest_file - 86400:
        advice = "Set the clock: certificates and packages would be refused as not valid yet."
        return Row("Clock", State.FAILED, "behind the files of this checkout", advice)
    if clock.synchronised is False:
        advice = "Install a time service, such as `apt-get install systemd-timesyncd`."
        return Row("Clock", State.WARNING, "not synchronised", advice)
    return Row("Clock", State.OK, "synchronised" if clock.synchronised else "plausible")


def _network(host: Host) -> Iterator[Row]:
    if host.only_ipv6:
        found = "this server reaches others by IPv6 alone, and containers do by IPv4 alone"
        advice = "Give it IPv4, be it translated (464XLAT); else images cannot be built, and sessions reach nothing."
        yield Row("Network", State.WARNING, found, advice)


def _proxies(host: Host) -> Row:
    told = {name: value for name, value in host.network.items() if name.endswith("_PROXY")}
    shown = ", ".join(f"{name}={without_password(value)}" for name, value in told.items())
    for name, value in host.network.items():
        if name != "NO_PROXY" and not WEB.fullmatch(value):  # of the environment; the hub would refuse its settings
            advice = f"It must begin with http:// or https://; correct it, or set `network.{NETWORK_VARIABLES[name]}`."
            return Row("Proxies", State.FAILED, f"{name}={without_password(value)}", advice)
    for name, value in host.network.items():
        if name != "NO_PROXY" and _is_loopback(value):
            advice = f"Containers cannot reach {name} at a loopback address; give this server's address in `network`."
            return Row("Proxies", State.WARNING, f"{name}={without_password(value)}", advice)
    return Row("Proxies", State.OK, shown or "none")


def _other_proxies(host: Host, settings: Settings) -> Iterator[Row]:
    """What sessions have from the environment of who deployed last, where that of who calls now is another one."""
    if host.deployed_network is None:
        return
    for name, key in NETWORK_VARIABLES.items():
        had, has = (network.get(name, "") for network in (host.deployed_network, host.network))
        if had == has or getattr(settings.network, key):
            continue
        now, before = (without_password(value) or "none" for value in (has, had))
        found = f"{name} is {now} in this environment, and {before} for sessions"
        advice = f"A deployment gives sessions that of its environment; set `network.{key}`, and they keep it."
        yield Row("Proxies", State.WARNING, found, advice)


def _certificates(host: Host) -> Row:
    names = ", ".join(host.certificates)
    return Row("Certificates", State.OK, f"images trust those of this server too: {names}" if names else "Debian's own")


def _files(host: Host) -> Iterator[Row]:
    for file in host.unreadable:
        yield Row("Files", State.FAILED, f"{file} of the settings cannot be read", "Correct its path or its rights.")


def _certificate(host: Host) -> Iterator[Row]:
    """The one of `tls: files`. An expired one stops nobody: browsers warn, and sessions go on."""
    found = host.certificate
    if not found:
        return
    if found.fault:
        yield Row("Certificate", State.FAILED, found.fault, "Correct `server.certificate` and `server.key`.")
    elif found.expires is not None:
        days = (found.expires - host.clock.now) / 86400
        if days > SOON_RENEWED_DAYS:
            yield Row("Certificate", State.OK, f"valid for {days:.0f} days")
        else:
            told = f"expires in {days:.0f} days" if days > 0 else "has expired"
            advice = "Renew it and run `make deploy`; browsers warn of an expired one."
            yield Row("Certificate", State.WARNING, told, advice)


def _confinement(host: Host) -> Iterator[Row]:
    if "selinux" in host.engine.security:
        advice = 'Set `"selinux-enabled": false` in its `daemon.json`, unless a policy of the site lets them.'
        yield Row("Engine", State.WARNING, "SELinux keeps containers from this server's files", advice)


def _renewed(host: Host) -> Iterator[Row]:
    if host.certificate and host.certificate.renewed and not host.certificate.fault:
        yield Row("Certificate", State.WARNING, "the service has another one still", "Run `make deploy`.")


def _stack(host: Host, settings: Settings) -> Iterator[Row]:
    """Where the stack comes from another server, or is published for others. What is built here has its own step."""
    stack = settings.stack
    if stack.source == "client":
        if not host.propagates:
            advice = f"Run `mount --bind {stack.mount} {stack.mount}` and `mount --make-rshared {stack.mount}` at boot."
            here = "this server" if stack.client.enabled else "containers"
            yield Row("Stack", State.FAILED, f"mounts below {stack.mount} do not reach {here}", advice)
        if stack.client.enabled and not host.fuse:
            yield Row("Stack", State.FAILED, "there is no /dev/fuse, so nothing can be mounted", "Run `modprobe fuse`.")
        seen = sorted({view.path.split("/")[2] for view in host.views})
        absent = sorted(set(stack.mounted) - set(seen)) if stack.client.enabled else []
        if host.stack_fault:
            yield Row("Stack", State.WARNING, host.stack_fault.rstrip("."), _mend_mount(settings, seen))
        elif absent:
            found = f"no release is found at {_below_cvmfs(absent)}"
            yield Row("Stack", State.WARNING, found, _mend_mount(settings, seen))
        if seen:
            yield Row("Stack", State.OK, f"mounted at {_below_cvmfs(seen)}")
    if not stack.publish.enabled or host.whitelist_expires is None:
        return
    days = (host.whitelist_expires - host.clock.now) / 86400
    if days < SOON_DAYS:
        found = f"its whitelist expires in {days:.0f} days" if days > 0 else "its whitelist has expired"
        resign = "Run `make repository ARGS=resign`, or `sciencebox-stack resign` where the master key is"
        advice = f"{resign}; else clients refuse it."
        yield Row("Repository", State.WARNING if days > 0 else State.FAILED, found, advice)
    else:
        yield Row("Repository", State.OK, f"whitelist valid for {days:.0f} days")


def _below_cvmfs(repositories: Iterable[str]) -> str:
    return ", ".join(f"/cvmfs/{name}" for name in repositories)


def _mend_mount(settings: Settings, seen: Sequence[str]) -> str:
    """What to do where a repository is not mounted, though those `seen` are."""
    stack = settings.stack
    if stack.client.enabled:
        return "`make deploy` starts the service that mounts it; if it runs, `docker logs` of `client` says more."
    absent = " ".join(name for name in dict.fromkeys((stack.repository, *stack.more)) if name not in seen)
    until_then = "only the kernels of the others" if seen else "no kernels"
    return f"See what `cvmfs_config probe {absent}` says; until then sessions have {until_then}."


def _directory(host: Host, settings: Settings) -> Iterator[Row]:
    """Who signs people in, where that is not the service itself. The service starts without it, too."""
    source = settings.accounts.source
    if host.directory_fault:
        advice = f"See `accounts.{source}`; until it answers nobody can sign in."
        yield Row("Accounts", State.WARNING, host.directory_fault, advice)
    elif source != "local":
        yield Row("Accounts", State.OK, f"{settings.accounts.oidc.issuer or settings.accounts.ldap.server} answers")


def _engine(host: Host) -> Iterator[Row]:
    engine, compose = host.engine, host.compose
    if engine.unfit:
        yield Row("Engine", State.FAILED, *engine.unfit)
    elif engine.answers:
        yield Row("Engine", State.OK, f"Docker {engine.version} at {engine.socket}")
    elif engine.installed:
        advice = "Start it (`systemctl start docker`), or let `make deploy` do it."
        yield Row("Engine", State.FAILED, f"does not answer: {engine.fault}", advice)
    else:
        yield Row("Engine", State.FAILED, "not installed", "`make deploy` installs it.")
    if compose:
        yield Row("Compose", State.OK, f"{' '.join(compose.command)} {compose.version}")
    else:
        yield Row("Compose", State.FAILED, "none, or older than 1.29", "`make deploy` installs it.")


def without_password(url: str) -> str:
    """A proxy's address as it may be shown."""
    parts = urlsplit(url)
    if not parts.netloc:  # as it may be written for a proxy, too
        return url.rsplit("@", 1)[-1]
    return parts._replace(netloc=parts.netloc.rsplit("@", 1)[-1]).geturl()


def _is_loopback(url: str) -> bool:
    return without_password(url).rpartition("//")[2].startswith(LOOPBACK)
