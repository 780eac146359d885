# -*- test-case-name: tests.controlplane.ca.test_issuing -*-
"""
The words in which certificates are asked for and given: those of Istio's gRPC service
C{istio.v1.auth.IstioCertificateService}.

Source: https://github.com/istio/api/blob/master/security/v1alpha1/ca.proto
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, struct_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

__all__ = ["CREATE_CERTIFICATE", "certificateMessages"]

CREATE_CERTIFICATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


@cache
def certificateMessages() -> tuple[type[Any], type[Any]]:
    """
    The classes of C{IstioCertificateRequest} and C{IstioCertificateResponse}, which no package brings.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="istio/ca.proto", package="istio.v1.auth", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=field.TYPE_INT64, label=field.LABEL_OPTIONAL)
    request.field.add(
        name="metadata",
        number=4,
        type=field.TYPE_MESSAGE,
        type_name=".google.protobuf.Struct",
        label=field.LABEL_OPTIONAL,
    )
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    pool = DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = [pool.FindMessageTypeByName(f"istio.v1.auth.{one.name}") for one in (request, response)]
    return GetMessageClass(found[0]), GetMessageClass(found[1])
