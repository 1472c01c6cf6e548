"""The section of the settings file about people, beside `sections`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sciencebox.sections import PlainUrl, Section, UserName, matching

# The name under which the hub keeps what it asks the site's single sign-on or directory with.
DIRECTORY_SECRET = "directory_secret"  # noqa: S105 - a name
DirectoryUrl = Annotated[
    str,
    matching(
        r"^ldaps?://[A-Za-z0-9.-]+(:[0-9]+)?/?$",
        "an address such as ldaps://ldap.example.org or ldap://ldap.example.org:1389",
    ),
]
# What people of a site's directory are called: also by a mail address.
DirectoryName = Annotated[
    str,
    matching(r"^[^\s/:,A-Z]{1,255}$", "a name as the site's directory has it, in lower case"),
]


class Rights(Section):
    """With `source: oidc` or `ldap`: what people may do who sign in there. It is looked up at each sign-in."""

    groups: list[str] = Field(
        [], description="Groups whose members may use the service; empty: everybody who can sign in there."
    )
    administrators: list[DirectoryName] = Field([], description="Names of administrators.")
    administrator_groups: list[str] = Field([], description="Groups whose members are administrators.")


class Oidc(Section):
    """With `source: oidc`: the site's OpenID Connect provider, such as Keycloak or Entra ID."""

    issuer: PlainUrl | None = Field(
        None,
        description="Its address; below it is `.well-known/openid-configuration`. There, "
        "`https://HOSTNAME/hub/oauth_callback` is where people come back to.",
    )
    client_id: str = Field("", description="How the service is called there.")
    client_secret: Path | None = Field(None, description="File with the secret that goes with it.")
    title: str = Field("single sign-on", description="What the button says: `Sign in with ...`.")
    scopes: list[str] = Field(["openid", "profile", "email"], description="What the provider is asked for.")
    name_claim: str = Field(
        "preferred_username", description="The claim that is a person's name here; it must never be given to another."
    )
    groups_claim: str = Field("groups", description="The claim with the names of a person's groups, if there is one.")


class Ldap(Section):
    """With `source: ldap`: the site's directory, such as OpenLDAP or Active Directory."""

    server: DirectoryUrl | None = Field(
        None,
        description="Its address: `ldaps://`, or `ldap://` with StartTLS. Certificates are checked; this server's own "
        "authorities are trusted.",
    )
    reader: str = Field("", description="Distinguished name of the account that looks people up; empty: anonymous.")
    reader_password: Path | None = Field(None, description="File with its password.")
    user_base: str = Field("", description="Below which entry people are, such as `ou=people,dc=example,dc=org`.")
    user_attribute: str = Field(
        "uid", description="The attribute that people sign in with: `uid`, or `sAMAccountName` in Active Directory."
    )
    group_base: str = Field("", description="Below which entry groups are; empty: groups are not asked for.")
    group_attribute: str = Field("cn", description="The attribute with a group's name.")
    group_filter: str = Field(
        "(|(member={userdn})(uniqueMember={userdn}))",
        description="Which groups somebody is in: `(memberUid={uid})` for groups of POSIX; in Active Directory, "
        "`(member:1.2.840.113556.1.4.1941:={userdn})` finds groups of groups, too.",
    )

    @model_validator(mode="after")
    def _filter_can_be_filled_in(self) -> Ldap:
        try:
            self.group_filter.format(userdn="", uid="")
        except (AttributeError, IndexError, KeyError, ValueError) as error:
            raise ValueError("`group_filter` may have `{userdn}` and `{uid}`, and no other braces") from error
        return self


class Accounts(Section):
    """Who may sign in."""

    source: Literal["local", "oidc", "ldap"] = Field(
        "local",
        description="Who knows people and their passwords: `local` (this service), `oidc` (the site's single sign-on) "
        "or `ldap` (the site's directory).",
    )
    administrator: UserName = Field("admin", description="With `local`: first administrator, made by `make deploy`.")
    sign_up: bool = Field(
        True, description="With `local`: let people ask for an account; the administrator approves it."
    )
    demo_users: list[UserName] = Field([], description="With `local`: accounts made at once, for a demonstration.")
    rights: Rights = Rights()
    oidc: Oidc = Oidc()
    ldap: Ldap = Ldap()

    @property
    def secret_file(self) -> Path | None:
        """The file with the secret by which the service asks the site's directory."""
        return {"oidc": self.oidc.client_secret, "ldap": self.ldap.reader_password}.get(self.source)

    @model_validator(mode="after")
    def _is_complete(self) -> Accounts:
        if self.source == "local":
            if self.administrator in self.demo_users:
                raise ValueError(f"`demo_users` must not have the administrator, {self.administrator}")
            return self
        oidc, ldap = self.oidc, self.ldap
        needed: dict[str, dict[str, object]] = {
            "oidc": {"issuer": oidc.issuer, "client_id": oidc.client_id, "client_secret": oidc.client_secret},
            "ldap": {"server": ldap.server, "user_base": ldap.user_base},
        }
        missing = [f"`{self.source}.{key}`" for key, value in needed[self.source].items() if not value]
        if missing:
            raise ValueError(f"`source: {self.source}` needs {' and '.join(missing)}")
        if self.source == "ldap" and bool(ldap.reader) != bool(ldap.reader_password):
            raise ValueError("`ldap.reader` and `ldap.reader_password` are of use only together")
        if not (self.rights.administrators or self.rights.administrator_groups):
            raise ValueError(
                f"`source: {self.source}` needs somebody in `rights.administrators` or `rights.administrator_groups`"
            )
        if self.demo_users:
            raise ValueError(f"`demo_users` are accounts of this service; `source: {self.source}` has none")
        return self
