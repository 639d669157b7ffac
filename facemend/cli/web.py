"""`facemend web`."""

import argparse
import importlib.util

from facemend.cli import say
from facemend.cli.options import number, whole
from facemend.errors import InputError
from facemend.extras import install_remedy

PACKAGES = ("starlette", "uvicorn")  # of the extra


def add_web_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the page's server."""
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS",
        help="address to listen on; with any but 127.0.0.1 and ::1 other machines can open the page, and need the "
        "token that is printed with its address (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--port", type=whole, default=0, metavar="N", help="port to listen on (default: any free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument(
        "--max-upload", type=number, default=100, metavar="MB", help="refuse larger files, in MB (%(default)g)"
    )


def web(options: argparse.Namespace, reporter: say.Reporter) -> None:
    """Serve the page until Ctrl-C."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise InputError(f"the page needs {' and '.join(missing)}", install_remedy("web"))
    from facemend.web.serve import serve  # imports packages that only the page needs

    def tell(address: str) -> None:
        print(f"The page is at {address}  (Ctrl-C ends it)", flush=True)

    serve(
        options.host,
        options.port,
        browser=not options.no_browser,
        max_upload=options.max_upload,
        say=tell,
    )
