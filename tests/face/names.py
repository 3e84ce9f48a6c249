"""onnxruntime's public names: those that Tenfold answers, and those it does not, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping

DEVICES = "tensors live in the CPU's memory, and there is one provider"
OTHER_BACK_ENDS = "there are no execution providers to compile for, register or choose"
PACKAGES = "one engine file holds the code for several processors, and a package is a choice between providers"
SPARSE = "sparse tensors are made dense when a model is imported"
LORA = "adapters are merged into the model's weights before it is built"
ALLOCATORS = "each context has one block of memory, sized by the plan"
TRAINING = "not part of inference"
INTERNAL = "a detail of onnxruntime's own implementation"
LOADING = "there is no native library of CUDA's or of a provider's to load"

ABSENT: Mapping[str, str] = {
    "AdapterFormat": LORA,
    "LoraAdapter": LORA,
    "ModelCompiler": OTHER_BACK_ENDS,
    "ModelPackage": PACKAGES,
    "ModelPackageComponentContext": PACKAGES,
    "ModelPackageContext": PACKAGES,
    "ModelPackageOptions": PACKAGES,
    "ModelPackageWriteMode": PACKAGES,
    "OrtAllocatorType": ALLOCATORS,
    "OrtArenaCfg": ALLOCATORS,
    "OrtCompileApiFlags": OTHER_BACK_ENDS,
    "OrtDevice": DEVICES,
    "OrtDeviceMemoryType": DEVICES,
    "OrtDeviceVendorId": DEVICES,
    "OrtEpAssignedNode": OTHER_BACK_ENDS,
    "OrtEpAssignedSubgraph": OTHER_BACK_ENDS,
    "OrtEpContextData": OTHER_BACK_ENDS,
    "OrtEpContextDataBuffer": OTHER_BACK_ENDS,
    "OrtEpDevice": OTHER_BACK_ENDS,
    "OrtExecutionProviderDevicePolicy": OTHER_BACK_ENDS,
    "OrtExternalInitializerInfo": OTHER_BACK_ENDS,
    "OrtHardwareDevice": DEVICES,
    "OrtHardwareDeviceType": DEVICES,
    "OrtMemType": ALLOCATORS,
    "OrtMemoryInfo": ALLOCATORS,
    "OrtMemoryInfoDeviceType": ALLOCATORS,
    "OrtSparseFormat": SPARSE,
    "OrtSyncStream": DEVICES,
    "SessionIOBinding": INTERNAL,
    "SparseTensor": SPARSE,
    "contextlib": INTERNAL,
    "copy_tensors": DEVICES,
    "create_and_register_allocator": ALLOCATORS,
    "create_and_register_allocator_v2": ALLOCATORS,
    "get_ep_devices": OTHER_BACK_ENDS,
    "import_capi_exception": INTERNAL,
    "onnxruntime_validation": INTERNAL,
    "preload_dlls": LOADING,
    "print_debug_info": INTERNAL,
    "register_execution_provider_library": OTHER_BACK_ENDS,
    "set_global_thread_pool_sizes": "TENFOLD_THREADS and SessionOptions.intra_op_num_threads set the threads",
    "unregister_execution_provider_library": OTHER_BACK_ENDS,
}

ABSENT_MEMBERS: Mapping[str, Mapping[str, str]] = {
    "InferenceSession": {
        "create_ortvalue_from_shape_and_type": DEVICES,
        "get_input_epdevices": OTHER_BACK_ENDS,
        "get_input_memory_infos": ALLOCATORS,
        "get_output_memory_infos": ALLOCATORS,
        "get_provider_graph_assignment_info": OTHER_BACK_ENDS,
        "get_tuning_results": OTHER_BACK_ENDS,
        "release_captured_graph": DEVICES,
        "run_with_ortvaluevector": TRAINING,
        "set_ep_dynamic_options": OTHER_BACK_ENDS,
        "set_tuning_results": OTHER_BACK_ENDS,
    },
    "SessionOptions": {
        "add_external_initializers_from_files_in_memory": OTHER_BACK_ENDS,
        "add_provider_for_devices": OTHER_BACK_ENDS,
        "clear_ep_context_data_read_func": OTHER_BACK_ENDS,
        "set_ep_context_data_read_func": OTHER_BACK_ENDS,
        "set_load_cancellation_flag": "a build is ended by Ctrl-C",
        "set_provider_selection_policy": OTHER_BACK_ENDS,
        "set_provider_selection_policy_delegate": OTHER_BACK_ENDS,
    },
    "RunOptions": {"add_active_adapter": LORA},
    "OrtValue": {
        "as_sparse_tensor": SPARSE,
        "ort_value_from_sparse_tensor": SPARSE,
        "ortvalue_from_numpy_with_onnx_type": "arrays of ml_dtypes carry their own type",
    },
    "IOBinding": {"get_outputs_as_ortvaluevector": TRAINING},
    "ModelMetadata": {},
    "NodeArg": {},
    "GraphOptimizationLevel": {},
    "ExecutionMode": {},
    "ExecutionOrder": {},
}

OURS: Mapping[str, set[str]] = {
    "": {"install", "uninstall", "failures", "options", "session", "values"},
    "InferenceSession": {"engine"},
    "SessionOptions": {"apply_log_level", "changed", "dimensions", "effort", "entries", "ignored"},
    "RunOptions": {"changed", "entries", "running"},
    "IOBinding": {"context", "run"},
}
"""What has no counterpart in onnxruntime."""
