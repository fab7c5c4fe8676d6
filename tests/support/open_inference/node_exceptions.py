"""The operator cases that onnxruntime runs and that are not served, or not the same, with the reason of each."""

SEQUENCE = "a sequence or an optional as input or output: the protocol has tensors only"
FLOAT8 = "a float8 as output: the protocol has no such type, and numpy none"
RANDOM = "random numbers: a session goes on where its warm-up ended, onnxruntime alone begins"

EXCEPTIONS = {
    "test_cast_FLOAT16_to_FLOAT8E4M3FN": FLOAT8,
    "test_cast_FLOAT_to_FLOAT8E4M3FN": FLOAT8,
    "test_cast_no_saturate_FLOAT16_to_FLOAT8E4M3FN": FLOAT8,
    "test_cast_no_saturate_FLOAT_to_FLOAT8E4M3FN": FLOAT8,
    "test_identity_opt": SEQUENCE,
    "test_identity_sequence": SEQUENCE,
    "test_if_opt": SEQUENCE,
    "test_if_seq": SEQUENCE,
    "test_loop13_seq": SEQUENCE,
    "test_loop16_seq_none": SEQUENCE,
    "test_sequence_insert_at_back": SEQUENCE,
    "test_sequence_insert_at_front": SEQUENCE,
    "test_sequence_map_add_1_sequence_1_tensor": SEQUENCE,
    "test_sequence_map_add_1_sequence_1_tensor_expanded": SEQUENCE,
    "test_sequence_map_add_2_sequences": SEQUENCE,
    "test_sequence_map_add_2_sequences_expanded": SEQUENCE,
    "test_sequence_map_extract_shapes": SEQUENCE,
    "test_sequence_map_extract_shapes_expanded": SEQUENCE,
    "test_sequence_map_identity_1_sequence": SEQUENCE,
    "test_sequence_map_identity_1_sequence_1_tensor": SEQUENCE,
    "test_sequence_map_identity_1_sequence_1_tensor_expanded": SEQUENCE,
    "test_sequence_map_identity_1_sequence_expanded": SEQUENCE,
    "test_sequence_map_identity_2_sequences": SEQUENCE,
    "test_sequence_map_identity_2_sequences_expanded": SEQUENCE,
    "test_split_to_sequence_1": SEQUENCE,
    "test_split_to_sequence_2": SEQUENCE,
    "test_split_to_sequence_nokeepdims": SEQUENCE,
    "test_training_dropout": RANDOM,
    "test_training_dropout_default": RANDOM,
    "test_training_dropout_default_mask": RANDOM,
    "test_training_dropout_mask": RANDOM,
}
