"""The committed stubs are those of the committed proto."""

import re
from pathlib import Path

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from spark_accel.protocol import accel_pb2, accel_pb2_grpc

PROTO = Path(accel_pb2.__file__).with_name("accel.proto")
_SCALARS = {"string": 9, "uint32": 13, "uint64": 4}


def _text() -> str:
    return re.sub(r"//.*", "", PROTO.read_text(encoding="utf-8"))


def test_every_message_has_the_fields_of_the_proto() -> None:
    written = {
        name: {
            (field, int(number), bool(repeated), _SCALARS.get(kind, kind))
            for repeated, kind, field, number in re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", body)
        }
        for name, body in re.findall(r"message (\w+) \{([^}]*)\}", _text())
    }

    file = FileDescriptorProto.FromString(accel_pb2.DESCRIPTOR.serialized_pb)
    generated = {
        message.name: {
            (
                field.name,
                field.number,
                field.label == FieldDescriptorProto.LABEL_REPEATED,
                field.type_name.rpartition(".")[2] or field.type,
            )
            for field in message.field
        }
        for message in file.message_type
    }

    assert generated == written


def test_the_service_has_the_calls_of_the_proto() -> None:
    written = set(re.findall(r"rpc (\w+)\((\w+)\) returns \((stream )?(\w+)\)", _text()))

    methods = accel_pb2.DESCRIPTOR.services_by_name["Node"].methods
    generated = {
        (method.name, method.input_type.name, "stream " if method.server_streaming else "", method.output_type.name)
        for method in methods
    }

    assert generated == written
    assert all(hasattr(accel_pb2_grpc.NodeServicer, method.name) for method in methods)
