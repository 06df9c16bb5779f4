from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeaseRequest(_message.Message):
    __slots__ = ("client", "disk_dir")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    DISK_DIR_FIELD_NUMBER: _ClassVar[int]
    client: str
    disk_dir: str
    def __init__(self, client: _Optional[str] = ..., disk_dir: _Optional[str] = ...) -> None: ...

class LeaseGrant(_message.Message):
    __slots__ = ("lease", "memory_dir", "repository", "device", "kernels")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_DIR_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    KERNELS_FIELD_NUMBER: _ClassVar[int]
    lease: str
    memory_dir: str
    repository: str
    device: str
    kernels: str
    def __init__(self, lease: _Optional[str] = ..., memory_dir: _Optional[str] = ..., repository: _Optional[str] = ..., device: _Optional[str] = ..., kernels: _Optional[str] = ...) -> None: ...

class DevicesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Device(_message.Message):
    __slots__ = ("id", "kind", "platform", "name", "version", "compute_units", "memory_bytes", "worker_pid", "restarts", "program", "reprogrammings", "reprogramming_ns", "executions", "failure")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_UNITS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    WORKER_PID_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    REPROGRAMMINGS_FIELD_NUMBER: _ClassVar[int]
    REPROGRAMMING_NS_FIELD_NUMBER: _ClassVar[int]
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    platform: str
    name: str
    version: str
    compute_units: int
    memory_bytes: int
    worker_pid: int
    restarts: int
    program: str
    reprogrammings: int
    reprogramming_ns: int
    executions: int
    failure: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., platform: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., compute_units: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., worker_pid: _Optional[int] = ..., restarts: _Optional[int] = ..., program: _Optional[str] = ..., reprogrammings: _Optional[int] = ..., reprogramming_ns: _Optional[int] = ..., executions: _Optional[int] = ..., failure: _Optional[str] = ...) -> None: ...

class DevicesResponse(_message.Message):
    __slots__ = ("devices", "failure")
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    failure: str
    def __init__(self, devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., failure: _Optional[str] = ...) -> None: ...

class LeasesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LeaseFacts(_message.Message):
    __slots__ = ("lease", "client", "since")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    lease: str
    client: str
    since: int
    def __init__(self, lease: _Optional[str] = ..., client: _Optional[str] = ..., since: _Optional[int] = ...) -> None: ...

class LeasesResponse(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseFacts]
    def __init__(self, leases: _Optional[_Iterable[_Union[LeaseFacts, _Mapping]]] = ...) -> None: ...

class LabelsRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class LabelsResponse(_message.Message):
    __slots__ = ("ids", "labels")
    IDS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., labels: _Optional[_Iterable[str]] = ...) -> None: ...
