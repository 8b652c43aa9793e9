# /// script
# requires-python = ">=3.11"
# dependencies = ["tinybase-sdk"]
# ///
"""Says hello: an example to start from. Call it with POST /api/functions/hello."""

from pydantic import BaseModel
from tinybase_sdk import register
from tinybase_sdk.cli import run


class HelloInput(BaseModel):
    name: str = "World"


class HelloOutput(BaseModel):
    message: str


@register(name="hello", description="Says hello", auth="auth", tags=["example"])
def hello(client, payload: HelloInput) -> HelloOutput:
    return HelloOutput(message=f"Hello, {payload.name}!")


if __name__ == "__main__":
    run()
