"""What the plugin overrides, calls or relies on in vLLM, by release: see `evidence`.

name: {release: (names of the arguments, hash of the tokens)}.
"""

# ruff: noqa: E501
from __future__ import annotations

KNOWN: dict[str, dict[str, tuple[str, str]]] = {
    "vllm.config.multimodal:MultiModalConfig.is_multimodal_pruning_enabled": {
        "0.32": ("(self)", "a815ebd7928a74ae"),
        "0.33": ("(self)", "a815ebd7928a74ae"),
    },
    "vllm.config.model:ModelConfig.uses_mrope": {
        "0.32": ("(self)", "b92421932670dfe0"),
        "0.33": ("(self)", "b92421932670dfe0"),
    },
    "vllm.config.model:ModelConfig.mrope_num_dims": {
        "0.32": ("(self)", "bbef39fe1a2678cf"),
        "0.33": ("(self)", "bbef39fe1a2678cf"),
    },
    "vllm.distributed.parallel_state:get_tp_group": {
        "0.32": ("()", "6197f89cd9d2e82e"),
        "0.33": ("()", "6197f89cd9d2e82e"),
    },
    "vllm.distributed.parallel_state:GroupCoordinator.broadcast": {
        "0.32": ("(self, input_, src)", "4408ee77eb09fd6e"),
        "0.33": ("(self, input_, src)", "4408ee77eb09fd6e"),
    },
    "vllm.model_executor.models.config:VerifyAndUpdateConfig": {
        "0.32": ("", "02f7e4eee26040f1"),
        "0.33": ("", "02f7e4eee26040f1"),
    },
    "vllm.model_executor.models.interfaces:supports_multimodal_pruning": {
        "0.32": ("(model)", "73c8f64365c7c3d5"),
        "0.33": ("(model)", "73c8f64365c7c3d5"),
    },
    "vllm.model_executor.models.registry:_ModelRegistry.register_model": {
        "0.32": ("(self, model_arch, model_cls)", "1cd4c9779fba6040"),
        "0.33": ("(self, model_arch, model_cls)", "1cd4c9779fba6040"),
    },
    "vllm.model_executor.models.registry:_ModelRegistry.get_supported_archs": {
        "0.32": ("(self)", "0d1d34b806bcc877"),
        "0.33": ("(self)", "0d1d34b806bcc877"),
    },
    "vllm.model_executor.layers.rotary_embedding.base:RotaryEmbeddingBase._compute_cos_sin_cache": {
        "0.32": ("(self)", "090f5d0b674ef037"),
        "0.33": ("(self)", "090f5d0b674ef037"),
    },
    "vllm.model_executor.layers.rotary_embedding.base:RotaryEmbedding": {
        "0.32": ("", "cfae5ea7bcca523f"),
        "0.33": ("", "cfae5ea7bcca523f"),
    },
    "vllm.model_executor.layers.rotary_embedding.llama3_rope:Llama3RotaryEmbedding": {
        "0.32": ("", "c279e221d004660f"),
        "0.33": ("", "c279e221d004660f"),
    },
    "vllm.multimodal.hasher:MultiModalHasher.hash_kwargs": {
        "0.32": ("(cls, algorithm, **kwargs)", "01aef257556d03b5"),
        "0.33": ("(cls, algorithm, **kwargs)", "01aef257556d03b5"),
    },
    "vllm.multimodal.inputs:PlaceholderRange.get_num_embeds": {
        "0.32": ("(self)", "6c563870ed2c8417"),
        "0.33": ("(self)", "6c563870ed2c8417"),
    },
    "vllm.multimodal.inputs:PlaceholderRange.get_embeds_indices_in_range": {
        "0.32": ("(self, start_idx, end_idx)", "22f8e51387038b40"),
        "0.33": ("(self, start_idx, end_idx)", "22f8e51387038b40"),
    },
    "vllm.multimodal.inputs:MultiModalFieldConfig.batched": {
        "0.32": ("(modality, *, keep_on_cpu)", "84e9d7e9bba74b79"),
        "0.33": ("(modality, *, keep_on_cpu)", "84e9d7e9bba74b79"),
    },
    "vllm.multimodal.media.image:ImageMediaIO.load_bytes": {
        "0.32": ("(self, data)", "852e5a0af3a3381d"),
        "0.33": ("(self, data)", "f9cc6d944472c0bb"),
    },
    "vllm.multimodal.processing.inputs:ProcessorInputs.get_mm_hashes": {
        "0.32": ("(self, model_id, hash_algorithm)", "2297c3672a4d9e75"),
        "0.33": ("(self, model_id, hash_algorithm)", "2297c3672a4d9e75"),
    },
    "vllm.multimodal.processing.processor:PromptUpdateDetails": {
        "0.32": ("", "4258c985ef0a0fdd"),
        "0.33": ("", "4258c985ef0a0fdd"),
    },
    "vllm.multimodal.processing.processor:BaseMultiModalProcessor.get_dummy_mm_inputs": {
        "0.32": ("(self, mm_counts, *, cache, scheduler_config)", "658c776b9b4b1320"),
        "0.33": ("(self, mm_counts, *, cache, scheduler_config)", "658c776b9b4b1320"),
    },
    "vllm.multimodal.processing.processor:BaseMultiModalProcessor._get_mm_hashes": {
        "0.32": ("(self, inputs)", "b98b3462be28abd5"),
        "0.33": ("(self, inputs)", "b98b3462be28abd5"),
    },
    "vllm.multimodal.processing.processor:BaseMultiModalProcessor._get_mm_prompt_updates": {
        "0.32": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "644e18661928441b"),
        "0.33": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "644e18661928441b"),
    },
    "vllm.multimodal.processing.processor:BaseMultiModalProcessor._apply_hf_processor_main": {
        "0.32": ("(self, mm_items, hf_kwargs)", "a890e98682eab203"),
        "0.33": ("(self, mm_items, hf_kwargs)", "a890e98682eab203"),
    },
    "vllm.multimodal.processing.processor:BaseMultiModalProcessor._apply_hf_processor": {
        "0.32": ("(self, inputs, timing_ctx)", "80456a58152f1770"),
        "0.33": ("(self, inputs, timing_ctx)", "80456a58152f1770"),
    },
    "vllm.multimodal.processing.processor:BaseMultiModalProcessor._cached_apply_hf_processor": {
        "0.32": ("(self, inputs, timing_ctx)", "16606d1fe1404574"),
        "0.33": ("(self, inputs, timing_ctx)", "16606d1fe1404574"),
    },
    "vllm.multimodal.processing.processor:BaseMultiModalProcessor._maybe_apply_prompt_updates": {
        "0.32": ("(self, mm_items, mm_res)", "318417f430a0aca8"),
        "0.33": ("(self, mm_items, mm_res)", "318417f430a0aca8"),
    },
    "vllm.multimodal.processing.processor:BaseMultiModalProcessor.apply": {
        "0.32": ("(self, inputs, timing_ctx)", "e0ea1484dc17a07e"),
        "0.33": ("(self, inputs, timing_ctx)", "e0ea1484dc17a07e"),
    },
    "vllm.multimodal.utils:group_and_batch_mm_kwargs": {
        "0.32": ("(mm_kwargs, *, device, pin_memory)", "2fc006e1b287c23f"),
        "0.33": ("(mm_kwargs, *, device, pin_memory)", "2fc006e1b287c23f"),
    },
    "vllm.v1.core.encoder_cache_manager:compute_mm_encoder_budget": {
        "0.32": ("(scheduler_config, mm_max_toks_per_item)", "35384846fe854d94"),
        "0.33": ("(scheduler_config, mm_max_toks_per_item)", "35384846fe854d94"),
    },
    "vllm.v1.worker.cpu_model_runner:CPUModelRunner.load_model": {
        "0.32": ("(self, load_dummy_weights)", "dd8b4cf1e806ed07"),
        "0.33": ("(self, load_dummy_weights)", "dd8b4cf1e806ed07"),
    },
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner._execute_mm_encoder": {
        "0.32": ("(self, scheduler_output)", "3a7c7468e0cd5837"),
        "0.33": ("(self, scheduler_output)", "3a7c7468e0cd5837"),
    },
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner._gather_mm_embeddings": {
        "0.32": ("(self, scheduler_output, shift_computed_tokens)", "79a5c682f5feadac"),
        "0.33": ("(self, scheduler_output, shift_computed_tokens)", "79a5c682f5feadac"),
    },
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner._init_mrope_positions": {
        "0.32": ("(self, req_state)", "0dd082db753286f0"),
        "0.33": ("(self, req_state)", "0dd082db753286f0"),
    },
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner._calc_mrope_positions": {
        "0.32": ("(self, scheduler_output)", "c0cf5f9fea0cc1d2"),
        "0.33": ("(self, scheduler_output)", "c0cf5f9fea0cc1d2"),
    },
    "vllm.v1.worker.gpu.mm.encoder_runner:EncoderRunner.gather_mm_embeddings": {
        "0.32": (
            "(self, req_ids, total_num_scheduled_tokens, num_scheduled_tokens, query_start_loc, prefill_lens, num_computed_tokens, draft_lookahead)",
            "629f05308ce24791",
        ),
        "0.33": (
            "(self, req_ids, total_num_scheduled_tokens, num_scheduled_tokens, query_start_loc, prefill_lens, num_computed_tokens, draft_lookahead)",
            "629f05308ce24791",
        ),
    },
    "vllm.v1.worker.gpu.mm.rope:RopeState.init_prefill_positions": {
        "0.32": ("(self, req_idx, model, prefill_token_ids, mm_features)", "0adabfe8bfd092b7"),
        "0.33": ("(self, req_idx, model, prefill_token_ids, mm_features)", "0adabfe8bfd092b7"),
    },
    "vllm.v1.worker.gpu.mm.rope:RopeState.update_prefill_positions": {
        "0.32": ("(self, req_idx, positions, delta)", "de151b1e8482827e"),
        "0.33": ("(self, req_idx, positions, delta)", "de151b1e8482827e"),
    },
    "vllm.v1.worker.gpu.model_states.mm_pruning:MultiModalPruner": {
        "0.32": ("", "a957148be3770afd"),
        "0.33": ("", "a957148be3770afd"),
    },
    "vllm.v1.worker.gpu.model_states.mm_pruning:maybe_create_mm_pruner": {
        "0.32": ("(model_config, model, rope_state, encoder_cache)", "1be4ee01a3b83980"),
        "0.33": ("(model_config, model, rope_state, encoder_cache)", "1be4ee01a3b83980"),
    },
    "vllm.model_executor.models.llava:LlavaForConditionalGeneration.__init__": {
        "0.32": ("(self, *, vllm_config, prefix)", "cd8f8ae427efb3b5"),
        "0.33": ("(self, *, vllm_config, prefix)", "cd8f8ae427efb3b5"),
    },
    "vllm.model_executor.models.llava:LlavaForConditionalGeneration.embed_multimodal": {
        "0.32": ("(self, **kwargs)", "f3255316a9d691e8"),
        "0.33": ("(self, **kwargs)", "f3255316a9d691e8"),
    },
    "vllm.model_executor.models.llava:LlavaForConditionalGeneration.forward": {
        "0.32": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "e9d09cc0edde7f27",
        ),
        "0.33": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "e9d09cc0edde7f27",
        ),
    },
    "vllm.model_executor.models.llava:LlavaMultiModalProcessor._get_mm_fields_config": {
        "0.32": ("(self, hf_inputs, hf_processor_mm_kwargs)", "c9fdd0f35dbd9bbc"),
        "0.33": ("(self, hf_inputs, hf_processor_mm_kwargs)", "c9fdd0f35dbd9bbc"),
    },
    "vllm.model_executor.models.llava_next:LlavaNextForConditionalGeneration.__init__": {
        "0.32": ("(self, *, vllm_config, prefix)", "a57a70012c08d937"),
        "0.33": ("(self, *, vllm_config, prefix)", "a57a70012c08d937"),
    },
    "vllm.model_executor.models.llava_next:LlavaNextForConditionalGeneration.embed_multimodal": {
        "0.32": ("(self, **kwargs)", "f68350dfeedfce55"),
        "0.33": ("(self, **kwargs)", "f68350dfeedfce55"),
    },
    "vllm.model_executor.models.llava_next:LlavaNextForConditionalGeneration.forward": {
        "0.32": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "e9d09cc0edde7f27",
        ),
        "0.33": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "e9d09cc0edde7f27",
        ),
    },
    "vllm.model_executor.models.llava_next:LlavaNextMultiModalProcessor._get_mm_fields_config": {
        "0.32": ("(self, hf_inputs, hf_processor_mm_kwargs)", "a72410b65aa14aa2"),
        "0.33": ("(self, hf_inputs, hf_processor_mm_kwargs)", "a72410b65aa14aa2"),
    },
    "vllm.model_executor.models.llava_onevision:LlavaOnevisionForConditionalGeneration.__init__": {
        "0.32": ("(self, *, vllm_config, prefix)", "6636cce4a9de510c"),
        "0.33": ("(self, *, vllm_config, prefix)", "6636cce4a9de510c"),
    },
    "vllm.model_executor.models.llava_onevision:LlavaOnevisionForConditionalGeneration.embed_multimodal": {
        "0.32": ("(self, **kwargs)", "b6dae26d4b966905"),
        "0.33": ("(self, **kwargs)", "b6dae26d4b966905"),
    },
    "vllm.model_executor.models.llava_onevision:LlavaOnevisionForConditionalGeneration.forward": {
        "0.32": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "e9d09cc0edde7f27",
        ),
        "0.33": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "e9d09cc0edde7f27",
        ),
    },
    "vllm.model_executor.models.llava_onevision:LlavaOnevisionMultiModalProcessor._get_mm_fields_config": {
        "0.32": ("(self, hf_inputs, hf_processor_mm_kwargs)", "c4e52144c74c712a"),
        "0.33": ("(self, hf_inputs, hf_processor_mm_kwargs)", "c4e52144c74c712a"),
    },
    "vllm.model_executor.models.llava_onevision:LlavaOnevisionMultiModalProcessor._get_prompt_updates": {
        "0.32": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "21a1def1995bfe78"),
        "0.33": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "21a1def1995bfe78"),
    },
    "vllm.model_executor.models.llava_onevision:LlavaOnevisionMultiModalProcessor._apply_hf_processor_main": {
        "0.32": ("(self, mm_items, hf_kwargs)", "467dd72bf814a8e6"),
        "0.33": ("(self, mm_items, hf_kwargs)", "467dd72bf814a8e6"),
    },
    "vllm.model_executor.models.qwen2_vl:Qwen2VLForConditionalGeneration.__init__": {
        "0.32": ("(self, *, vllm_config, prefix)", "6afa4e167a0854d6"),
        "0.33": ("(self, *, vllm_config, prefix)", "6afa4e167a0854d6"),
    },
    "vllm.model_executor.models.qwen2_vl:Qwen2VLForConditionalGeneration.embed_multimodal": {
        "0.32": ("(self, **kwargs)", "f45db13c5e6581a5"),
        "0.33": ("(self, **kwargs)", "f45db13c5e6581a5"),
    },
    "vllm.model_executor.models.qwen2_vl:Qwen2VLForConditionalGeneration.forward": {
        "0.32": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "13ffc03343ca36f8",
        ),
        "0.33": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "13ffc03343ca36f8",
        ),
    },
    "vllm.model_executor.models.qwen2_vl:Qwen2VLForConditionalGeneration.get_mrope_input_positions": {
        "0.32": ("(self, input_tokens, mm_features)", "a106ac36a104f74c"),
        "0.33": ("(self, input_tokens, mm_features)", "a106ac36a104f74c"),
    },
    "vllm.model_executor.models.qwen2_vl:Qwen2VLMultiModalProcessor._get_mm_fields_config": {
        "0.32": ("(self, hf_inputs, hf_processor_mm_kwargs)", "72f4ffda29ee3692"),
        "0.33": ("(self, hf_inputs, hf_processor_mm_kwargs)", "72f4ffda29ee3692"),
    },
    "vllm.model_executor.models.qwen2_vl:Qwen2VLMultiModalProcessor._get_prompt_updates": {
        "0.32": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "9c222cb8ce175a7b"),
        "0.33": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "9c222cb8ce175a7b"),
    },
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLForConditionalGeneration.__init__": {
        "0.32": ("(self, *, vllm_config, prefix)", "098046860a8d74e1"),
        "0.33": ("(self, *, vllm_config, prefix)", "098046860a8d74e1"),
    },
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLForConditionalGeneration.embed_multimodal": {
        "0.32": ("(self, **kwargs)", "f0295961e8f41c1c"),
        "0.33": ("(self, **kwargs)", "f0295961e8f41c1c"),
    },
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLForConditionalGeneration.forward": {
        "0.32": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "13ffc03343ca36f8",
        ),
        "0.33": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "13ffc03343ca36f8",
        ),
    },
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLForConditionalGeneration.get_mrope_input_positions": {
        "0.32": ("(self, input_tokens, mm_features)", "a106ac36a104f74c"),
        "0.33": ("(self, input_tokens, mm_features)", "a106ac36a104f74c"),
    },
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLMultiModalProcessor._get_mm_fields_config": {
        "0.32": ("(self, hf_inputs, hf_processor_mm_kwargs)", "10a6e35e41caf223"),
        "0.33": ("(self, hf_inputs, hf_processor_mm_kwargs)", "10a6e35e41caf223"),
    },
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLMultiModalProcessor._get_prompt_updates": {
        "0.32": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "f813534baef3a035"),
        "0.33": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "f813534baef3a035"),
    },
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLMultiModalProcessor._get_hf_mm_inputs": {
        "0.32": ("(self, mm_items, hf_kwargs)", "11c33a9cda0b6a09"),
        "0.33": ("(self, mm_items, hf_kwargs)", "11c33a9cda0b6a09"),
    },
    "vllm.model_executor.models.qwen3_vl:Qwen3VLForConditionalGeneration.__init__": {
        "0.32": ("(self, *, vllm_config, prefix)", "8b50f60a5b165613"),
        "0.33": ("(self, *, vllm_config, prefix)", "8b50f60a5b165613"),
    },
    "vllm.model_executor.models.qwen3_vl:Qwen3VLForConditionalGeneration.embed_multimodal": {
        "0.32": ("(self, **kwargs)", "ea450cde4a6bf38b"),
        "0.33": ("(self, **kwargs)", "ea450cde4a6bf38b"),
    },
    "vllm.model_executor.models.qwen3_vl:Qwen3VLForConditionalGeneration.forward": {
        "0.32": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "4b66cfeb0b1a7b55",
        ),
        "0.33": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "4b66cfeb0b1a7b55",
        ),
    },
    "vllm.model_executor.models.qwen3_vl:Qwen3VLForConditionalGeneration.get_mrope_input_positions": {
        "0.32": ("(self, input_tokens, mm_features)", "38b806938d4f58d5"),
        "0.33": ("(self, input_tokens, mm_features)", "38b806938d4f58d5"),
    },
    "vllm.model_executor.models.qwen3_vl:Qwen3VLMultiModalProcessor._get_mm_fields_config": {
        "0.32": ("(self, hf_inputs, hf_processor_mm_kwargs)", "72f4ffda29ee3692"),
        "0.33": ("(self, hf_inputs, hf_processor_mm_kwargs)", "72f4ffda29ee3692"),
    },
    "vllm.model_executor.models.qwen3_vl:Qwen3VLMultiModalProcessor._get_prompt_updates": {
        "0.32": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "337e117e224365d5"),
        "0.33": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "337e117e224365d5"),
    },
    "vllm.model_executor.models.qwen3_vl:Qwen3VLMultiModalProcessor._apply_hf_processor_main": {
        "0.32": ("(self, mm_items, hf_kwargs)", "c9bc54560f7324de"),
        "0.33": ("(self, mm_items, hf_kwargs)", "c9bc54560f7324de"),
    },
    "vllm.model_executor.models.qwen3_vl:Qwen3VLMultiModalProcessor._get_mm_hashes": {
        "0.32": ("(self, inputs)", "8a603d9d0405e891"),
        "0.33": ("(self, inputs)", "8a603d9d0405e891"),
    },
    "vllm.model_executor.models.interns1:InternS1ForConditionalGeneration.__init__": {
        "0.32": ("(self, *, vllm_config, prefix)", "9008c00ec7729105"),
        "0.33": ("(self, *, vllm_config, prefix)", "9008c00ec7729105"),
    },
    "vllm.model_executor.models.interns1:InternS1ForConditionalGeneration.embed_multimodal": {
        "0.32": ("(self, **kwargs)", "68df192f111a3881"),
        "0.33": ("(self, **kwargs)", "68df192f111a3881"),
    },
    "vllm.model_executor.models.interns1:InternS1ForConditionalGeneration.forward": {
        "0.32": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "44c4ad0eced7cba1",
        ),
        "0.33": (
            "(self, input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)",
            "44c4ad0eced7cba1",
        ),
    },
    "vllm.model_executor.models.interns1:InternS1MultiModalProcessor._get_mm_fields_config": {
        "0.32": ("(self, hf_inputs, hf_processor_mm_kwargs)", "b01024841f0ba3bb"),
        "0.33": ("(self, hf_inputs, hf_processor_mm_kwargs)", "b01024841f0ba3bb"),
    },
    "vllm.model_executor.models.interns1:InternS1MultiModalProcessor._get_prompt_updates": {
        "0.32": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "09f3541e434c9fec"),
        "0.33": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "09f3541e434c9fec"),
    },
    "vllm.model_executor.models.interns1:InternS1MultiModalProcessor._apply_hf_processor_main": {
        "0.32": ("(self, mm_items, hf_kwargs)", "7ffa7f9d1ca48e39"),
        "0.33": ("(self, mm_items, hf_kwargs)", "7ffa7f9d1ca48e39"),
    },
    "vllm.model_executor.models.llava:BaseLlavaMultiModalProcessor._get_prompt_updates": {
        "0.32": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "7e4def5a259d515d"),
        "0.33": ("(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs)", "7e4def5a259d515d"),
    },
    "vllm.model_executor.models.qwen2_vl:_create_qwen2vl_field_factory": {
        "0.32": ("(spatial_merge_size)", "cc36fbcede8c8346"),
        "0.33": ("(spatial_merge_size)", "cc36fbcede8c8346"),
    },
    "vllm.model_executor.models.llava:LlavaProcessingInfo": {
        "0.32": ("", "9a43ab6d082997b7"),
        "0.33": ("", "9a43ab6d082997b7"),
    },
}
