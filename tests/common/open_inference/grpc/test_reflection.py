"""gRPC server reflection, with which grpcurl, Postman and the like call a server without its .proto file."""

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.open_inference.grpc_client import INFER, grpc_client, message
from tests.support.open_inference.tensors import SEVEN_TENSOR


def test_client_without_the_proto_file_lists_services_and_calls_one() -> None:
    with grpc_client() as client:
        database = ProtoReflectionDescriptorDatabase(client.channel)
        assert set(database.get_services()) >= {"inference.GRPCInferenceService", "grpc.health.v1.Health"}
        service = DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")
        method = service.methods_by_name["ModelInfer"]
        request_type, response_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        request = request_type.FromString(message(SEVEN_TENSOR).SerializeToString())
        call = client.channel.unary_unary(INFER, request_type.SerializeToString, response_type.FromString)
        assert call(request, timeout=20).model_name == "mlp"  # type: ignore[attr-defined]
