"""Image token pruning for vLLM, as a plugin: docs/serving.md.

Nothing here is imported unless vLLM loads its plugins; `vllm` itself is imported only where pruning
was asked for.
"""
