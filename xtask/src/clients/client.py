"""A program over the client that openapi-python-client made: it signs in, and keeps what it does not name."""

import os
import sys
from typing import TypeVar

from tinybase_client import AuthenticatedClient, Client
from tinybase_client.api.accounts import login
from tinybase_client.api.records_of_everything import (
    change_everything_record,
    create_everything_record,
    delete_everything_record,
    get_everything_record,
    list_everything_records,
)
from tinybase_client.models import (
    ChangeEverythingRecordBody,
    CreateEverythingRecordBody,
    EverythingChanges,
    EverythingInput,
    EverythingRecord,
    ListEverythingRecordsResponse200,
    LoginBody,
    LoginResponse200Type0,
)

T = TypeVar("T")


def expect(answer: object, kind: type[T]) -> T:
    if not isinstance(answer, kind):
        sys.exit(f"{answer!r} is no {kind.__name__}")
    return answer


def main() -> None:
    url = os.environ["CLIENT_URL"]
    body = LoginBody(email=os.environ["CLIENT_EMAIL"], password=os.environ["CLIENT_PASSWORD"])
    session = expect(login.sync(client=Client(base_url=url), body=body), LoginResponse200Type0)
    client = AuthenticatedClient(base_url=url, token=session.access_token)

    given = EverythingInput(title="Python", words=["a", "b"])
    made = expect(
        create_everything_record.sync(client=client, body=CreateEverythingRecordBody(data=given)),
        EverythingRecord,
    )
    assert made.data.year == 2000, "what was left out has its default"
    for changes in [EverythingChanges(year=1999), EverythingChanges(title="Changed"), EverythingChanges()]:
        changed = change_everything_record.sync(
            id=str(made.id), client=client, body=ChangeEverythingRecordBody(data=changes)
        )
        expect(changed, EverythingRecord)
    read = expect(get_everything_record.sync(id=str(made.id), client=client), EverythingRecord)
    assert (read.data.title, read.data.year, read.data.words) == ("Changed", 1999, ["a", "b"]), read
    page = list_everything_records.sync(client=client, filter_="title = 'Changed'")
    assert len(expect(page, ListEverythingRecordsResponse200).records) == 1
    gone = delete_everything_record.sync_detailed(id=str(made.id), client=client)
    assert gone.status_code == 204, gone
    print("the Python client keeps what it does not name")


main()
