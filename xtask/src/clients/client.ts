// A program over the types that openapi-typescript made: it signs in, and keeps what it does not name.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Changes = components["schemas"]["EverythingChanges"];

function variable(name: string): string {
    const value = process.env[name];
    if (value === undefined) {
        throw new Error(`${name} is not set`);
    }
    return value;
}

function there<T>(value: T | undefined, answer: Response): T {
    if (value === undefined) {
        throw new Error(`${answer.url} answered ${answer.status}`);
    }
    return value;
}

const baseUrl = variable("CLIENT_URL");
const body = { email: variable("CLIENT_EMAIL"), password: variable("CLIENT_PASSWORD") };
const signedIn = await createClient<paths>({ baseUrl }).POST("/api/auth/login", { body });
const session = there(signedIn.data, signedIn.response);
if (!("access_token" in session)) {
    throw new Error("the second factor is asked for");
}
const headers = { authorization: `Bearer ${session.access_token}` };
const client = createClient<paths>({ baseUrl, headers });

const records = "/api/collections/everything/records";
const given = { title: "TypeScript", words: ["a", "b"], extra: { deep: { er: 1 } } };
const created = await client.POST(records, { body: { data: given } });
const { id } = there(created.data, created.response);
const one = { params: { path: { id } } };

const changes: Changes[] = [{ year: 1999 }, { title: "Changed" }, {}];
for (const data of changes) {
    const changed = await client.PATCH(`${records}/{id}`, { ...one, body: { data } });
    there(changed.data, changed.response);
}
const read = await client.GET(`${records}/{id}`, one);
const { title, year, words } = there(read.data, read.response).data;
if (title !== "Changed" || year !== 1999 || words?.join() !== "a,b") {
    throw new Error(`not what was named, or more: ${JSON.stringify(read.data)}`);
}
const listed = await client.GET(records, { params: { query: { filter: "title = 'Changed'" } } });
if (there(listed.data, listed.response).records.length !== 1) {
    throw new Error("the list has not the one record");
}
const gone = await client.DELETE(`${records}/{id}`, one);
if (gone.response.status !== 204) {
    throw new Error(`the record was not deleted: ${gone.response.status}`);
}
console.log("the TypeScript client keeps what it does not name");
