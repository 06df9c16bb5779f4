"""LogSettings and TraceSetting: what the daemon logs can be changed by a client, where it logs to cannot.

Nothing is traced; the trace settings are there for clients that read them.
"""

import logging
from collections.abc import Mapping

from grpc import StatusCode
from tritonclient.grpc import service_pb2 as pb

from spark_accel.daemon.request import RequestError

LOGGER = "spark_accel"
_TRACE: Mapping[str, str] = {
    "trace_level": "OFF",
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
_TYPES = {bool: ("bool_param", "boolean"), int: ("uint32_param", "unsigned integer"), str: ("string_param", "string")}


class LogSettings:
    """The settings of the daemon's log, under Triton's names."""

    def __init__(self) -> None:
        self._settings: dict[str, bool | int | str] = {
            "log_file": "",
            "log_info": True,
            "log_warning": True,
            "log_error": True,
            "log_verbose_level": 0,
            "log_format": "default",
        }
        self._apply()

    def update(self, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        """Changes what the request names, ignores unknown names, answers all. RequestError: then nothing is changed."""
        changed = dict(self._settings)
        for key, setting in request.settings.items():
            if key == "log_file":
                text = "log file location can not be updated through network protocol"
                raise RequestError(StatusCode.UNIMPLEMENTED, text)
            if key in changed:
                field, name = _TYPES[type(changed[key])]
                if setting.WhichOneof("parameter_choice") != field:
                    raise RequestError(StatusCode.INVALID_ARGUMENT, f"expect {name} for '{key}'")
                changed[key] = getattr(setting, field)
        self._settings = changed
        self._apply()
        answer = pb.LogSettingsResponse()
        for key, value in self._settings.items():
            setattr(answer.settings[key], _TYPES[type(value)][0], value)
        return answer

    def _apply(self) -> None:
        levels = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
        shown = [level for key, level in levels.items() if self._settings[key]]
        verbose = [logging.DEBUG] if self._settings["log_verbose_level"] else []
        logging.getLogger(LOGGER).setLevel(min([*verbose, *shown, logging.CRITICAL]))


def trace_settings(request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
    """The answer of TraceSetting; raises RequestError for a request that would change a setting."""
    for key, setting in request.settings.items():
        if key == "trace_file":
            text = "trace file location can not be updated through network protocol"
            raise RequestError(StatusCode.UNIMPLEMENTED, text)
        if key in _TRACE and list(setting.value) not in ([], [_TRACE[key]]):
            raise RequestError(StatusCode.UNIMPLEMENTED, f"'{key}' can not be updated: this server does not trace")
    answer = pb.TraceSettingResponse()
    for key, value in _TRACE.items():
        answer.settings[key].value.append(value)
    return answer
