"""The keys of payment providers: each project has its own, encrypted, and shown by its last four characters (C12)."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import Path, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from adapters.payments.registry import KEYED
from adapters.payments.stripe import KeyCheck
from adapters.postgres.payments import credential_store, payment_store
from adapters.postgres.payments.credential_store import Credential, NewCredential
from api.http.answers import Answer
from api.http.deps import CallerDep, DatabaseDep, ProvidersDep
from api.http.responses import no_content, reply
from api.http.routing import resource_router
from models.problems import invalid, not_found

router = resource_router("Payment Providers")

ProviderName = Annotated[str, Path(max_length=50, examples=["stripe"])]
_MODE: Final = "wrong_key_mode"


class ProviderKeyBody(BaseModel):
    """A secret or restricted key of the provider's account, in the mode of the project's environment."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"secret_key": "rk_test_51Pabc0123456789abcdefghi"}]}
    )

    secret_key: SecretStr = Field(min_length=16, max_length=255)


class PaymentProviderAnswer(Answer):
    """A provider that the project has a key of; the key itself is never shown again."""

    provider: str
    mode: str = Field(description="`live` or `test`, as the project's environment.")
    secret_key: str = Field(description="Masked: its last four characters.", examples=["...fghi"])
    account_id: str | None = Field(description="The provider's account; null when the key may not read it.")
    verified_at: datetime | None = Field(description="When the provider last took the key; null if it was not asked.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, credential: Credential) -> "PaymentProviderAnswer":
        """Return the document of a credential."""
        return cls(
            provider=credential.provider,
            mode=credential.mode,
            secret_key=f"...{credential.last_four}",
            account_id=credential.account_id,
            verified_at=credential.verified_at,
            created_at=credential.created_at,
            updated_at=credential.updated_at,
        )


class ProviderTestAnswer(Answer):
    """Whether the provider takes the key; `ok` is null when it could not be asked."""

    ok: bool | None
    account_id: str | None
    message: str | None


def _keyed(provider: str) -> str:
    if provider not in KEYED:
        raise not_found("payment_provider", provider)
    return provider


@router.put(
    "/payment_providers/{provider}",
    response_model=PaymentProviderAnswer,
    operation_id="set_payment_provider_key",
    summary="Set payment provider key",
)
async def set_payment_provider_key(
    provider: ProviderName, body: ProviderKeyBody, caller: CallerDep, database: DatabaseDep, providers: ProvidersDep
) -> Response:
    """Save the project's key, or replace it; it is tried at the provider first, which makes nothing there.

    A live project takes live keys, a test project test keys alone: 422 `wrong_key_mode`. A key that the provider
    refuses is 422 `key_refused`; one that could not be tried is saved with `verified_at` null.
    """
    caller.require("ADMIN")
    key = body.secret_key.get_secret_value()
    mode = KEYED[_keyed(provider)].key_mode(key)
    if mode is None:
        raise invalid("secret_key", "must be a secret or restricted key: sk_live_, rk_live_, sk_test_ or rk_test_")
    async with database.transaction(caller.scope) as connection:
        environment = "live" if await payment_store.is_live(connection, caller.project_id) else "test"
    if mode != environment:
        raise invalid("secret_key", f"is a {mode} key; a {environment} project takes {environment} keys alone", _MODE)
    sealed = providers.seal(caller.scope, provider, key)
    check = await providers.with_key(provider, key).check_key()
    if check.ok is False:
        raise invalid("secret_key", f"is refused by {provider}: {check.message}", "key_refused")
    new = NewCredential(
        provider=provider,
        mode=mode,
        sealed_key=sealed,
        last_four=key[-4:],
        account_id=check.account_id,
        verified=bool(check.ok),
    )
    async with caller.begin(database) as tx:
        saved = await credential_store.save(tx, new)
    return reply(PaymentProviderAnswer.of(saved))


@router.get(
    "/payment_providers",
    response_model=list[PaymentProviderAnswer],
    operation_id="list_payment_providers",
    summary="List payment providers",
)
async def list_payment_providers(caller: CallerDep, database: DatabaseDep) -> Response:
    """List the providers that the project has a key of."""
    async with database.transaction(caller.scope) as connection:
        found = await credential_store.listed(connection, caller.project_id)
    return reply([PaymentProviderAnswer.of(each) for each in found])


@router.get(
    "/payment_providers/{provider}",
    response_model=PaymentProviderAnswer,
    operation_id="get_payment_provider",
    summary="Get payment provider",
)
async def get_payment_provider(provider: ProviderName, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read what is known of the project's key; 404 without one."""
    async with database.transaction(caller.scope) as connection:
        found = await credential_store.required(connection, caller.project_id, _keyed(provider))
    return reply(PaymentProviderAnswer.of(found))


@router.post(
    "/payment_providers/{provider}/test",
    response_model=ProviderTestAnswer,
    operation_id="test_payment_provider_key",
    summary="Test payment provider key",
)
async def check_payment_provider_key(
    provider: ProviderName, caller: CallerDep, database: DatabaseDep, providers: ProvidersDep
) -> Response:
    """Ask the provider whether it takes the project's key; nothing is made or changed there."""
    caller.require("ADMIN")
    async with database.transaction(caller.scope) as connection:
        found = await credential_store.required(connection, caller.project_id, _keyed(provider))
    check: KeyCheck = await providers.opened(caller.scope, found).check_key()
    return reply(ProviderTestAnswer.model_validate(check))


@router.delete(
    "/payment_providers/{provider}",
    status_code=204,
    operation_id="delete_payment_provider_key",
    summary="Delete payment provider key",
)
async def delete_payment_provider_key(provider: ProviderName, caller: CallerDep, database: DatabaseDep) -> Response:
    """Forget the project's key; 409 `payments_open` while a charge with it is under way."""
    caller.require("ADMIN")
    async with caller.begin(database) as tx:
        await credential_store.remove(tx, _keyed(provider))
    return no_content()
