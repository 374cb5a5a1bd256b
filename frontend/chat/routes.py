"""Routes of the OpenRouter-compatible API: thin, one line of thought each."""

from __future__ import annotations

from quart import Blueprint, Quart, Response, request

from frontend.answers import json_response, new_app
from frontend.cors import open_to
from frontend.health import health as healthy
from frontend.json_line import one_line
from frontend.keys import guard
from frontend.native.lm import needs_lm
from frontend.openapi.chat import describe
from frontend.openapi.routes import documentation
from frontend.origins import Origins
from frontend.paced import chunks
from frontend.services import Services
from frontend.uploads import FIELDS, Files
from frontend.watch import watch

from .body import name_audio, read_body
from .errors import error_body
from .fields import read
from .files import spliced
from .form import read_form
from .messages import deciding_message
from .models import openai_list, openrouter_list, retrieved
from .reply import Completion, completion
from .request import chat_work, read_wish
from .song import Song
from .stream import CONTENT_TYPE, HEADERS, stream
from .tether import Tether
from .unread import unread


def create_app(services: Services) -> Quart:
    """The app of the OpenRouter-compatible API's port."""
    app = new_app("chat", error_body)
    watch(app, services.meter)
    open_to(app, Origins.of(services.settings.cors_origins, services.settings.chat_host))
    guard(app, services.settings.api_key)
    tether = Tether(services)
    app.after_serving(tether.settle)
    app.register_blueprint(_chat(services, tether))
    app.register_blueprint(documentation(describe()))
    return app


def _chat(services: Services, tether: Tether) -> Blueprint:
    routes = Blueprint("chat", __name__)
    text_limit, upload_limit = services.settings.max_json_mb << 20, services.settings.max_upload_mb << 20

    @routes.post("/v1/chat/completions")
    @routes.post("/api/v1/chat/completions")
    async def create() -> Response:
        catalogue = services.require_catalogue()
        await services.require_room()
        async with services.uploads.intake() as intake:
            body = await read_body(chunks(request, upload_limit), text_limit, intake)
            fields, message = read(body.values), deciding_message(body.values.get("messages"))
            await name_audio(message.audio, fields["task_type"], body, intake)
            wish = read_wish(fields, message.text)
            form = read_form(body.values, fields, is_openrouter=request.path.startswith("/api/"))
            came = Files(await intake.measure(), dict.fromkeys(FIELDS, "input_audio"))
            work = chat_work(fields, wish, came, catalogue, defaults=services.defaults,
                             unread=unread(body.values, fields, message))
            if needs_lm(work.song):
                services.require_lm(work.song["lm_engine"])
            job = await tether.submit(work, intake)
        reply, song = Completion(fields["model"], wish.prompt, form), Song(services, job)
        if fields["stream"]:
            response = Response(stream(reply, song), headers=HEADERS, content_type=CONTENT_TYPE)
        else:
            made = await song.made()
            files = await song.files(made)
            text = one_line(completion(reply, made, files))
            response = Response(spliced(text, files), content_type="application/json")
            response.content_length = len(text.encode()) + sum(file.grows_by() for file in files)
        response.timeout = None  # a song may take longer than the minute that answers have otherwise
        return response

    @routes.get("/api/v1/models")
    async def documented_models() -> Response:
        return json_response(openrouter_list(services.require_catalogue()))

    @routes.get("/v1/models")
    async def models() -> Response:
        return json_response(openai_list(services.require_catalogue()))

    @routes.get("/v1/models/<path:model_id>")
    @routes.get("/api/v1/models/<path:model_id>")
    async def model(model_id: str) -> Response:
        return json_response(retrieved(services.require_catalogue(), model_id))

    @routes.get("/health")
    async def health() -> Response:
        return healthy("ACE-Step OpenRouter API")

    return routes
