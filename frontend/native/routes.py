"""Routes of the native API: thin, one line of thought each."""

from __future__ import annotations

from quart import Blueprint, Quart, Response, request

from frontend.answers import json_response, new_app
from frontend.audio.serve import serve_file
from frontend.cors import open_to
from frontend.errors import RequestError
from frontend.health import health as healthy
from frontend.jobs.job import Job
from frontend.keys import guard
from frontend.openapi.native import describe
from frontend.openapi.routes import documentation
from frontend.origins import Origins
from frontend.services import Services
from frontend.watch import watch

from .accept import accept
from .fields import read
from .jobs import jobs
from .metrics import metrics
from .models import models
from .not_used import name_unread
from .sample import accept_random
from .tasks import tasks


def create_app(services: Services) -> Quart:
    """The app of the native API's port."""
    app = new_app("native")
    watch(app, services.meter)
    open_to(app, Origins.of(services.settings.cors_origins, services.settings.host))
    guard(app, services.settings.native_api_key)
    name_unread(app)
    app.register_blueprint(_native(services))
    app.register_blueprint(models(services))
    app.register_blueprint(jobs(services))
    app.register_blueprint(tasks(services))
    app.register_blueprint(metrics(services))
    app.register_blueprint(documentation(describe(with_list=bool(services.settings.native_api_key))))
    app.register_blueprint(_probes(services))
    return app


def _native(services: Services) -> Blueprint:
    routes = Blueprint("native", __name__)

    @routes.post("/v1/music/generate")
    async def generate() -> Response:
        return _submitted(await accept(request, services, read))

    @routes.post("/v1/music/random")
    async def random() -> Response:
        return _submitted(await accept_random(request, services))

    @routes.get("/v1/audio")
    async def audio() -> Response:
        path = request.args.get("path")
        if not path:
            raise RequestError(400, "path: is missing")
        # Only ever compared with the paths of files that we made, never opened.
        file = await services.store.find_audio(path)
        if file is None:
            raise RequestError(404, "Audio file not found")
        return await serve_file(request, services.folders.audio / file.file, file.audio_format)

    return routes


def _submitted(job: Job) -> Response:
    return json_response({"job_id": job.id, "status": str(job.state), "queue_position": job.position})


def _probes(services: Services) -> Blueprint:
    routes = Blueprint("probes", __name__)

    @routes.get("/health")
    async def health() -> Response:
        return healthy("ACE-Step API")

    @routes.get("/livez")
    async def livez() -> Response:
        return json_response({"status": "ok"})

    @routes.get("/readyz")
    async def readyz() -> Response:
        readiness = await services.readiness()
        if readiness.missing or services.catalogue is None:
            body = {"status": "not ready", "missing": list(readiness.missing), "lm": readiness.lm}
            return json_response(body, 503, {"Retry-After": "5"})
        names = [model.name for model in services.catalogue.models]
        return json_response({"status": "ok", "models": names, "lm": readiness.lm})

    return routes
