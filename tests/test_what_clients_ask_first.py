"""What clients ask before anything else, as they know it: the models, one of them, whether we are up."""

# mypy: allow-untyped-calls

import openai
import pytest

from frontend.chat.routes import create_app as create_chat
from frontend.native.routes import create_app
from frontend.services import Services
from frontend.settings import resolve
from tests.serving import served
from tests.test_native_fields import BOTH


@pytest.fixture
async def services(tmp_path):
    async with Services(resolve({"state": str(tmp_path), "triton_url": "127.0.0.1:9"}, {}, {})) as running:
        running.catalogue = BOTH
        yield running


@pytest.fixture
async def native(services):
    async with served(create_app(services)) as client:
        yield client


@pytest.fixture
async def chat(services):
    async with served(create_chat(services)) as client:
        yield client


async def test_the_list_serves_clients_of_both_kinds(native):
    listed = (await native.get("/v1/models")).json()
    assert list(listed) == ["models", "default_model", "object", "data"]
    assert [model["name"] for model in listed["models"]] == ["tiny-turbo", "tiny-base"]
    assert (listed["default_model"], listed["object"]) == ("tiny-turbo", "list")
    assert [list(model)[:4] for model in listed["data"]] == [["id", "object", "created", "owned_by"]] * 2
    first = listed["data"][0]
    assert (first["id"], first["object"], first["owned_by"]) == ("tiny-turbo", "model", "acemusic")
    assert isinstance(first["created"], int)


@pytest.mark.parametrize(("asked", "found"), [
    ("tiny-turbo", "tiny-turbo"), ("tiny-base", "tiny-base"), ("acestep-v15-turbo", "tiny-turbo")])
async def test_openais_sdk_retrieves_a_native_model(native, asked, found):
    async with openai.AsyncOpenAI(base_url=f"{native.base_url}/v1", api_key="none", max_retries=0) as sdk:
        assert {model.id for model in (await sdk.models.list()).data} == {"tiny-turbo", "tiny-base"}
        model = await sdk.models.retrieve(asked)
        assert (model.id, model.object, model.owned_by) == (found, "model", "acemusic")
        for unknown in ("gpt-4", "openai/gpt-4", "acemusic/tiny-turbo"):
            with pytest.raises(openai.NotFoundError) as error:
                await sdk.models.retrieve(unknown)
            assert error.value.response.json() == {
                "detail": "Model not found; these are served: tiny-turbo, tiny-base"}


DOCUMENTED = "acemusic/acestep-v1.5-turbo"


@pytest.mark.parametrize("base", ["/v1", "/api/v1"])
@pytest.mark.parametrize(("asked", "found"), [
    (DOCUMENTED, DOCUMENTED), ("acestep-v1.5-turbo", DOCUMENTED), ("acemusic/tiny-base", "acemusic/tiny-base"),
    ("tiny-base", "acemusic/tiny-base"), ("acestep/acestep-v15-turbo", "acemusic/tiny-turbo")])
async def test_openais_sdk_retrieves_a_chat_model(chat, base, asked, found):
    async with openai.AsyncOpenAI(base_url=f"{chat.base_url}{base}", api_key="none", max_retries=0) as sdk:
        model = await sdk.models.retrieve(asked)
        listed = [model for model in (await sdk.models.list()).data if model.id == found]
        assert [model] == listed
        for unknown in ("gpt-4", "acemusic/", "tiny-base/x"):
            with pytest.raises(openai.NotFoundError) as error:
                await sdk.models.retrieve(unknown)
            assert error.value.type == "not_found_error"


@pytest.mark.parametrize("escaped", ["acemusic%2Ftiny-base", "acemusic/tiny-base"])
async def test_a_slash_may_be_escaped_or_not(chat, escaped):
    assert (await chat.get(f"/v1/models/{escaped}")).json()["id"] == "acemusic/tiny-base"


async def test_before_the_models_are_known(services, native, chat):
    services.catalogue = None
    for client, path in ((native, "/v1/models/x"), (chat, "/v1/models/x"), (chat, "/api/v1/models/x")):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


async def test_health_is_understood_by_clients_of_both_kinds(native, chat):
    for client, service in ((native, "ACE-Step API"), (chat, "ACE-Step OpenRouter API")):
        health = (await client.get("/health")).json()
        said = {"status": "ok", "service": service, "version": "1.0"}
        assert list(health) == ["status", "service", "version", "code", "data"]
        assert health == {**said, "code": 200, "data": said}
