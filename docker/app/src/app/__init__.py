"""The serving application of the benchmark images."""

# First of all: it notes the state of the GIL before anything else can change it.
from app import gil  # noqa: F401
