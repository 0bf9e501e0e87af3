"""The tests below `live/` need vLLM: `make test-vllm`."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("vllm") else ["live"]
