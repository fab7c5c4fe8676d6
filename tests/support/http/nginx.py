"""A real nginx in front of services."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import free_port, listens, running, wait_until

CONFIGURATION = """
user root; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {http}
}}
"""
SERVER = "server {{ listen 127.0.0.1:{port}; location {prefix}/ {{ proxy_pass http://127.0.0.1:{to}{path}; }} }}"


@contextmanager
def nginx(folder: Path, prefix: str, to: int, strips: bool) -> Iterator[str]:
    """The URL below which the service on the port `to` is served; whether nginx takes the prefix away."""
    port = free_port()
    path = "/" if strips else ""  # a `proxy_pass` with a path has it take the place of the location's
    with nginx_with(folder, SERVER.format(port=port, prefix=prefix, to=to, path=path), port):
        yield f"http://127.0.0.1:{port}{prefix}"


@contextmanager
def nginx_with(folder: Path, http: str, port: int) -> Iterator[None]:
    """It runs with this content of its block `http`, which has it listen on this port."""
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, http=http))
    with running("nginx", "-p", str(folder), "-c", str(configuration), folder=folder):
        wait_until(lambda: listens(port))
        yield
