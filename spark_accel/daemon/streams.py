"""ModelStreamInfer: requests of one stream run side by side, and are answered in the order in which they came."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from tritonclient.grpc import service_pb2 as pb

from spark_accel.daemon.request import RequestError

MAX_IN_FLIGHT = 64  # of one stream; more wait in the socket

Infer = Callable[[pb.ModelInferRequest], Awaitable[pb.ModelInferResponse]]


async def answer(
    requests: AsyncIterator[pb.ModelInferRequest], infer: Infer
) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
    """One answer a request. A refused request is an answer with `error_message`, and the stream goes on.

    Whoever closes this early (a client that has gone) cancels the requests that have not been answered.
    """
    tasks: asyncio.Queue[asyncio.Task[pb.ModelStreamInferResponse] | None] = asyncio.Queue()
    room = asyncio.Semaphore(MAX_IN_FLIGHT)
    started: set[asyncio.Task[pb.ModelStreamInferResponse]] = set()

    async def read() -> None:
        try:
            async for request in requests:
                await room.acquire()
                task = asyncio.create_task(_one(request, infer))
                started.add(task)
                task.add_done_callback(started.discard)
                tasks.put_nowait(task)
        finally:
            tasks.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (task := await tasks.get()) is not None:
            yield await task
            room.release()
        await reader  # raises what ended it
    finally:
        for unfinished in (reader, *started):
            unfinished.cancel()


async def _one(request: pb.ModelInferRequest, infer: Infer) -> pb.ModelStreamInferResponse:
    try:
        response = await infer(request)
    except RequestError as error:
        return pb.ModelStreamInferResponse(
            error_message=error.message, infer_response=pb.ModelInferResponse(id=request.id)
        )
    response.parameters["triton_final_response"].bool_param = True
    return pb.ModelStreamInferResponse(infer_response=response)
