"""The whole stack in its order: checks, export, Triton with its models, frontend; and back again."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedded import address, exporter, orphans, preflight, repository, shm, stack_file, triton_process, triton_tree
from embedded.child import Child, ChildSpec
from embedded.identity import Identity
from embedded.lock import StateLock
from embedded.phases import Phases
from embedded.refusal import Refusal
from embedded.server import Server, ServerDied, ServerPlan
from embedded.stack_file import StackFile
from embedded.supervisor import Supervised, Supervisor
from embedded.triton_process import ADDRESS, TritonOptions, TritonPorts
from frontend.settings import Settings

FRONTEND_GRACE = 5.0
FRONTEND_TIMEOUT = 60.0
REPEATED_STARTS = 3  # of a server that dies while it loads its models


@dataclass(frozen=True)
class StackOptions:
    """What differs from a full start: a repository made elsewhere, no frontend."""

    repository: Path | None = None
    frontend: bool = True


class Stack:
    """One stack on one state directory; `stop` is safe at any point of `start`."""

    def __init__(self, settings: Settings, options: StackOptions, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.options = options
        self.identity = Identity.of(settings.state)
        self.phases = Phases()
        self._say = say
        self._lock: StateLock | None = None
        self._parts: Supervised | None = None
        self._server: Server | None = None
        self._frontend: Child | None = None
        self._plan: ServerPlan | None = None

    @property
    def grpc_address(self) -> str:
        return f"{ADDRESS}:{self.settings.triton_grpc_port}"

    @property
    def api(self) -> str:
        return address.url(self.settings.host, self.settings.port)

    @property
    def chat(self) -> str:
        return address.url(self.settings.chat_host, self.settings.chat_port)

    @property
    def late(self) -> list[str]:
        """Names of the models that are loaded when all others are up."""
        return [] if self._plan is None else [model.name for model in self._plan.late]

    def start(self) -> StackFile:
        """Everything up and answering; Refusal with one line for whatever stands against it."""
        with self.phases.phase("checks"):
            tree = self._check()
        folder = self.options.repository
        if folder is None:
            with self.phases.phase("export"):
                folder = exporter.run(self.settings, self.identity, self._say)
        self._plan = self._plan_server(tree, folder.resolve())
        with self.phases.phase("triton"):
            self._server = Server(self._plan)
            self._server.wait_live()
        with self.phases.phase("models"):
            self._load_models(self._server)
        if self.options.frontend:
            with self.phases.phase("frontend"):
                self._frontend = self._start_frontend()
                self._wait_frontend(self._frontend)
        running = StackFile(
            pid=os.getpid(), api=self.api if self.options.frontend else "",
            chat=self.chat if self.options.frontend else "",
            triton_http=f"{ADDRESS}:{self.settings.triton_http_port}", triton_grpc=self.grpc_address,
            triton_metrics=f"{ADDRESS}:{self.settings.triton_metrics_port}",
            repository=str(folder.resolve()), shm_prefix=self.identity.shm_prefix,
        )
        running.write(self.identity.state)
        return running

    def _check(self) -> triton_tree.TritonTree:
        settings = self.settings
        preflight.check_libpython()
        paths = {"ACESTEP_BUILD": settings.build.resolve()}
        if self.options.repository is not None:
            paths["--repository"] = self.options.repository.resolve()
        preflight.check_paths(paths)
        preflight.check_shared_memory()
        if settings.device == "cuda" and not triton_process.gpu_present():
            raise Refusal("ACESTEP_DEVICE=cuda: no NVIDIA GPU with the package onnxruntime-gpu here; use auto or cpu")
        preflight.check_lm_device(settings)
        tree = triton_tree.assemble(settings.build)
        preflight.check_libraries(tree, triton_process.environment(tree, os.environ))
        self._lock = StateLock(self.identity.state)
        if killed := orphans.reap(self.identity):
            self._say(f"ended {len(killed)} process(es) that an earlier stack left behind")
        stack_file.remove(self.identity.state)
        shm.clean(self.identity.shm_prefix)
        preflight.check_ports(self._ports())
        return tree

    def _ports(self) -> dict[str, tuple[str, int]]:
        settings = self.settings
        ports = {
            "TRITON_HTTP_PORT": (ADDRESS, settings.triton_http_port),
            "TRITON_GRPC_PORT": (ADDRESS, settings.triton_grpc_port),
            "TRITON_METRICS_PORT": (ADDRESS, settings.triton_metrics_port),
        }
        if not self.options.frontend:
            return ports
        return {
            "ACESTEP_API_PORT": (settings.host, settings.port),
            "OPENROUTER_PORT": (settings.chat_host, settings.chat_port), **ports,
        }

    def _plan_server(self, tree: triton_tree.TritonTree, folder: Path) -> ServerPlan:
        settings = self.settings
        ports = TritonPorts(settings.triton_http_port, settings.triton_grpc_port, settings.triton_metrics_port)
        options = TritonOptions(
            repository=folder, ports=ports, gpu=settings.device != "cpu" and triton_process.gpu_present(),
            log=self.identity.state / "logs" / "triton.log", lm_cpu_kv_gib=settings.lm_cpu_kv_gib,
        )
        # Of a repository that was made elsewhere all is served; of ours what the setting says.
        engines = settings.lm_backend if self.options.repository is None else "both"
        return ServerPlan(
            spec=triton_process.triton(tree, options, self.identity), address=self.grpc_address,
            models=repository.models(folder), late=repository.late_models(folder, engines), identity=self.identity,
        )

    def _load_models(self, server: Server) -> None:
        """Triton 2.51 dies of a stub that gets no processor for a second while it starts: such a start is repeated."""
        assert self._plan is not None
        for _ in range(REPEATED_STARTS):
            try:
                server.load_all(self._say_of_triton)
                return
            except ServerDied as died:
                self._say_of_triton(f"{died}: starting it again")
                server.stop()
                server = self._server = Server(self._plan)
                server.wait_live()
        server.load_all(self._say_of_triton)

    def _say_of_triton(self, text: str) -> None:
        self._say(f"triton: {text}")

    def _new_server(self) -> Server:
        """A server in the place of a dead one, models loaded."""
        assert self._plan is not None
        self._server = Server(self._plan)
        try:
            self._server.wait_live()
            self._server.load_all(lambda text: None)
        except Refusal:
            self._server.stop()
            raise
        return self._server

    def _start_frontend(self) -> Child:
        env = {**triton_process.MALLOC, **os.environ, **self.settings.environment(),
               "PYTHONPATH": str(exporter.SOURCE_ROOT), "PYTHONUNBUFFERED": "1"}
        log = self.identity.state / "logs" / "frontend.log"
        self._frontend = Child(ChildSpec("frontend", [sys.executable, "-m", "frontend"], env, log), self.identity)
        return self._frontend

    def _wait_frontend(self, child: Child) -> None:
        deadline = time.monotonic() + FRONTEND_TIMEOUT
        while (problem := _not_ready(self.api)) is not None:
            log = child.spec.log
            if child.exit_code is not None:
                raise Refusal(f"the frontend ended at start: {_last_line(log)} (log: {log})")
            if time.monotonic() > deadline:
                raise Refusal(f"the frontend is not ready after {FRONTEND_TIMEOUT:.0f} s: {problem} (log: {log})")
            time.sleep(0.05)

    def supervise(self, check: Callable[[], None]) -> None:
        """Watches, calling `check` between two looks, until an exception ends it."""
        assert self._server is not None
        parts = Supervised(self._server, self._frontend, self._new_server, self._start_frontend)
        Supervisor(parts, self.grpc_address, lambda text: self._say(f"supervisor: {text}")).watch(check)

    def stop(self) -> None:
        """Within 15 s: no process and no shared memory of this stack is left."""
        if self._lock is None:
            return
        stack_file.remove(self.identity.state)
        if self._frontend:
            self._frontend.stop(FRONTEND_GRACE)
        if self._server:
            self._server.stop()
        orphans.reap(self.identity, timeout=2.0)
        shm.clean(self.identity.shm_prefix)
        self._lock.release()
        self._lock = None


def _not_ready(api: str) -> str | None:
    """None when the frontend says it is ready, else why not."""
    connection = http.client.HTTPConnection(api.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(500).decode(errors="replace")
    except OSError as error:
        return str(error)
    finally:
        connection.close()
    return None if answer.status == 200 else body


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing in its log"
