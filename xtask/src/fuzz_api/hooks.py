"""What schemathesis cannot know of this server: how to sign in, which names lead somewhere, and whom the run needs.

It changes which requests are sent, and never which answers are accepted.
"""

import json
import os
import urllib.request
import uuid
import zlib

import schemathesis

BASE = os.environ["FUZZ_URL"]
EMAIL = os.environ.get("FUZZ_EMAIL")
PASSWORD = os.environ.get("FUZZ_PASSWORD")
# The accounts that the runs sign in as: renamed, disabled or deleted, nothing would be tested any more.
ACCOUNTS = set(filter(None, os.environ["FUZZ_ACCOUNTS"].split(",")))
COLLECTIONS = os.environ["FUZZ_COLLECTIONS"].split(",")
RECORDS = os.environ["FUZZ_RECORDS"].split(",")
# The collection that may be changed and deleted; without the others, no record's route would be reached.
SPARE = os.environ["FUZZ_SPARE"]


if EMAIL:

    # Signs in again after a 401, since some routes end the session that they are called with.
    @schemathesis.auth(retry_on=[401])
    class SignIn:
        def get(self, case, ctx):
            body = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
            headers = {"content-type": "application/json"}
            request = urllib.request.Request(BASE + "/api/auth/login", body, headers)
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["access_token"]

        def set(self, case, token, ctx):
            case.headers = case.headers or {}
            case.headers["authorization"] = f"Bearer {token}"


@schemathesis.hook
def before_call(ctx, case, **kwargs):
    given = case.path_parameters
    if not given:
        return
    if given.get("id") in ACCOUNTS and case.method.upper() not in ("GET", "HEAD"):
        given["id"] = str(uuid.UUID(int=0))
    if "/collections/" not in case.path:
        return
    # Half of the requests go to what is there. The choice follows from what was generated, so that a run can be repeated.
    dice = zlib.crc32(repr(sorted(given.items(), key=str)).encode())
    changes_it = case.path.endswith("{name}") and case.method.upper() in ("PATCH", "DELETE")
    if changes_it and (dice % 2 or given["name"] in COLLECTIONS):
        given["name"] = SPARE
    elif "name" in given and dice % 2:
        given["name"] = COLLECTIONS[dice // 2 % len(COLLECTIONS)]
    if "id" in given and dice % 4 == 1:
        given["id"] = RECORDS[dice // 4 % len(RECORDS)]
